//! What a poll says while messages come and go as fast as they can: one truth in both replies, and one that lies between before and after.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::{Broker, Message, Sift, Trigger};
use tokio::sync::watch;
use tokio::time::Instant;

/// How many messages are produced at a time.
const BATCH: i64 = 20;

/// How far the producer gets ahead before the consumer commits all it has been told of.
const STRIDE: i64 = 400;

const ACTIVATION: i64 = 100;

/// `IsActive` answers from what `GetMetrics` said if it comes this soon after it; a machine that stalls may make it come later.
const SOON: Duration = Duration::from_millis(900);

/// Every second message is of type `a`: how many there are before an offset.
fn matches(offset: i64) -> i64 {
    (offset + 1) / 2
}

fn message(offset: i64) -> Message {
    Message::of_type(if offset % 2 == 0 { "a" } else { "b" }).partition(0)
}

/// An offset that only rises, before and after the broker has been told.
struct Progress {
    begun: watch::Sender<i64>,
    done: watch::Sender<i64>,
}

impl Progress {
    fn new() -> Self {
        Self { begun: watch::Sender::new(0), done: watch::Sender::new(0) }
    }
}

struct Traffic<'a> {
    broker: &'a Broker,
    topic: &'a str,
    produced: Progress,
    committed: Progress,
    over: AtomicBool,
}

impl<'a> Traffic<'a> {
    fn on(broker: &'a Broker, topic: &'a str) -> Self {
        let (produced, committed) = (Progress::new(), Progress::new());
        Self { broker, topic, produced, committed, over: AtomicBool::new(false) }
    }

    /// Produces until it is over.
    async fn produce(&self) {
        while !self.over.load(Ordering::Relaxed) {
            self.produce_up_to(*self.produced.done.borrow() + BATCH).await;
        }
    }

    async fn produce_up_to(&self, end: i64) {
        let from = *self.produced.done.borrow();
        self.produced.begun.send_replace(end);
        self.broker.produce_all(self.topic, (from..end).map(message)).await;
        self.produced.done.send_replace(end);
    }

    /// Commits all that is produced, a stride at a time, until it is over.
    async fn commit(&self) {
        let mut produced = self.produced.done.subscribe();
        while !self.over.load(Ordering::Relaxed) {
            let next = *self.committed.done.borrow() + STRIDE;
            let end = *produced.wait_for(|end| *end >= next).await.unwrap();
            self.commit_up_to(end).await;
        }
    }

    async fn commit_up_to(&self, offset: i64) {
        self.committed.begun.send_replace(offset);
        self.broker.commit(self.topic, self.topic, [(0, offset)]).await;
        self.committed.done.send_replace(offset);
    }

    /// The value, which must lie between what waited at the least and at the most while the call was under way.
    async fn poll(&self, trigger: &Trigger) -> i64 {
        let (produced, committed) =
            (*self.produced.done.borrow(), *self.committed.done.borrow());
        let value = trigger.count().await;
        let least = matches(produced) - matches(*self.committed.begun.borrow());
        let most = matches(*self.produced.begun.borrow()) - matches(committed);
        assert!((least..=most).contains(&value), "{value} is not in {least}..={most}");
        value
    }

    fn trigger(&self, sift: &Sift) -> Trigger {
        sift.trigger(self.broker.bootstrap(), self.topic, self.topic).with("eventType", "a")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_replies_of_a_poll_agree_and_tell_of_its_own_time_while_messages_come_and_go() {
    let broker = Broker::shared();
    broker.topic("agreement").create().await;
    let traffic = Traffic::on(broker, "agreement");
    traffic.commit_up_to(0).await;
    let sift = Sift::start().await;
    let trigger = traffic.trigger(&sift).with("activationLagThreshold", &ACTIVATION.to_string());

    let polls = async {
        let (mut idle, mut active, mut highest) = (0, 0, 0);
        for poll in 0.. {
            let value = traffic.poll(&trigger).await;
            let replied = Instant::now();
            let said = trigger.active().await.unwrap();
            if replied.elapsed() < SOON {
                assert_eq!(said, value > ACTIVATION, "poll {poll}: {value}");
                *(if said { &mut active } else { &mut idle }) += 1;
            }
            highest = highest.max(value);
            // Hundreds of polls, and enough of either kind that an answer of another moment would have been caught.
            if poll >= 500 && idle >= 50 && active >= 50 {
                break;
            }
            assert!(poll < 20_000, "{idle} polls idle, {active} active");
        }
        traffic.over.store(true, Ordering::Relaxed);
        // The one that commits waits for more.
        (idle, active, highest)
    };
    let traffic_ends = async {
        tokio::select! {
            () = traffic.commit() => {}
            () = until_over(&traffic) => {}
        }
    };
    let ((idle, active, highest), (), ()) = tokio::join!(polls, traffic.produce(), traffic_ends);
    eprintln!("{idle} idle, {active} active, at most {highest}, of {}", *traffic.produced.done.borrow());

    // When all is quiet the truth is one number.
    traffic.commit_up_to(*traffic.produced.done.borrow() - 7).await;
    assert_eq!(traffic.poll(&trigger).await, matches(*traffic.produced.done.borrow()) - matches(*traffic.committed.done.borrow()));
}

async fn until_over(traffic: &Traffic<'_>) {
    let mut produced = traffic.produced.done.subscribe();
    while !traffic.over.load(Ordering::Relaxed) {
        produced.changed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_messages_only_come_the_value_never_falls() {
    let broker = Broker::shared();
    broker.topic("rising").create().await;
    let traffic = Traffic::on(broker, "rising");
    traffic.commit_up_to(0).await;
    let sift = Sift::start().await;
    let trigger = traffic.trigger(&sift);
    let polls = async {
        let (mut last, mut rises) = (0, 0);
        while rises < 200 {
            let value = traffic.poll(&trigger).await;
            assert!(value >= last, "{value} after {last}");
            rises += usize::from(value > last);
            last = value;
        }
        traffic.over.store(true, Ordering::Relaxed);
    };
    tokio::join!(polls, traffic.produce());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_messages_are_only_consumed_the_value_never_rises() {
    const ALL: i64 = 20_000;
    let broker = Broker::shared();
    broker.topic("falling").create().await;
    let traffic = Traffic::on(broker, "falling");
    traffic.produce_up_to(ALL).await;
    traffic.commit_up_to(0).await;
    let sift = Sift::start().await;
    let trigger = traffic.trigger(&sift);
    let commits = async {
        for offset in (0..=ALL).step_by(50) {
            traffic.commit_up_to(offset).await;
        }
        traffic.over.store(true, Ordering::Relaxed);
    };
    let polls = async {
        let (mut last, mut falls) = (matches(ALL), 0);
        while !traffic.over.load(Ordering::Relaxed) {
            let value = traffic.poll(&trigger).await;
            assert!(value <= last, "{value} after {last}");
            falls += usize::from(value < last);
            last = value;
        }
        assert!(falls > 20, "polled at {falls} different moments");
    };
    tokio::join!(commits, polls);
    assert_eq!(traffic.poll(&trigger).await, 0);
}
