//! What happens to a log under its readers: compaction, retention, deletion, growth, a topic made
//! again, a tail cut off.

use std::time::{Duration, SystemTime};

use sift_harness::{Broker, Cluster, Message, PATIENCE, Sift, Trigger, until};
use tokio::time::Instant;
use tonic::Code;

fn of_type(event_type: &str, count: usize) -> impl Iterator<Item = Message> {
    (0..count).map(move |_| Message::of_type(event_type).partition(0))
}

fn milliseconds_ago(ago: Duration) -> i64 {
    let at = SystemTime::now() - ago;
    let at = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(at.as_millis()).expect("within the time of i64")
}

/// Polls until a trigger counts what a broker still holds of a type; records may vanish, and none
/// may come.
async fn until_as_the_broker(broker: &Broker, trigger: &Trigger, topic: &str, before: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = trigger.count().await;
        // Counted after the answer: what was there at the moment of asking is at least this much.
        let held = broker.read(topic, 0).await.len() as i64;
        if count == held {
            return;
        }
        assert!(
            (held..=before).contains(&count),
            "{count} where the broker holds {held} of {before}"
        );
        assert!(Instant::now() < deadline, "still {count} where the broker holds {held}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compaction_removed_counts_no_more() {
    const TOPIC: &str = "log-compaction";
    let broker = Broker::shared();
    let topic = broker.topic(TOPIC).config("cleanup.policy", "compact").config("segment.ms", "100");
    topic.config("min.cleanable.dirty.ratio", "0.001").create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let typed = trigger.clone().with("eventType", "a");
    let filtered = trigger.clone().with("filter", "eventType == 'a'");
    let keys = typed.clone().with("countBy", "keys");
    assert_eq!(typed.count().await, 0);
    // Compaction leaves the newest segment alone: these are there for now, and the tail has them.
    let five_keys = |n: usize| Message::of_type("a").key(format!("key-{}", n % 5));
    broker.produce_all(TOPIC, (0..20).map(five_keys)).await;
    for trigger in [&trigger, &typed, &filtered] {
        let count = trigger.count().await;
        assert!((5..=20).contains(&count), "{count} of 20, 5 of them the last of their keys");
    }
    assert_eq!(keys.count().await, 5);

    assert_eq!(broker.compact(TOPIC, 0, 5).await.len(), 5);
    let went_down = |before: i64| (5..=20).contains(&before);
    typed.until(5, went_down).await;
    filtered.until(5, went_down).await;
    assert_eq!(keys.count().await, 5);
    until_as_the_broker(broker, &trigger, TOPIC, i64::MAX).await;
    // The last of their keys lie at 15 to 19.
    broker.commit(TOPIC, TOPIC, [(0, 17)]).await;
    assert_eq!((typed.count().await, filtered.count().await, keys.count().await), (3, 3, 3));
    broker.commit(TOPIC, TOPIC, [(0, 3)]).await;
    assert_eq!((typed.count().await, filtered.count().await), (5, 5));
    let late = Sift::start().await.trigger(broker.bootstrap(), TOPIC, TOPIC);
    assert_eq!(late.with("eventType", "a").count().await, 5, "read after the fact");
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_passes_the_committed_offset_leaves_what_is_still_there() {
    const TOPIC: &str = "log-retention";
    let broker = Broker::shared();
    let topic = broker.topic(TOPIC).config("retention.ms", "-1").config("segment.ms", "60000");
    topic.create().await;
    // An hour old, so that the next ones begin a segment.
    let old = milliseconds_ago(Duration::from_secs(3_600));
    broker.produce_all(TOPIC, of_type("a", 10).map(|message| message.at(old))).await;
    broker.produce_all(TOPIC, of_type("a", 4)).await;
    broker.commit(TOPIC, TOPIC, [(0, 3)]).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let typed = trigger.clone().with("eventType", "a");
    assert_eq!((trigger.count().await, typed.count().await), (11, 11));

    broker.configure_topic(TOPIC, &[("retention.ms", "600000")]).await;
    broker.until_log_starts_at(TOPIC, 0, 10).await;
    assert_eq!((trigger.count().await, typed.count().await), (4, 4));
    let late = Sift::start().await.trigger(broker.bootstrap(), TOPIC, TOPIC);
    assert_eq!(late.count().await, 4);
    broker.produce_all(TOPIC, of_type("a", 1)).await;
    assert_eq!((trigger.count().await, typed.count().await, late.count().await), (5, 5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_count_no_more_at_once() {
    const TOPIC: &str = "log-delete-records";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce_all(TOPIC, of_type("a", 10)).await;
    broker.commit(TOPIC, TOPIC, [(0, 2)]).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let typed = trigger.clone().with("eventType", "a");
    let keys = typed.clone().with("countBy", "keys");
    let by_offsets = trigger.clone().with("countFrom", "offsets");
    for (before, expected) in [(0, 8), (1, 8), (2, 8), (6, 4), (9, 1), (10, 0)] {
        broker.delete_records(TOPIC, 0, before).await;
        let all = [trigger.count().await, typed.count().await, by_offsets.count().await];
        assert_eq!(all, [expected; 3], "without those before {before}");
        assert_eq!(keys.count().await, expected.min(1), "keys without those before {before}");
    }
    broker.produce_all(TOPIC, of_type("a", 3)).await;
    assert_eq!((trigger.count().await, typed.count().await), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_past_the_tail_do_not_stop_it() {
    const TOPIC: &str = "log-delete-past-tail";
    const ROUNDS: i64 = 20;
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("eventType", "a");
    for round in 0..ROUNDS {
        assert_eq!(trigger.count().await, 0);
        // The tail may see these, or find its position gone: nobody asks meanwhile.
        broker.produce_all(TOPIC, of_type("a", 5)).await;
        broker.delete_records(TOPIC, 0, 6 * round + 5).await;
        broker.produce_all(TOPIC, of_type("a", 1)).await;
        assert_eq!(trigger.count().await, 1, "round {round}");
        broker.commit(TOPIC, TOPIC, [(0, 6 * round + 6)]).await;
    }
}

/// What a topic is made again with.
struct Again {
    name: &'static str,
    /// How many messages of type `b` it holds then, and how many of type `a` after them.
    messages: (usize, usize),
    /// What the group has committed in the new one: what is left of the old one, or nothing.
    committed: Option<i64>,
    /// What counts under `earliest`; under `latest`; under `latest` of type `a`.
    expected: [i64; 3],
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_counts_as_the_new_one() {
    // The old one has 10 messages of type a, of which the group has read 4.
    let again = |name, messages, committed, expected| Again { name, messages, committed, expected };
    let rows = [
        again("shorter", (1, 2), None, [3, 1, 2]),
        again("longer", (23, 2), None, [25, 1, 2]),
        again("as-long", (8, 2), None, [10, 1, 2]),
        again("empty", (0, 0), None, [0, 1, 0]),
        again("shorter-than-committed", (1, 2), Some(8), [3, 1, 2]),
        again("shorter-committed", (4, 2), Some(4), [2, 2, 2]),
        again("longer-committed", (23, 2), Some(4), [21, 21, 2]),
    ];
    let broker = Broker::shared();
    let sift = Sift::start().await;
    for asked_meanwhile in [false, true] {
        for Again { name, messages, committed, expected } in &rows {
            let topic = format!("log-again-{name}-{asked_meanwhile}");
            broker.topic(&topic).create().await;
            broker.produce_all(&topic, of_type("a", 10)).await;
            broker.commit(&topic, &topic, [(0, 4)]).await;
            let earliest = sift.trigger(broker.bootstrap(), &topic, &topic);
            let latest = earliest.clone().with("offsetResetPolicy", "latest");
            let typed = latest.clone().with("eventType", "a");
            let triggers = [&earliest, &latest, &typed];
            for trigger in triggers {
                assert_eq!(trigger.count().await, 6, "{topic}, the old one");
            }

            broker.delete_topic(&topic).await;
            if asked_meanwhile {
                for trigger in triggers {
                    let (code, text) = trigger.error().await;
                    assert_eq!(code, Code::NotFound, "{topic}: {text}");
                    assert!(text.contains(&topic), "{text}");
                }
            }
            // The broker forgets what groups have committed to a topic that is gone, a moment
            // later.
            broker.topic(&topic).create().await;
            until("the group's offsets are gone", async || {
                broker.committed(&topic, &topic).await.is_empty()
            })
            .await;
            broker
                .produce_all(&topic, of_type("b", messages.0).chain(of_type("a", messages.1)))
                .await;
            if let Some(committed) = committed {
                broker.commit(&topic, &topic, [(0, *committed)]).await;
            }
            for (trigger, expected) in triggers.iter().zip(expected) {
                assert_eq!(trigger.count().await, *expected, "{topic}, the new one");
            }
            broker.produce_all(&topic, of_type("a", 1).chain(of_type("b", 1))).await;
            assert_eq!(typed.count().await, expected[2] + 1, "{topic}, with one more");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_after_the_trigger_counts_from_its_first_message() {
    const TOPIC: &str = "log-made-later";
    let broker = Broker::shared();
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let (code, text) = trigger.error().await;
    assert_eq!(code, Code::NotFound, "{text}");
    broker.topic(TOPIC).partitions(2).create().await;
    broker.produce_all(TOPIC, of_type("a", 3)).await;
    assert_eq!(trigger.count().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_partitions_that_were_added_count_in_the_next_answer() {
    const TOPIC: &str = "log-partitions-added";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce_all(TOPIC, of_type("a", 5)).await;
    let sift = Sift::start().await;
    let earliest = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let latest = earliest.clone().with("offsetResetPolicy", "latest");
    let typed = latest.clone().with("eventType", "a");
    let by_offsets = earliest.clone().with("countFrom", "offsets");
    assert_eq!(earliest.count().await, 5);
    assert_eq!(latest.count().await, 1);
    assert_eq!(typed.count().await, 0);
    assert_eq!(by_offsets.count().await, 5);
    let mut partitions = 1;
    for round in 1..=3 {
        // Two more partitions, with two messages each, before anyone asks.
        broker.set_partitions(TOPIC, partitions + 2).await;
        let added = (partitions..partitions + 2).flat_map(|p| [p, p]);
        broker.produce_all(TOPIC, added.map(|p| Message::of_type("a").partition(p))).await;
        partitions += 2;
        assert_eq!(earliest.count().await, 5 + 4 * round, "round {round}");
        assert_eq!(latest.count().await, i64::from(partitions), "round {round}, latest");
        assert_eq!(typed.count().await, 4 * round, "round {round}, of a type");
        assert_eq!(by_offsets.count().await, 5 + 4 * round, "round {round}, by offsets");
    }
    broker.commit(TOPIC, TOPIC, [(0, 5), (1, 1), (6, 2)]).await;
    assert_eq!(earliest.count().await, 1 + 2 * 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_counts_what_is_left_and_what_came_since() {
    const TOPIC: &str = "log-truncated";
    let cluster = Cluster::start(3);
    let topic = cluster.topic(TOPIC).replication(2).config("min.insync.replicas", "1");
    topic.config("unclean.leader.election.enable", "true").create().await;
    cluster.produce_all(TOPIC, of_type("a", 10)).await;
    cluster.commit("truncated", TOPIC, [(0, 4)]).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(cluster.bootstrap(), "truncated", TOPIC);
    let typed = trigger.clone().with("eventType", "a");
    assert_eq!((trigger.count().await, typed.count().await), (6, 6));

    // The follower misses what comes now, and leads once the leader is gone.
    let leader = cluster.leader(TOPIC, 0).expect("a leader");
    let replicas = cluster.replicas(TOPIC, 0);
    let follower = replicas.into_iter().find(|node| *node != leader).expect("a follower");
    cluster.kill(follower);
    cluster.produce_all(TOPIC, of_type("a", 30)).await;
    typed.until(36, |before| before == 6).await;
    let late = sift.trigger(cluster.bootstrap(), "truncated-late", TOPIC);
    let late = late.with("offsetResetPolicy", "latest").with("eventType", "a");
    assert_eq!(late.count().await, 0, "all came before it");
    cluster.kill(leader);
    cluster.revive(follower);
    until("the follower leads", async || cluster.leader(TOPIC, 0) == Some(follower)).await;
    until("the leader's own are lost", async || cluster.offsets(TOPIC) == [(0, 10)]).await;
    for trigger in [&trigger, &typed] {
        trigger.until(6, |_| false).await;
    }
    late.until(10, |_| false).await;
    cluster.produce_all(TOPIC, of_type("b", 40).chain(of_type("a", 2))).await;
    // Longer than before, so that only what was read itself can tell.
    assert_eq!((trigger.count().await, typed.count().await), (48, 8));
    assert_eq!(late.count().await, 12, "what it saw is gone, so all that is there is new to it");
}
