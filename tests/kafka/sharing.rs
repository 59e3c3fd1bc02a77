//! What many triggers on one topic cost the broker: one tail, few connections, and requests that
//! all share who ask together.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use keda_sift::backlog::{Purpose, Scope};
use keda_sift::kafka::{Kafka, Options, TriggerPoller};
use keda_sift::ledger::{DEFAULT_LIMIT, Ledger};
use keda_sift::source::Source as _;
use keda_sift::trigger::Trigger;
use sift_harness::{
    Broker, Commit, LIST_OFFSETS, Message, PATIENCE, Proxy, Replies, Requests, Sift, metadata,
    until,
};
use tokio::task::{JoinSet, block_in_place, unconstrained};
use tokio::time::{Instant, sleep};

const TRIGGERS: usize = 1_000;
const GROUPS: usize = 200;
const TYPES: usize = 5;
const PARTITIONS: usize = 4;
const MESSAGES: usize = 400;

/// What the scaler calls itself to brokers.
const CLIENT: &str = "keda-sift";

/// The group of the n-th trigger.
fn group(trigger: usize) -> String {
    format!("group-{}", trigger % GROUPS)
}

/// The type that the n-th trigger selects: each group has a trigger for each type.
fn event_type(trigger: usize) -> String {
    format!("type-{}", trigger / GROUPS % TYPES)
}

/// The offset that its group has committed in every partition.
fn committed(trigger: usize) -> usize {
    trigger % GROUPS % (MESSAGES / PARTITIONS)
}

/// What the n-th trigger has waiting. Message `n` is of type `n % TYPES` and goes to partition `n %
/// PARTITIONS`, so all before `PARTITIONS * offset` lie before that offset.
fn waiting(trigger: usize) -> i64 {
    let from = PARTITIONS * committed(trigger);
    let of_type = (from..MESSAGES).filter(|n| n % TYPES == trigger / GROUPS % TYPES);
    i64::try_from(of_type.count()).unwrap()
}

/// The topic with its messages, and the groups with what they have committed.
async fn crowd(broker: &Broker, topic: &str) {
    broker.topic(topic).partitions(PARTITIONS as i32).create().await;
    let messages = (0..MESSAGES)
        .map(|n| Message::of_type(&event_type(n * GROUPS)).partition((n % PARTITIONS) as i32));
    broker.produce_all(topic, messages).await;
    let commit = |trigger| Commit {
        group: group(trigger),
        topic: topic.to_owned(),
        offsets: (0..PARTITIONS as i32).map(|p| (p, committed(trigger) as i64)).collect(),
    };
    broker.commit_all((0..GROUPS).map(commit)).await;
}

/// The triggers without the server before them, so that it is known when each is asked.
fn pollers(kafka: &Kafka, bootstrap: &str, topic: &str) -> Vec<TriggerPoller> {
    let poller = |trigger| {
        let pairs = [
            ("source", "kafka"),
            ("bootstrapServers", bootstrap),
            ("topic", topic),
            ("consumerGroup", &group(trigger)),
            ("eventType", &event_type(trigger)),
        ];
        let trigger = Trigger::decode(&metadata(&pairs)).unwrap();
        let Trigger::Kafka(trigger) = trigger else { panic!("a trigger on kafka") };
        kafka.follow(trigger, Ledger::new(DEFAULT_LIMIT).account("default"))
    };
    (0..TRIGGERS).map(poller).collect()
}

/// Measures all of them, each asked before any has an answer: with one thread, and no budget that
/// would make some wait, every call is made before the first request can leave.
async fn measure_together(pollers: &[TriggerPoller]) {
    let deadline = Instant::now() + PATIENCE;
    let measures =
        pollers.iter().map(|poller| poller.measure(deadline, Purpose::Activity, Scope::default()));
    let measured = unconstrained(join_all(measures)).await;
    assert_all(measured);
}

fn assert_all(measured: Vec<Result<keda_sift::backlog::Measured, keda_sift::kafka::Error>>) {
    for (trigger, measured) in measured.into_iter().enumerate() {
        let count = i64::try_from(measured.unwrap().activity.count()).unwrap();
        assert_eq!(count, waiting(trigger), "trigger {trigger}");
    }
}

/// How many requests of each kind the scaler has made.
async fn asked(requests: &Requests) -> HashMap<String, usize> {
    let mut asked = HashMap::new();
    for request in requests.all().await.into_iter().filter(|request| request.client == CLIENT) {
        *asked.entry(request.api).or_default() += 1;
    }
    asked
}

