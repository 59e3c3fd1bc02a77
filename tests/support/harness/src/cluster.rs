//! Nodes that belong together: started at once, ready when every one has joined, killed and brought
//! back one by one.

use std::fmt::Write as _;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use test_basics::free_port;
use tokio::time::Instant;

use super::client::Client;
use super::node::{Node, Plan, Properties};
use super::version::KafkaVersion;

/// How long a cluster may take to start. It takes 1.2 s on an idle machine; others may be building
/// on this one.
const START: Duration = Duration::from_secs(90);

/// How often a start is tried, in case a port was taken between finding it free and listening on
/// it.
const TRIES: usize = 3;

/// Broker and controller nodes with their data in a temporary folder. Dropping it ends them.
#[derive(Debug)]
pub struct Cluster {
    // Declared first, hence dropped first: clients do not see their brokers die, and the folder
    // goes last.
    client: Client,
    nodes: Mutex<Vec<Node>>,
    ports: Vec<u16>,
    folder: TempDir,
}

/// How a cluster differs from a plain one.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The Kafka that its nodes run.
    pub version: KafkaVersion,
    /// Options of each node's JVM.
    pub jvm: &'static [&'static str],
    /// More properties of each node.
    pub properties: Properties,
    /// What the storage tool is told when it formats.
    pub format: Vec<String>,
    /// Listeners beside PLAINTEXT, as `NAME://127.0.0.1:port`.
    pub listeners: Vec<String>,
}

impl Cluster {
    /// Starts that many nodes, small ones, and waits until all have joined.
    ///
    /// # Panics
    /// If they do not; the end of their logs says why.
    pub fn start(nodes: usize) -> Self {
        Self::shaped(
            nodes,
            &Shape { jvm: &["-Xmx512m", "-XX:TieredStopAtLevel=1"], ..Shape::default() },
        )
    }

    /// The same with a shape of its own.
    pub fn shaped(nodes: usize, shape: &Shape) -> Self {
        let mut failure = String::new();
        for _ in 0..TRIES {
            match Self::try_start(nodes, shape) {
                Ok(cluster) => return cluster,
                Err(why) if why.contains("Address already in use") => failure = why,
                Err(why) => panic!("kafka does not start:\n{why}"),
            }
        }
        panic!("kafka found its ports taken {TRIES} times:\n{failure}");
    }

    fn try_start(nodes: usize, shape: &Shape) -> Result<Self, String> {
        assert!(nodes == 1 || !shape.version.has_zookeeper(), "a ZooKeeper has one node here");
        let folder = TempDir::with_prefix("keda-sift-kafka-").expect("a temporary folder");
        let [ports, harness, controllers] =
            [(); 3].map(|()| (0..nodes).map(|_| free_port()).collect::<Vec<u16>>());
        let mut voters = String::new();
        for (node, port) in controllers.iter().enumerate() {
            let comma = if node == 0 { "" } else { "," };
            write!(voters, "{comma}{}@127.0.0.1:{port}", node + 1)
                .expect("a string can be written");
        }
        let started = (0..nodes)
            .map(|node| {
                let listeners = Listeners {
                    plaintext: ports[node],
                    harness: harness[node],
                    controller: controllers[node],
                    more: &shape.listeners,
                };
                let mut properties = properties(node, nodes, folder.path(), &listeners);
                if shape.version.has_zookeeper() {
                    of_zookeeper(&mut properties, node, &listeners);
                } else {
                    of_quorum(&mut properties, node, &listeners, &voters);
                }
                properties.extend(&shape.properties);
                Node::start(Plan {
                    version: shape.version,
                    cluster: folder.path().into(),
                    folder: folder.path().join(node.to_string()),
                    properties,
                    jvm: shape.jvm,
                    format: shape.format.clone(),
                })
            })
            .collect();
        let client = Client::new(&addresses(&ports), &addresses(&harness));
        let cluster = Self { client, nodes: Mutex::new(started), ports, folder };
        cluster.wait_for_all()?;
        Ok(cluster)
    }

    /// Waits until all nodes are known as brokers, to each other and so to clients.
    fn wait_for_all(&self) -> Result<(), String> {
        let deadline = Instant::now() + START;
        loop {
            let brokers = self.client.brokers(Duration::from_millis(200));
            let mut nodes = self.nodes();
            if brokers == nodes.len() {
                return Ok(());
            }
            let dead = nodes.iter_mut().position(|node| !node.is_running());
            if dead.is_some() || Instant::now() > deadline {
                return Err(nodes[dead.unwrap_or_default()].last_words());
            }
        }
    }

    /// Kills a node, counted from 0, as a power cut would.
    pub fn kill(&self, node: usize) {
        self.nodes()[node].kill();
    }

    /// Puts a copy of a killed node's data aside, as a backup does.
    pub fn back_up(&self, node: usize) {
        self.nodes()[node].back_up();
    }

    /// Has what was put aside in place of a killed node's data.
    pub fn restore(&self, node: usize) {
        self.nodes()[node].restore();
    }

    /// Stops a node in an orderly way: its leaderships move to others first.
    pub fn stop(&self, node: usize) {
        self.nodes()[node].stop();
    }

    /// Lets a node stand still, until it is told to go on: its connections stay, and nothing is
    /// answered.
    pub fn pause(&self, node: usize) {
        self.nodes()[node].signal("STOP");
    }

