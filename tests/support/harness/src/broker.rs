//! A cluster of one node: shared by the tests of a binary, with every kind of security, or a test's
//! own.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::sync::{Mutex, OnceLock, PoisonError};
use test_basics::free_port;

use super::certificates::{Authority, Identity, Locked};
use super::cluster::{Cluster, Shape};
use super::node::Properties;
use super::requests::Requests;
use super::version::KafkaVersion;

/// A heap with room for every test of a binary; the quick compiler, because a broker in a test is
/// mostly young.
const FOR_TESTS: &[&str] = &["-Xmx1g", "-XX:TieredStopAtLevel=1"];

/// An older version has a few tests alone.
const FOR_FEW_TESTS: &[&str] = &["-Xmx384m", "-XX:TieredStopAtLevel=1"];

/// The optimising compiler too: a benchmark is not to measure a slow broker.
const FOR_BENCHMARKS: &[&str] = &["-Xms1g", "-Xmx1g"];

/// One node. What is done to topics, messages and groups stands in [`Client`](super::Client),
/// killing and restarting in [`Cluster`].
#[derive(Debug)]
pub struct Broker {
    cluster: Cluster,
    security: Option<Security>,
    ports: Vec<u16>,
}

/// Where a secured broker listens, beside PLAINTEXT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// TLS; clients need no certificate.
    Ssl,
    /// TLS; clients need a certificate of the same authority.
    Mtls,
    /// SASL in plain text: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, and OAUTHBEARER with any unsigned
    /// token.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

/// What a client needs to be let in by a secured broker, and what is refused.
#[derive(Debug)]
pub struct Security {
    /// The authority of the broker's certificate, as PEM.
    pub ca: String,
    /// An authority that the broker's certificate is not from, as PEM.
    pub wrong_ca: String,
    /// What [`Listener::Mtls`] takes.
    pub client: Identity,
    /// What [`Listener::Mtls`] takes as well, with a key under a password.
    pub locked: Locked,
    /// What [`Listener::Mtls`] refuses: a certificate of the wrong authority.
    pub stranger: Identity,
    /// May do everything. Known to all three mechanisms.
    pub user: User,
    /// May log in, and nothing else: every topic and group is denied to it.
    pub outcast: User,
    listeners: Vec<(Listener, u16)>,
}

/// Someone who can log in.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// The user's name.
    pub name: &'static str,
    /// The user's password.
    pub password: &'static str,
}

impl Broker {
    /// The broker of this test binary, started by the first test that asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The broker of this test binary that runs this version of Kafka, started by the first test
    /// that asks.
    pub fn of(version: KafkaVersion) -> &'static Self {
        static OLD: Mutex<BTreeMap<KafkaVersion, &Broker>> = Mutex::new(BTreeMap::new());
        if version == KafkaVersion::Newest {
            return Self::shared();
        }
        // One that could not be started is not there, and is tried again.
        let mut old = OLD.lock().unwrap_or_else(PoisonError::into_inner);
        old.entry(version).or_insert_with(|| {
            let shape = Shape { version, jvm: FOR_FEW_TESTS, ..Shape::default() };
            Box::leak(Box::new(Self::shaped(&shape, None)))
        })
    }

    /// The secured broker of this test binary: PLAINTEXT for the harness, and every [`Listener`].
    pub fn secured() -> &'static Self {
        static SECURED: OnceLock<Broker> = OnceLock::new();
        SECURED.get_or_init(|| {
            let (security, shape) = secure();
            Self::shaped(&shape, Some(security))
        })
    }

    /// A broker for one test alone: to count its connections, or to kill it.
    pub fn start() -> Self {
        Self::shaped(&Shape { jvm: FOR_TESTS, ..Shape::default() }, None)
    }

    /// A broker for one test alone, with broker properties of its own.
    pub fn start_with(properties: &[(&str, &str)]) -> Self {
        let mut more = Properties::default();
        for (key, value) in properties {
            more.set(*key, value);
        }
        Self::shaped(&Shape { jvm: FOR_TESTS, properties: more, ..Shape::default() }, None)
    }

    /// A broker for one test alone, which has share groups: Kafka 4.1 has them where it is told to.
    pub fn start_with_share_groups() -> Self {
        Self::start_with(&[
            ("group.share.enable", "true"),
            ("share.coordinator.state.topic.replication.factor", "1"),
            ("share.coordinator.state.topic.min.isr", "1"),
        ])
    }

    /// A broker as fast as it gets, for benchmarks.
    pub fn for_benchmarks() -> Self {
        let mut properties = Properties::default();
        properties.set("num.network.threads", 2);
        Self::shaped(&Shape { jvm: FOR_BENCHMARKS, properties, ..Shape::default() }, None)
    }

    fn shaped(shape: &Shape, security: Option<Security>) -> Self {
        let cluster = Cluster::shaped(1, shape);
        let mut ports: Vec<u16> = vec![cluster.port(0)];
        ports.extend(
            security.iter().flat_map(|security| &security.listeners).map(|(_, port)| *port),
        );
        Self { cluster, security, ports }
    }

    /// What lets clients into a secured broker.
    ///
    /// # Panics
    /// If the broker is not a secured one.
    pub fn security(&self) -> &Security {
        self.security.as_ref().expect("a secured broker")
    }

    /// What a client is given to find a secured broker's listener, as `host:port`.
    pub fn bootstrap_on(&self, listener: Listener) -> String {
        let listeners = &self.security().listeners;
        let (_, port) = listeners
            .iter()
            .find(|(known, _)| *known == listener)
            .expect("a secured broker has every listener");
        format!("127.0.0.1:{port}")
    }

    /// Connections that clients hold open now, on any listener but the harness's own.
    ///
    /// On a shared broker those of other tests are among them: use one of [`Broker::start`], or
    /// [`Requests::connections_of`].
    pub fn connections(&self) -> usize {
        established(&self.ports)
    }

    /// The requests that this broker answers from now on, on PLAINTEXT. Its request log stays on.
    pub async fn requests(&self) -> Requests {
        let log = {
            let node = &mut self.cluster.nodes()[0];
            node.tell("log requests");
            node.requests()
        };
        Requests::from_now(self.address(0), log).await
    }
}

