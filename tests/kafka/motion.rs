//! Brokers in motion under load: killed, stopped, paused, and their leaderships and coordinators
//! moved, while a thousand polls a second ask and records and commits go on.
//!
//! A ledger knows what the cluster has acknowledged, and what is under way. So it knows between
//! which numbers the truth lies from the call of a poll to its answer, and each answer must lie
//! there, unless it is the error UNAVAILABLE, or the lower bound of a poll that has run out of
//! time. After each disturbance nothing is written for a moment: each trigger must soon count
//! exactly, and go on doing so.
//!
//! `MOTION_SECONDS` is how long it lasts, `MOTION_SEED` which disturbances come (the seed of a run
//! is printed), `MOTION_ONLY` one kind of them: kill, stop, pause or move.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use sift_harness::program::Program;
use sift_harness::{Cluster, Properties, Shape, Sift, Trigger};
use tokio::runtime::Handle;
use tokio::sync::{RwLock, watch};
use tokio::task::{JoinSet, block_in_place, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tonic::Code;

/// How long it lasts, unless `MOTION_SECONDS` says so.
const LASTS: Duration = Duration::from_secs(45);

const NODES: usize = 3;
const TOPICS: usize = 4;
const PARTITIONS: usize = 3;
const GROUPS: usize = 10;
/// Partitions of the topic of committed offsets, and so places for coordinators.
const COORDINATORS: usize = 6;
const TRIGGERS: usize = 20;

/// The topic of committed offsets.
const COMMITTED: &str = "__consumer_offsets";

/// Of each trigger, so a thousand a second of all.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Polls of one trigger that are under way at once. KEDA has one, so polls do not pile up.
const AT_ONCE: usize = 16;

/// Records of each partition come this often, and commits of each group.
const WRITE_EVERY: Duration = Duration::from_millis(100);
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// Groups that commit the same again and again, enough for each coordinator to have some; and how
/// often each does.
///
/// A coordinator that has taken over may answer with what was committed before the last commit,
/// until something is written to the same partition of committed offsets (Kafka 4.1: it misses that
/// the high watermark advances between the end of its load and the start of its work). Nobody can
/// tell from outside. On a cluster in use that is soon over, and so here.
const PULSES: usize = 16;
const PULSE_EVERY: Duration = Duration::from_millis(250);

/// How far groups are behind at most, about; in each partition.
const BEHIND: usize = 300;
/// How far at least. More than is written while the slowest poll lasts, so that 0 is never true.
const LEFT: usize = 120;

const MEASURE_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon an answer is exact again, once the cluster itself has one to give.
const SOON: Duration = Duration::from_secs(2);

/// What that may take more on a machine where brokers start beside.
const SLACK: Duration = Duration::from_secs(2);

/// When it is not waited for any longer.
const NEVER: Duration = Duration::from_secs(20);

/// What a poll may take beyond the measure timeout.
const LATE: Duration = Duration::from_secs(5);

/// How long each trigger must stay exact while nothing moves.
const QUIET: Duration = Duration::from_secs(1);

/// How long the cluster may take until it has its leaders again.
const SETTLES: Duration = Duration::from_secs(120);

/// What the cluster has acknowledged, and what is under way.
#[derive(Default)]
struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    logs: BTreeMap<(usize, usize), Log>,
    commits: BTreeMap<(usize, usize, usize), Commit>,
}

/// A partition's records, by offset.
#[derive(Default)]
struct Log {
    /// Those acknowledged, and the one under way.
    types: Vec<Type>,
    acknowledged: usize,
}

/// What a group has committed in a partition; it only grows.
#[derive(Clone, Copy, Default)]
struct Commit {
    acknowledged: usize,
    /// The same, or what is under way.
    begun: usize,
}

/// A record's event type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    A,
    B,
}

/// What a trigger counts.
#[derive(Clone, Copy)]
enum Counts {
    Offsets,
    Records(Option<Type>),
}

/// A trigger, and what the ledger has to know of it.
#[derive(Clone)]
struct Watched {
    trigger: Trigger,
    topic: usize,
    group: usize,
    counts: Counts,
}

