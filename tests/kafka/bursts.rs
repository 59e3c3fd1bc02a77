//! All of KEDA's polls at once over its one connection: dead clusters, callers that give up and new
//! secrets touch nobody else.

use std::time::Duration;

use keda_sift::scaler::proto::ScaledObjectRef;
use sift_harness::{
    Broker, Commit, LIST_OFFSETS, Listener, Message, Mute, PATIENCE, Proxy, Replies, Sift, Trigger,
    free_port,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::Code;

const POLLS: usize = 10_000;
const TOPICS: usize = 20;
const GROUPS: usize = 1_000;
const MESSAGES: usize = 50;

/// One poll of this many asks a dead cluster.
const DEAD_ONE_IN: usize = 20;

const MEASURE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a call may take beyond the measure timeout, on a machine that is busy with ten thousand.
const SLACK: Duration = Duration::from_secs(5);

fn topic(poll: usize) -> String {
    format!("burst-{}", poll % TOPICS)
}

fn group(poll: usize) -> String {
    format!("burst-{}", poll % GROUPS)
}

fn committed(poll: usize) -> usize {
    poll % GROUPS % MESSAGES
}

async fn fill(broker: &Broker) {
    for n in 0..TOPICS {
        broker.topic(&topic(n)).create().await;
        broker.produce_all(&topic(n), (0..MESSAGES).map(|_| Message::of_type("a"))).await;
    }
    let commit =
        |n| Commit { group: group(n), topic: topic(n), offsets: vec![(0, committed(n) as i64)] };
    broker.commit_all((0..GROUPS).map(commit)).await;
}

/// Polls all at once over one connection, as after a restart of KEDA's: every [`DEAD_ONE_IN`]th
/// goes to the dead clusters in turn, if there are any. How long the living took until the last had
/// its answer, and how long the dead.
async fn burst(broker: &Broker, dead: &[String]) -> (Duration, Duration) {
    let sift = Sift::start_with(MEASURE_TIMEOUT, Duration::from_secs(900)).await;
    let started = Instant::now();
    let (mut living, mut lost) = (JoinSet::new(), JoinSet::new());
    for poll in 0..POLLS {
        let is_dead = poll % DEAD_ONE_IN == 0;
        let bootstrap = match dead.get(poll / DEAD_ONE_IN % dead.len().max(1)) {
            Some(dead) if is_dead => dead,
            _ => broker.bootstrap(),
        };
        let trigger = sift.trigger(bootstrap, &group(poll), &topic(poll));
        let trigger = trigger.with("eventType", "a").named(&poll.to_string());
        if is_dead && !dead.is_empty() {
            lost.spawn(async move {
                let (code, why) = trigger.error().await;
                assert_eq!(code, Code::Unavailable, "{why}");
                assert!(why.contains("cannot be reached"), "{why}");
            });
        } else {
            let waiting = (MESSAGES - committed(poll)) as i64;
            living.spawn(async move { assert_eq!(trigger.count().await, waiting, "poll {poll}") });
        }
    }
    let ended = async |mut polls: JoinSet<()>| {
        while let Some(poll) = polls.join_next().await {
            poll.unwrap();
        }
        started.elapsed()
    };
    tokio::join!(ended(living), ended(lost))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_polls_at_once_are_answered_as_fast_with_five_hundred_on_dead_clusters() {
    let broker = Broker::shared();
    fill(broker).await;
    let (normal, _) = burst(broker, &[]).await;

    let mute = Mute::start().await;
    let nobody = format!("127.0.0.1:{}", free_port());
    let (living, lost) = burst(broker, &[nobody, mute.bootstrap()]).await;
    let bound = 2 * normal + Duration::from_secs(1);
    assert!(living < bound, "{living:?}, and {normal:?} without dead clusters");
    // From the moment that the first was asked for; all of them leave within what a burst takes.
    assert!(lost < MEASURE_TIMEOUT + SLACK + normal, "{lost:?}");
}

/// A topic with three messages of type `a`, of which the group has read one.
async fn three(broker: &Broker, name: &str) {
    broker.topic(name).create().await;
    broker.produce_all(name, (0..3).map(|_| Message::of_type("a"))).await;
    broker.commit(name, name, [(0, 1)]).await;
}

/// Polls under way at once, which a proxy holds back: they wait on one measurement.
fn polls(trigger: &Trigger, count: usize) -> JoinSet<i64> {
    let mut polls = JoinSet::new();
    for _ in 0..count {
        let trigger = trigger.clone();
        polls.spawn(async move { trigger.count().await });
    }
    polls
}

async fn assert_answered(polls: JoinSet<i64>, count: i64) {
    let answers = timeout(PATIENCE, polls.join_all()).await.expect("answers in time");
    assert!(answers.iter().all(|answer| *answer == count), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_ends_nothing_that_others_wait_for() {
    let broker = Broker::shared();
    three(broker, "given-up").await;
    let proxy = Proxy::before(broker.port(0)).await;
    let sift = Sift::start_with(PATIENCE, PATIENCE).await;
    let trigger = sift.trigger(&proxy.bootstrap(), "given-up", "given-up").with("eventType", "a");
    // Once cold, when the connection itself is made for who gives up, and once warm.
    for _ in 0..2 {
        let asked = proxy.asked(LIST_OFFSETS);
        proxy.replies(Replies::Hold);
        let mut first = polls(&trigger, 1);
        if asked > 0 {
            proxy.until_asked(LIST_OFFSETS, asked).await;
        } else {
            proxy.until_asked(API_VERSIONS, 0).await;
        }
        let others = polls(&trigger, 50);
        let mut more = polls(&trigger, 50);
        first.shutdown().await;
        more.shutdown().await;
        proxy.replies(Replies::Pass);
        assert_answered(others, 2).await;
    }
}

/// Kafka's number of ApiVersions, the first thing that is asked over a connection.
const API_VERSIONS: i16 = 18;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_cancelled_calls_break_neither_the_connection_nor_the_calls_beside_them() {
    let broker = Broker::shared();
    three(broker, "storm").await;
    let proxy = Proxy::before(broker.port(0)).await;
    let sift = Sift::start_with(PATIENCE, PATIENCE).await;
    let trigger = sift.trigger(&proxy.bootstrap(), "storm", "storm").with("eventType", "a");
    assert_eq!(trigger.count().await, 2);

    // Stays open as long as its connection.
    let mut specs =
        sift.client.clone().stream_metric_spec(trigger.reference()).await.unwrap().into_inner();
    assert!(specs.message().await.unwrap().is_some());

    let asked = proxy.asked(LIST_OFFSETS);
    proxy.replies(Replies::Hold);
    let beside = polls(&trigger, 100);
    proxy.until_asked(LIST_OFFSETS, asked).await;
    for storm in 0..5 {
        let mut cancelled = JoinSet::new();
        for poll in 0..2_000 {
            // Known triggers and new ones.
            let trigger = trigger.clone().named(&format!("{storm}-{}", poll % 200));
            cancelled.spawn(async move { trigger.count().await });
        }
        // Some have not been sent by then, some wait to be looked at, some are being measured.
        tokio::task::yield_now().await;
        if storm % 2 == 0 {
            let name = ScaledObjectRef::default();
            sift.client.clone().get_metric_spec(name).await.unwrap();
        }
        cancelled.shutdown().await;
    }
    proxy.replies(Replies::Pass);
    assert_answered(beside, 2).await;
    let asked = Instant::now();
    assert_eq!(trigger.poll().await.unwrap().value, 2);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    // It would have ended by now.
    let spec = timeout(Duration::from_millis(10), specs.message()).await;
    assert!(spec.is_err(), "the connection was broken: {spec:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_poll_that_is_repeated_at_once_with_a_new_secret_is_measured_anew() {
    let broker = Broker::secured();
    three(broker, "secret").await;
    let user = broker.security().user;
    let sift = Sift::start().await;
    let trigger = sift
        .trigger(&broker.bootstrap_on(Listener::SaslPlaintext), "secret", "secret")
        .with("eventType", "a")
        .with("sasl", "scram_sha256")
        .with("usernameFromEnv", user.name);
    let old = trigger.clone().with("passwordFromEnv", "rotated-away");
    let new = trigger.with("passwordFromEnv", user.password);
    for _ in 0..3 {
        let asked = Instant::now();
        let (code, why) = old.error().await;
        assert_eq!(code, Code::Unauthenticated, "{why}");
        assert_eq!(old.active().await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(new.count().await, 2);
        assert!(new.active().await.unwrap());
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}
