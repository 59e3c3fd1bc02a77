//! What must hold on every Kafka that people run: the essential paths on old brokers, and on one
//! that offers as little as Azure Event Hubs does.
//!
//! The old ones are ignored by default, because each needs jars and memory of its own: `make test
//! KAFKA=all` runs them too.

use sift_harness::{Broker, Client, KafkaVersion, Message, Offer, Proxy, Sift, Trigger};

/// Kafka's numbers of Fetch and Metadata.
const FETCH: i16 = 1;
const METADATA: i16 = 3;

/// A Kafka as the scaler meets it.
struct TestTopic {
    broker: &'static Broker,
    /// What stands between, so that less is offered.
    proxy: Option<Proxy>,
    /// A prefix of topics and groups.
    name: &'static str,
    /// The newest Fetch and Metadata that it offers.
    offers: (i16, i16),
    sift: Sift,
}

impl TestTopic {
    async fn of(version: KafkaVersion, name: &'static str) -> Self {
        let broker = tokio::task::block_in_place(|| Broker::of(version));
        let offers = match version {
            KafkaVersion::V2_8 => (12, 11),
            KafkaVersion::V3_3 => (13, 12),
            KafkaVersion::V3_9 => (17, 12),
            KafkaVersion::Newest => (18, 13),
        };
        Self { broker, proxy: None, name, offers, sift: Sift::start().await }
    }

    /// The newest broker, which seems to offer what Event Hubs does.
    async fn narrow(name: &'static str) -> Self {
        let broker = tokio::task::block_in_place(Broker::shared);
        let proxy = Proxy::narrow(broker.port(0), Offer::EVENT_HUBS).await;
        Self { broker, proxy: Some(proxy), name, offers: (6, 5), sift: Sift::start().await }
    }

    fn named(&self, topic: &str) -> String {
        format!("versions-{}-{topic}", self.name)
    }

    fn bootstrap(&self) -> String {
        match &self.proxy {
            Some(proxy) => proxy.bootstrap(),
            None => self.broker.bootstrap().to_owned(),
        }
    }

    /// A trigger on a topic, whose group has its name.
    fn trigger(&self, topic: &str) -> Trigger {
        self.sift.trigger(&self.bootstrap(), topic, topic)
    }

    /// What must hold at the end of each path.
    fn end(self) {
        if let Some(proxy) = self.proxy {
            assert_eq!(proxy.refused(), Vec::<String>::new(), "asked for what is not offered");
        }
    }
}

fn of_type(event_type: &str, count: usize, partition: i32) -> impl Iterator<Item = Message> {
    (0..count).map(move |_| Message::of_type(event_type).partition(partition))
}

fn by_offsets(trigger: &Trigger) -> Trigger {
    trigger.clone().with("countFrom", "offsets")
}

/// It is the Kafka that it is taken for.
async fn offer(place: TestTopic) {
    let newest = |api| Client::newest_version(&place.bootstrap(), api).unwrap_or_default();
    let offered = tokio::task::block_in_place(|| (newest(FETCH), newest(METADATA)));
    assert_eq!(offered, place.offers);
}

/// What waits behind a committed offset, by offsets and by records, before and after the log start
/// has moved.
async fn depth(place: TestTopic) {
    let (broker, topic) = (place.broker, place.named("depth"));
    broker.topic(&topic).partitions(3).create().await;
    broker.produce_all(&topic, (0..3).flat_map(|partition| of_type("a", 10, partition))).await;
    broker.commit(&topic, &topic, [(0, 4), (1, 10), (2, 1)]).await;
    let trigger = place.trigger(&topic);
    for trigger in [by_offsets(&trigger), trigger.clone()] {
        assert_eq!(trigger.count().await, 6 + 9);
        assert!(trigger.active().await.expect("a measurement"));
    }
    broker.delete_records(&topic, 2, 5).await;
    for trigger in [by_offsets(&trigger), trigger.clone()] {
        assert_eq!(trigger.count().await, 6 + 5, "records before the log start are gone");
    }
    broker.catch_up(&topic, &topic).await;
    for trigger in [by_offsets(&trigger), trigger.clone()] {
        assert_eq!(trigger.count().await, 0);
        assert!(!trigger.active().await.expect("a measurement"));
    }
    place.end();
}

/// Which of them are of a type.
async fn types(place: TestTopic) {
    let (broker, topic) = (place.broker, place.named("types"));
    broker.topic(&topic).partitions(2).create().await;
    let mixed = (0..2).flat_map(|partition| {
        of_type("a", 3, partition)
            .chain(of_type("b", 2, partition))
            .chain(of_type("a", 1, partition))
    });
    broker.produce_all(&topic, mixed).await;
    broker.commit(&topic, &topic, [(0, 2)]).await;
    let trigger = place.trigger(&topic);
    let [a, b] = ["a", "b"].map(|event_type| trigger.clone().with("eventType", event_type));
    assert_eq!((a.count().await, b.count().await, trigger.count().await), (2 + 4, 4, 10));
    broker.produce_all(&topic, of_type("b", 1, 1)).await;
    assert_eq!((a.count().await, b.count().await, trigger.count().await), (6, 5, 11));
    place.end();
}