/// What polls said.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    skipped: usize,
    answered: usize,
    bounds: usize,
    errors: BTreeMap<String, usize>,
    wrong: Vec<String>,
    /// What goes on; none while nothing moves, when errors are wrong.
    disturbance: Option<String>,
    disturbances: BTreeMap<&'static str, usize>,
    /// The slowest of each kind: by offsets, and what is read.
    recovery: [Vec<Duration>; 2],
}

/// A test under way.
#[derive(Clone)]
struct Motion {
    cluster: Arc<Cluster>,
    ledger: Arc<Ledger>,
    seen: Arc<Mutex<Seen>>,
    /// Held by each write and commit; all of it while nothing is to move.
    moves: Arc<RwLock<()>>,
    began: Instant,
}

/// What is done to a cluster.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Kill,
    Stop,
    Pause,
    MoveLeaders,
}

impl Disturbance {
    const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::Pause, Self::MoveLeaders];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::MoveLeaders => "move",
        }
    }
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        locked(&self.0)
    }

    /// What is certain when a poll is called: by partition, the end and the committed offset.
    fn at_call(&self, watched: &Watched) -> [(usize, usize); PARTITIONS] {
        let books = self.books();
        std::array::from_fn(|partition| {
            let end = books.logs[&(watched.topic, partition)].acknowledged;
            (end, books.commits[&(watched.group, watched.topic, partition)].acknowledged)
        })
    }

    /// The lowest and the highest number that were true at any moment since `at_call`.
    fn since(&self, watched: &Watched, at_call: [(usize, usize); PARTITIONS]) -> (i64, i64) {
        let books = self.books();
        let (mut lowest, mut highest) = (0, 0);
        for (partition, (end, committed)) in at_call.into_iter().enumerate() {
            let log = &books.logs[&(watched.topic, partition)].types;
            let begun = books.commits[&(watched.group, watched.topic, partition)].begun;
            lowest += watched.counts.of(log.get(begun..end).unwrap_or_default());
            highest += watched.counts.of(&log[committed..]);
        }
        (lowest, highest)
    }
}

impl Counts {
    fn of(self, records: &[Type]) -> i64 {
        let count = match self {
            Self::Offsets | Self::Records(None) => records.len(),
            Self::Records(Some(wanted)) => records.iter().filter(|it| **it == wanted).count(),
        };
        i64::try_from(count).expect("a count")
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Records(_))
    }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl Display for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = match self.counts {
            Counts::Offsets => "offsets",
            Counts::Records(None) => "all records",
            Counts::Records(Some(of)) => of.name(),
        };
        write!(formatter, "{counts} of {} for {}", topic(self.topic), group(self.group))
    }
}