#[tokio::test]
async fn polls_that_arrive_together_share_one_request_for_the_ends_and_one_for_all_groups() {
    let broker = Broker::start();
    crowd(&broker, "crowded").await;
    let kafka = Kafka::new(Options { request_timeout: PATIENCE });
    let pollers = pollers(&kafka, broker.bootstrap(), "crowded");
    let requests = broker.requests().await;
    let of = |asked: &HashMap<String, usize>, api: &str| asked.get(api).copied().unwrap_or(0);

    // The first time, nothing is known of the topic: its layout has to be asked for before its
    // ends, and its partitions before a group can be asked about them. So there is a second round.
    measure_together(&pollers).await;
    let cold = asked(&requests).await;
    assert!(of(&cold, "LIST_OFFSETS") <= 2 * 2, "{cold:?}");
    assert_eq!(of(&cold, "OFFSET_FETCH"), 1, "{cold:?}");
    assert_eq!(of(&cold, "FIND_COORDINATOR"), 1, "{cold:?}");
    // Two rounds, and what reads the topic asks for itself.
    assert!(of(&cold, "METADATA") <= 4, "{cold:?}");
    assert!(of(&cold, "DESCRIBE_CONFIGS") <= 1, "{cold:?}");

    let requests = broker.requests().await;
    measure_together(&pollers).await;
    let warm = asked(&requests).await;
    // One for the log starts and one for the ends, of all four partitions.
    assert_eq!(of(&warm, "LIST_OFFSETS"), 2, "{warm:?}");
    assert_eq!(of(&warm, "OFFSET_FETCH"), 1, "{warm:?}");
    assert_eq!(of(&warm, "FIND_COORDINATOR"), 0, "{warm:?}");
    assert_eq!(of(&warm, "METADATA"), 1, "{warm:?}");
    // Known for half a minute, which this test may outlast.
    assert!(of(&warm, "DESCRIBE_CONFIGS") <= 1, "{warm:?}");
    kafka.shutdown().await;
}