    /// Lets a node go on that stands still.
    pub fn go_on(&self, node: usize) {
        self.nodes()[node].signal("CONT");
    }

    /// Starts a node again that was killed or stopped, on its old ports and data, and waits until
    /// all nodes are there.
    ///
    /// # Panics
    /// If it does not start, or another one is not running.
    pub fn restart(&self, node: usize) {
        self.nodes()[node].restart();
        if let Err(why) = self.wait_for_all() {
            panic!("kafka does not start again:\n{why}");
        }
    }

    /// Starts a node again without waiting for anything, for where another one stays away.
    pub fn revive(&self, node: usize) {
        self.nodes()[node].restart();
    }

    /// Where clients find a node, as `host:port`.
    pub fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node])
    }

    /// The port where clients find a node without any security.
    pub fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// Where the data of all nodes is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The node that leads a partition, counted from 0; none if nobody does.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let leader = self.client.leaders(topic).get(usize::try_from(partition).ok()?).copied()?;
        usize::try_from(leader).ok()?.checked_sub(1)
    }

    /// The nodes that keep a copy of a partition, counted from 0, whether they run or not.
    pub fn replicas(&self, topic: &str, partition: i32) -> Vec<usize> {
        self.client
            .replicas(topic, partition)
            .into_iter()
            .filter_map(|id| usize::try_from(id).ok()?.checked_sub(1))
            .collect()
    }

    /// The nodes, for this folder alone.
    pub(super) fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        // A test that panicked while it held them has left them as usable as before.
        self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A cluster does what its clients do: topics, messages, groups.
impl Deref for Cluster {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The ports of a node. The harness has one to itself, and so have the nodes among themselves: what
/// comes in on the others is of those under test.
struct Listeners<'a> {
    plaintext: u16,
    harness: u16,
    controller: u16,
    more: &'a [String],
}

fn addresses(ports: &[u16]) -> String {
    let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    addresses.join(",")
}

impl Listeners<'_> {
    fn of_clients(&self) -> String {
        let mut clients = vec![
            format!("PLAINTEXT://127.0.0.1:{}", self.plaintext),
            format!("HARNESS://127.0.0.1:{}", self.harness),
        ];
        clients.extend_from_slice(self.more);
        clients.join(",")
    }
}

/// The properties of a node that is to start fast, stay small, and do within milliseconds what
/// takes others minutes.
fn properties(node: usize, nodes: usize, folder: &Path, listeners: &Listeners<'_>) -> Properties {
    let replicas = nodes.min(3);

    let mut it = Properties::default();
    it.set("advertised.listeners", listeners.of_clients());
    it.set("inter.broker.listener.name", "HARNESS");
    it.set(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,HARNESS:PLAINTEXT,CONTROLLER:PLAINTEXT,\
         SSL:SSL,MTLS:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
    );
    it.set("log.dirs", folder.join(node.to_string()).join("data").display());

    it.set("auto.create.topics.enable", false);
    it.set("default.replication.factor", replicas);
    for internal in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        it.set(format!("{internal}.replication.factor"), replicas);
        it.set(format!("{internal}.num.partitions"), 1);
    }
    it.set("transaction.state.log.min.isr", 1);
    it.set("share.coordinator.state.topic.min.isr", 1);

    // One network thread a listener answers in order, which `requests.rs` relies on.
    it.set("num.network.threads", 1);
    it.set("num.io.threads", 4);
    it.set("background.threads", 2);
    it.set("log.cleaner.threads", 1);
    it.set("log.cleaner.dedupe.buffer.size", 4 << 20);

    it.set("group.initial.rebalance.delay.ms", 0);
    it.set("group.coordinator.append.linger.ms", 0);
    it.set("group.min.session.timeout.ms", 500);
    it.set("log.initial.task.delay.ms", 0);
    it.set("log.retention.check.interval.ms", 200);
    it.set("log.cleaner.backoff.ms", 200);
    it.set("log.segment.delete.delay.ms", 200);
    it.set("transaction.abort.timed.out.transaction.cleanup.interval.ms", 200);

    // A dead node is found out soon, and one that is back leads its partitions again.
    it.set("broker.heartbeat.interval.ms", 500);
    it.set("broker.session.timeout.ms", 4_000);
    it.set("leader.imbalance.check.interval.seconds", 1);
    it
}

/// What a node needs that is broker and controller in one.
fn of_quorum(it: &mut Properties, node: usize, listeners: &Listeners<'_>, voters: &str) {
    it.set("process.roles", "broker,controller");
    it.set("node.id", node + 1);
    it.set("controller.quorum.voters", voters);
    let controller = format!("CONTROLLER://127.0.0.1:{}", listeners.controller);
    it.set("listeners", format!("{},{controller}", listeners.of_clients()));
    it.set("controller.listener.names", "CONTROLLER");
}

/// What a node needs whose metadata is in a ZooKeeper, for which it has the controller's port.
fn of_zookeeper(it: &mut Properties, node: usize, listeners: &Listeners<'_>) {
    it.set("broker.id", node + 1);
    it.set("listeners", listeners.of_clients());
    it.set("zookeeper.connect", format!("127.0.0.1:{}", listeners.controller));
}
