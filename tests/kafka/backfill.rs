//! A trigger that comes to a topic tailed for long: what lies before the tail is read for it, and
//! nobody is disturbed.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use sift_harness::{Broker, Message, PATIENCE, Sift, Trigger};
use tokio::sync::OnceCell;
use tonic::Code;

/// More offsets than two passes of the second reader span.
const LONG: i64 = 600_000;

/// A topic of [`LONG`] messages, each third of type `a`, and one message of type `rare` at the very
/// start. Nobody writes to it.
async fn long_topic(broker: &Broker) -> &'static str {
    static MADE: OnceCell<()> = OnceCell::const_new();
    const TOPIC: &str = "backfill-long";
    MADE.get_or_init(|| async {
        broker.topic(TOPIC).create().await;
        write_long(broker, TOPIC).await;
    })
    .await;
    TOPIC
}

async fn write_long(broker: &Broker, topic: &str) {
    let message = |n: i64| match n {
        0 => Message::new().header("ce_type", "rare"),
        n if n % 3 == 1 => Message::new().header("ce_type", "a"),
        _ => Message::new().header("ce_type", "b"),
    };
    // In portions, because each message waits for its own acknowledgement.
    for portion in 0..LONG / 50_000 {
        let messages = (portion * 50_000..(portion + 1) * 50_000).map(message);
        broker.produce_all(topic, messages.map(|message| message.partition(0))).await;
    }
}

/// A filter that takes its time over a [`slow_body`], and holds for it.
const SLOW: &str = "body.numbers.all(n, n >= 0)";

/// Slow to judge, so that more is fetched than has been judged; and large, so that a fetch holds
/// few and partitions take turns.
fn slow_body() -> String {
    let numbers: Vec<String> = (0..800).map(|n| n.to_string()).collect();
    format!("{{\"numbers\":[{}]}}", numbers.join(","))
}

