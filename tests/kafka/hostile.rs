//! Brokers that lie, on purpose or not. Whoever writes a trigger names its broker, so none of them
//! is trusted: a poll of theirs fails in time and in words, and neither the process nor the polls
//! of others notice.
//!
//! The scaler is a process of its own here, so that it is seen to live, and its memory and threads
//! are its own. Lies about what is asked are told to triggers that count by offsets, lies about
//! records to triggers that select a type.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::share_group_describe_response::Member;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, FetchRequest,
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, OffsetFetchRequest, OffsetFetchResponse, ProducerId,
    RequestHeader, SaslAuthenticateRequest, SaslHandshakeRequest, ShareGroupDescribeRequest,
    ShareGroupDescribeResponse, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use sift_harness::hostile::batches::{
    ATTRIBUTES, Batch, CHECKSUM, COUNT, LAST_DELTA, PRODUCER, Packed, checked, record, varint,
};
use sift_harness::hostile::{
    COMMITTED, END, Hostile, Login, NEW, NULL, OF_TYPE, PARTITIONS, PASSWORD, Scenario, TOPIC,
    TRUTH, TYPE, USER, log,
};
use sift_harness::program::Program;
use sift_harness::{Authority, Broker, Message, Sift, Trigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

const MEASURE_TIMEOUT: Duration = Duration::from_secs(3);

/// What an answer may take beyond that, on a machine where brokers are being started.
const SLACK: Duration = Duration::from_secs(3);

/// What a poll of the honest broker may take beside the others, on such a machine: less than if it
/// waited for one of them.
const PROMPT: Duration = Duration::from_secs(2);

/// How long a cluster is kept that nobody asks about.
const FORGET_AFTER: &str = "3s";

/// How many lies are told at once.
const AT_ONCE: usize = 16;

/// How much memory the process may have gained once all clusters are forgotten, in kB.
const LEFT_OVER: u64 = 48 << 10;

/// How much more memory it may have at any moment in which giants are sent to it, in kB. One reply
/// is at most some tens of MB.
const AT_MOST: u64 = 192 << 10;

/// How much memory triggers may take.
const MEMORY_LIMIT: &str = "256Mi";

/// The least that can be given.
const LEAST_MEMORY: &str = "64Mi";

/// How many threads may be left over.
const THREADS: u64 = 4;

/// How long the process may take to return to that.
const RETURN: Duration = Duration::from_secs(60);

/// What is to become of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    /// It fails.
    Fail,
    /// It fails, or says the truth: the lie is about something that does not count.
    FailOrTell,
    /// It says the truth.
    Tell,
    /// It fails, or says a number above zero: the broker may say what its own numbers are.
    FailOrCount,
    /// It says this number, as the broker does in its own way.
    Say(i64),
    /// It fails, and these words are in the error.
    Name(&'static str),
    /// It ends in time: what was bent may be a number that means something else now.
    End,
}

/// What a trigger counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Offsets,
    /// Messages of [`TYPE`].
    Type,
    /// Offsets, for a group that has committed none.
    New,
}

/// How a trigger is to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plaintext,
    /// The broker has TLS, and so has the trigger.
    Tls,
    /// The trigger wants TLS, and the broker has none.
    TlsWanted,
    Plain,
    Scram,
}

/// A lie.
struct Lie {
    name: String,
    scenario: Scenario,
    way: Way,
    counts: Counts,
    must: Must,
}

/// A scaler in a process of its own, and an honest broker that it counts on beside the others.
struct Scaler {
    program: Program,
    sift: Sift,
    honest: Trigger,
    /// Of a topic with this name, all of whose messages count.
    read: (String, Trigger),
    /// Those that have lied. They keep their ports, so that none is taken for one that was there before.
    heard: Vec<Hostile>,
    /// One at a time: what is measured is not to be the other tests' work.
    _turn: MutexGuard<'static, ()>,
}

/// Polls the honest broker without a pause, or writes to it and polls for what was written, until it is
/// told to end. Returns how often, and the slowest.
struct Beside {
    polls: JoinSet<(usize, Duration)>,
    over: watch::Sender<bool>,
}

impl Scaler {
    /// Its honest topic has this name.
    async fn start(topic: &'static str) -> Self {
        Self::with_memory(MEMORY_LIMIT, topic).await
    }

    async fn with_memory(limit: &str, topic: &'static str) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let broker = block_in_place(Broker::shared);
        broker.topic(topic).partitions(2).create().await;
        broker.produce_all(topic, (0..10).map(|n| Message::new().partition(n % 2))).await;
        broker.commit(topic, topic, [(0, 1), (1, 2)]).await;
        let timeout = format!("{}s", MEASURE_TIMEOUT.as_secs());
        let options = [
            ["--measure-timeout", timeout.as_str()],
            ["--forget-after", FORGET_AFTER],
            ["--memory-limit", limit],
        ];
        let options = options.concat();
        let program = block_in_place(|| Program::serving(&options));
        let sift = Sift::at(program.grpc).await;
        let honest = sift.trigger(broker.bootstrap(), topic, topic);
        let honest = honest.with("countFrom", "offsets").named("honest");
        assert_eq!(honest.count().await, 7);
        let read = format!("{topic}-read");
        broker.topic(&read).create().await;
        let trigger = sift.trigger(broker.bootstrap(), topic, &read).with("eventType", TYPE);
        let read = (read, trigger.named("read"));
        Self { program, sift, honest, read, heard: Vec::new(), _turn: turn }
    }

