//! The harness itself: a real broker does what the helpers say it does, and nothing of it outlives
//! a test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sift_harness::{Broker, Cluster, Listener, Message, User, until};

/// How long a client is given to be let in, or not.
const LET_IN: Duration = Duration::from_secs(10);
const REFUSED: Duration = Duration::from_secs(1);

#[tokio::test]
async fn records_written_lie_between_the_offsets_that_the_broker_tells() {
    let broker = Broker::shared();
    broker.topic("offsets").partitions(2).create().await;
    broker.produce("offsets", Message::of_type("a").key("k").partition(1)).await;
    broker
        .produce_all("offsets", (0..3).map(|_| Message::of_type("b").partition(1).at(1_000)))
        .await;
    assert_eq!(broker.offsets("offsets"), [(0, 0), (0, 4)]);

    broker.delete_records("offsets", 1, 3).await;
    assert_eq!(broker.offsets("offsets"), [(0, 0), (3, 4)]);

    broker.set_partitions("offsets", 3).await;
    broker.produce("offsets", Message::new().partition(2)).await;
    assert_eq!(broker.offsets("offsets"), [(0, 0), (3, 4), (0, 1)]);

    broker.delete_topic("offsets").await;
    broker.topic("offsets").create().await;
    let written = broker.produce("offsets", Message::new().body("again")).await;
    assert_eq!((written.partition, written.offset), (0, 0));
}

#[tokio::test]
async fn a_marker_follows_a_transaction_and_an_open_one_holds_the_end_back() {
    let broker = Broker::shared();
    broker.topic("transactions").create().await;
    let committed = broker.transaction("first").await;
    committed.produce("transactions", Message::of_type("a")).await;
    committed.commit().await;
    let aborted = broker.transaction("second").await;
    aborted.produce("transactions", Message::of_type("a")).await;
    aborted.abort().await;
    let open = broker.transaction("third").await;
    open.produce("transactions", Message::of_type("a")).await;
    assert_eq!(broker.offsets("transactions"), [(0, 4)]);

    open.commit().await;
    assert_eq!(broker.offsets("transactions"), [(0, 6)]);
}

#[tokio::test]
async fn offsets_of_a_group_move_both_ways_and_go_with_it() {
    let broker = Broker::shared();
    broker.topic("grouped").partitions(2).create().await;
    broker.produce_all("grouped", (0..5).map(|_| Message::new().partition(0))).await;
    broker.catch_up("group", "grouped").await;
    assert_eq!(broker.committed("group", "grouped").await, [(0, 5), (1, 0)].into());

    broker.commit("group", "grouped", [(0, 2)]).await;
    assert_eq!(broker.committed("group", "grouped").await, [(0, 2), (1, 0)].into());

    broker.delete_group("group").await;
    assert_eq!(broker.committed("group", "grouped").await, [].into());
}

#[tokio::test]
async fn retention_and_compaction_happen_within_a_test() {
    let broker = Broker::shared();
    broker.topic("retained").create().await;
    broker.produce_all("retained", (0..3).map(|_| Message::new().body("old").at(1_000))).await;
    broker.configure_topic("retained", &[("retention.ms", "60000"), ("segment.ms", "200")]).await;
    broker.until_log_starts_at("retained", 0, 3).await;
    broker.configure_topic("retained", &[("retention.bytes", "1000000")]).await;

    let compacted =
        broker.topic("compacted").config("cleanup.policy", "compact").config("segment.ms", "100");
    compacted.config("min.cleanable.dirty.ratio", "0.01").create().await;
    broker.produce_all("compacted", (0..10).map(|_| Message::new().key("same").body("x"))).await;
    assert_eq!(broker.compact("compacted", 0, 1).await, [9]);
}

