//! The harness's own clients of a cluster. What is done through them stands in `topics.rs`,
//! `messages.rs` and `groups.rs`.

use std::fmt::{self, Debug};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::FutureProducer;
use test_basics::PATIENCE;

use super::wire::{Answer, Api, Body, Connection};

/// What the harness's clients call themselves, so that their requests are told from those of
/// others.
pub(crate) const CLIENT_ID: &str = "harness";

/// One client of each kind.
pub struct Client {
    bootstrap: String,
    harness: String,
    pub(super) admin: AdminClient<DefaultClientContext>,
    pub(super) producer: FutureProducer,
    pub(super) reader: BaseConsumer,
}

impl Client {
    /// Clients that use one listener of a cluster themselves, and tell others of another. They
    /// connect when they are first used.
    pub fn new(bootstrap: &str, harness: &str) -> Self {
        let config = config(harness);
        Self {
            bootstrap: bootstrap.into(),
            harness: harness.into(),
            admin: config.create().expect("an admin client"),
            // Not idempotent: a topic deleted and made again would be a fatal error to such a
            // producer, and every test shares it.
            producer: config
                .clone()
                .set("acks", "all")
                .set("max.in.flight.requests.per.connection", "1")
                .set("queue.buffering.max.ms", "0")
                .set("message.timeout.ms", "30000")
                .create()
                .expect("a producer"),
            reader: config.create().expect("a consumer"),
        }
    }

    /// What a client is given to find the cluster without any security, as `host:port,…`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The configuration of a client that finds the cluster as those under test do, for what the
    /// harness has no words for.
    pub fn config(&self) -> ClientConfig {
        let mut config = config(&self.bootstrap);
        config.remove("client.id");
        config
    }

    /// Where the harness's own clients find the cluster, as `host:port,…`.
    pub(super) fn harness(&self) -> &str {
        &self.harness
    }

    /// The configuration of a client of the harness, which
    /// [`Broker::connections`](super::Broker::connections) does not count.
    pub(super) fn own_config(&self) -> ClientConfig {
        config(&self.harness)
    }

    /// The newest version of a request, by its number, that is offered there; none if it is not.
    pub fn newest_version(bootstrap: &str, api: i16) -> Option<i16> {
        let asked = Connection::open(bootstrap, CLIENT_ID)
            .and_then(|mut connection| connection.ask(Api::Versions, &Body::default()));
        let mut answer = asked.expect("the broker answers");
        assert_eq!(answer.int16().expect("an error code"), 0);
        let row = |answer: &mut Answer| Ok((answer.int16()?, answer.int16()?, answer.int16()?));
        let rows = answer.array(row).expect("an array");
        rows.into_iter().find(|(known, ..)| *known == api).map(|(_, _, newest)| newest)
    }

    /// How many brokers the cluster says it has; 0 if it does not answer within that time.
    pub(super) fn brokers(&self, within: Duration) -> usize {
        self.reader.fetch_metadata(None, within).map_or(0, |metadata| metadata.brokers().len())
    }
}

impl Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

pub(super) fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", CLIENT_ID)
        // A broker that starts is found at once, not after the back-off has grown to 10 s.
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false");
    config
}
