//! Brokers that lie, on purpose or not. Whoever writes a trigger names its broker, so none of them
//! is trusted: a poll of theirs fails in time and in words, and neither the process nor the polls
//! of others notice.
//!
//! The scaler is a process of its own here, so that it is seen to live, and its memory and threads
//! are its own. Lies about what is asked are told to triggers that count by offsets, lies about
//! records to triggers that select a type.
//!
//! | file | job |
//! |---|---|
//! | `lie` | a lie, and what is to become of a poll |
//! | `replies`, `records` | tables of them |
//! | `scaler` | who hears them, and an honest broker that it counts on beside |
//! | `requests` | what a client asks, to have lies told without one |

mod lie;
mod records;
mod replies;
mod requests;
mod scaler;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::{ApiKey, FetchRequest};
use sift_harness::hostile::batches::{Batch, CHECKSUM, Packed, record};
use sift_harness::hostile::{Hostile, Scenario, TOPIC, TYPE};
use sift_harness::{Broker, Message, Trigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::lie::{Counts, MEASURE_TIMEOUT, Must, Way, lie, lie_on, lie_to_reader};
use self::records::{
    each, of_batches, of_bombs, of_fetch_frames, of_fetches, of_records, overwritten, records,
    whole,
};
use self::replies::{
    KINDS, of_committed, of_connections, of_coordinators, of_frames, of_frames_of, of_logins,
    of_metadata, of_offsets, of_share_groups, of_versions,
};
use self::requests::requests;
use self::scaler::{AT_ONCE, PROMPT, RETURN, Scaler};

/// How much more memory it may have at any moment in which giants are sent to it, in kB. One reply
/// is at most some tens of MB.
const AT_MOST: u64 = 192 << 10;

/// The least that can be given.
const LEAST_MEMORY: &str = "64Mi";

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lie_the_count_is_true() {
    let mut scaler = Scaler::start("hostile-honest").await;
    let ways = [Way::Plaintext, Way::Tls, Way::Plain, Way::Scram];
    let honest = ways.map(|way| lie_on(way, &format!("{way:?}"), Must::Tell, Scenario::Honest));
    let before = scaler.figures();
    scaler.hear(honest.into()).await;
    scaler.returns_to(before).await;
}

/// If a lie could not be told, a poll would fail for the wrong reason: the broker's own.
#[tokio::test(flavor = "multi_thread")]
async fn every_lie_can_be_told() {
    /// How long what is said is listened to.
    const LISTENED: Duration = Duration::from_millis(300);
    let tables = [
        of_metadata(),
        of_offsets(),
        of_committed(),
        of_coordinators(),
        of_share_groups(),
        of_versions(),
        of_frames(),
        of_connections(),
        of_logins(),
        of_fetches(),
        of_batches(),
        of_records(),
        of_bombs(),
        of_frames_of("records", ApiKey::Fetch, Counts::Type),
    ];
    let mut told = JoinSet::new();
    for lie in tables.into_iter().flatten() {
        for newest in [false, true] {
            if told.len() >= 4 * AT_ONCE
                && let Some(ended) = told.join_next().await
            {
                ended.expect("a lie that can be told");
            }
            let (name, scenario) = (lie.name.clone(), lie.scenario.clone());
            told.spawn(async move {
                let hostile = Hostile::start(scenario.clone()).await;
                for request in requests(newest) {
                    // A connection for each: after a lie what follows is about something else.
                    let stream = TcpStream::connect(hostile.bootstrap()).await;
                    let mut stream = stream.expect("it listens");
                    if stream.write_all(&request).await.is_ok() {
                        // What comes and how it ends is the lie's own matter.
                        drop(timeout(LISTENED, stream.read_u8()).await);
                    }
                }
                // Large ones take time to be made.
                let deadline = Instant::now() + RETURN;
                while hostile.lies() == 0 && !matches!(scenario, Scenario::Honest) {
                    assert!(Instant::now() < deadline, "{name}");
                    sleep(Duration::from_millis(20)).await;
                }
            });
        }
    }
    while let Some(ended) = told.join_next().await {
        ended.expect("a lie that can be told");
    }
}

/// A test for each table: each lie fails, beside an honest broker, and leaves nothing behind.
macro_rules! tables {
    ($($test:ident: $lies:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            let mut scaler = Scaler::start(concat!("hostile-", stringify!($lies))).await;
            let before = scaler.figures();
            scaler.hear($lies()).await;
            scaler.returns_to(before).await;
        }
    )*};
}

tables! {
    lies_about_the_cluster_are_errors: of_metadata;
    lies_about_offsets_are_errors: of_offsets;
    lies_about_committed_offsets_are_errors: of_committed;
    lies_about_the_coordinator_are_errors: of_coordinators;
    lies_about_share_groups_are_errors_or_not_heard: of_share_groups;
    lies_about_versions_are_errors: of_versions;
    replies_that_are_none_are_errors: of_frames;
    connections_that_are_none_are_errors: of_connections;
    lies_told_at_login_are_errors: of_logins;
    lies_about_what_was_fetched_are_errors: of_fetches;
    lies_about_batches_are_errors: of_batches;
    lies_about_records_are_errors: of_records;
    what_decompresses_to_too_much_is_an_error: of_bombs;
    fetches_that_are_none_are_errors: of_fetch_frames;
}

