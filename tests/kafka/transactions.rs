//! What transactions leave in the log: committed records count, aborted ones and markers never do.

use sift_harness::{Broker, Message, Sift, Trigger};

/// The same trigger, counting as KEDA does.
fn by_offsets(trigger: &Trigger) -> Trigger {
    trigger.clone().with("countFrom", "offsets")
}

fn messages(count: usize, event_type: &str) -> impl Iterator<Item = Message> {
    (0..count).map(move |_| Message::of_type(event_type).partition(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_committed_transaction_that_was_consumed_nothing_waits() {
    const TOPIC: &str = "transactions-consumed";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    assert_eq!(trigger.count().await, 0);

    let transaction = broker.transaction(TOPIC).await;
    transaction.produce_all(TOPIC, messages(5, "a")).await;
    transaction.commit().await;
    trigger.until(5, |before| before == 0).await;

    // The consumer commits the offset after the last record it was given: the marker's own.
    broker.commit(TOPIC, TOPIC, [(0, 5)]).await;
    assert_eq!(trigger.count().await, 0);
    assert!(!trigger.active().await.unwrap());
    assert_eq!(trigger.clone().with("eventType", "a").count().await, 0);
    assert_eq!(by_offsets(&trigger).count().await, 1, "KEDA counts the marker");
    let late = Sift::start().await.trigger(broker.bootstrap(), TOPIC, TOPIC);
    assert_eq!(late.count().await, 0, "a tail that begins at the marker");
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_messages_never_count() {
    const TOPIC: &str = "transactions-aborted";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let of_type = trigger.clone().with("eventType", "a");
    let by_key = trigger.clone().with("countBy", "keys");
    broker.produce(TOPIC, Message::of_type("a").key("k")).await;
    assert_eq!(trigger.count().await, 1);
    for round in 1..=3 {
        let transaction = broker.transaction(TOPIC).await;
        transaction.produce_all(TOPIC, messages(3, "a")).await;
        assert_eq!(trigger.count().await, round, "while it is open");
        transaction.abort().await;
        assert_eq!(trigger.count().await, round, "once it is aborted");
        broker.produce(TOPIC, Message::of_type("a").key("k")).await;
        trigger.until(round + 1, |before| before == round).await;
        assert_eq!(of_type.count().await, round + 1);
        assert_eq!(
            by_key.count().await,
            1,
            "the aborted have no key, so they would be a second one"
        );
    }
    // A plain record, and three times an aborted transaction of 3 with its marker and a plain
    // record.
    by_offsets(&trigger).until(16, |_| false).await;
    let late = Sift::start().await.trigger(broker.bootstrap(), TOPIC, TOPIC);
    assert_eq!(late.count().await, 4, "read after the fact");
    // Offset 10 is the last plain record but one: after it an aborted transaction, and one that
    // counts.
    broker.commit(TOPIC, TOPIC, [(0, 11)]).await;
    assert_eq!(trigger.count().await, 1);
    assert_eq!(late.with("eventType", "a").count().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_counts_once_it_is_committed() {
    const TOPIC: &str = "transactions-open";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let a = trigger.clone().with("eventType", "a");
    let b = trigger.clone().with("eventType", "b");
    broker.produce_all(TOPIC, messages(2, "a")).await;
    assert_eq!(trigger.count().await, 2);

    let open = broker.transaction(TOPIC).await;
    open.produce_all(TOPIC, messages(3, "b")).await;
    // Nothing after an open transaction is given to a consumer of committed records.
    broker.produce_all(TOPIC, messages(4, "a")).await;
    assert_eq!(trigger.count().await, 2);
    assert_eq!((a.count().await, b.count().await), (2, 0));
    assert_eq!(by_offsets(&trigger).count().await, 9, "KEDA counts what nobody can read yet");
    let late = Sift::start().await.trigger(broker.bootstrap(), TOPIC, TOPIC);
    assert_eq!(late.count().await, 2, "a tail that begins while it is open");

    open.commit().await;
    trigger.until(9, |before| before == 2).await;
    assert_eq!((a.count().await, b.count().await, late.count().await), (6, 3, 9));
    assert_eq!(by_offsets(&trigger).count().await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_group_that_has_read_into_an_open_transaction() {
    const TOPIC: &str = "transactions-read-uncommitted";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce_all(TOPIC, messages(5, "a")).await;
    let open = broker.transaction(TOPIC).await;
    open.produce_all(TOPIC, messages(3, "a")).await;
    // The high watermark, as a consumer commits it that has read all there is, committed or not.
    broker.commit(TOPIC, TOPIC, [(0, 8)]).await;
    // One past it is no offset of this log.
    let lost = format!("{TOPIC}-lost");
    broker.commit(&lost, TOPIC, [(0, 9)]).await;
    let sift = Sift::start().await;
    let of = |group: &str, policy: &str, selecting: bool| {
        let trigger = sift.trigger(broker.bootstrap(), group, TOPIC);
        let trigger = trigger.with("offsetResetPolicy", policy);
        if selecting { trigger.with("eventType", "a") } else { trigger }
    };
    let rows =
        [("earliest", false, 5), ("earliest", true, 5), ("latest", false, 1), ("latest", true, 0)];
    for (policy, selecting, without) in rows {
        let trigger = of(TOPIC, policy, selecting);
        assert_eq!(trigger.count().await, 0, "{policy}, selecting: {selecting}");
        assert!(!trigger.active().await.unwrap(), "{policy}, selecting: {selecting}");
        let lost = of(&lost, policy, selecting);
        assert_eq!(lost.count().await, without, "no offset, {policy}, selecting: {selecting}");
    }
    open.commit().await;
    // After the transaction's marker.
    broker.produce(TOPIC, Message::of_type("a")).await;
    for (policy, selecting, _) in rows {
        of(TOPIC, policy, selecting).until(1, |before| before == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_overlap_count_as_each_ends() {
    const TOPIC: &str = "transactions-overlap";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let first = broker.transaction("transactions-overlap-1").await;
    let second = broker.transaction("transactions-overlap-2").await;
    let third = broker.transaction("transactions-overlap-3").await;
    first.produce_all(TOPIC, messages(1, "first")).await;
    second.produce_all(TOPIC, messages(2, "second")).await;
    broker.produce_all(TOPIC, messages(4, "plain")).await;
    third.produce_all(TOPIC, messages(8, "third")).await;
    first.produce_all(TOPIC, messages(16, "first")).await;
    assert_eq!(trigger.count().await, 0);
    second.commit().await;
    assert_eq!(trigger.count().await, 0, "the first, still open, is before all of it");
    first.abort().await;
    trigger.until(6, |before| before == 0).await;
    third.commit().await;
    trigger.until(14, |before| before == 6).await;
    let of = |event_type: &str| trigger.clone().with("eventType", event_type);
    assert_eq!(of("first").count().await, 0);
    assert_eq!(of("second").count().await, 2);
    assert_eq!(of("third,plain").count().await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_spans_partitions_counts_in_each_and_leaves_a_marker_in_each() {
    const TOPIC: &str = "transactions-partitions";
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(3).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let a = trigger.clone().with("eventType", "a");
    assert_eq!(a.count().await, 0);
    let to = |partition: i32, count: usize| {
        (0..count).map(move |n| Message::of_type(["a", "b"][n % 2]).partition(partition))
    };
    let transaction = broker.transaction(TOPIC).await;
    transaction.produce_all(TOPIC, to(0, 4).chain(to(1, 2))).await;
    transaction.commit().await;
    trigger.until(6, |before| (0..6).contains(&before)).await;
    let aborted = broker.transaction(TOPIC).await;
    aborted.produce_all(TOPIC, to(1, 2).chain(to(2, 2))).await;
    aborted.abort().await;
    broker.produce_all(TOPIC, to(1, 1).chain(to(2, 1))).await;
    trigger.until(8, |before| (6..8).contains(&before)).await;
    assert_eq!(a.count().await, 5);
    // 0: 4 and a marker. 1: 2, a marker, 2 aborted, a marker, 1. 2: 2 aborted, a marker, 1.
    by_offsets(&trigger).until(16, |_| false).await;
    // In 0 the b before the marker is left, in 1 all but the first, in 2 the aborted are skipped.
    broker.commit(TOPIC, TOPIC, [(0, 3), (1, 1), (2, 2)]).await;
    assert_eq!(trigger.count().await, 4);
    assert_eq!(a.count().await, 2);
    assert_eq!(by_offsets(&trigger).count().await, 10);
    broker.commit(TOPIC, TOPIC, [(0, 4), (1, 7), (2, 4)]).await;
    assert_eq!(trigger.count().await, 0);
    assert_eq!(by_offsets(&trigger).count().await, 1, "the marker at the end of 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_at_the_end_does_not_delay_the_answer_of_a_new_trigger() {
    const TOPIC: &str = "transactions-marker-last";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce_all(TOPIC, messages(3, "a")).await;
    for _ in 0..3 {
        let aborted = broker.transaction(TOPIC).await;
        aborted.produce_all(TOPIC, messages(2, "a")).await;
        aborted.abort().await;
    }
    let sift = Sift::start().await;
    // The second begins behind the tail that the first has made, in the midst of what was aborted.
    for (group, committed, expected) in [("end", 12, 0), ("middle", 7, 0), ("start", 1, 2)] {
        let group = format!("{TOPIC}-{group}");
        broker.commit(&group, TOPIC, [(0, committed)]).await;
        let trigger = sift.trigger(broker.bootstrap(), &group, TOPIC);
        assert_eq!(trigger.count().await, expected, "{group}");
        assert_eq!(trigger.with("eventType", "a").count().await, expected, "{group}, type a");
    }
}
