//! What librdkafka's own consumer reads of a topic is what counts, record by record.
//!
//! Topics are written by two producers that share no code, in every form that Kafka has: see
//! `support/writer.rs`. They are read by librdkafka into lists, and what a list gives is what a
//! trigger must count. `READING_SEED` repeats what a run has written, but for the order in which
//! the two come to a partition. Then: a topic that is made again while nobody looks.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::future::join_all;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use sift_harness::{Broker, Message, Sift, Target, Trigger};
use tokio::join;
use tokio::task::block_in_place;

/// How many bursts each producer writes to each topic, and about as many in transactions.
const ROUNDS: usize = 10;

/// How many groups each topic has.
const GROUPS: usize = 3;

/// How many single offsets of each topic are asked for.
const SINGLE: usize = 8;

/// A topic, and every record of it that a consumer under `read_committed` is given.
struct Topic {
    name: String,
    records: Vec<OwnedMessage>,
    /// By partition, the last stable offset.
    ends: Vec<i64>,
}

/// What a trigger selects, and which records that should be.
struct Selection {
    keys: Vec<(&'static str, String)>,
    /// Whether a record is selected.
    is_match: Box<dyn Fn(&OwnedMessage) -> bool>,
    counts: Counts,
}

/// What of the records that match is a number.
#[derive(Clone, Copy)]
enum Counts {
    Records,
    Keys,
    Partitions,
}

impl Topic {
    async fn read(broker: &Broker, name: &str) -> Self {
        let ends: Vec<i64> = broker.offsets(name).into_iter().map(|(_, end)| end).collect();
        let mut records = Vec::new();
        for partition in (0..).take(ends.len()) {
            records.extend(broker.read(name, partition).await);
        }
        Self { name: name.to_owned(), records, ends }
    }

    /// What a selection must give a group that has committed these offsets.
    fn expected(&self, selection: &Selection, committed: &BTreeMap<i32, i64>) -> i64 {
        let waits = |record: &&OwnedMessage| {
            record.offset() >= committed.get(&record.partition()).copied().unwrap_or(0)
        };
        let matching = || self.records.iter().filter(waits).filter(|it| (selection.is_match)(it));
        let count = match selection.counts {
            Counts::Records => matching().count(),
            Counts::Keys => matching().map(|record| record.key()).collect::<HashSet<_>>().len(),
            Counts::Partitions => {
                matching().map(OwnedMessage::partition).collect::<BTreeSet<_>>().len()
            }
        };
        i64::try_from(count).expect("a count")
    }