    /// Waits until triggers make it hold so many bytes.
    async fn until_held(&self, bytes: u64) {
        let deadline = Instant::now() + RETURN;
        loop {
            let (_, page) = block_in_place(|| self.program.page("/metrics"));
            let held =
                page.lines().find_map(|line| line.strip_prefix("keda_sift_memory_held_bytes "));
            let held: u64 = held.and_then(|held| held.parse().ok()).expect("a figure");
            if held >= bytes {
                return;
            }
            assert!(Instant::now() < deadline, "{held} bytes are held, and never {bytes}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Tells all of these, some at once, and judges what comes of it.
    async fn hear(&mut self, lies: Vec<Lie>) {
        let authority = Authority::new("hostile");
        let identity = authority.issue("broker", &["127.0.0.1"]);
        let beside = Beside::poll(&self.honest);
        let reading = Beside::read(&self.read);
        let (mut told, mut wrong) = (JoinSet::new(), Vec::new());
        let mut latest = VecDeque::new();
        for lie in lies {
            while told.len() >= AT_ONCE {
                let (hostile, why) = told.join_next().await.expect("a task").expect("no panic");
                self.heard.push(hostile);
                wrong.extend(why);
            }
            latest.push_back(lie.name.clone());
            if latest.len() > 2 * AT_ONCE {
                latest.pop_front();
            }
            assert!(self.program.is_running(), "the process has ended at one of {latest:?}");
            let (sift, identity, ca) = (self.sift.clone(), identity.clone(), authority.cert());
            told.spawn(async move {
                let hostile = match lie.way {
                    Way::Tls => Hostile::with_tls(lie.scenario.clone(), &identity).await,
                    _ => Hostile::start(lie.scenario.clone()).await,
                };
                let trigger = sift.trigger(&hostile.bootstrap(), "billing", TOPIC);
                let trigger = lie.counts.on(lie.way.on(trigger, &ca));
                let why = lie.judge(&trigger, &hostile).await.err();
                (hostile, why)
            });
        }
        while let Some(ended) = told.join_next().await {
            let (hostile, why) = ended.expect("no panic");
            self.heard.push(hostile);
            wrong.extend(why);
        }
        assert!(self.program.is_running(), "the process has ended at one of {latest:?}");
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        for (what, beside) in [("poll", beside), ("poll of new records", reading)] {
            let (polls, slowest) = beside.end().await;
            assert!(
                polls > 0 && slowest < PROMPT,
                "the honest broker's slowest {what}: {slowest:?}"
            );
        }
    }

    /// Waits until memory and threads are back where they were.
    async fn returns_to(&self, before: (u64, u64)) {
        let deadline = Instant::now() + RETURN;
        loop {
            let (memory, threads) = self.figures();
            let back = memory <= before.0 + LEFT_OVER && threads <= before.1 + THREADS;
            if back {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{memory} kB and {threads} threads, after {before:?}"
            );
            // The memory of what is forgotten goes as the process goes on.
            assert_eq!(self.honest.count().await, 7);
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Memory in kB, and threads.
    fn figures(&self) -> (u64, u64) {
        (self.program.figure("VmRSS"), self.program.figure("Threads"))
    }
}

impl Beside {
    fn poll(trigger: &Trigger) -> Self {
        let over = watch::Sender::new(false);
        let (trigger, ended) = (trigger.clone(), over.subscribe());
        let mut polls = JoinSet::new();
        polls.spawn(async move {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !*ended.borrow() {
                let asked = Instant::now();
                assert_eq!(trigger.count().await, 7, "the honest broker's");
                slowest = slowest.max(asked.elapsed());
                count += 1;
                sleep(Duration::from_millis(5)).await;
            }
            (count, slowest)
        });
        Self { polls, over }
    }

    /// Each time there is a record to be read and judged.
    fn read((topic, trigger): &(String, Trigger)) -> Self {
        let over = watch::Sender::new(false);
        let (topic, trigger, ended) = (topic.clone(), trigger.clone(), over.subscribe());
        let mut polls = JoinSet::new();
        polls.spawn(async move {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            let mut held = trigger.count().await;
            while count == 0 || !*ended.borrow() {
                Broker::shared().produce(&topic, Message::of_type(TYPE)).await;
                held += 1;
                let asked = Instant::now();
                assert_eq!(trigger.count().await, held, "the honest broker's");
                slowest = slowest.max(asked.elapsed());
                count += 1;
                sleep(Duration::from_millis(20)).await;
            }
            (count, slowest)
        });
        Self { polls, over }
    }

    async fn end(mut self) -> (usize, Duration) {
        self.over.send_replace(true);
        self.polls.join_next().await.expect("a task").expect("polls that held")
    }
}

impl Way {
    fn on(self, trigger: Trigger, ca: &str) -> Trigger {
        let login = |trigger: Trigger, mechanism| {
            let trigger = trigger.with("sasl", mechanism);
            trigger.with("usernameFromEnv", USER).with("passwordFromEnv", PASSWORD)
        };
        match self {
            Self::Plaintext => trigger,
            Self::Tls | Self::TlsWanted => trigger.with("tls", "enable").with("caFromEnv", ca),
            Self::Plain => login(trigger, "plaintext"),
            Self::Scram => login(trigger, "scram_sha256"),
        }
    }
}

impl Counts {
    fn on(self, trigger: Trigger) -> Trigger {
        match self {
            Self::Offsets => trigger.with("countFrom", "offsets"),
            Self::Type => trigger.with("eventType", TYPE),
            Self::New => Self::Offsets.on(trigger).with("consumerGroup", NEW),
        }
    }

    /// What waits in truth.
    fn truth(self) -> i64 {
        match self {
            Self::Offsets => TRUTH,
            Self::Type => OF_TYPE * i64::from(PARTITIONS),
            Self::New => END * i64::from(PARTITIONS),
        }
    }

    /// Whether this is the truth, or a lower bound of it where there may be one.
    fn is_true(self, value: i64) -> bool {
        value == self.truth() || self == Self::Type && (1..self.truth()).contains(&value)
    }
}

impl Lie {
    /// Polls twice: an error is not to make the next poll believe what this one did not.
    async fn judge(&self, trigger: &Trigger, hostile: &Hostile) -> Result<(), String> {
        let polls = if self.must == Must::End { 1 } else { 2 };
        let mut ran_out = false;
        let mut last = String::new();
        for poll in 1..=polls {
            let asked = Instant::now();
            let answer = trigger.value().await;
            let took = asked.elapsed();
            ran_out |= took >= MEASURE_TIMEOUT;
            last = format!("{answer:?} after {took:?}");
            let wrong =
                |what: &str| Err(format!("{}, poll {poll}: {what} after {took:?}", self.name));
            if took > MEASURE_TIMEOUT + SLACK {
                return wrong("late");
            }
            match (&answer, self.must) {
                (Ok(value), Must::Tell) if *value == self.counts.truth() => {}
                (Ok(value), Must::FailOrTell) if self.counts.is_true(*value) => {}
                (Ok(value), Must::Say(number)) if *value == number => {}
                (_, Must::End) => {}
                (Ok(value), Must::FailOrCount) if *value > 0 => {}
                (Ok(value), _) => return wrong(&format!("counted {value}")),
                (Err(status), Must::Tell | Must::Say(_)) => return wrong(&status.to_string()),
                (Err(status), Must::Name(words)) if !status.message().contains(words) => {
                    return wrong(&status.to_string());
                }
                (Err(_), _) => {}
            }
            if let Err(status) = answer {
                let text = status.message();
                let expected = matches!(
                    status.code(),
                    Code::Unavailable
                        | Code::NotFound
                        | Code::FailedPrecondition
                        | Code::PermissionDenied
                        | Code::Unauthenticated
                );
                if !expected || text.len() > 900 || text.chars().any(char::is_control) {
                    return wrong(&format!("{status:?}"));
                }
            }
        }
        match (hostile.connections(), hostile.lies(), &self.scenario) {
            (0, _, _) => Err(format!("{}: nobody came", self.name)),
            (_, 0, Scenario::Honest) | (_, 1.., _) => Ok(()),
            // On a busy machine a poll may run out of time before it comes to it.
            (_, 0, _) if self.must == Must::End && ran_out => Ok(()),
            (_, 0, _) => Err(format!("{}: was never told: {last}", self.name)),
        }
    }
}

fn lie(name: &str, must: Must, scenario: Scenario) -> Lie {
    lie_on(Way::Plaintext, name, must, scenario)
}

fn lie_on(way: Way, name: &str, must: Must, scenario: Scenario) -> Lie {
    Lie { name: name.to_owned(), scenario, way, counts: Counts::Offsets, must }
}

/// A lie to a trigger that selects by type.
fn lie_to_reader(name: &str, must: Must, scenario: Scenario) -> Lie {
    Lie { counts: Counts::Type, ..lie(name, must, scenario) }
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic_name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// Bends what is said of the topic, where something is: a client may ask for the brokers alone.
fn topic(reply: &mut MetadataResponse, bend: impl Fn(&mut MetadataResponseTopic)) {
    reply.topics.iter_mut().take(1).for_each(bend);
}

/// Likewise of its partitions.
fn partitions(reply: &mut MetadataResponse, bend: impl Fn(&mut Vec<MetadataResponsePartition>)) {
    topic(reply, |topic| bend(&mut topic.partitions));
}

/// So many brokers, all at the address of the first.
fn brokers(reply: &mut MetadataResponse, count: i32) {
    let first = reply.brokers[0].clone();
    reply.brokers.extend(
        (2..=count).map(|id| MetadataResponseBroker::clone(&first).with_node_id(BrokerId(id))),
    );
}

/// Sets the error of every partition of the start and end offsets.
fn list_error(reply: &mut ListOffsetsResponse, code: i16) {
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = code;
    }
}

fn list_offset(reply: &mut ListOffsetsResponse, offset: impl Fn(i64) -> i64) {
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.offset = offset(partition.offset);
    }
}

/// Does the same to the offsets of either form of the reply.
fn committed(reply: &mut OffsetFetchResponse, offset: i64, code: i16) {
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        (partition.committed_offset, partition.error_code) = (offset, code);
    }
    let groups = reply.groups.iter_mut().flat_map(|group| &mut group.topics);
    for partition in groups.flat_map(|topic| &mut topic.partitions) {
        (partition.committed_offset, partition.error_code) = (offset, code);
    }
}

/// Sets where the coordinator is, in either form of the reply.
fn coordinator(
    reply: &mut FindCoordinatorResponse,
    id: i32,
    host: &'static str,
    port: i32,
    code: i16,
) {
    (reply.node_id, reply.host, reply.port, reply.error_code) =
        (BrokerId(id), text(host), port, code);
    for it in &mut reply.coordinators {
        (it.node_id, it.host, it.port, it.error_code) = (BrokerId(id), text(host), port, code);
    }
}

/// Replaces the length before a reply.
fn with_length(mut frame: Vec<u8>, length: u32) -> Vec<u8> {
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Adds to the correlation id of a reply.
fn with_correlation(mut frame: Vec<u8>, add: u8) -> Vec<u8> {
    frame[7] = frame[7].wrapping_add(add);
    frame
}

/// Adds bytes to a reply, and to its length.
fn with_more(mut frame: Vec<u8>, more: &[u8]) -> Vec<u8> {
    frame.extend_from_slice(more);
    let length = frame.len() as u32 - 4;
    with_length(frame, length)
}

/// Names of 32,000 bytes.
fn long_names() -> impl Iterator<Item = TopicName> {
    (0..400).map(|n| topic_name(&format!("{n:032000}")))
}

/// Every kind of reply that a plain poll by offsets may need.
const KINDS: [(&str, ApiKey); 5] = [
    ("versions", ApiKey::ApiVersions),
    ("metadata", ApiKey::Metadata),
    ("offsets", ApiKey::ListOffsets),
    ("coordinator", ApiKey::FindCoordinator),
    ("committed", ApiKey::OffsetFetch),
];

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lie_the_count_is_true() {
    let mut scaler = Scaler::start("hostile-honest").await;
    let ways = [Way::Plaintext, Way::Tls, Way::Plain, Way::Scram];
    let honest = ways.map(|way| lie_on(way, &format!("{way:?}"), Must::Tell, Scenario::Honest));
    let before = scaler.figures();
    scaler.hear(honest.into()).await;
    scaler.returns_to(before).await;
}

fn of_metadata() -> Vec<Lie> {
    use Must::{Fail, FailOrCount, FailOrTell};
    let of =
        |name: &str, must, bend| lie(&format!("metadata: {name}"), must, Scenario::Metadata(bend));
    vec![
        of("a broker without a host", Fail, |it| it.brokers[0].host = text(NULL)),
        of("a broker with an empty host", Fail, |it| it.brokers[0].host = text("")),
        of("a host with a line break", Fail, |it| it.brokers[0].host = text("a\r\nb\u{1b}[31m")),
        of("a host that is a path", Fail, |it| it.brokers[0].host = text("../../etc/passwd")),
        of("port 0", Fail, |it| it.brokers[0].port = 0),
        of("port 70000", Fail, |it| it.brokers[0].port = 70_000),
        of("port −1", Fail, |it| it.brokers[0].port = -1),
        of("a host that refuses", Fail, |it| it.brokers[0].port = 1),
        of("a host that nobody answers at", Fail, |it| it.brokers[0].host = text("192.0.2.1")),
        of("a host without an address", Fail, |it| it.brokers[0].host = text("nowhere.invalid")),
        of("a host of 30,000 bytes", Fail, |it| {
            it.brokers[0].host = StrBytes::from_string("h".repeat(30_000));
        }),
        of("no brokers", Fail, |it| it.brokers.clear()),
        of("2,000 brokers", FailOrTell, |it| brokers(it, 2_000)),
        of("100,000 brokers", FailOrTell, |it| brokers(it, 100_000)),
        of("a broker's id twice", FailOrTell, |it| {
            let mut again = it.brokers[0].clone();
            again.port = 1;
            it.brokers.push(again);
        }),
        of("a broker's id is −1", Fail, |it| it.brokers[0].node_id = BrokerId(-1)),
        of("a leader that is no broker", Fail, |it| {
            partitions(it, |all| all[1].leader_id = BrokerId(99));
        }),
        of("a leader of −7", Fail, |it| partitions(it, |all| all[1].leader_id = BrokerId(-7))),
        of("a leader epoch of −9", FailOrTell, |it| {
            partitions(it, |all| all[0].leader_epoch = -9);
        }),
        of("a topic without a name", Fail, |it| {
            topic(it, |topic| topic.name = Some(topic_name(NULL)));
        }),
        of("a topic with another name", Fail, |it| {
            topic(it, |topic| topic.name = Some(topic_name("others")));
        }),
        of("no topic", Fail, |it| it.topics.clear()),
        of("the topic twice", FailOrTell, |it| it.topics.extend(it.topics.first().cloned())),
        of("the topic twice, differently", FailOrTell, |it| {
            it.topics.extend(it.topics.first().cloned());
            if let Some(last) = it.topics.last_mut() {
                last.partitions.pop();
            }
        }),
        of("no partitions", Fail, |it| partitions(it, Vec::clear)),
        of("a partition of −1", Fail, |it| partitions(it, |all| all[1].partition_index = -1)),
        of("a partition of i32::MIN", Fail, |it| {
            partitions(it, |all| all[1].partition_index = i32::MIN);
        }),
        of("a partition of i32::MAX", Fail, |it| {
            partitions(it, |all| all[1].partition_index = i32::MAX);
        }),
        of("a partition twice", Fail, |it| partitions(it, |all| all[1].partition_index = 0)),
        of("a gap in the partitions", Fail, |it| {
            partitions(it, |all| all[2].partition_index = 3);
        }),
        // It may have as many, and say what waits in each.
        of("300,000 partitions", FailOrCount, |it| {
            partitions(it, |all| {
                let first = all[0].clone();
                all.extend((PARTITIONS..300_000).map(|n| first.clone().with_partition_index(n)));
            });
        }),
        of("a million replicas", FailOrTell, |it| {
            partitions(it, |all| all[0].replica_nodes = (0..1_000_000).map(BrokerId).collect());
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", FailOrTell, |it| it.throttle_time_ms = i32::MIN),
        of("error 999 of a topic", Fail, |it| topic(it, |topic| topic.error_code = 999)),
        of("error −32768 of a topic", Fail, |it| topic(it, |topic| topic.error_code = i16::MIN)),
        of("error −1 of a topic", Fail, |it| topic(it, |topic| topic.error_code = -1)),
        of("error 999 of a partition", FailOrTell, |it| {
            partitions(it, |all| all[0].error_code = 999);
        }),
        of("no leader, for ever", Fail, |it| {
            partitions(it, |all| (all[0].leader_id, all[0].error_code) = (BrokerId(-1), 5));
        }),
    ]
}

fn of_offsets() -> Vec<Lie> {
    use Must::{Fail, FailOrCount, FailOrTell};
    let of = |name: &str, must, bend| {
        lie(&format!("offsets: {name}"), must, Scenario::ListOffsets(bend))
    };
    vec![
        of("no topic", Fail, |it| it.topics.clear()),
        of("a topic without a name", Fail, |it| it.topics[0].name = topic_name(NULL)),
        of("another topic", Fail, |it| it.topics[0].name = topic_name("others")),
        of("400 more topics with long names", FailOrTell, |it| {
            let more = long_names().map(|name| it.topics[0].clone().with_name(name));
            it.topics.splice(0..0, more.collect::<Vec<_>>());
        }),
        of("the topic a thousand times", FailOrTell, |it| {
            let more = vec![it.topics[0].clone(); 1_000];
            it.topics.extend(more);
        }),
        of("no partitions", Fail, |it| it.topics[0].partitions.clear()),
        of("a partition is missing", Fail, |it| drop(it.topics[0].partitions.pop())),
        of("a partition of −1", Fail, |it| it.topics[0].partitions[0].partition_index = -1),
        of("a partition that was not asked for", Fail, |it| {
            it.topics[0].partitions[0].partition_index = 77;
        }),
        of("a partition twice, differently", FailOrTell, |it| {
            let mut again = it.topics[0].partitions[0].clone();
            again.offset += 5;
            it.topics[0].partitions.push(again);
        }),
        of("offsets of −1", Fail, |it| list_offset(it, |_| -1)),
        of("offsets of −2", Fail, |it| list_offset(it, |_| -2)),
        of("offsets of i64::MIN", Fail, |it| list_offset(it, |_| i64::MIN)),
        of("ends of i64::MAX", FailOrCount, |it| {
            list_offset(it, |offset| if offset > 0 { i64::MAX } else { 0 });
        }),
        of("all are i64::MAX", Fail, |it| list_offset(it, |_| i64::MAX)),
        of("the start is after the end", Fail, |it| {
            list_offset(it, |offset| if offset > 0 { 1 } else { 20 });
        }),
        of("error 999", Fail, |it| list_error(it, 999)),
        of("error −32768", Fail, |it| list_error(it, i16::MIN)),
        of("never the leader", Fail, |it| list_error(it, 6)),
        of("always an old epoch", Fail, |it| list_error(it, 74)),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", FailOrTell, |it| it.throttle_time_ms = i32::MIN),
    ]
}

fn of_committed() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    let of = |name: &str, must, bend| {
        lie(&format!("committed: {name}"), must, Scenario::OffsetFetch(bend))
    };
    vec![
        of("nothing", Fail, |it| {
            it.topics.clear();
            it.groups.clear();
        }),
        of("another group", Fail, |it| {
            for group in &mut it.groups {
                group.group_id.0 = text("others");
            }
            // The older form names no group.
            it.topics.clear();
        }),
        of("a group without a name", Fail, |it| {
            for group in &mut it.groups {
                group.group_id.0 = text(NULL);
            }
            it.topics.clear();
        }),
        of("400 more topics with long names", FailOrTell, |it| {
            for topics in it.groups.iter_mut().map(|group| &mut group.topics) {
                let more = long_names().map(|name| topics[0].clone().with_name(name));
                topics.splice(0..0, more.collect::<Vec<_>>());
            }
        }),
        of("a partition is missing", Fail, |it| {
            for topic in it.groups.iter_mut().flat_map(|group| &mut group.topics) {
                topic.partitions.pop();
            }
            for topic in &mut it.topics {
                topic.partitions.pop();
            }
        }),
        of("a partition twice, differently", FailOrTell, |it| {
            for topic in it.groups.iter_mut().flat_map(|group| &mut group.topics) {
                let again = topic.partitions[0].clone().with_committed_offset(9);
                topic.partitions.push(again);
            }
            for topic in &mut it.topics {
                let again = topic.partitions[0].clone().with_committed_offset(9);
                topic.partitions.push(again);
            }
        }),
        of("offsets of −2", Fail, |it| committed(it, -2, 0)),
        of("offsets of i64::MIN", Fail, |it| committed(it, i64::MIN, 0)),
        of("error 999", Fail, |it| committed(it, 4, 999)),
        of("error −32768", Fail, |it| committed(it, 4, i16::MIN)),
        of("never stable", Fail, |it| committed(it, -1, 88)),
        of("error 999 of the group", Fail, |it| {
            it.error_code = 999;
            it.groups.iter_mut().for_each(|group| group.error_code = 999);
        }),
        of("never the coordinator", Fail, |it| {
            it.error_code = 16;
            it.groups.iter_mut().for_each(|group| group.error_code = 16);
        }),
        of("the coordinator always loads", Fail, |it| {
            it.error_code = 14;
            it.groups.iter_mut().for_each(|group| group.error_code = 14);
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", FailOrTell, |it| it.throttle_time_ms = i32::MIN),
    ]
}

fn of_coordinators() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    let of = |name: &str, must, bend| {
        lie(&format!("coordinator: {name}"), must, Scenario::Coordinator(bend))
    };
    vec![
        of("none at all", Fail, |it| {
            it.coordinators.clear();
            coordinator(it, -1, "", -1, 0);
        }),
        of("−1 at nowhere", Fail, |it| coordinator(it, -1, "", -1, 0)),
        of("an empty host", FailOrTell, |it| coordinator(it, 1, "", 9_092, 0)),
        of("a null host", FailOrTell, |it| coordinator(it, 1, NULL, 9_092, 0)),
        of("a broker that nobody knows", Fail, |it| coordinator(it, 99, "127.0.0.1", 1, 0)),
        of("port 70000", FailOrTell, |it| coordinator(it, 1, "127.0.0.1", 70_000, 0)),
        of("a host that refuses", FailOrTell, |it| coordinator(it, 1, "127.0.0.1", 1, 0)),
        of("a host with a line break", FailOrTell, |it| coordinator(it, 1, "a\nb", 1, 0)),
        of("error 999", Fail, |it| coordinator(it, -1, "", -1, 999)),
        of("error −32768", Fail, |it| coordinator(it, -1, "", -1, i16::MIN)),
        of("not yet, for ever", Fail, |it| coordinator(it, -1, "", -1, 15)),
        of("the key of another group", FailOrTell, |it| {
            it.coordinators.iter_mut().for_each(|it| it.key = text("others"));
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
    ]
}

/// What is said of whether a group is a share group: that it is makes the poll fail, and what cannot be
/// read is as if it were not said.
fn of_share_groups() -> Vec<Lie> {
    use Must::{Fail, FailOrTell, Name, Tell};
    fn error(reply: &mut ShareGroupDescribeResponse, code: i16) {
        reply.groups.iter_mut().for_each(|group| group.error_code = code);
    }
    let of = |name: &str, must, bend| {
        let lie = lie(&format!("share groups: {name}"), must, Scenario::ShareGroups(bend));
        Lie { counts: Counts::New, ..lie }
    };
    let mut lies = vec![
        of("it is one", Name("group new is a share group"), |it| error(it, 0)),
        of("it is one of 100,000 members", Name("is a share group"), |it| {
            it.groups[0].error_code = 0;
            it.groups[0].members = vec![Member::default(); 100_000];
        }),
        of("it is one whose topics are hidden", Name("is a share group"), |it| error(it, 29)),
        of("it is hidden", Tell, |it| error(it, 30)),
        of("there are none", Tell, |it| error(it, 35)),
        of("error 999", Tell, |it| error(it, 999)),
        of("error −32768", Tell, |it| error(it, i16::MIN)),
        of("never the coordinator", Fail, |it| error(it, 16)),
        of("the coordinator always loads", Fail, |it| error(it, 14)),
        of("nothing", Fail, |it| it.groups.clear()),
        of("another group", Tell, |it| {
            it.groups[0].error_code = 0;
            it.groups[0].group_id.0 = text("others");
        }),
        of("the group twice, differently", Tell, |it| {
            let again = it.groups[0].clone().with_error_code(0);
            it.groups.push(again);
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", Tell, |it| it.throttle_time_ms = i32::MIN),
    ];
    let frames = of_frames_of("share groups", ApiKey::ShareGroupDescribe, Counts::New);
    lies.extend(frames.into_iter().map(|lie| match lie.must {
        Fail => Lie { must: FailOrTell, ..lie },
        _ => lie,
    }));
    lies
}

fn of_versions() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    fn every(reply: &mut ApiVersionsResponse, min: i16, max: i16) {
        for it in &mut reply.api_keys {
            (it.min_version, it.max_version) = (min, max);
        }
    }
    let of =
        |name: &str, must, bend| lie(&format!("versions: {name}"), must, Scenario::Versions(bend));
    vec![
        of("none", Fail, |it| it.api_keys.clear()),
        of("no ListOffsets", Fail, |it| it.api_keys.retain(|it| it.api_key != 2)),
        of("only ones to come", Fail, |it| every(it, 200, 300)),
        of("the lowest is above the highest", Fail, |it| every(it, 9, 1)),
        of("negative ones", Fail, |it| every(it, -9, -1)),
        of("everything there is", FailOrTell, |it| {
            let more = it.api_keys[0].clone();
            let every = (i16::MIN..=i16::MAX).filter(|key| !(0..100).contains(key));
            it.api_keys.extend(every.map(|key| more.clone().with_api_key(key)));
        }),
        of("each twice", FailOrTell, |it| {
            let again = it.api_keys.clone();
            it.api_keys.extend(again);
        }),
        of("error 999", Fail, |it| it.error_code = 999),
        of("unsupported, for ever", Fail, |it| it.error_code = 35),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
    ]
}

/// What can be wrong with the replies of any kind.
fn of_frames() -> Vec<Lie> {
    KINDS.into_iter().flat_map(|(kind, api)| of_frames_of(kind, api, Counts::Offsets)).collect()
}

fn of_frames_of(kind: &str, api: ApiKey, counts: Counts) -> Vec<Lie> {
    use Must::{End, Fail, FailOrTell};
    let mut lies = Vec::new();
    {
        let mut of = |name: &str, must, scenario| {
            let lie = lie(&format!("{kind}: {name}"), must, scenario);
            lies.push(Lie { counts, ..lie });
        };
        let frames = |bend| Scenario::Frames(api, bend);
        of("silence", Fail, Scenario::SilentAt(api));
        of("the connection closed", Fail, Scenario::ClosedAt(api));
        of("a byte a second", Fail, Scenario::Trickled(api));
        of("a reply that stalls", Fail, Scenario::Stalled(api, 15 << 20, 100_000));
        of("a length of 2^31−1", Fail, Scenario::Announced(api, i32::MAX as u32));
        of("a length of 1 GB", Fail, Scenario::Announced(api, 1 << 30));
        of("a negative length", Fail, Scenario::Announced(api, u32::MAX));
        of("a length of 0", Fail, frames(|frame| with_length(frame, 0)));
        of("a length of 3", Fail, frames(|frame| with_length(frame, 3)));
        of(
            "a length too long",
            FailOrTell,
            frames(|frame| {
                let length = frame.len() as u32;
                with_length(frame, length + 10)
            }),
        );
        of(
            "a length too short",
            Fail,
            frames(|frame| {
                let length = frame.len() as u32;
                with_length(frame, length - 5)
            }),
        );
        of("another correlation id", Fail, frames(|frame| with_correlation(frame, 1)));
        of("trailing bytes", FailOrTell, frames(|frame| with_more(frame, &[0xff; 100])));
        of(
            "half of a reply",
            Fail,
            frames(|mut frame| {
                frame.truncate(frame.len() / 2);
                let length = frame.len() as u32 - 4;
                with_length(frame, length)
            }),
        );
        of("a reply too many", FailOrTell, frames(|frame| [frame.clone(), frame].concat()));
        // The next reply, as well as it can be told: a broker may say what its own numbers are.
        of(
            "a reply to come",
            End,
            frames(|frame| [frame.clone(), with_correlation(frame, 1)].concat()),
        );
        of("an empty reply", Fail, frames(|frame| with_length(frame[..8].to_vec(), 4)));
        of("replies out of order", FailOrTell, Scenario::Swapped(api));
    }
    lies
}

fn of_connections() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
    const GARBAGE: &[u8] = &[0xa5; 4_096];
    // A reply to ApiVersions that has not been asked for: its length, its id, and no error.
    const UNASKED: &[u8] = &[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let greetings: [(&str, &[u8]); 4] = [
        ("an HTTP answer", HTTP),
        ("a TLS alert", ALERT),
        ("garbage", GARBAGE),
        ("a reply unasked", UNASKED),
    ];
    let mut lies = vec![
        lie("closed at once", Fail, Scenario::Closed),
        lie("silent", Fail, Scenario::Silent),
        lie_on(Way::TlsWanted, "TLS wanted: closed at once", Fail, Scenario::Closed),
        lie_on(Way::TlsWanted, "TLS wanted: silent", Fail, Scenario::Silent),
        lie_on(Way::TlsWanted, "TLS wanted: a broker without", Fail, Scenario::Honest),
        lie_on(Way::Tls, "TLS: closed within", Fail, Scenario::Closed),
        lie_on(Way::Tls, "TLS: silent within", Fail, Scenario::Silent),
        lie("a reply unasked, then honest", FailOrTell, Scenario::GreetingFirst(UNASKED)),
    ];
    for (name, bytes) in greetings {
        for way in [Way::Plaintext, Way::TlsWanted, Way::Tls] {
            lies.push(lie_on(way, &format!("{way:?}: {name}"), Fail, Scenario::Greeting(bytes)));
        }
    }
    lies
}

fn of_logins() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    let rows = [
        ("other mechanisms", Fail, Login::OtherMechanisms),
        ("success at once", Fail, Login::SuccessAtOnce),
        ("the last word first", Fail, Login::LastFirst),
        ("2^31−1 rounds", Fail, Login::Iterations("2147483647")),
        ("2^64 rounds", Fail, Login::Iterations("18446744073709551616")),
        ("one round", Fail, Login::Iterations("1")),
        ("no round", Fail, Login::Iterations("0")),
        ("−1 rounds", Fail, Login::Iterations("-1")),
        ("many rounds in many digits", Fail, Login::Iterations("4096.5e9")),
        ("a nonce that is not ours", Fail, Login::OtherNonce),
        ("a wrong signature", Fail, Login::WrongSignature),
        ("no signature", Fail, Login::NoSignature),
        ("one challenge more", Fail, Login::Challenges),
        ("a refusal inside", Fail, Login::RefusesInside),
        ("a refusal at length", Fail, Login::RefusesAtLength),
        ("no text", Fail, Login::NoText),
        ("holds for 1 ms", FailOrTell, Login::Lifetime(1)),
        ("holds for i64::MAX", FailOrTell, Login::Lifetime(i64::MAX)),
        ("holds for less than nothing", FailOrTell, Login::Lifetime(i64::MIN)),
    ];
    let scram = rows.map(|(name, must, login)| {
        lie_on(Way::Scram, &format!("SCRAM: {name}"), must, Scenario::Login(login))
    });
    let plain = [
        ("a challenge", FailOrTell, Login::LastFirst),
        ("a refusal at length", Fail, Login::RefusesAtLength),
        ("other mechanisms", Fail, Login::OtherMechanisms),
        ("holds for 1 ms", FailOrTell, Login::Lifetime(1)),
    ];
    let plain = plain.map(|(name, must, login)| {
        lie_on(Way::Plain, &format!("PLAIN: {name}"), must, Scenario::Login(login))
    });
    let steps = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
    let steps = steps.into_iter().flat_map(|api| {
        [
            ("silence", Scenario::SilentAt(api)),
            ("the connection closed", Scenario::ClosedAt(api)),
            ("a byte a second", Scenario::Trickled(api)),
            ("a length of 2^31−1", Scenario::Announced(api, i32::MAX as u32)),
            ("another correlation id", Scenario::Frames(api, |frame| with_correlation(frame, 1))),
            ("an empty reply", Scenario::Frames(api, |frame| with_length(frame[..8].to_vec(), 4))),
        ]
        .map(|(name, scenario)| lie_on(Way::Scram, &format!("{api:?}: {name}"), Fail, scenario))
    });
    scram.into_iter().chain(plain).chain(steps).collect()
}

fn of_fetch_frames() -> Vec<Lie> {
    of_frames_of("records", ApiKey::Fetch, Counts::Type)
}

/// Bends what is said of each partition.
fn each(bend: impl Fn(&FetchPartition, &mut PartitionData) + Send + Sync + 'static) -> Scenario {
    Scenario::Fetch(Arc::new(move |request, reply| {
        for (asked, told) in request.topics.iter().zip(&mut reply.responses) {
            for (asked, told) in asked.partitions.iter().zip(&mut told.partitions) {
                bend(asked, told);
            }
        }
    }))
}

/// Bends the records of each partition, where there are some.
fn records(bend: impl Fn(Bytes) -> Bytes + Send + Sync + 'static) -> Scenario {
    each(move |_, told| {
        if let Some(bytes) = told.records.take_if(|bytes| !bytes.is_empty()) {
            told.records = Some(bend(bytes));
        }
    })
}

/// Bends the reply as a whole.
fn whole(bend: impl Fn(&mut FetchResponse) + Send + Sync + 'static) -> Scenario {
    Scenario::Fetch(Arc::new(move |_, reply| bend(reply)))
}

/// Overwrites what is at a place of the first batch, whose checksum is made to fit again.
fn overwritten(at: usize, with: &'static [u8]) -> Scenario {
    records(move |bytes| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        checked(bytes)
    })
}

/// Says that the first partition holds these bytes from where the group has committed on, and then
/// nothing.
fn holding(bytes: &Bytes) -> Scenario {
    let bytes = bytes.clone();
    each(move |asked, told| {
        if asked.partition == 0 {
            let is_there = asked.fetch_offset <= COMMITTED;
            told.records = Some(if is_there { bytes.clone() } else { Bytes::new() });
        }
    })
}

/// What can be wrong around the records.
fn of_fetches() -> Vec<Lie> {
    use Must::{Fail, FailOrTell, Name, Say, Tell};
    fn partitions(reply: &mut FetchResponse) -> &mut Vec<PartitionData> {
        &mut reply.responses[0].partitions
    }
    let of = |name: &str, must, scenario| lie_to_reader(&format!("fetch: {name}"), must, scenario);
    let errors: [(i16, Must); 16] = [
        (i16::MIN, Fail),
        (-1, Fail),
        (1, Fail),
        (2, Fail),
        (3, Fail),
        (5, Fail),
        (6, Fail),
        (9, Fail),
        (29, Name("TOPIC_AUTHORIZATION_FAILED")),
        (56, Fail),
        (74, Fail),
        (76, Fail),
        (78, Fail),
        (100, Fail),
        (103, Fail),
        (999, Fail),
    ];
    let mut lies: Vec<Lie> = errors
        .into_iter()
        .flat_map(|(code, must)| {
            let partition = each(move |_, told| told.error_code = code);
            let empty = each(move |_, told| {
                (told.error_code, told.records) = (code, None);
                (told.high_watermark, told.last_stable_offset) = (-1, -1);
            });
            let all = whole(move |reply| reply.error_code = code);
            let must_all = if code == 29 { Fail } else { must };
            [
                of(&format!("error {code} beside records"), must, partition),
                of(&format!("error {code}"), must, empty),
                of(&format!("error {code} of all"), must_all, all),
            ]
        })
        .collect();
    let epoch = |epoch, end| EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
    lies.extend([
        of(
            "no records, at once, for ever",
            Fail,
            each(|_, told| told.records = Some(Bytes::new())),
        ),
        of("null for records, at once, for ever", Fail, each(|_, told| told.records = None)),
        of("no topic", Fail, whole(|reply| reply.responses.clear())),
        of("no partition", Fail, whole(|reply| partitions(reply).clear())),
        // The others count.
        of("a partition is missing", FailOrTell, whole(|reply| drop(partitions(reply).pop()))),
        of(
            "a partition that was not asked for",
            Fail,
            whole(|reply| {
                partitions(reply)[0].partition_index = 77;
            }),
        ),
        of("a partition of −1", Fail, whole(|reply| partitions(reply)[0].partition_index = -1)),
        of(
            "a partition twice",
            Fail,
            whole(|reply| {
                let again = partitions(reply)[0].clone();
                partitions(reply).push(again);
            }),
        ),
        of(
            "the topic in two parts",
            Tell,
            whole(|reply| {
                let mut part = reply.responses[0].clone();
                part.partitions = partitions(reply).split_off(1);
                reply.responses.push(part);
            }),
        ),
        of(
            "another topic",
            Fail,
            whole(|reply| {
                reply.responses[0].topic_id = uuid::Uuid::from_u128(7);
            }),
        ),
        of("a session", Tell, whole(|reply| reply.session_id = 7)),
        of("another session each time", Tell, {
            let last = AtomicI32::new(0);
            whole(move |reply| reply.session_id = 1 + last.fetch_add(1, Ordering::Relaxed))
        }),
        of("a session that ends at once", Tell, {
            let last = AtomicI32::new(0);
            whole(move |reply| {
                reply.session_id = 7;
                if last.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                    (reply.error_code, reply.responses) = (70, Vec::new());
                }
            })
        }),
        of("throttled for 24 days", FailOrTell, whole(|reply| reply.throttle_time_ms = i32::MAX)),
        of(
            "throttled for less than nothing",
            FailOrTell,
            whole(|reply| {
                reply.throttle_time_ms = i32::MIN;
            }),
        ),
        of(
            "20,000 brokers",
            FailOrTell,
            whole(|reply| {
                let broker = |id| {
                    NodeEndpoint::default().with_node_id(BrokerId(id)).with_host(text(
                        "a
b",
                    ))
                };
                reply.node_endpoints = (0..20_000).map(broker).collect();
            }),
        ),
        of(
            "another replica is preferred",
            Tell,
            each(|_, told| {
                told.preferred_read_replica = BrokerId(99);
            }),
        ),
        of(
            "the leader is elsewhere",
            Fail,
            each(|_, told| {
                let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(99));
                (told.error_code, told.current_leader) = (6, leader.with_leader_epoch(i32::MAX));
            }),
        ),
        of("a log that was cut, beside records", Fail, {
            each(move |_, told| told.diverging_epoch = epoch(0, 3))
        }),
        of("a log that was cut to i64::MAX", Fail, {
            each(move |_, told| {
                (told.diverging_epoch, told.records) = (epoch(i32::MAX, i64::MAX), None);
            })
        }),
        of(
            "watermarks of i64::MIN",
            FailOrTell,
            each(|_, told| {
                (told.high_watermark, told.last_stable_offset) = (i64::MIN, i64::MIN);
                told.log_start_offset = i64::MIN;
            }),
        ),
        of(
            "watermarks of i64::MAX",
            FailOrTell,
            each(|_, told| {
                (told.high_watermark, told.last_stable_offset) = (i64::MAX, i64::MAX);
                told.log_start_offset = i64::MAX;
            }),
        ),
        of(
            "nothing said of transactions",
            Tell,
            each(|_, told| {
                told.aborted_transactions = None;
            }),
        ),
        of(
            "300,000 aborted transactions",
            FailOrTell,
            each(|_, told| {
                let one = |n| {
                    AbortedTransaction::default()
                        .with_producer_id(ProducerId(n))
                        .with_first_offset(n)
                };
                told.aborted_transactions = Some((0..300_000).map(one).collect());
            }),
        ),
        of(
            "an aborted transaction from −1 on",
            Fail,
            each(|_, told| {
                let one = AbortedTransaction::default().with_first_offset(-1);
                told.aborted_transactions = Some(vec![one]);
            }),
        ),
        of(
            "all was aborted",
            Say(0),
            each(|asked, told| {
                let mut batch = Batch::of_types(COMMITTED, [TYPE; (END - COMMITTED) as usize]);
                (batch.attributes, batch.producer) = (0x10, 7);
                if asked.fetch_offset == COMMITTED {
                    told.records = Some(batch.bytes());
                }
                let one = AbortedTransaction::default().with_producer_id(ProducerId(7));
                told.aborted_transactions = Some(vec![one.with_first_offset(0)]);
            }),
        ),
    ]);
    lies
}

/// What can be wrong with a batch whose checksum fits, and with one whose does not.
fn of_batches() -> Vec<Lie> {
    use Must::{Fail, FailOrCount, FailOrTell, Name, Tell};
    /// What an error about a batch says before what is wrong with it.
    const HERE: Must = Name(": from offset ");
    let of = |name: &str, must, scenario| lie_to_reader(&format!("batch: {name}"), must, scenario);
    let at =
        |name: &str, must, at: usize, with: &'static [u8]| of(name, must, overwritten(at, with));
    let joined = |first: Bytes, second: Bytes| Bytes::from([first, second].concat());
    let typed = |base| Batch::of_types(base, [TYPE, "b", TYPE, "b", TYPE, "b"]).bytes();
    vec![
        // Offset and length are not covered by the checksum.
        at("from offset −1 on", HERE, 0, &[0xff; 8]),
        at("from offset i64::MIN on", HERE, 0, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        at("from offset i64::MAX on", HERE, 0, &[0x7f, 255, 255, 255, 255, 255, 255, 255]),
        at("from offset 2^61 on", FailOrTell, 0, &[0x20, 0, 0, 0, 0, 0, 0, 0]),
        at("from offset 100 on", FailOrTell, 0, &[0, 0, 0, 0, 0, 0, 0, 100]),
        at("from offset 1 on, again and again", FailOrTell, 0, &[0, 0, 0, 0, 0, 0, 0, 1]),
        at("a length of 0", HERE, 8, &[0; 4]),
        at("a length of −1", HERE, 8, &[0xff; 4]),
        at("a length of i32::MIN", HERE, 8, &[0x80, 0, 0, 0]),
        at("a length of i32::MAX", HERE, 8, &[0x7f, 0xff, 0xff, 0xff]),
        at("a length of 16 MiB", HERE, 8, &[1, 0, 0, 0]),
        at("a length of 1 MB", Fail, 8, &[0, 0xf, 0, 0]),
        at("a length of 48", HERE, 8, &[0, 0, 0, 48]),
        at("an epoch of −5", Tell, 12, &[0xff, 0xff, 0xff, 0xfb]),
        at("an epoch of i32::MAX", FailOrTell, 12, &[0x7f, 0xff, 0xff, 0xff]),
        at("format 3", HERE, 16, &[3]),
        at("format −1", HERE, 16, &[0xff]),
        at("format 0", HERE, 16, &[0]),
        at("format 1", HERE, 16, &[1]),
        of(
            "a wrong checksum",
            HERE,
            records(|bytes| {
                let mut bytes = bytes.to_vec();
                bytes[CHECKSUM] ^= 1;
                bytes.into()
            }),
        ),
        at("gzip that is none", HERE, ATTRIBUTES, &[0, 1]),
        at("Snappy that is none", HERE, ATTRIBUTES, &[0, 2]),
        at("LZ4 that is none", HERE, ATTRIBUTES, &[0, 3]),
        at("zstd that is none", HERE, ATTRIBUTES, &[0, 4]),
        at("codec 5", HERE, ATTRIBUTES, &[0, 5]),
        at("codec 7", HERE, ATTRIBUTES, &[0, 7]),
        at("the broker's time", Tell, ATTRIBUTES, &[0, 0x08]),
        at("a transaction of nobody", Tell, ATTRIBUTES, &[0, 0x10]),
        // Nobody's markers are passed over: the broker's own way of saying that nothing is there.
        at("all are markers of nobody", Must::Say(0), ATTRIBUTES, &[0, 0x20]),
        of(
            "all are markers",
            HERE,
            records(|bytes| {
                let mut bytes = bytes.to_vec();
                bytes[ATTRIBUTES + 1] = 0x30;
                bytes[PRODUCER..PRODUCER + 8].copy_from_slice(&7_i64.to_be_bytes());
                checked(bytes)
            }),
        ),
        at("flags to come", Tell, ATTRIBUTES, &[0xff, 0xc0]),
        at("a last offset of −1", HERE, LAST_DELTA, &[0xff; 4]),
        at("a last offset before the last one", HERE, LAST_DELTA, &[0, 0, 0, 4]),
        at("a last offset as the first one's", HERE, LAST_DELTA, &[0; 4]),
        at("a last offset past the end", FailOrTell, LAST_DELTA, &[0, 0, 0, 20]),
        at("a last offset of i32::MAX", FailOrTell, LAST_DELTA, &[0x7f, 0xff, 0xff, 0xff]),
        at("times of i64::MIN", Tell, LAST_DELTA + 4, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        at("a producer of i64::MAX", Tell, PRODUCER, &[0x7f, 255, 255, 255, 255, 255, 255, 255]),
        at("no records", HERE, COUNT, &[0; 4]),
        at("a record less", HERE, COUNT, &[0, 0, 0, 5]),
        at("a record more", FailOrTell, COUNT, &[0, 0, 0, 7]),
        at("−1 records", HERE, COUNT, &[0xff; 4]),
        at("i32::MAX records", FailOrTell, COUNT, &[0x7f, 0xff, 0xff, 0xff]),
        of("half of it", Fail, records(|bytes| bytes.slice(..bytes.len() / 2))),
        of("a byte of it", Fail, records(|bytes| bytes.slice(..1))),
        of(
            "and half of the next",
            Tell,
            records(move |bytes| {
                let next = typed(END);
                joined(bytes, next.slice(..next.len() / 2))
            }),
        ),
        // What came before counts.
        of(
            "and garbage",
            FailOrTell,
            records(move |bytes| joined(bytes, Bytes::from_static(&[0xa5; 200]))),
        ),
        of("all of it twice", Tell, records(move |bytes| joined(bytes.clone(), bytes))),
        of("and one that overlaps", FailOrCount, records(move |bytes| joined(bytes, typed(6)))),
        of("and one from before", Tell, records(move |bytes| joined(bytes, log(0)))),
        of(
            "all from before",
            Fail,
            each(|asked, told| {
                if asked.fetch_offset == COMMITTED {
                    let before = Batch::of_types(0, [TYPE; COMMITTED as usize]);
                    told.records = Some(before.bytes());
                }
            }),
        ),
        of(
            "the same for ever",
            FailOrTell,
            each(|_, told| {
                (told.error_code, told.records) = (0, Some(log(COMMITTED)));
            }),
        ),
        of(
            "offsets without end",
            FailOrCount,
            each(|asked, told| {
                let batch = Batch::of_types(asked.fetch_offset, [TYPE; 6]);
                (told.error_code, told.records) = (0, Some(batch.bytes()));
            }),
        ),
        of(
            "steps of 2^31 without end",
            FailOrCount,
            each(|asked, told| {
                let mut batch = Batch::of_types(asked.fetch_offset, [TYPE]);
                batch.last_delta = i32::MAX;
                (told.error_code, told.records) = (0, Some(batch.bytes()));
            }),
        ),
        of("4 MiB of nothing", HERE, holding(&vec![0; 4 << 20].into())),
        of("16,000 batches without records", FailOrTell, {
            let empty = |n| {
                let batch = Batch::of_records(COMMITTED + n, 0, Bytes::new());
                Batch { last_delta: 0, ..batch }.bytes()
            };
            let mut all: Vec<u8> = (0..16_000).flat_map(empty).collect();
            all.extend_from_slice(&typed(COMMITTED + 16_000));
            holding(&all.into())
        }),
    ]
}

/// What can be wrong with records in a batch that is right.
fn of_records() -> Vec<Lie> {
    use Must::{Fail, FailOrTell, Name};
    const HERE: Must = Name("from offset 4 of partition 0 on");
    let of = |name: &str, must, count, body: &[&[u8]]| {
        let batch = Batch::of_records(COMMITTED, count, body.concat().into());
        let batch = Batch { last_delta: 5, ..batch };
        lie_to_reader(&format!("record: {name}"), must, holding(&batch.bytes()))
    };
    let a = |delta| record(delta, TYPE, b"{}");
    let number = |value| {
        let mut bytes = BytesMut::new();
        varint(&mut bytes, value);
        bytes.freeze()
    };
    // One that is right, but for what follows attributes, time and offset.
    let with = |rest: &[u8]| {
        let body = [&[0, 0, 0], rest].concat();
        [&number(body.len() as i64)[..], &body].concat()
    };
    let headers = [
        &[1, 1],
        &number(400_001)[..],
        &[2, b'a', 0].repeat(400_000),
        &[14],
        b"ce_type",
        &[2],
        TYPE.as_bytes(),
    ]
    .concat();
    vec![
        of("offsets that stand still", Name("from offset 5"), 2, &[&a(0), &a(0)]),
        of("offsets that go back", Name("from offset 6"), 3, &[&a(0), &a(1), &a(0)]),
        of("an offset past the last one", Name("from offset 5"), 2, &[&a(0), &a(6)]),
        of("an offset of −1", HERE, 1, &[&a(-1)]),
        of("an offset of i32::MAX", HERE, 1, &[&a(i32::MAX)]),
        of("an offset of i32::MIN", HERE, 1, &[&a(i32::MIN)]),
        of("a length of 0", HERE, 1, &[&[0]]),
        of("a length of −1", HERE, 1, &[&number(-1), &a(0)]),
        of("a length of i32::MAX", HERE, 1, &[&number(i32::MAX.into()), &a(0)]),
        of("a length of 40 MB", HERE, 1, &[&number(40 << 20), &a(0)]),
        of("a length of 20 MB", HERE, 1, &[&number(20 << 20), &a(0)]),
        of("a number that does not end", HERE, 1, &[&[0xff; 40]]),
        of("a key past the end", HERE, 1, &[&with(&[0x7e, 0, 0])]),
        of("a key of −2", HERE, 1, &[&with(&[3, 0, 0])]),
        of("a value of i32::MAX", HERE, 1, &[&with(&[1, 0xfe, 0xff, 0xff, 0xff, 0xf, 0])]),
        of("−1 headers", HERE, 1, &[&with(&[1, 1, 1])]),
        of("i32::MAX headers", HERE, 1, &[&with(&[1, 1, 0xfe, 0xff, 0xff, 0xff, 0xf])]),
        of("a header without a name", HERE, 1, &[&with(&[1, 1, 2, 1, 0])]),
        of("a header past the end", HERE, 1, &[&with(&[1, 1, 2, 2, b'a', 0x7e])]),
        of("more after the headers", HERE, 1, &[&with(&[1, 1, 2, 2, b'a', 0, 9, 9])]),
        // The last of them is the type.
        of("400,000 headers", FailOrTell, 1, &[&with(&headers)]),
        of("40,000 records where 1 is told", Fail, 1, &[&a(0).repeat(40_000)]),
    ]
}

/// What comes to far more than it takes.
fn of_bombs() -> Vec<Lie> {
    use Must::{FailOrCount, FailOrTell, Name};
    const HERE: Must = Name("from offset 4 of partition 0 on");
    // Each byte would be a record.
    let nothing = vec![0; 300 << 20];
    // As long as a record may be, and each of those that wait.
    let value = vec![b'x'; 30 << 20];
    let types = [TYPE, "b", TYPE, "b", TYPE, "b"];
    let large = (0..).zip(types).map(|(delta, of)| record(delta, of, &value));
    let large = large.collect::<Vec<_>>().concat();
    let too_large = record(0, TYPE, &vec![b'x'; 40 << 20]);
    let mut lies = Vec::new();
    for codec in Packed::ALL {
        let batch = |count, body: &[u8]| {
            let batch = Batch::of_records(COMMITTED, count, codec.pack(body));
            Batch { last_delta: 5, attributes: codec.attribute(), ..batch }.bytes()
        };
        let mut of = |name: &str, must, bytes: &Bytes| {
            lies.push(lie_to_reader(&format!("{codec:?}: {name}"), must, holding(bytes)));
        };
        of("300 MB of nothing", HERE, &batch(6, &nothing));
        of("records of 30 MB", FailOrTell, &batch(6, &large));
        of("a record of 40 MB", HERE, &batch(1, &too_large));
        of("nothing at all", HERE, &batch(6, &[]));
        // On a busy machine the first record may be all that is known in time.
        of("more than is told", FailOrCount, &batch(1, &large[..value.len() + 4096]));
        let whole = batch(6, &large[..100_000]);
        of("half of it", HERE, &checked(with_size(&whole[..whole.len() / 2])));
        let batch = Batch { count: 6, ..Batch::of_records(COMMITTED, 6, Bytes::new()) };
        let twice = Batch { body: codec.pack(&codec.pack(&large[..value.len()])), ..batch };
        let twice = Batch { attributes: codec.attribute(), ..twice };
        of("packed twice", HERE, &twice.bytes());
    }
    lies
}

/// A batch that states how long it is.
fn with_size(batch: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch
}

/// A request of each kind about the topic, in the newest version that is offered or an old one.
fn requests(newest: bool) -> Vec<Vec<u8>> {
    let partitions = 0..PARTITIONS;
    let name = || topic_name(TOPIC);
    let listed = partitions
        .clone()
        .map(|n| ListOffsetsPartition::default().with_partition_index(n).with_timestamp(-1));
    let listed = ListOffsetsTopic::default().with_name(name()).with_partitions(listed.collect());
    let old = OffsetFetchRequestTopic::default().with_name(name());
    let old = old.with_partition_indexes(partitions.clone().collect());
    let new = OffsetFetchRequestTopics::default().with_name(name());
    let new = new.with_partition_indexes(partitions.collect());
    let group = OffsetFetchRequestGroup::default().with_topics(Some(vec![new]));
    let group = group.with_group_id(GroupId(text("billing")));
    let fetch = OffsetFetchRequest::default();
    let metadata = MetadataRequestTopic::default().with_name(Some(name()));
    let coordinator = FindCoordinatorRequest::default();
    let records = (0..PARTITIONS)
        .map(|n| FetchPartition::default().with_partition(n).with_fetch_offset(COMMITTED));
    let records = FetchTopic::default().with_topic(name()).with_partitions(records.collect());
    let login = SaslAuthenticateRequest::default().with_auth_bytes("n,,n=alice,r=nonce".into());
    let scram = SaslHandshakeRequest::default().with_mechanism(text("SCRAM-SHA-256"));
    let plain = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
    vec![
        request(ApiKey::ApiVersions, if newest { 4 } else { 0 }, &ApiVersionsRequest::default()),
        request(ApiKey::SaslHandshake, 1, if newest { &scram } else { &plain }),
        request(ApiKey::SaslAuthenticate, if newest { 2 } else { 0 }, &login),
        request(
            ApiKey::Metadata,
            if newest { 12 } else { 1 },
            &MetadataRequest::default().with_topics(Some(vec![metadata])),
        ),
        request(
            ApiKey::ListOffsets,
            if newest { 9 } else { 1 },
            &ListOffsetsRequest::default().with_topics(vec![listed]),
        ),
        request(
            ApiKey::Fetch,
            if newest { 16 } else { 4 },
            &FetchRequest::default().with_topics(vec![records]),
        ),
        request(
            ApiKey::FindCoordinator,
            if newest { 6 } else { 0 },
            &if newest {
                coordinator.with_coordinator_keys(vec![text("billing")])
            } else {
                coordinator.with_key(text("billing"))
            },
        ),
        request(
            ApiKey::ShareGroupDescribe,
            1,
            &ShareGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(NEW))]),
        ),
        request(
            ApiKey::OffsetFetch,
            if newest { 9 } else { 1 },
            &if newest {
                fetch.with_groups(vec![group])
            } else {
                fetch.with_group_id(GroupId(text("billing"))).with_topics(Some(vec![old]))
            },
        ),
    ]
}

fn request(api: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_client_id(Some(text("told")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, api.request_header_version(version)).expect("a header");
    body.encode(&mut bytes, version).expect("a request");
    let length = u32::try_from(bytes.len()).expect("a length");
    [&length.to_be_bytes()[..], &bytes].concat()
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

/// Likewise of a reply to a fetch, whose batches have a checksum, and a number that is no truth would
/// be one that was made up.
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

/// A broker that has nothing to say, and says so at once, or says the same nonsense again and again.
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
