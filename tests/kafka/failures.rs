//! Brokers that die, move, hang or cut us off: a poll says the truth or that it is not to be had,
//! and nothing has to be restarted.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use sift_harness::{Broker, Client, Cluster, Message, Mute, Proxy, Replies, Sift, Trigger, until};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::Instant;
use tonic::Code;

const MEASURE_TIMEOUT: Duration = Duration::from_secs(6);

/// What an answer may take beyond the measure timeout, on a machine where brokers are being
/// started.
const SLACK: Duration = Duration::from_secs(5);

/// What a poll takes at most that nothing holds up, on such a machine.
const PROMPT: Duration = Duration::from_secs(4);

/// Three brokers, which the tests of this file break one after another.
struct Three {
    cluster: Cluster,
    down: BTreeSet<usize>,
}

impl Three {
    /// All three, running.
    async fn running() -> MutexGuard<'static, Three> {
        static THREE: OnceLock<Mutex<Three>> = OnceLock::new();
        let three = THREE.get_or_init(|| {
            let cluster = block_in_place(|| Cluster::start(3));
            Mutex::new(Three { cluster, down: BTreeSet::new() })
        });
        let mut three = three.lock().await;
        // A test that failed may have left one down.
        for node in three.down.clone() {
            three.restart(node);
        }
        three
    }

    fn kill(&mut self, node: usize) {
        self.down.insert(node);
        block_in_place(|| self.cluster.kill(node));
    }

    fn stop(&mut self, node: usize) {
        self.down.insert(node);
        block_in_place(|| self.cluster.stop(node));
    }

    fn restart(&mut self, node: usize) {
        block_in_place(|| self.cluster.restart(node));
        self.down.remove(&node);
    }

    /// Waits until a partition is led, by this node or by another one.
    async fn until_led(&self, topic: &str, is: impl Fn(usize) -> bool) {
        let led = async || self.cluster.leader(topic, 0).is_some_and(&is);
        until("the partition is led", led).await;
    }
}

/// Polls without a pause, beside what the test does. Each poll must say what is true or
/// UNAVAILABLE, in time.
struct Watch {
    polls: JoinSet<Seen>,
    over: watch::Sender<bool>,
}

/// What the polls of a [`Watch`] said.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    errors: BTreeSet<String>,
    slowest: Duration,
}

impl Watch {
    fn over(trigger: &Trigger, truth: i64) -> Self {
        let over = watch::Sender::new(false);
        let (trigger, ended) = (trigger.clone(), over.subscribe());
        let mut polls = JoinSet::new();
        polls.spawn(async move {
            let mut seen = Seen::default();
            while !*ended.borrow() {
                let asked = Instant::now();
                match trigger.value().await {
                    Ok(value) => {
                        // A poll that has run out of time says what is known by then.
                        let late = asked.elapsed() >= MEASURE_TIMEOUT && value < truth;
                        assert!(
                            value == truth || late,
                            "{value} for {truth} after {} answers",
                            seen.answered
                        );
                        seen.answered += 1;
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status}");
                        seen.errors.insert(status.message().to_owned());
                    }
                }
                seen.slowest = seen.slowest.max(asked.elapsed());
                assert!(asked.elapsed() < MEASURE_TIMEOUT + SLACK, "{:?}", asked.elapsed());
            }
            seen
        });
        Self { polls, over }
    }

    async fn end(mut self) -> Seen {
        self.over.send_replace(true);
        self.polls.join_next().await.expect("one task").expect("polls that held")
    }
}

async fn sift() -> Sift {
    Sift::start_with(MEASURE_TIMEOUT, Duration::from_secs(900)).await
}

/// Messages of types `a` and `b` in turn, that many of each in every partition; of each the group
/// has read one.
async fn fill(client: &Client, topic: &str, partitions: i32, each: i32) {
    let messages = (0..2 * each * partitions).map(|n| {
        let event_type = if n / partitions % 2 == 0 { "a" } else { "b" };
        Message::of_type(event_type).partition(n % partitions)
    });
    client.produce_all(topic, messages).await;
    client.commit(topic, topic, (0..partitions).map(|partition| (partition, 2))).await;
}

