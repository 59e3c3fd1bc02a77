//! A scaler that hears lies, and an honest broker that it counts on beside them.

use std::collections::VecDeque;
use std::time::Duration;

use sift_harness::hostile::{Hostile, TOPIC, TYPE};
use sift_harness::program::Program;
use sift_harness::{Authority, Broker, Message, Sift, Trigger, holds_within};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep};

use super::lie::{Lie, MEASURE_TIMEOUT, Way};

/// What a poll of the honest broker may take beside the others, on such a machine: less than if it
/// waited for one of them.
pub(super) const PROMPT: Duration = Duration::from_secs(2);

/// How long a cluster is kept that nobody asks about.
const FORGET_AFTER: &str = "3s";

/// How many lies are told at once.
pub(super) const AT_ONCE: usize = 16;

/// How much memory the process may have gained once all clusters are forgotten, in kB.
const LEFT_OVER: u64 = 48 << 10;

/// How much memory triggers may take.
const MEMORY_LIMIT: &str = "256Mi";

/// How many threads may be left over.
const THREADS: u64 = 4;

/// How long the process may take to return to that.
pub(super) const RETURN: Duration = Duration::from_secs(60);

/// A scaler in a process of its own, and an honest broker that it counts on beside the others.
pub(super) struct Scaler {
    pub(super) program: Program,
    pub(super) sift: Sift,
    pub(super) honest: Trigger,
    /// Of a topic with this name, all of whose messages count.
    read: (String, Trigger),
    /// Those that have lied. They keep their ports, so that none is taken for one that was there
    /// before.
    heard: Vec<Hostile>,
    /// One at a time: what is measured is not to be the other tests' work.
    _turn: MutexGuard<'static, ()>,
}

/// Polls the honest broker without a pause, or writes to it and polls for what was written, until
/// it is told to end. Returns how often, and the slowest.
struct Beside {
    polls: JoinSet<(usize, Duration)>,
    over: watch::Sender<bool>,
}

impl Scaler {
    /// Its honest topic has this name.
    pub(super) async fn start(topic: &'static str) -> Self {
        Self::with_memory(MEMORY_LIMIT, topic).await
    }

    pub(super) async fn with_memory(limit: &str, topic: &'static str) -> Self {
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
    pub(super) async fn until_held(&self, bytes: u64) {
        let mut held = 0;
        let come_to_it = holds_within(RETURN, async || {
            let (_, page) = block_in_place(|| self.program.page("/metrics"));
            let uses = page.lines().filter(|line| line.starts_with("keda_sift_memory_held_bytes{"));
            let figures = uses.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            held = figures.sum::<u64>();
            held >= bytes
        });
        assert!(come_to_it.await, "{held} bytes are held, and never {bytes}");
    }

    /// Tells all of these, some at once, and judges what comes of it.
    pub(super) async fn hear(&mut self, lies: Vec<Lie>) {
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
    pub(super) async fn returns_to(&self, before: (u64, u64)) {
        let mut now = self.figures();
        let is_back = holds_within(RETURN, async || {
            // The memory of what is forgotten goes as the process goes on.
            assert_eq!(self.honest.count().await, 7);
            now = self.figures();
            now.0 <= before.0 + LEFT_OVER && now.1 <= before.1 + THREADS
        });
        assert!(is_back.await, "{} kB and {} threads, after {before:?}", now.0, now.1);
    }

    /// Memory in kB, and threads.
    pub(super) fn figures(&self) -> (u64, u64) {
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
