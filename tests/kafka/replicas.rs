//! Two replicas behind one name: KEDA asks them in turn, so one poll may have its value from the
//! one and its activity from the other. They know nothing of each other, so both must come to the
//! same.

use std::collections::BTreeSet;
use std::time::Duration;

use azure_stand_ins::ServiceBus;
use sift_harness::{Broker, Message, Poll, Sift, Trigger};
use tokio::time::sleep;

/// KEDA's shortest pollingInterval. Two polls of one trigger lie as far apart at the least, its two
/// calls never.
const INTERVAL: Duration = Duration::from_secs(1);

/// A trigger as two replicas have it.
struct Both {
    name: &'static str,
    replicas: [Trigger; 2],
}

impl Both {
    fn of(name: &'static str, other: &Sift, trigger: Trigger) -> Both {
        let second = other.asking(trigger.reference());
        Both { name, replicas: [trigger, second] }
    }

    /// Polls with each replica having the value and the other the activity.
    async fn polls(&self, value: i64, active: bool, step: &str) {
        let [first, second] = &self.replicas;
        for (order, metric, activity) in [("first", first, second), ("second", second, first)] {
            let name = format!("{}, {step}, value of the {order}", self.name);
            assert_eq!(metric.spec().await, activity.spec().await, "{name}");
            let value_said = metric.count().await;
            let active_said = activity.active().await.expect(&name);
            let said = Poll { value: value_said, active: active_said };
            assert_eq!(said, Poll { value, active }, "{name}");
        }
    }

    /// The values of the first and the second replica.
    async fn values(&self) -> [i64; 2] {
        let [first, second] = &self.replicas;
        [first.count().await, second.count().await]
    }
}

/// A record of the topic under test.
#[derive(Clone, Copy)]
struct Order {
    partition: i32,
    of_type: &'static str,
    amount: u32,
    key: &'static str,
}

impl From<Order> for Message {
    fn from(Order { partition, of_type, amount, key }: Order) -> Message {
        let message = Message::of_type(of_type).key(key).partition(partition);
        message.body(format!("{{\"amount\": {amount}}}"))
    }
}

/// What a kind of trigger makes of the records that wait: value and activity.
type Expected = fn(&[Order]) -> (usize, bool);

/// A name, what is added to the metadata, and what is expected.
type Row = (&'static str, &'static [(&'static str, &'static str)], Expected);

const KINDS: [Row; 9] = [
    ("all", &[], |waiting| counted(waiting.len())),
    ("a type", &[("eventType", "paid")], |waiting| counted(of_type(waiting, "paid").count())),
    ("a prefix", &[("eventType", "pa*")], |waiting| {
        counted(of_type(waiting, "paid").count() + of_type(waiting, "parked").count())
    }),
    ("a filter", &[("filter", "body.amount > 5")], |waiting| {
        counted(waiting.iter().filter(|order| order.amount > 5).count())
    }),
    ("offsets", &[("countFrom", "offsets")], |waiting| counted(waiting.len())),
    ("keys", &[("countBy", "keys")], |waiting| {
        counted(waiting.iter().map(|order| order.key).collect::<BTreeSet<_>>().len())
    }),
    ("partitions of a type", &[("countBy", "partitions"), ("eventType", "paid")], |waiting| {
        let partitions = of_type(waiting, "paid").map(|order| order.partition);
        counted(partitions.collect::<BTreeSet<_>>().len())
    }),
    ("a limit", &[("countLimit", "3"), ("eventType", "paid")], |waiting| {
        counted(of_type(waiting, "paid").count().min(3))
    }),
    ("an activation", &[("activationLagThreshold", "4"), ("eventType", "paid")], |waiting| {
        let count = of_type(waiting, "paid").count();
        (count, count > 4)
    }),
];

fn counted(count: usize) -> (usize, bool) {
    (count, count > 0)
}