/// A trigger whose group stands at the end of a topic, counted once, so that the topic's tail
/// begins there.
async fn tailing(broker: &Broker, sift: &Sift, topic: &str) -> Trigger {
    let group = format!("{topic}-tailing");
    broker.catch_up(&group, topic).await;
    let trigger = sift.trigger(broker.bootstrap(), &group, topic).named("tailing");
    assert_eq!(trigger.count().await, 0);
    trigger
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_lies_before_the_tail_is_counted_exactly() {
    const TOPIC: &str = "backfill-before";
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(3).create().await;
    let of = |n: i32| Message::of_type(["a", "b"][n as usize / 3 % 2]).partition(n % 3);
    broker.produce_all(TOPIC, (0..600).map(of)).await;
    let sift = Sift::start().await;
    let tailing = tailing(broker, &sift, TOPIC).await;

    // Each further back than the one before, and not in all partitions.
    for (place, expected) in
        [([190, 200, 150], 60), ([190, 20, 150], 240), ([0, 0, 0], 600), ([7, 199, 0], 394)]
    {
        let group = format!("{TOPIC}-{expected}");
        broker.commit(&group, TOPIC, (0..).zip(place)).await;
        let trigger = sift.trigger(broker.bootstrap(), &group, TOPIC);
        assert_eq!(trigger.count().await, expected, "{place:?}");
        assert_eq!(trigger.clone().with("countBy", "keys").count().await, 1, "{place:?}, by key");
    }
    // Of types that nobody had selected, without any commit.
    let start = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    assert_eq!(start.clone().with("eventType", "a").count().await, 300);
    assert_eq!(start.clone().with("filter", "offset < 10").count().await, 30);
    assert_eq!(start.clone().with("eventType", "none").count().await, 0);
    // The tail itself goes on.
    broker.produce(TOPIC, Message::of_type("a").partition(1)).await;
    assert_eq!(tailing.count().await, 1);
    assert_eq!(start.with("eventType", "a,b").count().await, 601);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_passes_give_one_exact_count() {
    let broker = Broker::shared();
    let topic = long_topic(broker).await;
    let sift = Sift::start().await;
    tailing(broker, &sift, topic).await;
    let start = sift.trigger(broker.bootstrap(), "backfill-many-start", topic);
    broker.commit("backfill-many-middle", topic, [(0, LONG / 2)]).await;
    let middle = sift.trigger(broker.bootstrap(), "backfill-many-middle", topic);
    let rows = [
        ("all", start.clone(), LONG),
        ("type a", start.clone().with("eventType", "a"), LONG / 3),
        ("rare", start.clone().with("eventType", "rare"), 1),
        ("a and rare", start.clone().with("eventType", "a,rare"), LONG / 3 + 1),
        ("filter", start.clone().with("filter", "offset % 1000 == 1"), LONG / 1_000),
        ("half of all", middle.clone(), LONG / 2),
        ("half of type a", middle.clone().with("eventType", "a"), LONG / 6),
    ];
    // Together, so that passes are for several, and begin while others are under way.
    let polls = rows.map(|(name, trigger, expected)| async move {
        // A machine under load may take longer than the measure timeout.
        trigger.until(expected, |before| before > 0 && before < expected).await;
        assert_eq!(trigger.count().await, expected, "{name}");
    });
    join_all(polls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_answer_exactly_while_a_topic_is_read_again() {
    const TOPIC: &str = "backfill-others";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    write_long(broker, TOPIC).await;
    let sift = Sift::start().await;
    let tailing = tailing(broker, &sift, TOPIC).await;
    let typed = tailing.clone().with("eventType", "c");
    assert_eq!(typed.count().await, 0);

    let done = Cell::new(false);
    let new = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("eventType", "a");
    let backfill = async {
        new.until(LONG / 3, |before| before > 0 && before < LONG / 3).await;
        done.set(true);
    };
    let others = async {
        let mut answers = 0;
        while !done.get() {
            broker.produce(TOPIC, Message::of_type("c").partition(0)).await;
            answers += 1;
            let (all, of_type) = tokio::join!(tailing.count(), typed.count());
            assert_eq!((all, of_type), (answers, answers));
        }
        answers
    };
    let ((), answers) = tokio::join!(backfill, others);
    // Whoever waits for the backfill answers once or twice.
    assert!(answers >= 5, "{answers} answers while the topic was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_cut_short_is_never_taken_for_the_whole() {
    let broker = Broker::shared();
    let topic = long_topic(broker).await;
    let sift = Sift::start_with(Duration::from_millis(300), Duration::from_secs(900)).await;
    let group = "backfill-short";
    let all = sift.trigger(broker.bootstrap(), group, topic);
    // What lies nearest to the end is read first, so this one is found last of all.
    let rare = all.clone().with("eventType", "rare");
    let active = all.clone().with("activationLagThreshold", &(LONG - 1).to_string());
    let mut cut_short = 0;
    let whole = |trigger: Trigger, whole: i64| async move {
        let mut before = 0;
        let mut cut_short = 0;
        loop {
            match trigger.value().await {
                Ok(value) if value == whole => return cut_short,
                Ok(value) => {
                    assert!(
                        value > 0 && value < whole && value >= before,
                        "{value} after {before}"
                    );
                    before = value;
                    cut_short += 1;
                }
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    cut_short += i32::from(status.message().contains("offsets judged"));
                }
            }
        }
    };
    // Whether more than all but one wait is only known at the end.
    let decided = async {
        loop {
            match active.active().await {
                Ok(active) => return assert!(active, "all of them wait"),
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
        }
    };
    let (of_all, of_rare, ()) = tokio::join!(whole(all.clone(), LONG), whole(rare, 1), decided);
    cut_short += of_all + of_rare;
    assert!(cut_short > 0, "the topic is too short for this test: nothing was cut short");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_come_while_others_are_read_for_are_each_exact() {
    const TOPIC: &str = "backfill-turns";
    const PARTITIONS: i32 = 3;
    const EACH: i64 = 300;
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(PARTITIONS).create().await;
    let body = slow_body();
    let messages = |event_type: &'static str| {
        let body = &body;
        (0..EACH * i64::from(PARTITIONS)).map(move |n| {
            let partition = i32::try_from(n).unwrap() % PARTITIONS;
            Message::of_type(event_type).body(body).partition(partition)
        })
    };
    broker.produce_all(TOPIC, messages("a").chain(messages("b"))).await;
    let of_a_type = EACH * i64::from(PARTITIONS);
    // Twice, because all three may happen to come before the first pass begins.
    for _ in 0..2 {
        // What matters is that they are exact, however slow the machine.
        let sift = Sift::start_with(PATIENCE, PATIENCE).await;
        tailing(broker, &sift, TOPIC).await;
        broker.produce_all(TOPIC, messages("after")).await;
        let polls = ["a", "b", "a' || eventType == 'b"].map(|event_type| {
            let filter = format!("{SLOW} && (eventType == '{event_type}')");
            let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("filter", &filter);
            async move { trigger.count().await }
        });
        assert_eq!(join_all(polls).await, [of_a_type, of_a_type, 2 * of_a_type]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_counted_though_it_takes_seconds_to_read() {
    const TOPIC: &str = "backfill-compacted";
    let broker = Broker::shared();
    broker.topic(TOPIC).config("cleanup.policy", "compact").create().await;
    let message = |n: i64| Message::new().key(n.to_be_bytes()).body("{}").partition(0);
    for portion in 0..LONG / 50_000 {
        let messages = (portion * 50_000..(portion + 1) * 50_000).map(message);
        broker.produce_all(TOPIC, messages).await;
    }
    let sift = Sift::start().await;
    tailing(broker, &sift, TOPIC).await;
    // Several passes, together longer than what was read is relied upon.
    let start = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let slow = start.with("filter", "[1, 2, 3, 4].all(n, n < offset + 9)");
    for _ in 0..2 {
        slow.until(LONG, |before| before > 0 && before < LONG).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_start_that_moves_into_what_is_being_read_does_not_stop_it() {
    const TOPIC: &str = "backfill-log-start";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    write_long(broker, TOPIC).await;
    let sift = Sift::start().await;
    tailing(broker, &sift, TOPIC).await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let deletions = async {
        for before in [100_000, 200_000, 300_000, 400_000, 500_000, LONG - 10] {
            broker.delete_records(TOPIC, 0, before).await;
        }
    };
    // The poll under way asks anew where the log starts, instead of waiting for what is gone.
    let (count, ()) = tokio::join!(trigger.value(), deletions);
    let count = count.expect("a count, in time");
    assert!((10..=LONG).contains(&count), "{count}");
    assert_eq!(trigger.count().await, 10);
    assert_eq!(trigger.with("eventType", "a").count().await, 3);
}