/// Committed records count, open and aborted ones do not.
async fn transactions(place: TestTopic) {
    let (broker, topic) = (place.broker, place.named("transactions"));
    broker.topic(&topic).create().await;
    broker.produce_all(&topic, of_type("a", 2, 0)).await;
    let trigger = place.trigger(&topic);
    let typed = trigger.clone().with("eventType", "b");
    assert_eq!((trigger.count().await, typed.count().await), (2, 0));

    let open = broker.transaction(&topic).await;
    open.produce_all(&topic, of_type("b", 3, 0)).await;
    assert_eq!((trigger.count().await, typed.count().await), (2, 0), "while it is open");
    open.abort().await;
    broker.produce_all(&topic, of_type("a", 1, 0)).await;
    trigger.until(3, |before| before == 2).await;
    assert_eq!(typed.count().await, 0, "once it is aborted");

    let open = broker.transaction(&topic).await;
    open.produce_all(&topic, of_type("b", 4, 0)).await;
    assert_eq!((trigger.count().await, typed.count().await), (3, 0), "while it is open");
    open.commit().await;
    trigger.until(7, |before| before == 3).await;
    assert_eq!(typed.count().await, 4, "once it is committed");
    // Two records, three aborted ones and their marker, one record, four and their marker.
    by_offsets(&trigger).until(12, |_| false).await;
    place.end();
}

/// A group that has committed nothing counts by the policy.
async fn no_offsets(place: TestTopic) {
    let (broker, topic) = (place.broker, place.named("no-offsets"));
    broker.topic(&topic).partitions(2).create().await;
    broker.produce_all(&topic, (0..2).flat_map(|partition| of_type("a", 5, partition))).await;
    let earliest = place.trigger(&topic);
    let latest = earliest.clone().with("offsetResetPolicy", "latest");
    let typed = latest.clone().with("eventType", "a");
    assert_eq!((earliest.count().await, by_offsets(&earliest).count().await), (10, 10));
    // KEDA's own: 1 a partition, so that a consumer starts.
    assert_eq!((latest.count().await, by_offsets(&latest).count().await), (2, 2));
    assert_eq!(typed.count().await, 0, "what came since");
    broker.produce_all(&topic, of_type("a", 2, 1)).await;
    assert_eq!((earliest.count().await, typed.count().await), (12, 2));
    // A commit in one partition says nothing of the other.
    broker.commit(&topic, &topic, [(1, 6)]).await;
    assert_eq!((earliest.count().await, by_offsets(&earliest).count().await), (6, 6));
    assert_eq!((latest.count().await, by_offsets(&latest).count().await), (2, 2));
    place.end();
}

/// A topic made again under its name, with fewer records, counts as the new one.
async fn made_again(place: TestTopic) {
    let (broker, topic) = (place.broker, place.named("made-again"));
    broker.topic(&topic).create().await;
    broker.produce_all(&topic, of_type("a", 10, 0)).await;
    broker.commit(&topic, &topic, [(0, 4)]).await;
    let trigger = place.trigger(&topic);
    let typed = trigger.clone().with("eventType", "b");
    for trigger in [by_offsets(&trigger), trigger.clone()] {
        assert_eq!(trigger.count().await, 6);
    }
    assert_eq!(typed.count().await, 0);

    broker.delete_topic(&topic).await;
    broker.topic(&topic).create().await;
    broker.produce_all(&topic, of_type("a", 1, 0).chain(of_type("b", 2, 0))).await;
    // The deletion may take the group's offset with it, at a moment of the broker's own: with it or
    // without, 3 wait.
    by_offsets(&trigger).until(3, |_| false).await;
    assert_eq!((trigger.count().await, typed.count().await), (3, 2));
    broker.produce_all(&topic, of_type("b", 1, 0)).await;
    broker.commit(&topic, &topic, [(0, 1)]).await;
    assert_eq!((trigger.count().await, typed.count().await), (3, 3));
    place.end();
}

/// Messages in a partition that was added count in the next answer.
async fn partition_added(place: TestTopic) {
    let (broker, topic) = (place.broker, place.named("partition-added"));
    broker.topic(&topic).create().await;
    broker.produce_all(&topic, of_type("a", 5, 0)).await;
    let trigger = place.trigger(&topic);
    let typed = trigger.clone().with("eventType", "a");
    assert_eq!((trigger.count().await, typed.count().await), (5, 5));
    broker.set_partitions(&topic, 3).await;
    broker.produce_all(&topic, of_type("a", 2, 2).chain(of_type("b", 1, 1))).await;
    assert_eq!((trigger.count().await, by_offsets(&trigger).count().await), (8, 8));
    assert_eq!(typed.count().await, 7);
    place.end();
}

/// A test for each path on one Kafka.
macro_rules! on {
    ($attributes:tt $place:ident, $there:expr) => {
        mod $place {
            use super::*;
            path!($attributes offer, $there);
            path!($attributes depth, $there);
            path!($attributes types, $there);
            path!($attributes transactions, $there);
            path!($attributes no_offsets, $there);
            path!($attributes made_again, $there);
            path!($attributes partition_added, $there);
        }
    };
}

macro_rules! path {
    ([$($attribute:tt)*] $path:ident, $there:expr) => {
        #[tokio::test(flavor = "multi_thread")]
        $($attribute)*
        async fn $path() {
            super::$path($there.await).await;
        }
    };
}

on!([] newest, TestTopic::of(KafkaVersion::Newest, "newest"));
on!([] event_hubs, TestTopic::narrow("event-hubs"));
on!([#[ignore = "an older Kafka: make test KAFKA=all"]] v3_9, TestTopic::of(KafkaVersion::V3_9, "3.9"));
on!([#[ignore = "an older Kafka: make test KAFKA=all"]] v3_3, TestTopic::of(KafkaVersion::V3_3, "3.3"));
on!([#[ignore = "an older Kafka: make test KAFKA=all"]] v2_8, TestTopic::of(KafkaVersion::V2_8, "2.8"));