fn of_type<'a>(waiting: &'a [Order], name: &'a str) -> impl Iterator<Item = &'a Order> {
    waiting.iter().filter(move |order| order.of_type == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_may_answer_each_call_of_a_poll() {
    let broker = Broker::shared();
    broker.topic("orders").partitions(2).create().await;
    broker.commit("jobs", "orders", [(0, 0), (1, 0)]).await;
    let (first, second) = (Sift::start().await, Sift::start().await);
    let triggers = KINDS.map(|(name, metadata, expected)| {
        let trigger = first.trigger(broker.bootstrap(), "jobs", "orders");
        let with = |trigger: Trigger, (key, value): &(&str, &str)| trigger.with(key, value);
        (Both::of(name, &second, metadata.iter().fold(trigger, with)), expected)
    });

    let mut written = [Vec::new(), Vec::new()];
    let mut committed = [0, 0];
    for round in 0..6 {
        let step = format!("round {round}");
        // What a poll says holds for a second, and the polls before this one were not of now.
        sleep(INTERVAL).await;
        let new: Vec<Order> = (0..12 * round % 31)
            .map(|n| Order {
                partition: i32::from(n % 3 == 0),
                of_type: ["paid", "parked", "sent", "paid"][n % 4],
                amount: u32::try_from(n % 11).expect("below 11"),
                key: ["a", "b", "c"][n % 3],
            })
            .collect();
        broker.produce_all("orders", new.iter().copied().map(Message::from)).await;
        for order in new {
            written[usize::from(order.partition == 1)].push(order);
        }
        // Every other round the group catches up in one partition.
        if round % 2 == 1 {
            let partition = round / 2 % 2;
            committed[partition] = written[partition].len();
            let offset = i64::try_from(committed[partition]).expect("a few");
            broker.commit("jobs", "orders", [(i32::from(partition == 1), offset)]).await;
        }
        let waiting: Vec<Order> = [0, 1]
            .iter()
            .flat_map(|partition| written[*partition][committed[*partition]..].to_vec())
            .collect();
        for (both, expected) in &triggers {
            let (value, active) = expected(&waiting);
            both.polls(i64::try_from(value).expect("a few"), active, &step).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_comes_later_says_what_the_others_say() {
    let broker = Broker::shared();
    broker.topic("later").create().await;
    broker.commit("later", "later", [(0, 0)]).await;
    let first = Sift::start().await;
    let trigger = first.trigger(broker.bootstrap(), "later", "later").with("eventType", "a");
    for round in 1..=3 {
        broker.produce_all("later", ["a", "b", "a"].map(Message::of_type)).await;
        assert_eq!(trigger.count().await, 2 * round);
        let both = Both::of("a type", &Sift::start().await, trigger.clone());
        both.polls(2 * round, true, &format!("round {round}")).await;
    }
}

/// A group that has never committed anything has no place of its own: a replica knows only what
/// came since it first saw the trigger.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_committed_offset_replicas_that_know_the_trigger_say_the_same() {
    let broker = Broker::shared();
    broker.topic("uncommitted").create().await;
    broker.produce_all("uncommitted", ["a", "a", "b"].map(Message::of_type)).await;
    let (first, second) = (Sift::start().await, Sift::start().await);
    let trigger = first.trigger(broker.bootstrap(), "uncommitted", "uncommitted");
    let latest = trigger.clone().with("offsetResetPolicy", "latest");
    let rows = [
        (Both::of("earliest", &second, trigger.clone().with("eventType", "a")), [2, 3]),
        (Both::of("latest", &second, latest.clone().with("eventType", "a")), [0, 1]),
        (Both::of("latest, all", &second, latest), [1, 1]),
    ];
    for (both, [before, _]) in &rows {
        both.polls(*before, *before > 0, "before").await;
    }
    broker.produce_all("uncommitted", ["a", "b"].map(Message::of_type)).await;
    sleep(INTERVAL).await;
    for (both, [_, after]) in &rows {
        both.polls(*after, *after > 0, "after").await;
    }
}

/// Each replica compares with the poll that it answered itself. So lag that persists is left out of
/// the value once each has been asked twice, and lag that moves never is.
#[tokio::test(flavor = "multi_thread")]
async fn lag_that_persists_is_left_out_once_each_replica_has_seen_it_twice() {
    let broker = Broker::shared();
    broker.topic("standing").create().await;
    broker.produce_all("standing", ["a"; 9].map(Message::of_type)).await;
    broker.commit("standing", "standing", [(0, 0)]).await;
    let (first, second) = (Sift::start().await, Sift::start().await);
    let trigger = first.trigger(broker.bootstrap(), "standing", "standing");
    let both = Both::of("standing", &second, trigger.with("excludePersistentLag", "true"));
    assert_eq!(both.values().await, [9, 9], "nothing to compare with yet");
    assert_eq!(both.values().await, [0, 0], "it has not moved");
    for (read, left) in [(2, 7), (3, 6)] {
        broker.commit("standing", "standing", [(0, read)]).await;
        assert_eq!(both.values().await, [left, left], "it has moved to {read}");
        assert_eq!(both.values().await, [0, 0], "it stands at {read}");
    }
    // Whether there is anything to do is another matter, and the same for both.
    sleep(INTERVAL).await;
    both.polls(0, true, "it stands").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_may_answer_each_call_of_a_poll_of_service_bus() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.topic("events").create().subscription("jobs").create();
    let (first, second) = (Sift::start().await, Sift::start().await);
    let [queue, subscription] =
        [first.queue(&bus, "orders"), first.subscription(&bus, "events", "jobs")];
    let rows = [
        Both::of("a queue", &second, queue.clone()),
        Both::of("a queue by type", &second, queue.clone().with("eventType", "paid")),
        Both::of("a queue by a filter", &second, queue.with("filter", "body.amount > 5")),
        Both::of("a subscription", &second, subscription.clone()),
        Both::of("a subscription by type", &second, subscription.with("eventType", "paid")),
    ];
    let mut waiting = Vec::new();
    for (round, (sent, received)) in
        [(0, 0), (8, 0), (40, 1), (0, 3), (4, 44)].into_iter().enumerate()
    {
        let step = format!("round {round}");
        sleep(INTERVAL).await;
        let new: Vec<_> =
            (0..sent).map(|n| (["paid", "sent"][n % 2], [1, 9, 2, 3][n % 4])).collect();
        for entity in ["orders", "events"] {
            bus.fill(entity, new.len(), |n| {
                let (subject, amount) = new[n];
                azure_stand_ins::Message::new(format!("{{\"amount\": {amount}}}")).subject(subject)
            });
        }
        waiting.extend(new);
        for entity in ["orders", "events/Subscriptions/jobs"] {
            assert_eq!(bus.receive(entity, received), received);
        }
        waiting.drain(..received);
        let paid = waiting.iter().filter(|(subject, _)| *subject == "paid").count();
        let above = waiting.iter().filter(|(_, amount)| *amount > 5).count();
        for (both, count) in rows.iter().zip([waiting.len(), paid, above, waiting.len(), paid]) {
            both.polls(i64::try_from(count).expect("a few"), count > 0, &step).await;
        }
    }
}