/// At each place of each reply, bytes that make any count there absurd.
#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_reply_is_trusted() {
    const PATTERNS: [&[u8]; 4] =
        [&[0xff], &[0xff; 4], &[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x0f]];
    /// About the length of the longest of the honest replies.
    const LENGTH: usize = 190;
    let mut scaler = Scaler::start("hostile-bytes").await;
    let before = scaler.figures();
    let lies = KINDS.iter().flat_map(|(kind, api)| {
        // A stride that the lengths of fields do not share; the patterns overlap the places
        // between.
        (0..LENGTH).step_by(3).enumerate().map(move |(n, at)| {
            let pattern = PATTERNS[n % PATTERNS.len()];
            let name = format!("{kind}: {pattern:02x?} at {at}");
            lie(&name, Must::End, Scenario::Overwritten(*api, at, pattern))
        })
    });
    scaler.hear(lies.collect()).await;
    scaler.returns_to(before).await;
}

/// Likewise of a reply to a fetch, whose batches have a checksum, and a number that is no truth
/// would be one that was made up.
#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_fetch_is_trusted() {
    const PATTERNS: [&[u8]; 4] =
        [&[0xff], &[0; 4], &[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x0f]];
    /// Up to the end of the first partition, and of the last one.
    const LENGTHS: [usize; 2] = [250, 680];
    let mut scaler = Scaler::start("hostile-fetched-bytes").await;
    let before = scaler.figures();
    let places = (0..LENGTHS[0]).step_by(2).chain((LENGTHS[0]..LENGTHS[1]).step_by(11));
    let lies = places.enumerate().map(|(n, at)| {
        let pattern = PATTERNS[n % PATTERNS.len()];
        let name = format!("fetch: {pattern:02x?} at {at}");
        let scenario = Scenario::Overwritten(ApiKey::Fetch, at, pattern);
        lie_to_reader(&name, Must::FailOrTell, scenario)
    });
    scaler.hear(lies.collect()).await;
    scaler.returns_to(before).await;
}

/// A broker that has nothing to say, and says so at once, or says the same nonsense again and
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_wait_is_not_asked_without_a_pause() {
    /// How often a second.
    const AT_MOST: f64 = 60.0;
    let scaler = Scaler::start("hostile-hasty").await;
    let rows = [
        ("no records", each(|_, told| told.records = Some(Bytes::new()))),
        ("half of a batch", records(|bytes| bytes.slice(..bytes.len() / 2))),
        ("a batch that is none", overwritten(8, &[0; 4])),
        (
            "a batch from before",
            each(|_, told| {
                told.records = Some(Batch::of_types(0, [TYPE]).bytes());
            }),
        ),
        ("an error", each(|_, told| told.error_code = 6)),
        ("a damaged batch", overwritten(16, &[3])),
        ("a log that was cut", each(|_, told| told.diverging_epoch.end_offset = 3)),
        ("nothing that was asked for", whole(|reply| reply.responses.clear())),
    ];
    let rows = rows.map(async |(name, scenario)| {
        let hostile = Hostile::start(scenario).await;
        let trigger = sift_trigger(&scaler, &hostile);
        let began = Instant::now();
        drop(trigger.value().await);
        // It is read on without anyone asking.
        sleep(Duration::from_secs(1)).await;
        let most = began.elapsed().as_secs_f64() * AT_MOST;
        let asked = hostile.lies();
        assert!(asked > 0 && (asked as f64) < most, "{name}: asked {asked} times, not {most}");
    });
    join_all(rows).await;
}

fn sift_trigger(scaler: &Scaler, hostile: &Hostile) -> Trigger {
    Counts::Type.on(scaler.sift.trigger(&hostile.bootstrap(), "billing", TOPIC))
}

/// More than can be judged, and faster, for many partitions at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_faster_than_it_is_judged_costs_bounded_memory() {
    const FLOODED: Duration = Duration::from_secs(8);
    const RECORDS: i32 = 600_000;
    let scaler = Scaler::start("hostile-fast").await;
    let before = scaler.figures();
    // Each takes longer to judge than to send: large ones, and ones that are small until they are
    // decompressed.
    let many = (0..RECORDS).map(|delta| record(delta, "b", &[])).collect::<Vec<_>>().concat();
    let many = Batch::of_records(0, RECORDS, many.into());
    let value = vec![b'x'; 30 << 20];
    let packed = [record(0, "b", &value), record(1, "b", &value)].concat();
    let packed = Batch::of_records(0, 2, packed.into()).packed(Packed::Gzip);
    for (name, partitions, batch) in [("large", 48, many), ("small", 2_000, packed)] {
        scaler.program.reset_highest_memory();
        let hostile = Hostile::start(flood(partitions, batch)).await;
        let trigger = sift_trigger(&scaler, &hostile);
        let deadline = Instant::now() + FLOODED;
        while Instant::now() < deadline {
            drop(trigger.value().await);
        }
        let grown = scaler.program.figure("VmHWM").saturating_sub(before.0);
        assert!(grown <= AT_MOST, "{name}: {grown} kB more, of {} replies", hostile.lies());
    }
    scaler.returns_to(before).await;
}

