//! What a group has committed, moved about: resets, gaps, nothing at all, and groups that are gone.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keda_sift::backlog::{Purpose, Scope};
use keda_sift::kafka::{Kafka, Options, TriggerPoller};
use keda_sift::ledger::{DEFAULT_LIMIT, Ledger};
use keda_sift::trigger;
use sift_harness::program::Program;
use sift_harness::{Broker, Message, Sift, Trigger};
use tokio::time::Instant;
use tonic::Code;

/// A topic with so many messages of type `a` in each of its partitions.
async fn filled(broker: &Broker, topic: &str, partitions: i32, each: i32) {
    broker.topic(topic).partitions(partitions).create().await;
    fill(broker, topic, partitions, each).await;
}

async fn fill(broker: &Broker, topic: &str, partitions: i32, each: i32) {
    let messages = (0..partitions).flat_map(|p| (0..each).map(move |_| p));
    broker.produce_all(topic, messages.map(|p| Message::of_type("a").partition(p))).await;
}

/// With a selection that all messages of these tests fit, and without one.
fn with_and_without_selection(trigger: &Trigger) -> [(&'static str, Trigger); 2] {
    [("all", trigger.clone()), ("type a", trigger.clone().with("eventType", "a"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reset_back_and_forward_counts_from_where_it_stands() {
    const TOPIC: &str = "groups-reset";
    let broker = Broker::shared();
    filled(broker, TOPIC, 1, 20).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    // The tail begins at 15; every step back goes before all that was known.
    for (committed, expected) in [(15, 5), (18, 2), (9, 11), (20, 0), (3, 17), (0, 20), (12, 8)] {
        broker.commit(TOPIC, TOPIC, [(0, committed)]).await;
        for (name, trigger) in with_and_without_selection(&trigger) {
            assert_eq!(trigger.count().await, expected, "{name}, at {committed}");
        }
        let by_offsets = trigger.clone().with("countFrom", "offsets");
        assert_eq!(by_offsets.count().await, expected, "offsets, at {committed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_beyond_the_end_counts_as_one_that_never_committed() {
    const TOPIC: &str = "groups-beyond";
    let broker = Broker::shared();
    filled(broker, TOPIC, 2, 5).await;
    broker.commit(TOPIC, TOPIC, [(0, 50), (1, 3)]).await;
    let sift = Sift::start().await;
    let earliest = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let latest = earliest.clone().with("offsetResetPolicy", "latest");
    let none = |trigger: &Trigger| trigger.clone().with("scaleToZeroOnInvalidOffset", "true");
    let selecting = |trigger: &Trigger| trigger.clone().with("eventType", "a");
    // Partition 1 has 2 waiting whatever the policy; in partition 0 the consumer would be reset.
    let rows = [
        ("earliest", earliest.clone(), 7),
        ("earliest, type a", selecting(&earliest), 7),
        ("earliest, to zero", none(&earliest), 2),
        ("latest", latest.clone(), 3),
        ("latest, type a", selecting(&latest), 2),
        ("latest, to zero", none(&latest), 2),
        ("latest, to zero, type a", selecting(&none(&latest)), 2),
    ];
    for (name, trigger, expected) in &rows {
        assert_eq!(trigger.count().await, *expected, "{name}");
    }
    // Reached, the offset is valid again.
    fill(broker, TOPIC, 1, 50).await;
    for (name, trigger, _) in &rows {
        assert_eq!(trigger.count().await, 7, "{name}: 5 and 2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_before_the_log_start_counts_from_the_log_start() {
    const TOPIC: &str = "groups-before-start";
    let broker = Broker::shared();
    filled(broker, TOPIC, 1, 10).await;
    broker.delete_records(TOPIC, 0, 6).await;
    broker.commit(TOPIC, TOPIC, [(0, 2)]).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    for (name, trigger) in with_and_without_selection(&trigger) {
        assert_eq!(trigger.count().await, 4, "{name}");
        let latest = trigger.with("offsetResetPolicy", "latest");
        assert_eq!(latest.count().await, 4, "{name}, latest");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_never_committed_counts_by_the_policy() {
    const TOPIC: &str = "groups-never";
    let broker = Broker::shared();
    filled(broker, TOPIC, 3, 4).await;
    broker.delete_records(TOPIC, 0, 1).await;
    let sift = Sift::start().await;
    let earliest = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let latest = earliest.clone().with("offsetResetPolicy", "latest");
    let none = |trigger: &Trigger| trigger.clone().with("scaleToZeroOnInvalidOffset", "true");
    let selecting = |trigger: &Trigger| trigger.clone().with("eventType", "a");
    let by = |trigger: &Trigger, what: &str| trigger.clone().with("countBy", what);
    // First as it stands; then with two more messages in partition 1.
    let rows = [
        ("earliest: from the log start", earliest.clone(), 11, 13),
        ("earliest, type a", selecting(&earliest), 11, 13),
        ("earliest, partitions", by(&earliest, "partitions"), 3, 3),
        ("earliest, keys", by(&earliest, "keys"), 1, 1),
        ("earliest, to zero", none(&earliest), 0, 0),
        ("earliest, to zero, type a", selecting(&none(&earliest)), 0, 0),
        ("latest: 1 a partition", latest.clone(), 3, 3),
        ("latest, partitions", by(&latest, "partitions"), 3, 3),
        ("latest, keys", by(&latest, "keys"), 3, 3),
        ("latest, type a: what came since", selecting(&latest), 0, 2),
        ("latest, type a, keys", by(&selecting(&latest), "keys"), 0, 1),
        ("latest, type b", latest.clone().with("eventType", "b"), 0, 0),
        ("latest, to zero", none(&latest), 0, 0),
        ("latest, to zero, type a", selecting(&none(&latest)), 0, 0),
        ("latest, offsets", latest.clone().with("countFrom", "offsets"), 3, 3),
    ];
    for (name, trigger, expected, _) in &rows {
        assert_eq!(trigger.count().await, *expected, "{name}");
    }
    broker.produce_all(TOPIC, (0..2).map(|_| Message::of_type("a").partition(1))).await;
    for (name, trigger, _, expected) in &rows {
        assert_eq!(trigger.count().await, *expected, "{name}, with two more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_committed_offset_counts_by_the_policy_beside_those_that_have_one() {
    const TOPIC: &str = "groups-partial";
    let broker = Broker::shared();
    filled(broker, TOPIC, 3, 10).await;
    broker.commit(TOPIC, TOPIC, [(0, 7), (2, 10)]).await;
    let sift = Sift::start().await;
    let earliest = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let latest = earliest.clone().with("offsetResetPolicy", "latest");
    assert_eq!(earliest.count().await, 3 + 10);
    assert_eq!(earliest.clone().with("eventType", "a").count().await, 3 + 10);
    assert_eq!(latest.count().await, 3 + 1);
    let selecting = latest.clone().with("eventType", "a");
    assert_eq!(selecting.count().await, 3);
    fill(broker, TOPIC, 3, 1).await;
    assert_eq!(selecting.count().await, 4 + 1 + 1);
    // What the partition had before the trigger was first seen waits once the group says so.
    broker.commit(TOPIC, TOPIC, [(1, 2)]).await;
    for (name, trigger) in [("earliest", &earliest), ("latest", &latest), ("type a", &selecting)] {
        assert_eq!(trigger.count().await, 4 + 9 + 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_deleted_counts_by_the_policy_from_then_on() {
    const TOPIC: &str = "groups-deleted";
    let broker = Broker::shared();
    filled(broker, TOPIC, 1, 10).await;
    broker.commit(TOPIC, TOPIC, [(0, 4)]).await;
    let sift = Sift::start().await;
    let earliest = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let latest = earliest.clone().with("offsetResetPolicy", "latest");
    let selecting = latest.clone().with("eventType", "a");
    let triggers = [("earliest", &earliest), ("latest", &latest), ("latest, type a", &selecting)];
    for (name, trigger) in triggers {
        assert_eq!(trigger.count().await, 6, "{name}");
    }
    broker.delete_group(TOPIC).await;
    for ((name, trigger), expected) in triggers.into_iter().zip([10, 1, 0]) {
        assert_eq!(trigger.count().await, expected, "{name}, without the group");
    }
    broker.produce(TOPIC, Message::of_type("a")).await;
    for ((name, trigger), expected) in triggers.into_iter().zip([11, 1, 1]) {
        assert_eq!(trigger.count().await, expected, "{name}, with one more");
    }
    broker.commit(TOPIC, TOPIC, [(0, 9)]).await;
    for (name, trigger) in triggers {
        assert_eq!(trigger.count().await, 2, "{name}, with the group back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_topic_every_topic_counts_that_the_group_has_committed_to() {
    const GROUP: &str = "groups-no-topic";
    let broker = Broker::shared();
    let topics = ["groups-no-topic-1", "groups-no-topic-2", "groups-no-topic-3"];
    for topic in topics {
        filled(broker, topic, 2, 10).await;
    }
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), GROUP, "").without("topic");
    let selecting = trigger.clone().with("eventType", "a");
    let by_offsets = trigger.clone().with("countFrom", "offsets");
    let triggers = [("all", &trigger), ("type a", &selecting), ("offsets", &by_offsets)];

    for (name, trigger) in triggers {
        let (code, text) = trigger.error().await;
        assert_eq!(code, Code::FailedPrecondition, "{name}: {text}");
        assert!(text.contains(GROUP) && text.contains("topic"), "{name}: {text}");
    }
    broker.commit(GROUP, topics[0], [(0, 4), (1, 9)]).await;
    for (name, trigger) in triggers {
        assert_eq!(trigger.count().await, 6 + 1, "{name}: one topic");
    }
    // A partition of a topic that counts, without a committed offset, goes by the policy.
    broker.commit(GROUP, topics[1], [(1, 8)]).await;
    for (name, trigger) in triggers {
        assert_eq!(trigger.count().await, 7 + 10 + 2, "{name}: two topics");
    }
    let latest = trigger.clone().with("offsetResetPolicy", "latest");
    assert_eq!(latest.count().await, 7 + 1 + 2);
    // Beside triggers of the same group that name a topic, which asks for its offsets differently.
    let named = sift.trigger(broker.bootstrap(), GROUP, topics[1]);
    for _ in 0..50 {
        let (of_all, of_two, of_both) =
            tokio::join!(trigger.count(), named.count(), by_offsets.count());
        assert_eq!((of_all, of_two, of_both), (19, 12, 19));
    }
    broker.delete_group(GROUP).await;
    let (code, text) = trigger.error().await;
    assert_eq!(code, Code::FailedPrecondition, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_between_polls_are_each_in_the_next_answer() {
    const TOPIC: &str = "groups-commits";
    let broker = Broker::shared();
    filled(broker, TOPIC, 2, 200).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let selecting = trigger.clone().with("eventType", "a");
    for committed in (0..=200).step_by(5) {
        broker.commit(TOPIC, TOPIC, [(0, committed), (1, 200 - committed)]).await;
        let (all, of_a) = tokio::join!(trigger.count(), selecting.count());
        assert_eq!((all, of_a), (200, 200), "at {committed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_since_the_object_was_made_is_the_same_for_each_replica_and_after_a_restart() {
    const TOPIC: &str = "groups-since";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    // An hour ago: what is much older is deleted by retention.
    let made = i64::try_from(now).expect("milliseconds") - 3_600_000;
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(3).create().await;
    let at = |partition, milliseconds| {
        Message::of_type("a").partition(partition).at(made + milliseconds)
    };
    // Partition 0 has messages from before and after, partition 1 from before alone, partition 2
    // none.
    let before = [at(0, -5_000), at(0, -1), at(1, -9_000)];
    let after = [at(0, 0), at(0, 7_000)];
    broker.produce_all(TOPIC, before.into_iter().chain(after)).await;
    let metadata = [
        ("source", "kafka"),
        ("bootstrapServers", broker.bootstrap()),
        ("topic", TOPIC),
        ("consumerGroup", TOPIC),
        ("eventType", "a"),
    ];
    let trigger = trigger::Trigger::decode(&sift_harness::metadata(&metadata));
    let trigger = trigger.expect("a trigger");
    let trigger::Trigger::Kafka(trigger) = trigger else { panic!("a trigger on kafka") };
    // Each as a replica has it, or one that was started again.
    let replica = || {
        let kafka = Kafka::new(Options::default());
        let poller =
            kafka.follow(Arc::clone(&trigger), Ledger::new(DEFAULT_LIMIT).account("default"));
        (kafka, poller)
    };
    let count = async |poller: &TriggerPoller, since| {
        let deadline = Instant::now() + Duration::from_secs(60);
        let scope = Scope { since, ..Scope::default() };
        let measured = poller.measure(deadline, Purpose::Metric, scope).await;
        measured.expect("a count").metric.count()
    };

    let (_first, first) = replica();
    assert_eq!(count(&first, None).await, 0, "of nobody knows when, it is first seen now");
    assert_eq!(count(&first, Some(made)).await, 2, "it is known later");
    let (_second, second) = replica();
    assert_eq!(count(&second, Some(made)).await, 2);
    broker.produce_all(TOPIC, [at(1, -20_000), at(2, 1)]).await;
    for poller in [&first, &second] {
        assert_eq!(
            count(poller, Some(made)).await,
            4,
            "what comes is new, whenever it says it is of"
        );
    }
    let (_third, third) = replica();
    assert_eq!(count(&third, Some(made)).await, 3, "all but the one that says it is of before");
    broker.commit(TOPIC, TOPIC, [(0, 3)]).await;
    assert_eq!(count(&third, Some(made)).await, 2, "what was committed holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_never_committed_is_told_once() {
    const TOPIC: &str = "groups-told";
    const OTHER: &str = "groups-told-not";
    let broker = Broker::shared();
    filled(broker, TOPIC, 1, 5).await;
    broker.commit(OTHER, TOPIC, [(0, 2)]).await;
    let mut program =
        tokio::task::block_in_place(|| Program::serving(&["--measure-timeout", "10s"]));
    let sift = Sift::at(program.grpc).await;
    let known = sift.trigger(broker.bootstrap(), OTHER, TOPIC);
    let never = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    for _ in 0..3 {
        assert_eq!((known.count().await, never.count().await), (3, 5));
    }
    let told = program.logs();
    let told: Vec<_> = told
        .iter()
        .filter(|line| {
            line["message"].as_str().is_some_and(|text| text.contains("committed no offsets"))
        })
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["group"], &told[0]["level"]), (&TOPIC.into(), &"WARN".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_group_is_an_error_that_says_what_it_is() {
    const SHARE: &str = "groups-share";
    const GROUPS: [&str; 2] = ["groups-share-committed", "groups-share-new"];
    let broker = tokio::task::block_in_place(Broker::start_with_share_groups);
    filled(&broker, SHARE, 2, 5).await;
    broker.commit(GROUPS[0], SHARE, [(0, 2)]).await;
    broker.share(SHARE, SHARE, 10).await;
    let mut program =
        tokio::task::block_in_place(|| Program::serving(&["--measure-timeout", "10s"]));
    let sift = Sift::at(program.grpc).await;
    let requests = broker.requests().await;
    let earliest = sift.trigger(broker.bootstrap(), SHARE, SHARE);
    let latest = earliest.clone().with("offsetResetPolicy", "latest");
    let rows = [
        ("offsets", earliest.clone().with("countFrom", "offsets")),
        ("type a", earliest.clone().with("eventType", "a")),
        ("latest, type a", latest.clone().with("eventType", "a")),
        ("to zero", latest.clone().with("scaleToZeroOnInvalidOffset", "true")),
        ("without a topic", earliest.clone().without("topic")),
        ("earliest", earliest),
        ("latest", latest),
    ];
    for (name, trigger) in &rows {
        let (code, text) = trigger.error().await;
        assert_eq!(code, Code::FailedPrecondition, "{name}: {text}");
        assert!(text.contains("group groups-share is a share group"), "{name}: {text}");
    }
    for _ in 0..3 {
        let counts = GROUPS.map(|group| sift.trigger(broker.bootstrap(), group, SHARE));
        assert_eq!((counts[0].count().await, counts[1].count().await), (3 + 5, 10));
    }
    let mut asked = Vec::new();
    for group in [SHARE, GROUPS[0], GROUPS[1]] {
        asked.push(requests.count("SHARE_GROUP_DESCRIBE", group).await);
    }
    assert_eq!(asked, [1, 0, 1], "once, and never of a group that has committed");
    let told = program.logs();
    let told = told.iter().filter(|line| line["message"].to_string().contains("no offsets"));
    let told: Vec<_> = told.map(|line| line["group"].clone()).collect();
    assert_eq!(told, [GROUPS[1]], "a share group is told by its error alone");
}