    /// Whether any record is like this.
    fn has(&self, what: impl Fn(&OwnedMessage) -> bool) -> bool {
        self.records.iter().any(what)
    }
}

impl Selection {
    fn new<const N: usize>(
        keys: [(&'static str, &str); N],
        is_match: impl Fn(&OwnedMessage) -> bool + 'static,
    ) -> Self {
        let keys = keys.map(|(key, value)| (key, value.to_owned())).into();
        Self { keys, is_match: Box::new(is_match), counts: Counts::Records }
    }

    fn filter(filter: &str, is_match: impl Fn(&OwnedMessage) -> bool + 'static) -> Self {
        Self::new([("filter", filter)], is_match)
    }

    fn counting(mut self, counts: Counts) -> Self {
        let count_by = match counts {
            Counts::Records => "messages",
            Counts::Keys => "keys",
            Counts::Partitions => "partitions",
        };
        self.keys.push(("countBy", count_by.to_owned()));
        Self { counts, ..self }
    }

    fn on(&self, trigger: Trigger) -> Trigger {
        self.keys.iter().fold(trigger, |trigger, (key, value)| trigger.with(key, value))
    }
}

/// The last value of a header, if it is not null.
fn header<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a [u8]> {
    let last = record.headers()?.iter().filter(|header| header.key == name).last();
    last.and_then(|header| header.value)
}

/// The same, of those that are UTF-8.
fn text<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    header(record, name).and_then(|value| str::from_utf8(value).ok())
}

fn size(record: &OwnedMessage) -> usize {
    record.payload().map_or(0, <[u8]>::len)
}

fn time(record: &OwnedMessage) -> i64 {
    record.timestamp().to_millis().expect("every record has a time")
}

/// The number in a value that is JSON.
fn number(record: &OwnedMessage) -> Option<i64> {
    let body: serde_json::Value = serde_json::from_slice(record.payload()?).ok()?;
    body.get("n")?.as_i64()
}

/// A time as a filter spells it.
fn spelt(milliseconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(milliseconds).expect("a time");
    format!("timestamp('{}')", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

/// What is asked for of any topic.
fn selections(topic: &Topic, random: &mut fastrand::Rng) -> Vec<Selection> {
    let (prime, rest) = ([3, 5, 7, 11][random.usize(..4)], random.i64(0..3));
    let least = random.i64(0..1_000);
    let sizes = random.usize(50..250);
    let [one, other] = [(); 2].map(|()| time(&topic.records[random.usize(..topic.records.len())]));
    let mut all = vec![
        Selection::new([], |_| true),
        Selection::new([], |_| true).counting(Counts::Keys),
        Selection::new([("eventType", "*")], |it| text(it, "ce_type").is_some()),
        Selection::new([("eventType", "b*")], |it| {
            text(it, "ce_type").is_some_and(|of| of.starts_with('b'))
        }),
        Selection::new([("eventType", "a,c")], |it| {
            text(it, "ce_type").is_some_and(|of| of == "a" || of == "c")
        })
        .counting(Counts::Keys),
        Selection::new([("eventType", "b"), ("eventTypeFrom", "header:kind")], |it| {
            header(it, "kind") == Some(b"b")
        }),
        Selection::new([("eventType", "k1,k3*"), ("eventTypeFrom", "key")], |it| {
            let key = it.key();
            key.is_some_and(|key| key == b"k1" || key.starts_with(b"k3"))
        }),
        Selection::filter("key == 'k2'", |it| it.key() == Some(b"k2")),
        Selection::filter("key == ''", |it| it.key().is_none_or(<[u8]>::is_empty)),
        Selection::filter("has(headers.kind) && headers.kind == 'c'", |it| {
            header(it, "kind") == Some(b"c")
        }),
        Selection::filter("!has(headers.other)", |it| text(it, "other").is_none()),
        Selection::filter("body.n % 10 == 3", |it| number(it).is_some_and(|n| n % 10 == 3)),
        Selection::filter("size == 0", |it| size(it) == 0),
        Selection::filter("size % 5 == 2", |it| size(it) % 5 == 2),
        Selection::filter(&format!("size > {sizes}"), move |it| size(it) > sizes),
        Selection::filter("size > 1000", |it| size(it) > 1_000).counting(Counts::Partitions),
        Selection::filter(&format!("offset % {prime} == {rest}"), move |it| {
            it.offset() % prime == rest
        }),
        Selection::filter(&format!("offset >= {least}"), move |it| it.offset() >= least),
        Selection::filter(&format!("time >= {}", spelt(one)), move |it| time(it) >= one),
        Selection::filter(&format!("time == {}", spelt(other)), move |it| time(it) == other),
        Selection::filter("partition == 0 && offset % 2 == 0", |it| {
            it.partition() == 0 && it.offset() % 2 == 0
        }),
    ];
    // Bit by bit of the offsets, so that a record that is counted at another one's place shows.
    for bit in 0..12 {
        let weight = 1_i64 << bit;
        let is_match = move |it: &OwnedMessage| it.offset() / weight % 2 == 1;
        all.push(Selection::filter(&format!("offset / {weight} % 2 == 1"), is_match));
    }
    // What is not counted takes offsets too: aborted records, markers, compacted ones.
    for _ in 0..SINGLE {
        let partition = random.usize(..topic.ends.len());
        let offset = random.i64(0..topic.ends[partition]);
        let partition = i32::try_from(partition).expect("a partition");
        let filter = format!("partition == {partition} && offset == {offset}");
        all.push(Selection::filter(&filter, move |it| {
            (it.partition(), it.offset()) == (partition, offset)
        }));
    }
    all
}

/// That a topic holds what this is about, and that the random numbers did not leave it out.
fn check(topic: &Topic) {
    let held = topic.records.len() as i64;
    let ends: i64 = topic.ends.iter().sum();
    assert!(held < ends, "{}: nothing was aborted, and there are no markers", topic.name);
    let null_header = |it: &OwnedMessage| {
        it.headers().is_some_and(|all| all.iter().any(|header| header.value.is_none()))
    };
    // Of a compacted one a few are left.
    if held > 500 {
        assert!(topic.has(|it| it.payload().is_none()), "{}: no null value", topic.name);
        assert!(topic.has(|it| size(it) > 10_000), "{}: no large value", topic.name);
        assert!(topic.has(null_header), "{}: no null header", topic.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_librdkafka_reads_is_what_counts() {
    let seed = std::env::var("READING_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("READING_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let broker = Broker::shared();
    let target = |name: &str, partitions, is_plain| {
        let topic = format!("reading-{name}");
        Target { topic, partitions, is_plain }
    };
    let (one, three) = (target("one", 1, true), target("three", 3, true));
    let (times, compacted) = (target("times", 2, false), target("compacted", 1, false));
    for it in [&one, &three] {
        broker.topic(&it.topic).partitions(it.partitions).create().await;
    }
    let of_times = broker.topic(&times.topic).partitions(times.partitions);
    of_times.config("message.timestamp.type", "LogAppendTime").create().await;
    let of_compacted = broker.topic(&compacted.topic).config("cleanup.policy", "compact");
    let of_compacted = of_compacted.config("segment.ms", "100");
    of_compacted.config("min.cleanable.dirty.ratio", "0.001").create().await;
    let targets = [one, three, times, compacted];

    // One scaler reads while all is written, one afterwards.
    let (early, late) = (Sift::start().await, Sift::start().await);
    let trigger = |sift: &Sift, group: &str, topic: &str| {
        sift.trigger(broker.bootstrap(), group, topic).named(group)
    };
    for target in &targets {
        let trigger = trigger(&early, "reading-early", &target.topic);
        assert_eq!(trigger.with("eventType", "*").count().await, 0);
    }
    let rounds = ROUNDS * targets.len();
    join!(
        broker.write_by_librdkafka(&targets, random.u64(..), rounds),
        broker.write_by_java(&targets, random.u64(..), rounds),
    );
    let last = targets.last().expect("the compacted one");
    broker.compact(&last.topic, 0, 300).await;
    // From now on what is there stays there.
    broker.configure_topic(&last.topic, &[("min.cleanable.dirty.ratio", "1.0")]).await;

    for target in &targets {
        let topic = Topic::read(broker, &target.topic).await;
        check(&topic);
        let selections = selections(&topic, &mut random);
        let mut compared = 0;
        for number in 0..GROUPS {
            let group = format!("{}-{number}", topic.name);
            let committed: BTreeMap<i32, i64> =
                (0..).zip(topic.ends.iter().map(|end| random.i64(0..=*end))).collect();
            // The first has committed nothing, so that all waits.
            let committed = if number == 0 { BTreeMap::new() } else { committed };
            if !committed.is_empty() {
                broker.commit(&group, &topic.name, committed.clone()).await;
            }
            for sift in [&early, &late] {
                let counted = selections.iter().map(async |selection| {
                    let count = selection.on(trigger(sift, &group, &topic.name)).count().await;
                    (selection, count)
                });
                for (selection, count) in join_all(counted).await {
                    let expected = topic.expected(selection, &committed);
                    let keys = &selection.keys;
                    assert_eq!(count, expected, "{keys:?} of {group}, after {committed:?}");
                    compared += expected;
                }
            }
        }
        let Topic { name, records, ends } = &topic;
        println!("{name}: {} records, ends at {ends:?}; {compared} counted", records.len());
    }
}

/// Nobody asks between the broker's end and the first poll of the new topic, so that what was read
/// of the old one is all that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_after_its_broker_was_killed_counts_as_the_new_one_at_once() {
    const HELD: usize = 10;
    let broker = block_in_place(Broker::start);
    let sift = Sift::start().await;
    let of_type = |of: &'static str, count| (0..count).map(move |_| Message::of_type(of));
    // Of other messages, and of those that count after them: fewer than the old one held, as many,
    // more.
    let rows = [("shorter", 2, 3), ("as-long", 6, 4), ("longer", 17, 8)];
    let triggers = rows.map(|(topic, ..)| {
        let trigger = sift.trigger(broker.bootstrap(), topic, topic);
        [trigger.clone(), trigger.with("eventType", "a")]
    });
    for ((topic, ..), triggers) in rows.iter().zip(&triggers) {
        broker.topic(topic).create().await;
        broker.produce_all(topic, of_type("a", HELD)).await;
        for trigger in triggers {
            assert_eq!(trigger.count().await, HELD as i64, "{topic}, the old one");
        }
    }
    block_in_place(|| {
        broker.kill(0);
        broker.restart(0);
    });
    for (topic, others, matching) in rows {
        broker.delete_topic(topic).await;
        broker.topic(topic).create().await;
        broker.produce_all(topic, of_type("b", others).chain(of_type("a", matching))).await;
    }
    for ((topic, others, matching), [all, typed]) in rows.into_iter().zip(&triggers) {
        let (others, matching) = (others as i64, matching as i64);
        assert_eq!(typed.count().await, matching, "{topic}, of a type");
        assert_eq!(all.count().await, others + matching, "{topic}");
    }
}

/// Its leader epochs, and what its log holds, are those of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_restored_from_a_backup_counts_as_it_is_now() {
    const TOPIC: &str = "restored";
    let broker = block_in_place(Broker::start);
    let sift = Sift::start().await;
    let produce = async |of: &'static str, count| {
        broker.produce_all(TOPIC, (0..count).map(|_| Message::of_type(of))).await;
    };
    let all = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let typed = all.clone().with("eventType", "a");
    let expect = async |all_of_it: i64, of_type: i64, when: &str| {
        assert_eq!(typed.count().await, of_type, "of a type, {when}");
        assert_eq!(all.count().await, all_of_it, "{when}");
    };
    broker.topic(TOPIC).create().await;
    produce("a", 10).await;
    expect(10, 10, "before").await;
    block_in_place(|| {
        broker.kill(0);
        broker.back_up(0);
        broker.restart(0);
    });
    produce("a", 5).await;
    expect(15, 15, "after the backup").await;
    // An election each, so that the epoch rises.
    for _ in 0..2 {
        block_in_place(|| {
            broker.kill(0);
            broker.restart(0);
        });
        expect(15, 15, "after a restart").await;
    }
    block_in_place(|| {
        broker.kill(0);
        broker.restore(0);
        broker.restart(0);
    });
    expect(10, 10, "restored").await;
    produce("b", 20).await;
    produce("a", 1).await;
    expect(31, 11, "longer than it was").await;
}