#[tokio::test]
async fn polls_that_come_while_one_is_measured_share_the_next_measurement() {
    let broker = Broker::shared();
    crowd(broker, "next").await;
    let proxy = Proxy::before(broker.port(0)).await;
    let kafka = Kafka::new(Options { request_timeout: PATIENCE });
    let pollers = pollers(&kafka, &proxy.bootstrap(), "next");
    measure_together(&pollers).await;

    let before = proxy.asked(LIST_OFFSETS);
    proxy.replies(Replies::Hold);
    let deadline = Instant::now() + PATIENCE;
    let first = pollers[0].measure(deadline, Purpose::Activity, Scope::default());
    let others = async {
        proxy.until_asked(LIST_OFFSETS, before + 1).await;
        let others = pollers[1..].iter();
        let others = join_all(
            others.map(|other| other.measure(deadline, Purpose::Activity, Scope::default())),
        );
        let release = async { proxy.replies(Replies::Pass) };
        // The first to be polled, so all others have asked when the replies are let go.
        tokio::join!(biased; unconstrained(others), release).0
    };
    let (first, others) = tokio::join!(first, others);
    assert_all([first].into_iter().chain(others).collect());
    assert_eq!(proxy.asked(LIST_OFFSETS) - before, 2 * 2);
    kafka.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_triggers_on_one_topic_share_one_tail_and_six_connections() {
    let broker = Broker::start();
    crowd(&broker, "tailed").await;
    let sift = Sift::start().await;
    let burst = async || {
        let mut polls = JoinSet::new();
        for trigger in 0..TRIGGERS {
            let asked = sift.trigger(broker.bootstrap(), &group(trigger), "tailed");
            let asked = asked.with("eventType", &event_type(trigger)).named(&trigger.to_string());
            polls.spawn(async move { assert_eq!(asked.count().await, waiting(trigger)) });
        }
        while let Some(polled) = polls.join_next().await {
            polled.unwrap();
            // Each of the readers has another one until it has found its broker.
            let connections = broker.connections();
            assert!(connections <= 8, "{connections} connections");
        }
    };
    burst().await;

    // What lay before the tail's start has been read by now, so only the tail reads on. A last
    // fetch of the second reader's may be answered after that, hence the rounds.
    let (began, mut more) = (Instant::now(), 0);
    loop {
        let requests = broker.requests().await;
        let messages = (0..TYPES).map(|n| Message::of_type(&event_type(n * GROUPS)).partition(0));
        broker.produce_all("tailed", messages).await;
        more += 1;
        for trigger in (0..TRIGGERS).step_by(GROUPS) {
            let asked = sift.trigger(broker.bootstrap(), &group(trigger), "tailed");
            let asked = asked.with("eventType", &event_type(trigger)).named(&trigger.to_string());
            assert_eq!(asked.count().await, waiting(trigger) + more);
        }
        let all = requests.all().await;
        let fetches =
            all.iter().filter(|request| request.api == "FETCH" && request.client == CLIENT);
        let tails: BTreeSet<_> = fetches.map(|request| &request.connection).collect();
        if tails.len() == 1 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{tails:?}");
    }
    assert!(broker.connections() <= 6, "{} connections", broker.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_polls_is_let_go_of_the_tail_with_its_last_trigger_and_all_with_the_last_of_the_cluster()
 {
    let broker = Broker::start();
    broker.topic("left").create().await;
    broker.produce("left", Message::of_type("a")).await;
    let sift = Sift::start_with(Duration::from_secs(10), Duration::from_secs(1)).await;
    // Offset arithmetic needs no tail.
    let untailed =
        sift.trigger(broker.bootstrap(), "untailed", "left").with("countFrom", "offsets");
    assert_eq!(untailed.count().await, 1);

    let tailed = ["a", "b"].map(|event_type| {
        sift.trigger(broker.bootstrap(), "tailed", "left").with("eventType", event_type)
    });
    assert_eq!(tailed[0].count().await, 1);
    assert_eq!(tailed[1].count().await, 0);

    // One of the two goes on being polled for longer than the other is remembered: the tail stays.
    let (polled, requests) = (Instant::now(), broker.requests().await);
    while polled.elapsed() < Duration::from_secs(3) {
        assert_eq!(tailed[0].count().await, 1);
        sleep(Duration::from_millis(100)).await;
    }
    let fetches = async |requests: &Requests| asked(requests).await.contains_key("FETCH");
    assert!(fetches(&requests).await, "the tail ended while a trigger was polled");
    let with_tail = broker.connections();

    // Now neither: nothing is fetched any more and the tail's connections end, those for asking do
    // not.
    let left = Instant::now();
    loop {
        let requests = broker.requests().await;
        for _ in 0..10 {
            assert_eq!(untailed.count().await, 1);
            sleep(Duration::from_millis(50)).await;
        }
        if !fetches(&requests).await && broker.connections() < with_tail {
            break;
        }
        assert!(left.elapsed() < PATIENCE, "{} connections", broker.connections());
    }
    assert!(broker.connections() > 0);

    until("nothing of the cluster is held", async || broker.connections() == 0).await;
    // And polled again, it is followed again.
    assert_eq!(tailed[0].count().await, 1);
}

/// Within a session of the broker's, where nothing has come since the last fetch.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_of_quiet_topics_names_none_of_them() {
    const TOPICS: [&str; 3] = ["quiet-1", "quiet-2", "quiet-3"];
    // Of its own, as other tests' fetches have the same client.
    let broker = block_in_place(Broker::start);
    let sift = Sift::start().await;
    for topic in TOPICS {
        broker.topic(topic).partitions(2).create().await;
        broker.produce_all(topic, [Message::of_type("a")]).await;
        let trigger = sift.trigger(broker.bootstrap(), topic, topic).with("eventType", "a");
        assert_eq!(trigger.count().await, 1);
    }
    let requests = broker.requests().await;
    until("quiet topics are named no more", async || {
        let fetches = requests.all().await.into_iter().filter(|asked| asked.api == "FETCH");
        let fetches: Vec<_> = fetches.map(|asked| asked.field("topics")).collect();
        let quiet =
            fetches.iter().rev().take_while(|topics| topics.as_array().is_some_and(Vec::is_empty));
        quiet.count() >= 5
    })
    .await;
    // And what comes then is seen.
    broker.produce_all(TOPICS[1], [Message::of_type("a")]).await;
    let trigger = sift.trigger(broker.bootstrap(), TOPICS[1], TOPICS[1]).with("eventType", "a");
    assert_eq!(trigger.count().await, 2);
}