#[tokio::test]
async fn requests_are_counted_by_kind_and_name_and_connections_by_client() {
    let broker = Broker::shared();
    broker.topic("watched").create().await;
    let requests = broker.requests().await;
    let client: BaseConsumer = broker.config().set("client.id", "someone").create().unwrap();
    client.fetch_watermarks("watched", 0, LET_IN).unwrap();
    let once = requests.count("LIST_OFFSETS", "watched").await;
    client.fetch_watermarks("watched", 0, LET_IN).unwrap();
    assert_eq!(requests.count("LIST_OFFSETS", "watched").await, 2 * once);
    assert!(once > 0, "{:?}", requests.all().await);
    assert_eq!(requests.count("LIST_OFFSETS", "elsewhere").await, 0);
    // librdkafka keeps the connection that it found the cluster over, and opens one to the node.
    assert_eq!(requests.connections_of("someone").await, 2);
}

#[tokio::test]
async fn connections_are_those_of_others() {
    let broker = Broker::start();
    assert_eq!(broker.connections(), 0);
    let client: BaseConsumer = broker.config().create().unwrap();
    client.fetch_metadata(None, LET_IN).unwrap();
    assert_eq!(broker.connections(), 1);
    drop(client);
    until("the connection is closed", async || broker.connections() == 0).await;
}

/// By a client that has neither TLS nor SCRAM; `security.rs` goes in at each listener.
#[tokio::test]
async fn a_secured_broker_lets_in_whom_it_knows() {
    let broker = Broker::secured();
    let security = broker.security();
    let enter = |User { name, password }: User| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap_on(Listener::SaslPlaintext));
        config.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "PLAIN");
        config.set("sasl.username", name).set("sasl.password", password);
        config
    };
    assert!(is_let_in(&enter(security.user)));
    assert!(is_let_in(&enter(security.outcast)));
    assert!(is_refused(&enter(User { password: "guessed", ..security.user })));

    broker.topic("guarded").create().await;
    let sees = |user| {
        let client: BaseConsumer = enter(user).create().unwrap();
        client.fetch_watermarks("guarded", 0, LET_IN).is_ok()
    };
    // The node may have yet to hear that it leads.
    until("the topic is seen", async || sees(security.user)).await;
    assert!(!sees(security.outcast));
}

#[tokio::test]
async fn a_cluster_goes_on_without_a_node_and_takes_it_back() {
    let cluster = Cluster::start(3);
    cluster.topic("replicated").replication(3).create().await;
    cluster.produce("replicated", Message::new()).await;
    let first = cluster.leader("replicated", 0).unwrap();
    cluster.kill(first);
    until("another node leads", async || {
        cluster.leader("replicated", 0).is_some_and(|leader| leader != first)
    })
    .await;
    cluster.produce("replicated", Message::new()).await;
    cluster.restart(first);
    assert_eq!(cluster.offsets("replicated"), [(0, 2)]);

    let second = cluster.leader("replicated", 0).unwrap();
    cluster.stop(second);
    until("another node leads", async || {
        cluster.leader("replicated", 0).is_some_and(|leader| leader != second)
    })
    .await;
    cluster.restart(second);
    cluster.produce("replicated", Message::new()).await;
}

/// Started again as a process of its own by the test below, which kills it.
#[tokio::test]
#[ignore = "waits until it is killed"]
async fn holds_a_broker() {
    let broker = Broker::start();
    println!("{}", broker.folder().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_broker_ends_with_its_test_however_that_ends() {
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "broker::holds_a_broker"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(test.stdout.take().unwrap());
    let folder =
        output.lines().map(Result::unwrap).find(|line| line.contains("keda-sift-kafka-")).unwrap();
    // Cargo prints the test's name before it, in the same line.
    let folder = folder.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(processes_of(&folder), 1);

    test.kill().unwrap();
    test.wait().unwrap();
    until("the broker and its data are gone", async || {
        processes_of(&folder) == 0 && !Path::new(&folder).exists()
    })
    .await;
}

fn is_let_in(config: &ClientConfig) -> bool {
    answers(config, LET_IN)
}

fn is_refused(config: &ClientConfig) -> bool {
    !answers(config, REFUSED)
}

fn answers(config: &ClientConfig, within: Duration) -> bool {
    config.create::<BaseConsumer>().unwrap().fetch_metadata(None, within).is_ok()
}

/// How many processes have this folder on their command line.
fn processes_of(folder: &str) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|command| String::from_utf8_lossy(command).contains(folder))
        .count()
}