/// To each fetch the same batch, of the partition that is asked for first.
fn flood(partitions: i32, batch: Batch) -> Scenario {
    let bend = move |request: &FetchRequest, reply: &mut FetchResponse| {
        let asked = request.topics.iter().flat_map(|topic| &topic.partitions);
        let told = reply.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        for (n, (asked, told)) in asked.zip(told).enumerate() {
            (told.error_code, told.records) = (0, None);
            if n == 0 {
                told.records = Some(Batch { base: asked.fetch_offset, ..batch.clone() }.bytes());
            }
        }
    };
    Scenario::Wide(partitions, Arc::new(bend))
}

/// Replies that begin, take room that all clusters of their namespace share, and do not end.
#[tokio::test(flavor = "multi_thread")]
async fn replies_that_stall_do_not_hold_up_what_others_read() {
    const TOPIC: &str = "hostile-stalled-large";
    const MESSAGES: i64 = 40;
    // Three of them are all that one namespace may have under way.
    const LENGTH: u32 = 7 << 20;
    let scaler = Scaler::with_memory(LEAST_MEMORY, "hostile-stalled").await;
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let message = Message::of_type(TYPE).body(vec![b'x'; 100_000]);
    broker.produce_all(TOPIC, (0..MESSAGES).map(|_| message.clone())).await;
    let honest = scaler.sift.trigger(broker.bootstrap(), TOPIC, TOPIC).within("another");
    let mut stalled = Vec::new();
    for _ in 0..6 {
        let hostile = Hostile::start(Scenario::Stalled(ApiKey::Fetch, LENGTH, 100_000)).await;
        stalled.push((sift_trigger(&scaler, &hostile), hostile));
    }
    for round in 0..3 {
        let polls = join_all(stalled.iter().map(async |(trigger, _)| trigger.error().await));
        let beside = async {
            scaler.until_held(3 * (6 << 20)).await;
            // A selection that is new has all of it read again.
            let filter = format!("size > {round}");
            let asked = Instant::now();
            assert_eq!(honest.clone().with("filter", &filter).count().await, MESSAGES);
            let took = asked.elapsed();
            assert!(took < PROMPT, "round {round}: {took:?}");
        };
        // The others are held for as long as they are polled.
        tokio::join!(polls, beside);
    }
    assert!(stalled.iter().all(|(_, hostile)| hostile.lies() > 0));
}

/// Records that can be read once, and not again when another trigger needs them.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_again_is_told_to_those_who_need_it() {
    let scaler = Scaler::start("hostile-again").await;
    let damages = Arc::new(AtomicBool::new(false));
    let damaged = Arc::clone(&damages);
    let hostile = Hostile::start(records(move |bytes| {
        let mut bytes = bytes.to_vec();
        bytes[CHECKSUM] ^= u8::from(damaged.load(Ordering::Relaxed));
        bytes.into()
    }));
    let hostile = hostile.await;
    let first = sift_trigger(&scaler, &hostile);
    assert_eq!(first.count().await, Counts::Type.truth());
    damages.store(true, Ordering::Relaxed);
    let second = first.clone().named("second").with("eventType", "b");
    let asked = Instant::now();
    let (_, text) = second.error().await;
    assert!(text.contains("from offset 4 of partition"), "{text}");
    assert!(asked.elapsed() < MEASURE_TIMEOUT, "told after {:?}", asked.elapsed());
    assert_eq!(first.count().await, Counts::Type.truth(), "it needs nothing more");
    damages.store(false, Ordering::Relaxed);
    second.until(Counts::Type.truth(), |_| false).await;
}

/// What a client would have to keep whole.
#[tokio::test(flavor = "multi_thread")]
async fn giants_cost_bounded_memory() {
    let mut scaler = Scaler::start("hostile-giants").await;
    let before = scaler.figures();
    scaler.program.reset_highest_memory();
    for (kind, api) in KINDS {
        for length in [20 << 20, 200 << 20] {
            let name = format!("{kind}: {length} bytes");
            scaler.hear(vec![lie(&name, Must::Fail, Scenario::Giant(api, length))]).await;
        }
    }
    for length in [20 << 20, 200 << 20] {
        let scenario = Scenario::Giant(ApiKey::Fetch, length);
        let lie = lie_to_reader(&format!("records: {length} bytes"), Must::Fail, scenario);
        scaler.hear(vec![lie]).await;
    }
    for lie in of_bombs() {
        scaler.hear(vec![lie]).await;
    }
    let grown = scaler.program.figure("VmHWM").saturating_sub(before.0);
    assert!(grown <= AT_MOST, "{grown} kB more at one moment");
    scaler.returns_to(before).await;
}
