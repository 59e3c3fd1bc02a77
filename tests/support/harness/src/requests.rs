//! Which requests a broker has answered, read from its request log: who asked, what, and over which
//! connection.
//!
//! The harness's own requests are left out. Others' are told apart by the topic or group that they
//! name, since the tests of a binary share a broker. A fetch names its topics by id, so it is found
//! by its client only.
//!
//! # References
//! - `kafka.network.RequestConvertToJson` in Kafka's source: the fields of a line

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use test_basics::PATIENCE;
use tokio::time::{Instant, sleep};

use super::client::CLIENT_ID;
use super::wire::{Api, Body, Connection};

/// How long a line may take from the answer to the log.
const LOGGED: Duration = Duration::from_millis(500);

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// What was asked, as Kafka names it: `LIST_OFFSETS`, `OFFSET_FETCH`, `FETCH`, `METADATA`.
    pub api: String,
    /// The `client.id` of who asked.
    pub client: String,
    /// The connection it came over, a text that is different for each.
    pub connection: String,
    line: String,
}

/// The requests of a broker from some moment on.
#[derive(Debug)]
pub struct Requests {
    broker: String,
    log: PathBuf,
    from: u64,
}

impl Request {
    /// Whether the request or its answer names this topic, group or whatever else has a name.
    pub fn names(&self, name: &str) -> bool {
        self.line.contains(&format!("\"{name}\""))
    }

    /// What the request says in this field.
    pub fn field(&self, name: &str) -> Value {
        let json = self.line.strip_prefix("Completed request:").unwrap_or_default();
        let json: Value = serde_json::from_str(json).expect("it was read before");
        json["request"][name].clone()
    }

    /// Reads a line of the log. Lines of other forms are none.
    fn parse(line: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(line.strip_prefix("Completed request:")?).ok()?;
        let header = &json["requestHeader"];
        Some(Self {
            api: header["requestApiKeyName"].as_str()?.into(),
            client: header["clientId"].as_str().unwrap_or_default().into(),
            connection: json["connection"].as_str()?.into(),
            line: line.into(),
        })
    }
}

impl Requests {
    /// The requests from now on that land in this log, of a broker whose log is switched on.
    pub(super) async fn from_now(broker: String, log: PathBuf) -> Self {
        let mut requests = Self { broker, log, from: 0 };
        let text = requests.up_to_now().await;
        requests.from = text.len().try_into().expect("a length");
        requests
    }

    /// Every request answered until now.
    pub async fn all(&self) -> Vec<Request> {
        let text = self.up_to_now().await;
        text.lines()
            .filter_map(Request::parse)
            .filter(|request| !request.client.starts_with(CLIENT_ID))
            .collect()
    }

    /// How many requests of this kind have named this topic or group until now.
    pub async fn count(&self, api: &str, name: &str) -> usize {
        self.all().await.iter().filter(|request| request.api == api && request.names(name)).count()
    }

    /// How many connections a client has used until now, by its `client.id`.
    pub async fn connections_of(&self, client: &str) -> usize {
        let all = self.all().await;
        all.iter()
            .filter(|request| request.client == client)
            .map(|request| &request.connection)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The log, once everything answered before this call is in it.
    ///
    /// A line is written just after the answer has left. But one network thread serves all
    /// connections of a listener, in order: when a request made now is in the log, so are all that
    /// were answered before.
    async fn up_to_now(&self) -> String {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let marker = format!("{CLIENT_ID}-{}", ASKED.fetch_add(1, Ordering::Relaxed));
            let asked = Connection::open(&self.broker, &marker)
                .and_then(|mut connection| connection.ask(Api::Versions, &Body::default()));
            asked.expect("the broker answers");
            let seen = Instant::now() + LOGGED;
            while Instant::now() < seen {
                let text = self.read();
                if text.contains(&format!("\"{marker}\"")) {
                    return text;
                }
                sleep(Duration::from_millis(2)).await;
            }
            // The log was not on yet when the marker was answered.
            assert!(Instant::now() < deadline, "the broker writes no request log");
        }
    }

    fn read(&self) -> String {
        let mut file = File::open(&self.log).expect("the broker writes a request log");
        file.seek(SeekFrom::Start(self.from)).expect("a file can be sought");
        let mut text = Vec::new();
        file.read_to_end(&mut text).expect("a file can be read");
        String::from_utf8(text).expect("a request log is text")
    }
}
