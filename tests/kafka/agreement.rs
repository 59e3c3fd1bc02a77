//! What a poll says while messages come and go as fast as they can: one truth in both replies, and
//! one that lies between before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sift_harness::{Broker, Message, Sift, Trigger};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many messages are produced at a time.
const BATCH: i64 = 20;

/// How far the producer gets ahead before the consumer commits all it has been told of.
const STRIDE: i64 = 400;

const ACTIVATION: i64 = 100;

/// `IsActive` answers from what `GetMetrics` said if it comes this soon after it; a machine that
/// stalls may make it come later.
const SOON: Duration = Duration::from_millis(200);

/// Every second message is of type `a`: how many there are before an offset.
fn matches(offset: i64) -> i64 {
    (offset + 1) / 2
}

fn message(offset: i64) -> Message {
    Message::of_type(if offset % 2 == 0 { "a" } else { "b" }).partition(0)
}

/// An offset that only rises, before and after the broker has been told.
struct Progress {
    begun: AtomicI64,
    done: watch::Sender<i64>,
}

impl Progress {
    fn new() -> Self {
        Self { begun: AtomicI64::new(0), done: watch::Sender::new(0) }
    }

    fn begin(&self, offset: i64) {
        self.begun.store(offset, Ordering::SeqCst);
    }

    fn end(&self, offset: i64) {
        self.done.send_replace(offset);
    }

    fn begun(&self) -> i64 {
        self.begun.load(Ordering::SeqCst)
    }

    fn done(&self) -> i64 {
        *self.done.borrow()
    }
}

/// What is produced and committed on one topic, by tasks that end with their set.
struct Traffic {
    broker: &'static Broker,
    topic: &'static str,
    produced: Progress,
    committed: Progress,
}

impl Traffic {
    /// A topic with so many messages, of which the group has read none.
    async fn on(topic: &'static str, messages: i64) -> Arc<Self> {
        let broker = Broker::shared();
        broker.topic(topic).create().await;
        let (produced, committed) = (Progress::new(), Progress::new());
        let traffic = Self { broker, topic, produced, committed };
        traffic.produce_up_to(messages).await;
        traffic.commit_up_to(0).await;
        Arc::new(traffic)
    }

    /// Produces as fast as it can.
    async fn produce(self: Arc<Self>) {
        loop {
            self.produce_up_to(self.produced.done() + BATCH).await;
        }
    }

    /// Commits all that is produced, a stride at a time.
    async fn commit(self: Arc<Self>) {
        let mut produced = self.produced.done.subscribe();
        loop {
            let next = self.committed.done() + STRIDE;
            let end = *produced.wait_for(|end| *end >= next).await.unwrap();
            self.commit_up_to(end).await;
        }
    }

    async fn produce_up_to(&self, end: i64) {
        let from = self.produced.done();
        self.produced.begin(end);
        self.broker.produce_all(self.topic, (from..end).map(message)).await;
        self.produced.end(end);
    }

    async fn commit_up_to(&self, offset: i64) {
        self.committed.begin(offset);
        self.broker.commit(self.topic, self.topic, [(0, offset)]).await;
        self.committed.end(offset);
    }

    /// The value, which must lie between what waited at the least and at the most while the call
    /// was under way.
    async fn poll(&self, trigger: &Trigger) -> i64 {
        let (produced, committed) = (self.produced.done(), self.committed.done());
        let value = trigger.count().await;
        let least = matches(produced) - matches(self.committed.begun());
        let most = matches(self.produced.begun()) - matches(committed);
        assert!((least..=most).contains(&value), "{value} is not in {least}..={most}");
        value
    }

    /// What waits while nothing moves.
    fn truth(&self) -> i64 {
        matches(self.produced.done()) - matches(self.committed.done())
    }

    fn trigger(&self, sift: &Sift) -> Trigger {
        sift.trigger(self.broker.bootstrap(), self.topic, self.topic).with("eventType", "a")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_replies_of_a_poll_agree_and_tell_of_its_own_time_while_messages_come_and_go() {
    let traffic = Traffic::on("agreement", 0).await;
    let sift = Sift::start().await;
    let trigger = traffic.trigger(&sift).with("activationLagThreshold", &ACTIVATION.to_string());
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&traffic).produce());
    tasks.spawn(Arc::clone(&traffic).commit());

    let (mut idle, mut active) = (0, 0);
    // Hundreds of polls, and enough of either kind that an answer of another moment would have been
    // caught.
    while idle + active < 500 || idle.min(active) < 50 {
        let value = traffic.poll(&trigger).await;
        let replied = Instant::now();
        let said = trigger.active().await.unwrap();
        if replied.elapsed() < SOON {
            assert_eq!(said, value > ACTIVATION, "{value}");
            *(if said { &mut active } else { &mut idle }) += 1;
        }
        assert!(idle + active < 20_000, "{idle} polls idle, {active} active");
    }

    tasks.shutdown().await;
    // What was cut short may have reached the broker or not; from here on all is known.
    traffic.broker.flush().await;
    let end = traffic.broker.offsets(traffic.topic)[0].1;
    traffic.produced.begin(end);
    traffic.produced.end(end);
    traffic.commit_up_to(end - 7).await;
    assert_eq!(traffic.poll(&trigger).await, traffic.truth());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_messages_only_come_the_value_never_falls() {
    let traffic = Traffic::on("rising", 0).await;
    let sift = Sift::start().await;
    let trigger = traffic.trigger(&sift);
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&traffic).produce());
    let (mut last, mut rises) = (0, 0);
    while rises < 200 {
        let value = traffic.poll(&trigger).await;
        assert!(value >= last, "{value} after {last}");
        rises += usize::from(value > last);
        last = value;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_messages_are_only_consumed_the_value_never_rises() {
    const ALL: i64 = 20_000;
    let traffic = Traffic::on("falling", ALL).await;
    let sift = Sift::start().await;
    let trigger = traffic.trigger(&sift);
    let mut last = traffic.poll(&trigger).await;
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let traffic = Arc::clone(&traffic);
        async move {
            for offset in (0..=ALL).step_by(50) {
                traffic.commit_up_to(offset).await;
            }
        }
    });
    let mut falls = 0;
    while last > 0 {
        let value = traffic.poll(&trigger).await;
        assert!(value <= last, "{value} after {last}");
        falls += usize::from(value < last);
        last = value;
    }
    assert!(falls > 20, "polled at {falls} different moments");
}
