//! Brokers that lie, on purpose or not. Whoever writes a trigger names its broker, so none of them
//! is trusted: a poll of theirs fails in time and in words, and neither the process nor the polls
//! of others notice.
//!
//! The scaler is a process of its own here, so that it is seen to live, and its memory and threads
//! are its own. All triggers count by offsets: these tests are about asking. What is read from
//! topics is read by another client, whose tests are elsewhere.

use std::collections::VecDeque;
use std::time::Duration;

use crate::support::hostile::{
    Hostile, Login, NULL, PARTITIONS, PASSWORD, Scenario, TOPIC, TRUTH, USER,
};
use crate::support::program::Program;
use crate::support::{Authority, Broker, Message, Sift, Trigger};
use bytes::BytesMut;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    OffsetFetchRequest, OffsetFetchResponse, RequestHeader, SaslAuthenticateRequest,
    SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
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
    /// It ends in time: what was bent may be a number that means something else now.
    End,
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
    must: Must,
}

/// A scaler in a process of its own, and an honest broker that it counts on beside the others.
struct Scaler {
    program: Program,
    sift: Sift,
    honest: Trigger,
    /// One at a time: what is measured is not to be the other tests' work.
    _turn: MutexGuard<'static, ()>,
}

/// Polls the honest broker without a pause, until it is told to end. Returns how often, and the
/// slowest.
struct Beside {
    polls: JoinSet<(usize, Duration)>,
    over: watch::Sender<bool>,
}

impl Scaler {
    /// Its honest topic has this name.
    async fn start(topic: &'static str) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let broker = block_in_place(Broker::shared);
        broker.topic(topic).partitions(2).create().await;
        broker.produce_all(topic, (0..10).map(|n| Message::new().partition(n % 2))).await;
        broker.commit(topic, topic, [(0, 1), (1, 2)]).await;
        let timeout = format!("{}s", MEASURE_TIMEOUT.as_secs());
        let options = ["--measure-timeout", timeout.as_str(), "--forget-after", FORGET_AFTER];
        let program = block_in_place(|| Program::serving(&options));
        let sift = Sift::at(program.grpc).await;
        let honest = sift.trigger(broker.bootstrap(), topic, topic);
        let honest = honest.with("countFrom", "offsets").named("honest");
        assert_eq!(honest.count().await, 7);
        Self { program, sift, honest, _turn: turn }
    }

    /// Tells all of these, some at once, and judges what comes of it.
    async fn hear(&mut self, lies: Vec<Lie>) {
        let authority = Authority::new("hostile");
        let identity = authority.issue("broker", &["127.0.0.1"]);
        let beside = Beside::poll(&self.honest);
        let (mut told, mut wrong) = (JoinSet::new(), Vec::new());
        let mut latest = VecDeque::new();
        for lie in lies {
            while told.len() >= AT_ONCE {
                wrong.extend(told.join_next().await.expect("a task").expect("no panic"));
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
                let trigger = lie.way.on(trigger, &ca).with("countFrom", "offsets");
                lie.judge(&trigger, &hostile).await.err()
            });
        }
        while let Some(ended) = told.join_next().await {
            wrong.extend(ended.expect("no panic"));
        }
        assert!(self.program.is_running(), "the process has ended at one of {latest:?}");
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        let (polls, slowest) = beside.end().await;
        assert!(polls > 0 && slowest < PROMPT, "the honest broker's slowest poll: {slowest:?}");
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
                (Ok(TRUTH), Must::FailOrTell | Must::Tell) | (_, Must::End) => {}
                (Ok(value), Must::FailOrCount) if *value > 0 => {}
                (Ok(value), _) => return wrong(&format!("counted {value}")),
                (Err(status), Must::Tell) => return wrong(&status.to_string()),
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
    Lie { name: name.to_owned(), scenario, way, must }
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
    use Must::{End, Fail, FailOrTell};
    let mut lies = Vec::new();
    for (kind, api) in KINDS {
        let mut of =
            |name: &str, must, scenario| lies.push(lie(&format!("{kind}: {name}"), must, scenario));
        let frames = |bend| Scenario::Frames(api, bend);
        of("silence", Fail, Scenario::SilentAt(api));
        of("the connection closed", Fail, Scenario::ClosedAt(api));
        of("a byte a second", Fail, Scenario::Trickled(api));
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
            ApiKey::FindCoordinator,
            if newest { 6 } else { 0 },
            &if newest {
                coordinator.with_coordinator_keys(vec![text("billing")])
            } else {
                coordinator.with_key(text("billing"))
            },
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
        of_versions(),
        of_frames(),
        of_connections(),
        of_logins(),
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
    lies_about_versions_are_errors: of_versions;
    replies_that_are_none_are_errors: of_frames;
    connections_that_are_none_are_errors: of_connections;
    lies_told_at_login_are_errors: of_logins;
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
    let grown = scaler.program.figure("VmHWM").saturating_sub(before.0);
    assert!(grown <= AT_MOST, "{grown} kB more at one moment");
    scaler.returns_to(before).await;
}