impl Deref for Broker {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Listener {
    const ALL: [Self; 4] = [Self::Ssl, Self::Mtls, Self::SaslPlaintext, Self::SaslSsl];

    fn name(self) -> &'static str {
        match self {
            Self::Ssl => "SSL",
            Self::Mtls => "MTLS",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

/// Makes the certificates and says how the broker is to use them.
fn secure() -> (Security, Shape) {
    let authority = Authority::new("keda-sift tests");
    let other = Authority::new("someone else");
    let broker = authority.issue("broker", &["127.0.0.1", "localhost"]);
    let user = User { name: "alice", password: "alice-secret" };
    let outcast = User { name: "bob", password: "bob-secret" };
    let listeners = Listener::ALL.map(|listener| (listener, free_port())).to_vec();

    let mut it = Properties::default();
    it.set("ssl.keystore.type", "PEM");
    it.set("ssl.keystore.certificate.chain", broker.cert);
    it.set("ssl.keystore.key", broker.key);
    it.set("ssl.truststore.type", "PEM");
    it.set("ssl.truststore.certificates", authority.cert());
    it.set("listener.name.mtls.ssl.client.auth", "required");
    it.set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER");
    for listener in ["sasl_plaintext", "sasl_ssl"] {
        let module = "org.apache.kafka.common.security";
        let known = format!(
            "user_{}=\"{}\" user_{}=\"{}\"",
            user.name, user.password, outcast.name, outcast.password
        );
        it.set(
            format!("listener.name.{listener}.plain.sasl.jaas.config"),
            format!("{module}.plain.PlainLoginModule required {known};"),
        );
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            it.set(
                format!("listener.name.{listener}.{mechanism}.sasl.jaas.config"),
                format!("{module}.scram.ScramLoginModule required;"),
            );
        }
    }
    for listener in ["sasl_plaintext", "sasl_ssl"] {
        let prefix = format!("listener.name.{listener}.oauthbearer");
        it.set(
            format!("{prefix}.sasl.jaas.config"),
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";",
        );
        // A client has to show a good token as often as this, on the connection it has.
        it.set(format!("{prefix}.connections.max.reauth.ms"), 4_000);
    }
    // Who is no super user is denied everything, since there are no rules.
    it.set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    it.set("super.users", format!("User:ANONYMOUS;User:{};User:CN=client", user.name));

    let mut format = Vec::new();
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for User { name, password } in [user, outcast] {
            format.push("--add-scram".into());
            format.push(format!("{mechanism}=[name={name},password={password}]"));
        }
    }

    let shape = Shape {
        version: KafkaVersion::Newest,
        jvm: FOR_TESTS,
        properties: it,
        format,
        listeners: listeners
            .iter()
            .map(|(listener, port)| format!("{}://127.0.0.1:{port}", listener.name()))
            .collect(),
    };
    let security = Security {
        ca: authority.cert(),
        wrong_ca: other.cert(),
        client: authority.issue("client", &[]),
        locked: authority.issue_locked("client"),
        stranger: other.issue("client", &[]),
        user,
        outcast,
        listeners,
    };
    (security, shape)
}

/// Counts the established connections whose broker's end is one of these ports.
fn established(ports: &[u16]) -> usize {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp can be read");
    let of_broker = |line: &&str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        Some(state == ESTABLISHED && ports.contains(&port))
    };
    table.lines().filter(|line| of_broker(line) == Some(true)).count()
}