fn trigger(sift: &Sift, bootstrap: &str, topic: &str) -> Trigger {
    sift.trigger(bootstrap, topic, topic).with("eventType", "a").named(topic)
}

/// Says how long each of some polls took, all of which must answer this.
async fn slowest(trigger: &Trigger, truth: i64, polls: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..polls {
        let asked = Instant::now();
        assert_eq!(trigger.count().await, truth);
        slowest = slowest.max(asked.elapsed());
    }
    slowest
}

/// An error that must be UNAVAILABLE, in time, and say why.
async fn unavailable(trigger: &Trigger) -> String {
    let asked = Instant::now();
    let (code, why) = trigger.error().await;
    assert_eq!(code, Code::Unavailable, "{why}");
    assert!(asked.elapsed() < MEASURE_TIMEOUT + SLACK, "{:?}", asked.elapsed());
    // What was said before the error is no answer any more.
    assert_eq!(trigger.active().await.unwrap_err().code(), Code::Unavailable);
    why
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_broker_is_killed_and_comes_back_the_count_stays_true() {
    let mut three = Three::running().await;
    three.cluster.topic("killed").partitions(3).replication(3).create().await;
    fill(&three.cluster, "killed", 3, 10).await;
    let sift = sift().await;
    let trigger = trigger(&sift, three.cluster.bootstrap(), "killed");
    trigger.until(27, |_| false).await;

    let mut truth = 27;
    // One that leads a partition, and the one that keeps the group's offsets.
    for led in ["killed", "__consumer_offsets"] {
        let victim = three.cluster.leader(led, 0).unwrap();
        let watch = Watch::over(&trigger, truth);
        three.kill(victim);
        three.until_led(led, |leader| leader != victim).await;
        watch.end().await;
        trigger.until(truth, |_| false).await;

        // What is written meanwhile counts, before the broker is back and after.
        three.cluster.produce("killed", Message::of_type("a").partition(0)).await;
        truth += 1;
        trigger.until(truth, |_| false).await;
        let watch = Watch::over(&trigger, truth);
        three.restart(victim);
        three.until_led(led, |leader| leader == victim).await;
        let seen = watch.end().await;
        assert!(seen.answered > 0, "{seen:?}");
        trigger.until(truth, |_| false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_leader_moves_in_an_orderly_way_the_count_stays_true() {
    let mut three = Three::running().await;
    three.cluster.topic("moved").replication(3).create().await;
    fill(&three.cluster, "moved", 1, 10).await;
    let sift = sift().await;
    let trigger = trigger(&sift, three.cluster.bootstrap(), "moved");
    trigger.until(9, |_| false).await;

    let first = three.cluster.leader("moved", 0).unwrap();
    let watch = Watch::over(&trigger, 9);
    three.stop(first);
    three.until_led("moved", |leader| leader != first).await;
    three.restart(first);
    three.until_led("moved", |leader| leader == first).await;
    let seen = watch.end().await;
    assert!(seen.answered > 0, "{seen:?}");
    three.cluster.produce("moved", Message::of_type("a")).await;
    trigger.until(10, |_| false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_only_replica_is_dead_does_not_hold_up_the_others() {
    let mut three = Three::running().await;
    three.cluster.topic("lonely").create().await;
    three.cluster.topic("beside").replication(3).create().await;
    for topic in ["lonely", "beside"] {
        fill(&three.cluster, topic, 1, 10).await;
    }
    let sift = sift().await;
    let bootstrap = three.cluster.bootstrap().to_owned();
    let [lonely, beside] = ["lonely", "beside"].map(|topic| trigger(&sift, &bootstrap, topic));
    lonely.until(9, |_| false).await;
    beside.until(9, |_| false).await;

    let victim = three.cluster.leader("lonely", 0).unwrap();
    three.kill(victim);
    three.until_led("beside", |leader| leader != victim).await;
    three.until_led("__consumer_offsets", |leader| leader != victim).await;
    beside.until(9, |_| false).await;

    // Once it is known that there is no answer for it, it is nobody else's trouble.
    unavailable(&lonely).await;
    let watch = Watch::over(&lonely, 9);
    let slowest = slowest(&beside, 9, 300).await;
    let seen = watch.end().await;
    assert_eq!(seen.answered, 0, "{seen:?}");
    assert!(slowest < PROMPT, "{slowest:?} beside a topic that cannot be had");

    three.restart(victim);
    lonely.until(9, |_| false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_reached_is_unavailable_and_found_when_it_is_there_while_others_are_unaffected()
 {
    let other = Broker::shared();
    other.topic("unaffected").create().await;
    fill(other, "unaffected", 1, 10).await;
    let broker = Broker::start();
    broker.topic("reached").create().await;
    fill(&broker, "reached", 1, 10).await;
    let sift = sift().await;
    let unaffected = trigger(&sift, other.bootstrap(), "unaffected");
    let reached = trigger(&sift, broker.bootstrap(), "reached");
    unaffected.until(9, |_| false).await;

    // The first time it was never there, the second time it had been counted on.
    for more in 0..2 {
        block_in_place(|| broker.kill(0));
        let watch = Watch::over(&unaffected, 9);
        let mut reasons = BTreeSet::new();
        for _ in 0..2 {
            let asked = Instant::now();
            reasons.insert(unavailable(&reached).await);
            assert!(asked.elapsed() < PROMPT, "{:?} for what is certain", asked.elapsed());
        }
        assert_eq!(reasons.len(), 1, "the same words for the same cause: {reasons:?}");
        for why in &reasons {
            assert!(why.contains("cannot be reached"), "{why}");
            assert!(why.contains("Connection refused"), "{why}");
            assert!(why.contains(broker.bootstrap()), "{why}");
        }
        let seen = watch.end().await;
        assert!(seen.errors.is_empty() && seen.slowest < PROMPT, "{seen:?}");

        let watch = Watch::over(&reached, 9 + more);
        block_in_place(|| broker.restart(0));
        watch.end().await;
        reached.until(9 + more, |_| false).await;
        broker.produce("reached", Message::of_type("a")).await;
        assert_eq!(reached.count().await, 10 + more);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_connections_and_never_answers_is_unavailable_in_time() {
    let other = Broker::shared();
    other.topic("answers").create().await;
    fill(other, "answers", 1, 10).await;
    let mute = Mute::start().await;
    let sift = sift().await;
    let answers = trigger(&sift, other.bootstrap(), "answers");
    answers.until(9, |_| false).await;
    let watch = Watch::over(&answers, 9);
    for metadata in ["records", "offsets"] {
        let stalled = sift.trigger(&mute.bootstrap(), "stalled", "stalled");
        let why = unavailable(&stalled.with("countFrom", metadata)).await;
        assert!(why.contains("cannot be reached"), "{why}");
        assert!(why.contains(&mute.bootstrap()), "{why}");
    }
    let seen = watch.end().await;
    assert!(seen.errors.is_empty() && seen.slowest < PROMPT, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_answering_in_mid_use_is_unavailable_until_it_answers_again() {
    let broker = Broker::shared();
    broker.topic("stalls").create().await;
    fill(broker, "stalls", 1, 10).await;
    let proxy = Proxy::before(broker.port(0)).await;
    let sift = sift().await;
    let stalls = trigger(&sift, &proxy.bootstrap(), "stalls");
    assert_eq!(stalls.count().await, 9);
    proxy.replies(Replies::Hold);
    broker.produce("stalls", Message::of_type("a")).await;
    unavailable(&stalls).await;
    proxy.replies(Replies::Pass);
    assert_eq!(stalls.count().await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_in_the_middle_of_a_reply_never_make_a_count_wrong() {
    let broker = Broker::shared();
    broker.topic("cut").partitions(3).create().await;
    fill(broker, "cut", 3, 100).await;
    let proxy = Proxy::before(broker.port(0)).await;
    let sift = sift().await;
    // From the first connection on.
    proxy.replies(Replies::CutOneIn(7));
    let cut = trigger(&sift, &proxy.bootstrap(), "cut");
    let mut truth = 3 * 99;
    for produced in 0..8 {
        let watch = Watch::over(&cut, truth);
        let before = proxy.cut();
        until("two more replies are cut", async || proxy.cut() > before + 1).await;
        watch.end().await;
        broker.produce("cut", Message::of_type("a").partition(produced % 3)).await;
        truth += 1;
    }
    proxy.replies(Replies::Pass);
    cut.until(truth, |_| false).await;
}