impl Motion {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }

    fn is_quiet(&self) -> bool {
        self.seen().disturbance.is_none()
    }

    fn wrong(&self, what: &str) {
        let at = self.began.elapsed();
        let mut seen = self.seen();
        let wrong = format!("at {at:.3?}, {:?}: {what}", seen.disturbance);
        println!("WRONG {wrong}");
        seen.wrong.push(wrong);
    }

    /// Polls once, and judges the answer; whether it was a number that may have been true.
    async fn poll(&self, watched: &Watched) -> bool {
        let was_quiet = self.is_quiet();
        let at_call = self.ledger.at_call(watched);
        let called = Instant::now();
        let answer = watched.trigger.value().await;
        let took = called.elapsed();
        let (lowest, highest) = self.ledger.since(watched, at_call);
        self.seen().took.push(took);
        if took > MEASURE_TIMEOUT + LATE {
            self.wrong(&format!("{watched} took {took:?}"));
        }
        let is_true = answer.as_ref().is_ok_and(|value| (lowest..=highest).contains(value));
        match answer {
            Ok(_) if is_true => self.seen().answered += 1,
            Ok(value)
                if watched.counts.is_read()
                    && took >= MEASURE_TIMEOUT
                    && (1..lowest).contains(&value) =>
            {
                self.seen().bounds += 1;
            }
            Ok(value) => self.wrong(&format!(
                "{watched}: {value} where {lowest} to {highest} was true, after {took:?}"
            )),
            Err(status) if status.code() != Code::Unavailable => {
                self.wrong(&format!("{watched}: {status}"));
            }
            Err(status) => {
                *self.seen().errors.entry(status.message().to_owned()).or_default() += 1;
                if was_quiet && self.is_quiet() {
                    self.wrong(&format!("{watched}, while nothing moves: {status}"));
                }
            }
        }
        is_true
    }

    /// Polls as often as is to be, but for those that would pile up.
    async fn poll_on(self, watched: Watched, over: watch::Receiver<bool>) {
        let mut polls = FuturesUnordered::new();
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while !*over.borrow() {
            tokio::select! {
                Some(_is_true) = polls.next() => {}
                _ = ticks.tick() => if polls.len() < AT_ONCE {
                    polls.push(self.poll(&watched));
                } else {
                    self.seen().skipped += 1;
                }
            }
        }
        while polls.next().await.is_some() {}
    }

    /// Writes records to a partition, one after another, so that their order is known.
    async fn write_on(
        self,
        producer: FutureProducer,
        (topic, partition): (usize, usize),
        mut random: fastrand::Rng,
        over: watch::Receiver<bool>,
    ) {
        while !*over.borrow() {
            let moves = self.moves.read().await;
            let written = if random.bool() { Type::A } else { Type::B };
            self.write(&producer, (topic, partition), written).await;
            drop(moves);
            sleep(WRITE_EVERY).await;
        }
    }

    async fn write(&self, producer: &FutureProducer, at: (usize, usize), written: Type) {
        let (number, partition) = at;
        let expected = {
            let mut books = self.ledger.books();
            let log = books.logs.entry(at).or_default();
            log.types.push(written);
            log.acknowledged
        };
        let headers = rdkafka::message::OwnedHeaders::new();
        let header = rdkafka::message::Header { key: "ce_type", value: Some(written.name()) };
        let topic = topic(number);
        let record = FutureRecord::<(), str>::to(&topic)
            .payload("{}")
            .headers(headers.insert(header))
            .partition(i32::try_from(partition).expect("a partition"));
        let sent = producer.send(record, Duration::from_secs(120)).await;
        let delivery = sent.unwrap_or_else(|(error, _)| panic!("not written to {topic}: {error}"));
        assert_eq!(usize::try_from(delivery.offset), Ok(expected), "the ledger knows the order");
        let mut books = self.ledger.books();
        books.logs.entry(at).or_default().acknowledged += 1;
    }

    /// Lets a group read on.
    async fn commit_on(self, group: usize, mut random: fastrand::Rng, over: watch::Receiver<bool>) {
        while !*over.borrow() {
            let moves = self.moves.read().await;
            self.commit(group, random.usize(..TOPICS), |commit, end| {
                let behind = end.saturating_sub(commit + LEFT);
                let most = if behind + LEFT > BEHIND { behind } else { behind / 4 };
                commit + random.usize(..=most)
            })
            .await;
            drop(moves);
            sleep(COMMIT_EVERY).await;
        }
    }

    /// Commits the same again and again, whatever happens.
    async fn pulse_on(self, number: usize, over: watch::Receiver<bool>) {
        while !*over.borrow() {
            let cluster = Arc::clone(&self.cluster);
            let commit = move || {
                let group = format!("pulse-{number}");
                Handle::current().block_on(cluster.commit(&group, &topic(0), [(0, 0)]));
            };
            spawn_blocking(commit).await.expect("the coordinator takes it");
            sleep(PULSE_EVERY).await;
        }
    }

    /// Commits for a group in each partition of a topic what follows on the last commit and the
    /// end.
    async fn commit(&self, of: usize, on: usize, mut next: impl FnMut(usize, usize) -> usize) {
        let offsets: Vec<usize> = {
            let mut books = self.ledger.books();
            let Books { logs, commits } = &mut *books;
            let begin = |partition| {
                let end = logs[&(on, partition)].acknowledged;
                let commit = commits.entry((of, on, partition)).or_default();
                commit.begun = next(commit.acknowledged, end);
                commit.begun
            };
            (0..PARTITIONS).map(begin).collect()
        };
        let cluster = Arc::clone(&self.cluster);
        let wire =
            (0..).zip(offsets.iter().map(|offset| i64::try_from(*offset).expect("an offset")));
        let wire: Vec<(i32, i64)> = wire.collect();
        let commit = move || {
            // The harness waits for a coordinator in the thread that asks.
            Handle::current().block_on(cluster.commit(&group(of), &topic(on), wire));
        };
        spawn_blocking(commit).await.expect("the coordinator takes it");
        let mut books = self.ledger.books();
        for (partition, offset) in offsets.into_iter().enumerate() {
            books.commits.entry((of, on, partition)).or_default().acknowledged = offset;
        }
    }

    /// Does this to a node, and undoes it.
    async fn disturb(&self, disturbance: Disturbance, random: &mut fastrand::Rng) {
        let leads = |topic: &str, partitions: usize, random: &mut fastrand::Rng| {
            let partition = i32::try_from(random.usize(..partitions)).expect("a partition");
            block_in_place(|| self.cluster.leader(topic, partition))
        };
        // The leader of a partition, or a coordinator.
        let of_committed = random.bool();
        let victim = if of_committed {
            leads(COMMITTED, COORDINATORS, random)
        } else {
            leads(&topic(random.usize(..TOPICS)), PARTITIONS, random)
        };
        let node = victim.unwrap_or(0);
        let away = Duration::from_millis(random.u64(..5_000));
        let paused = Duration::from_millis(random.u64(1_000..8_000));
        let text = match disturbance {
            Disturbance::Kill | Disturbance::Stop => {
                format!("{} node {node} for {away:?}", disturbance.name())
            }
            Disturbance::Pause => format!("pause node {node} for {paused:?}"),
            Disturbance::MoveLeaders => "move leaders".to_owned(),
        };
        println!("at {:.1?}: {text}", self.began.elapsed());
        {
            let mut seen = self.seen();
            *seen.disturbances.entry(disturbance.name()).or_default() += 1;
            seen.disturbance = Some(text);
        }
        let cluster = &self.cluster;
        match disturbance {
            Disturbance::Kill | Disturbance::Stop => {
                block_in_place(|| match disturbance {
                    Disturbance::Kill => cluster.kill(node),
                    _ => cluster.stop(node),
                });
                sleep(away).await;
                block_in_place(|| cluster.restart(node));
            }
            Disturbance::Pause => {
                cluster.pause(node);
                sleep(paused).await;
                cluster.go_on(node);
            }
            Disturbance::MoveLeaders => {
                for _ in 0..8 {
                    let (topic, partitions) = if random.bool() {
                        (COMMITTED.to_owned(), COORDINATORS)
                    } else {
                        (topic(random.usize(..TOPICS)), PARTITIONS)
                    };
                    let partition = i32::try_from(random.usize(..partitions)).expect("a partition");
                    let node = i32::try_from(1 + random.usize(..NODES)).expect("a node");
                    block_in_place(|| cluster.prefer_leader(&topic, partition, node));
                }
                // The next election of preferred leaders comes within a second.
                sleep(Duration::from_millis(1_500)).await;
            }
        }
    }

    /// Waits until the cluster has all of its leaders and answers itself, as the ledger has it.
    async fn settle(&self) {
        let deadline = Instant::now() + SETTLES;
        let topics: Vec<String> = (0..TOPICS).map(topic).chain([COMMITTED.to_owned()]).collect();
        // One that has stood still may say for a moment what was true before.
        while !block_in_place(|| {
            topics.iter().all(|topic| self.cluster.is_settled(topic))
                && (0..TOPICS)
                    .all(|number| self.cluster.offsets(&topic(number)) == self.logs(number))
        }) {
            assert!(
                Instant::now() < deadline,
                "after {SETTLES:?} the cluster is not led, or not as the ledger has it"
            );
            sleep(Duration::from_millis(50)).await;
        }
        join_all((0..GROUPS).map(|group| self.commit(group, 0, |commit, _| commit))).await;
    }

    /// The bounds of a topic's partitions, as the ledger has them while nothing moves.
    fn logs(&self, number: usize) -> Vec<(i64, i64)> {
        let books = self.ledger.books();
        let each = (0..PARTITIONS).map(|partition| {
            let log = &books.logs[&(number, partition)];
            assert_eq!(log.acknowledged, log.types.len(), "nothing is under way");
            (0, i64::try_from(log.acknowledged).expect("an offset"))
        });
        each.collect()
    }

    /// Waits until a trigger counts exactly.
    async fn recover(&self, watched: &Watched) -> Duration {
        let began = Instant::now();
        let longest = SOON + SLACK;
        loop {
            // While nothing moves only one number is true.
            let is_exact = self.poll(watched).await;
            let took = began.elapsed();
            if is_exact {
                if took > longest {
                    self.wrong(&format!("{watched}: exact again after {took:?}"));
                }
                return took;
            }
            if took > longest + NEVER {
                self.wrong(&format!("{watched}: not exact after {took:?}"));
                return took;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn topic(number: usize) -> String {
    format!("moves-{number}")
}

fn group(number: usize) -> String {
    format!("mover-{number}")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Three brokers that lose nothing that they have acknowledged.
fn cluster() -> Cluster {
    let mut properties = Properties::default();
    properties.set("offsets.topic.num.partitions", COORDINATORS);
    properties.set("min.insync.replicas", 2);
    let jvm: &[&str] = &["-Xmx512m", "-XX:TieredStopAtLevel=1"];
    Cluster::shaped(NODES, &Shape { jvm, properties, ..Shape::default() })
}

/// One that writes each record once, and does not wait long for a broker that stands still.
fn producer(cluster: &Cluster) -> FutureProducer {
    let mut config = cluster.config();
    config.set("enable.idempotence", "true").set("acks", "all");
    config.set("queue.buffering.max.ms", "0").set("message.timeout.ms", "120000");
    config.set("socket.timeout.ms", "2000").set("request.timeout.ms", "1500");
    config.set("reconnect.backoff.max.ms", "500").set("retry.backoff.max.ms", "200");
    config.create().expect("a producer")
}

fn watched(sift: &Sift, bootstrap: &str) -> Vec<Watched> {
    let each = (0..TRIGGERS).map(|number| {
        let (on, of) = (number % TOPICS, number % GROUPS);
        // Each topic and group has triggers of several kinds.
        let counts = match number / TOPICS {
            0 | 1 => Counts::Offsets,
            2 => Counts::Records(Some(Type::A)),
            3 => Counts::Records(Some(Type::B)),
            _ => Counts::Records(None),
        };
        let trigger = sift.trigger(bootstrap, &group(of), &topic(on));
        let trigger = match counts {
            Counts::Offsets => trigger.with("countFrom", "offsets"),
            Counts::Records(Some(of)) => trigger.with("eventType", of.name()),
            Counts::Records(None) => trigger.with("eventType", "a,b"),
        };
        let trigger = trigger.named(&format!("job-{number}"));
        Watched { trigger, topic: on, group: of, counts }
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn brokers_in_motion_under_load_never_make_a_count_wrong() {
    let lasts = setting("MOTION_SECONDS").map_or(LASTS, Duration::from_secs);
    let seed = setting("MOTION_SEED").unwrap_or_else(|| fastrand::u64(..));
    let only = setting::<String>("MOTION_ONLY");
    let is_wanted = |kind: &Disturbance| only.as_ref().is_none_or(|only| only == kind.name());
    let kinds: Vec<Disturbance> = Disturbance::ALL.into_iter().filter(is_wanted).collect();
    assert!(!kinds.is_empty(), "MOTION_ONLY is none of {:?}", Disturbance::ALL);
    println!("MOTION_SEED={seed} MOTION_SECONDS={}", lasts.as_secs());
    let mut random = fastrand::Rng::with_seed(seed);

    let cluster = Arc::new(block_in_place(cluster));
    for number in 0..TOPICS {
        let partitions = i32::try_from(PARTITIONS).expect("a number");
        cluster.topic(&topic(number)).partitions(partitions).replication(3).create().await;
    }
    let motion = Motion {
        cluster,
        ledger: Arc::default(),
        seen: Arc::default(),
        moves: Arc::default(),
        began: Instant::now(),
    };
    motion.seen().disturbance = Some("start".to_owned());
    {
        let mut books = motion.ledger.books();
        for (topic, partition) in (0..TOPICS).flat_map(|on| (0..PARTITIONS).map(move |of| (on, of)))
        {
            books.logs.insert((topic, partition), Log::default());
        }
    }
    for of in 0..GROUPS {
        for on in 0..TOPICS {
            motion.commit(of, on, |_, _| 0).await;
        }
    }
    let producer = producer(&motion.cluster);
    let ats = || (0..TOPICS).flat_map(|on| (0..PARTITIONS).map(move |of| (on, of)));
    join_all(ats().map(async |at| {
        for _ in 0..LEFT {
            motion.write(&producer, at, Type::A).await;
            motion.write(&producer, at, Type::B).await;
        }
    }))
    .await;
    let timeout = format!("{}s", MEASURE_TIMEOUT.as_secs());
    let mut program = block_in_place(|| Program::serving(&["--measure-timeout", &timeout]));
    let sift = Sift::at(program.grpc).await;
    let watched = watched(&sift, motion.cluster.bootstrap());

    let over = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    for at in ats() {
        let (producer, motion) = (producer.clone(), motion.clone());
        tasks.spawn(motion.write_on(producer, at, random.fork(), over.subscribe()));
    }
    for group in 0..GROUPS {
        tasks.spawn(motion.clone().commit_on(group, random.fork(), over.subscribe()));
    }
    for number in 0..PULSES {
        tasks.spawn(motion.clone().pulse_on(number, over.subscribe()));
    }
    for watched in &watched {
        tasks.spawn(motion.clone().poll_on(watched.clone(), over.subscribe()));
    }

    let began = Instant::now();
    // Each kind once, in any order, then each once more.
    let mut next = Vec::new();
    while began.elapsed() < lasts && motion.seen().wrong.len() < 100 {
        sleep(Duration::from_millis(random.u64(500..1_500))).await;
        if next.is_empty() {
            next.clone_from(&kinds);
            random.shuffle(&mut next);
        }
        let disturbance = next.pop().expect("one kind at least");
        motion.disturb(disturbance, &mut random).await;

        let away = Instant::now();
        let still = motion.moves.write().await;
        motion.settle().await;
        let settled = away.elapsed();
        let recovered = join_all(watched.iter().map(|watched| motion.recover(watched))).await;
        let slowest = [false, true].map(|is_read| {
            let of_kind = watched.iter().zip(&recovered);
            let of_kind = of_kind.filter(|(watched, _)| watched.counts.is_read() == is_read);
            of_kind.map(|(_, took)| *took).max().unwrap_or_default()
        });
        println!(
            "  settled after {settled:.1?}; exact after {:.3?} by offsets, {:.3?} by type",
            slowest[0], slowest[1]
        );
        {
            let mut seen = motion.seen();
            for (all, slowest) in seen.recovery.iter_mut().zip(slowest) {
                all.push(slowest);
            }
            seen.disturbance = None;
        }
        sleep(QUIET).await;
        motion.seen().disturbance = Some("between".to_owned());
        drop(still);

        let panics = program.logs().into_iter().filter(Value::is_string);
        let panics: Vec<_> = panics.collect();
        assert!(panics.is_empty(), "{panics:?}");
        assert!(program.is_running(), "the program has ended");
        // A task that ends early has panicked.
        while let Some(ended) = tasks.try_join_next() {
            ended.expect("what the test does itself works");
        }
    }
    let polled = began.elapsed();
    over.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("what the test does itself works");
    }
    let memory = program.figure("VmHWM");
    assert_eq!(block_in_place(|| program.end()), Some(0), "it ends as it should");
    motion.seen().report(polled, memory);
}

impl Seen {
    /// Says what was seen, and fails the test if something of it was wrong.
    fn report(&mut self, polled: Duration, memory: u64) {
        self.took.sort_unstable();
        let of = |share: usize| self.took.get(self.took.len() * share / 1_000).copied();
        let [p50, p99, p999] = [500, 990, 999].map(|share| of(share).unwrap_or_default());
        let slowest = self.took.last().copied().unwrap_or_default();
        let polls = self.took.len();
        let each_second = polls as f64 / polled.as_secs_f64();
        println!(
            "{polls} polls in {polled:.0?}, {each_second:.0} a second, {} skipped",
            self.skipped
        );
        println!(
            "{} exact, {} lower bounds, {} errors; p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, \
             slowest {slowest:.1?}; at most {memory} kB",
            self.answered,
            self.bounds,
            self.errors.values().sum::<usize>()
        );
        for (error, times) in &self.errors {
            println!("  {times} × {error}");
        }
        println!("disturbances: {:?}", self.disturbances);
        for (kind, times) in ["by offsets", "by type"].iter().zip(&mut self.recovery) {
            times.sort_unstable();
            println!("exact again {kind}: {times:.2?}");
        }
        assert!(self.answered > 0, "nothing was answered");
        assert!(self.wrong.is_empty(), "{} wrong: {:#?}", self.wrong.len(), self.wrong);
    }
}
