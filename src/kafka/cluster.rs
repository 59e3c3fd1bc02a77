//! One Kafka cluster, as one login sees it: what is asked of it, and the topics tailed on it.
//!
//! All triggers with the same bootstrap servers and security settings share a `Cluster`, and so its
//! connections: one handle that asks, one that tails, and while there is an earlier stretch to read
//! a third. Asking has a handle of its own because a broker answers a connection in order, and there
//! a question would wait behind the tail's long-polling fetch.
//!
//! A cluster that refuses our login is [spent](Cluster::is_spent): the next call makes a new one, so
//! that a refusal is never remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use secrecy::ExposeSecret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::asking::Asking;
use super::bearer::Bearer;
use super::error::{Error, Kind};
use super::librdkafka::{
    BrokerId, Committed, End, Fault, HandleConfig, Layout, Layouts, Offsets, Reply,
};
use super::names::{Group, Offset, Partition, Topic};
use super::reader::{Reader, Reading};
use super::security::ClusterConfig;
use super::tail::{Selector, SubscriberId, TopicTail};
use super::threads::Threads;
use super::trouble::Trouble;
use crate::lock::lock;
use crate::rounds::{ENDED, Rounds, Tasks};

/// How soon a question is asked again that met brokers in motion.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How many partitions one ListOffsets call asks for: librdkafka joins the answers of the leaders in
/// time that grows with the square of it.
const PARTITIONS_A_CALL: usize = 100;

/// How many polls ask at a time; what a poll holds meanwhile is what a burst takes of memory. Far more
/// than a broker answers at once, so that waiting for one's turn costs nothing.
const ASKING_AT_ONCE: usize = 2_000;

/// How long a topic's cleanup policy is taken to stay as it was.
const POLICY_STALE_AFTER: Duration = Duration::from_secs(30);

/// How long a broker may take to say what topics look like before another one is asked.
const NEXT_BROKER_AFTER: Duration = Duration::from_secs(1);

/// How many look-ups of brokers block a thread at once, of all clusters together: a small part of the threads that
/// the program has for what blocks.
const LOOK_UPS_AT_ONCE: usize = 64;

/// How long one blocks before others have their turn: a cluster that is dead answers none.
const LOOK_UP: Duration = Duration::from_millis(500);

/// The look-ups of all clusters, which wait for their turn in the order they came.
#[derive(Clone)]
pub(super) struct LookUps(Arc<Semaphore>);

/// A cluster with its connections.
pub(super) struct Cluster {
    label: String,
    patience: Duration,
    asking: Asking,
    turns: Semaphore,
    look_ups: LookUps,
    /// This cluster's own look-up, of which there is one at a time.
    look_up: Semaphore,
    trouble: Arc<Trouble>,
    tasks: Tasks,
    /// Brokers that may be asked what each of them knows; the last one is.
    brokers: Mutex<Vec<BrokerId>>,
    /// Topics whose leaders have answered, as they then looked.
    layouts: Mutex<HashMap<Topic, Layout>>,
    policies: Mutex<HashMap<Topic, (Instant, bool)>>,
    bounds: Mutex<HashMap<BoundsKind, Arc<BoundsRounds>>>,
    committed: Mutex<HashMap<Group, Arc<CommittedRounds>>>,
    logs: Mutex<HashMap<Topic, Arc<TopicTail>>>,
    tail: Reader,
    second: Reader,
}

/// The ends of a topic's partitions.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) layout: Layout,
    pub(super) compacted: bool,
    /// When it was asked.
    pub(super) asked: Instant,
    /// Log start and end offset, by partition.
    pub(super) ends: Vec<(Offset, Offset)>,
}

/// A group's committed offsets, by topic and partition; `None` where it has none.
pub(super) type CommittedOffsets = HashMap<Topic, BTreeMap<Partition, Option<Offset>>>;

/// Topics are asked about together; one that just failed is asked about alone, so that it cannot
/// hold up the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BoundsKind {
    end: End,
    alone: Option<Topic>,
}

type BoundsRounds = Rounds<BTreeSet<Topic>, BoundsAnswer>;

type BoundsAnswer = Arc<HashMap<Topic, Result<Arc<Bounds>, Fault>>>;

type CommittedRounds = Rounds<Wanted, CommittedAnswer>;

type CommittedAnswer = Result<Arc<CommittedOffsets>, Fault>;

/// Which of a group's offsets are wanted.
#[derive(Debug, Default)]
struct Wanted {
    topics: BTreeSet<Topic>,
    all: bool,
}

impl Cluster {
    /// The cluster, not yet connected; `bearer` where its login is a token.
    ///
    /// # Errors
    /// [`Error::Config`] where librdkafka does not take the settings, [`Error::Unreachable`] where it lacks something else.
    pub(super) fn new(
        config: &ClusterConfig,
        group: &Group,
        patience: Duration,
        threads: &Arc<Threads>,
        look_ups: LookUps,
        bearer: Option<Arc<Bearer>>,
    ) -> Result<Arc<Cluster>, Error> {
        let mut asking = client_config(config);
        // A connection that has gone silent is given up in time for the next poll.
        let silence = patience.clamp(Duration::from_secs(1), Duration::from_secs(60));
        asking.set("socket.timeout.ms", silence.as_millis().to_string());
        // Only looked up: librdkafka 2.12 takes it for granted that a handle which asks for offsets has
        // a group (its issue 5040). A group of the triggers' own is one that the login has rights on.
        asking.set("group.id", group.as_str());
        let trouble = Arc::new(Trouble::new());
        let reading = reading_config(client_config(config));
        let reading = HandleConfig { settings: reading, bearer: bearer.clone() };
        let asking = HandleConfig { settings: asking, bearer: bearer.clone() };
        let asking = Asking::new(asking, Arc::clone(&trouble), Arc::clone(threads));
        let asking = asking.map_err(|error| Error::unmade(&error, config.label()))?;
        let reader = |name| {
            let (trouble, threads) = (Arc::clone(&trouble), Arc::clone(threads));
            Reader::new(name, reading.clone(), trouble, threads)
        };
        let (tail, second) = (reader("kafka-tail"), reader("kafka-second"));
        let tasks = Tasks::default();
        if let Some(bearer) = bearer {
            tasks.spawn(bearer.keep());
        }
        Ok(Arc::new(Cluster {
            label: config.label(),
            patience,
            asking,
            turns: Semaphore::new(ASKING_AT_ONCE),
            look_ups,
            look_up: Semaphore::new(1),
            trouble,
            tasks,
            brokers: Mutex::default(),
            layouts: Mutex::default(),
            policies: Mutex::default(),
            bounds: Mutex::default(),
            committed: Mutex::default(),
            logs: Mutex::default(),
            tail,
            second,
        }))
    }

    /// Whether this cluster is of no more use, so that the next call must make another.
    pub(super) fn is_spent(&self) -> bool {
        self.trouble.refusal().is_some()
    }

    /// A poll's turn to ask, until it is dropped.
    ///
    /// # Errors
    /// When it does not come by the deadline.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        let turn = async { self.turns.acquire().await.ok() };
        self.before(deadline, || "a turn to ask".to_owned(), turn).await
    }

    /// The log start and end offsets of a topic's partitions, asked after this call came.
    ///
    /// # Errors
    /// When they cannot be had by the deadline. Brokers in motion are asked again until then.
    pub(super) async fn bounds(
        self: &Arc<Self>,
        topic: &Topic,
        end: End,
        deadline: Instant,
    ) -> Result<Arc<Bounds>, Error> {
        let mut alone = None;
        loop {
            let rounds = {
                let mut kinds = lock(&self.bounds);
                kinds.retain(|kind, rounds| kind.alone.is_none() || !rounds.is_idle());
                let kind = BoundsKind { end, alone: alone.clone() };
                Arc::clone(kinds.entry(kind).or_insert_with(Rounds::new))
            };
            let cluster = Arc::clone(self);
            let together = alone.is_none();
            let answer = rounds.ask(
                &self.tasks,
                |topics| topics.extend([topic.clone()]),
                move |topics| {
                    let cluster = Arc::clone(&cluster);
                    async move { cluster.ask_bounds(topics, end, together).await }
                },
            );
            let what = || format!("the offsets of topic {topic}");
            let answer = self.before(deadline, what, answer).await?;
            let fault = match answer.get(topic) {
                Some(Ok(bounds)) => return Ok(Arc::clone(bounds)),
                Some(Err(fault)) => fault,
                None => return Err(self.ended()),
            };
            match fault.kind() {
                Kind::Passing => self.pause(deadline, || self.error(fault, what())).await?,
                // One topic that gets no answer leaves its companions without one.
                Kind::Silent if together => {}
                Kind::Missing => {
                    let (topic, cluster) = (topic.clone(), self.label.clone());
                    return Err(Error::TopicNotFound { topic, cluster });
                }
                _ => return Err(self.error(fault, what())),
            }
            alone = Some(topic.clone());
        }
    }

    /// The first offset of each of a topic's partitions whose record is of this time or later, in milliseconds since 1970; `None` where no
    /// record is.
    ///
    /// # Errors
    /// When they cannot be had by the deadline.
    pub(super) async fn since(
        &self,
        topic: &Topic,
        layout: Layout,
        time: i64,
        deadline: Instant,
    ) -> Result<BTreeMap<Partition, Option<Offset>>, Error> {
        let places: Vec<_> = (0..layout.partitions).map(|p| (topic.clone(), p)).collect();
        let what = || format!("the offsets of topic {topic} by time");
        let left = deadline.saturating_duration_since(Instant::now());
        let handle = self.asking.handle();
        let chunks = places.chunks(PARTITIONS_A_CALL);
        let replies: Vec<_> = chunks.map(|chunk| handle.since(chunk, time, left)).collect();
        let mut offsets = BTreeMap::new();
        for reply in replies {
            let answer = async { Some(received(reply).await) };
            let answer = self.before(deadline, what, answer).await?;
            for (_, partition, offset) in answer.map_err(|fault| self.error(&fault, what()))? {
                offsets.insert(partition, offset.map_err(|fault| self.error(&fault, what()))?);
            }
        }
        Ok(offsets)
    }

    /// A group's committed offsets of these topics, asked after this call came; with no topics, of
    /// every topic that it has any for.
    ///
    /// # Errors
    /// When they cannot be had by the deadline. A group that does not exist is no error.
    pub(super) async fn committed(
        self: &Arc<Self>,
        group: &Group,
        topics: &[Topic],
        deadline: Instant,
    ) -> Result<Arc<CommittedOffsets>, Error> {
        loop {
            let rounds = {
                let mut groups = lock(&self.committed);
                Arc::clone(groups.entry(group.clone()).or_insert_with(Rounds::new))
            };
            let (cluster, asked) = (Arc::clone(self), group.clone());
            let answer = rounds.ask(
                &self.tasks,
                |wanted| {
                    wanted.topics.extend(topics.iter().cloned());
                    wanted.all |= topics.is_empty();
                },
                move |wanted| {
                    let (cluster, group) = (Arc::clone(&cluster), asked.clone());
                    async move { cluster.ask_committed(&group, wanted).await }
                },
            );
            let what = || format!("the committed offsets of group {group}");
            let answer = self.before(deadline, what, answer).await;
            {
                let mut groups = lock(&self.committed);
                if groups.get(group).is_some_and(|rounds| rounds.is_idle()) {
                    groups.remove(group);
                }
            }
            match answer? {
                Ok(offsets) => return Ok(offsets),
                Err(fault) if fault.kind() == Kind::Passing => {
                    self.pause(deadline, || self.error(&fault, what())).await?;
                }
                Err(fault) => return Err(self.error(&fault, what())),
            }
        }
    }

    /// Follows a topic for one more trigger, which selects these on it.
    pub(super) fn follow(
        &self,
        topic: &Topic,
        selectors: &[Selector],
    ) -> (Arc<TopicTail>, SubscriberId) {
        // Under the lock, so that a log is not ended at the moment that it is wanted again.
        let mut logs = lock(&self.logs);
        let log =
            logs.entry(topic.clone()).or_insert_with(|| Arc::new(TopicTail::new(topic.clone())));
        (Arc::clone(log), log.follow(selectors))
    }

    /// Ends what [`follow`](Cluster::follow) began; a topic that nobody follows is tailed no more.
    pub(super) fn leave(&self, log: &TopicTail, follower: SubscriberId) {
        let mut logs = lock(&self.logs);
        if log.leave(follower) {
            logs.remove(log.topic());
            for partition in log.partitions() {
                self.tail.stop(log.topic(), partition);
                self.second.stop(log.topic(), partition);
            }
        }
    }

    /// Has partitions read.
    ///
    /// # Errors
    /// What keeps one from being read. What was not begun is asked for again by the next look.
    pub(super) fn read(&self, readings: Vec<Reading>) -> Result<(), Error> {
        for reading in readings {
            let reader = if reading.is_backfill() { &self.second } else { &self.tail };
            let read = reader.read(reading);
            read.map_err(|error| Error::unmade(&error, self.label.clone()))?;
        }
        Ok(())
    }

    /// Ends all that runs for this cluster, without waiting for it.
    pub(super) fn end(&self) {
        self.tasks.end();
        self.asking.end();
        self.tail.end();
        self.second.end();
    }

    /// Waits until the tasks have ended.
    pub(super) async fn tasks_ended(&self) {
        self.tasks.ended().await;
    }

    /// What a fault means to a user.
    pub(super) fn error(&self, fault: &Fault, what: String) -> Error {
        let cluster = self.label.clone();
        let reason = fault.steady();
        match fault.kind() {
            Kind::Refused => Error::Refused { cluster, reason },
            Kind::Denied => Error::Denied { what, reason },
            Kind::Silent => Error::Unreachable { cluster, reason: self.why_silent(reason) },
            Kind::Passing | Kind::Missing | Kind::Other => Error::Broker { what, reason },
        }
    }

    /// Waits for an answer until the deadline, unless a broker refuses us before.
    async fn before<T>(
        &self,
        deadline: Instant,
        what: impl Fn() -> String,
        answer: impl Future<Output = Option<T>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            answer = timeout_at(deadline, answer) => match answer {
                Ok(Some(answer)) => Ok(answer),
                // Whoever was told first has ended what others wait for.
                Ok(None) => Err(match self.trouble.refusal() {
                    Some(fault) => self.error(&fault, what()),
                    None => self.ended(),
                }),
                Err(_) => Err(Error::Unreachable {
                    cluster: self.label.clone(),
                    reason: self.why_silent("no answer in time".to_owned()),
                }),
            },
            fault = self.trouble.refused() => Err(self.error(&fault, what())),
        }
    }

    async fn pause(&self, deadline: Instant, error: impl FnOnce() -> Error) -> Result<(), Error> {
        let until = Instant::now() + ASK_AGAIN_AFTER;
        if until >= deadline {
            return Err(error());
        }
        sleep_until(until).await;
        Ok(())
    }

    fn why_silent(&self, otherwise: String) -> String {
        self.trouble.last().map_or(otherwise, |fault| fault.steady())
    }

    fn ended(&self) -> Error {
        Error::Unreachable { cluster: self.label.clone(), reason: ENDED.to_owned() }
    }

    async fn ask_bounds(&self, topics: BTreeSet<Topic>, end: End, together: bool) -> BoundsAnswer {
        // Together, so much time is left that each can be asked alone.
        let timeout = if together { self.patience / 3 } else { self.patience };
        let deadline = Instant::now() + timeout;
        let topics: Vec<Topic> = topics.into_iter().collect();
        let mut known: HashMap<Topic, Layout> = {
            let layouts = lock(&self.layouts);
            let known = topics.iter().filter_map(|topic| layouts.get_key_value(topic));
            known.map(|(topic, layout)| (topic.clone(), *layout)).collect()
        };
        let mut answer = HashMap::new();
        let asked = Instant::now();
        let layouts = self.layouts_of(&topics, timeout);
        let policies = self.policies_of(&topics, timeout);
        let (layouts, policies, mut ends) =
            tokio::join!(layouts, policies, self.ends_of(&known, end, timeout));
        let layouts = match layouts {
            Ok(layouts) => layouts,
            Err(fault) => {
                let each = topics.into_iter().map(|topic| (topic, Err(fault.clone())));
                return Arc::new(each.collect());
            }
        };
        self.trouble.clear();
        // Topics that are new, or not as they were, are asked again with the layout they have.
        let mut changed = HashMap::new();
        for (topic, layout) in layouts {
            match layout {
                Ok(layout) if known.get(&topic) == Some(&layout) => {}
                Ok(layout) => {
                    known.insert(topic.clone(), layout);
                    changed.insert(topic, layout);
                }
                Err(fault) => {
                    known.remove(&topic);
                    answer.insert(topic, Err(fault));
                }
            }
        }
        if !changed.is_empty() {
            let left = || deadline.saturating_duration_since(Instant::now());
            self.learn_leaders(changed.keys().cloned().collect(), left()).await;
            ends.extend(self.ends_of(&changed, end, left()).await);
        }
        for (topic, layout) in known {
            let mut bounds = match ends.remove(&topic) {
                Some(Ok(ends)) => Ok(Bounds { layout, compacted: false, asked, ends }),
                Some(Err(fault)) => Err(fault),
                None => continue,
            };
            match &mut bounds {
                Ok(bounds) => bounds.compacted = policies.contains(&topic),
                Err(fault) if fault.kind() == Kind::Missing => {
                    // It exists, so its leaders are not where librdkafka thinks.
                    fault.code = rdkafka::types::RDKafkaErrorCode::LeaderNotAvailable;
                }
                Err(_) => {}
            }
            let mut layouts = lock(&self.layouts);
            match &bounds {
                Ok(_) => layouts.insert(topic.clone(), layout),
                Err(_) => layouts.remove(&topic),
            };
            answer.insert(topic, bounds.map(Arc::new));
        }
        Arc::new(answer)
    }

    async fn ask_committed(&self, group: &Group, wanted: Wanted) -> CommittedAnswer {
        let places_of_topics: Vec<(Topic, Partition)> = {
            let layouts = lock(&self.layouts);
            let count = |topic| layouts.get(topic).map_or(0, |layout| layout.partitions);
            let places = wanted.topics.iter();
            places.flat_map(|topic| (0..count(topic)).map(|p| (topic.clone(), p))).collect()
        };
        let places = (!wanted.all).then_some(&*places_of_topics);
        if places.is_some_and(<[_]>::is_empty) {
            return Ok(Arc::default());
        }
        let handle = self.asking.handle();
        // A request may wait for a coordinator that is gone for good. A third of a poll's patience
        // leaves time to ask anew.
        let reply = timeout(self.patience / 3, received(handle.committed(group, places))).await;
        let committed: Committed = match reply.unwrap_or_else(|_| Err(Fault::unanswered())) {
            Ok(committed) => committed,
            Err(fault) => {
                if fault.kind() == Kind::Passing {
                    self.asking.replace(&handle);
                }
                return Err(fault);
            }
        };
        self.trouble.clear();
        // All that the group has was listed, so what is not there is known to be absent.
        let absent = places_of_topics.into_iter().filter(|_| wanted.all);
        let mut offsets = CommittedOffsets::new();
        for (topic, partition) in absent {
            offsets.entry(topic).or_default().insert(partition, None);
        }
        for (topic, partition, offset) in committed {
            offsets.entry(topic).or_default().insert(partition, offset?);
        }
        Ok(Arc::new(offsets))
    }

    /// What the topics look like, as any broker says that answers.
    async fn layouts_of(&self, topics: &[Topic], timeout: Duration) -> Result<Layouts, Fault> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let broker = self.any_broker(topics, left).await?;
            let attempt = left.min(NEXT_BROKER_AFTER);
            match received(self.asking.handle().layouts(broker, topics, attempt)).await {
                Err(fault) if fault.kind() == Kind::Silent && attempt < left => {
                    lock(&self.brokers).pop();
                }
                answered => return answered,
            }
        }
    }

    /// A broker to ask what each of them knows: the same one as long as it answers.
    async fn any_broker(&self, topics: &[Topic], timeout: Duration) -> Result<BrokerId, Fault> {
        let known = || lock(&self.brokers).last().copied();
        if let Some(broker) = known() {
            return Ok(broker);
        }
        let deadline = Instant::now() + timeout;
        let Ok(_turn) = timeout_at(deadline, self.look_up.acquire()).await else {
            return Err(Fault::silent());
        };
        // Whoever had its turn before may have learnt them.
        if let Some(broker) = known() {
            return Ok(broker);
        }
        let brokers = match topics.first() {
            Some(topic) => self.ask_brokers(vec![topic.clone()], deadline).await?,
            None => Vec::new(),
        };
        let broker = brokers.last().copied().ok_or_else(Fault::unanswered);
        *lock(&self.brokers) = brokers;
        broker
    }

    /// Has librdkafka learn who leads the partitions of these topics. Whether it did shows when they
    /// are asked: ListOffsets would look leaders up itself, but on the caller's thread, where a reply
    /// that comes at the same moment has it use what another thread has freed.
    async fn learn_leaders(&self, topics: Vec<Topic>, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        if let Ok(_turn) = timeout_at(deadline, self.look_up.acquire()).await {
            let _brokers = self.ask_brokers(topics, deadline).await;
        }
    }

    /// The brokers there are, asked until the deadline; librdkafka learns anew who leads the partitions of
    /// these topics. It is this cluster's turn to look something up.
    async fn ask_brokers(
        &self,
        mut topics: Vec<Topic>,
        deadline: Instant,
    ) -> Result<Vec<BrokerId>, Fault> {
        loop {
            let Some(turn) = self.look_ups.turn(deadline).await else {
                return Err(Fault::silent());
            };
            let handle = self.asking.handle();
            let asked = self.tasks.spawn_blocking(move || {
                // Held by the thread, which goes on where nobody waits for it any more.
                let _turn = turn;
                let until = deadline.min(Instant::now() + LOOK_UP);
                let left = || until.saturating_duration_since(Instant::now());
                let mut answer = Err(Fault::silent());
                while let Some(topic) = topics.last().filter(|_| !left().is_zero()) {
                    answer = handle.brokers(topic, left());
                    if answer.is_ok() {
                        topics.pop();
                    }
                }
                (topics, answer)
            });
            let Ok((not_yet, answer)) = asked.await else {
                return Err(Fault::ended());
            };
            if not_yet.is_empty() || Instant::now() >= deadline {
                return answer;
            }
            topics = not_yet;
        }
    }

    /// Log start and end offset of each partition, or what keeps a topic's from being known.
    async fn ends_of(
        &self,
        layouts: &HashMap<Topic, Layout>,
        end: End,
        timeout: Duration,
    ) -> HashMap<Topic, Result<Vec<(Offset, Offset)>, Fault>> {
        let places = layouts.iter().flat_map(|(topic, layout)| {
            (0..layout.partitions).map(|partition| (topic.clone(), partition))
        });
        let places: Vec<(Topic, Partition)> = places.collect();
        let chunks: Vec<_> = places.chunks(PARTITIONS_A_CALL).collect();
        let handle = self.asking.handle();
        let ask = |end| chunks.iter().map(|chunk| handle.offsets(chunk, end, timeout)).collect();
        let (starts, ends): (Vec<_>, Vec<_>) = (ask(End::Start), ask(end));
        let starts = by_partition(&chunks, starts).await;
        let ends = by_partition(&chunks, ends).await;
        let of_partition = |place: (Topic, Partition)| {
            let offset = |answers: &HashMap<_, Result<Offset, Fault>>| {
                answers.get(&place).cloned().unwrap_or_else(|| Err(Fault::unanswered()))
            };
            Ok((offset(&starts)?, offset(&ends)?))
        };
        let of_topic = |(topic, layout): (&Topic, &Layout)| {
            let partitions = (0..layout.partitions).map(|p| of_partition((topic.clone(), p)));
            (topic.clone(), partitions.collect())
        };
        layouts.iter().map(of_topic).collect()
    }

    /// Which of these topics are compacted. Where we may not know, none is taken to be.
    async fn policies_of(&self, topics: &[Topic], timeout: Duration) -> BTreeSet<Topic> {
        let now = Instant::now();
        let unknown: Vec<Topic> = {
            let policies = lock(&self.policies);
            let fresh = |topic: &&Topic| {
                policies.get(*topic).is_none_or(|(at, _)| now - *at >= POLICY_STALE_AFTER)
            };
            topics.iter().filter(fresh).cloned().collect()
        };
        if !unknown.is_empty() {
            let Ok(broker) = self.any_broker(topics, timeout).await else {
                return BTreeSet::new();
            };
            let compacted =
                received(self.asking.handle().compacted(broker, &unknown, timeout)).await;
            // Without an answer what was known before stands, and the next round asks again.
            if let Ok(compacted) = compacted {
                let is_compacted = |topic: &Topic| compacted.contains(topic);
                let known = unknown.into_iter().map(|topic| (is_compacted(&topic), topic));
                lock(&self.policies).extend(known.map(|(is, topic)| (topic, (now, is))));
            }
        }
        let policies = lock(&self.policies);
        let compacted = |topic: &&Topic| policies.get(*topic).is_some_and(|(_, is)| *is);
        topics.iter().filter(compacted).cloned().collect()
    }
}

impl Default for LookUps {
    fn default() -> LookUps {
        LookUps(Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE)))
    }
}

impl LookUps {
    /// A turn, until it is dropped; `None` where it does not come by the deadline.
    async fn turn(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.0).acquire_owned();
        timeout_at(deadline, turn).await.ok()?.ok()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

/// The answers of several calls; what keeps a call from being answered is true of all it asked.
async fn by_partition(
    chunks: &[&[(Topic, Partition)]],
    replies: Vec<Reply<Offsets>>,
) -> HashMap<(Topic, Partition), Result<Offset, Fault>> {
    let mut answers = HashMap::new();
    for (chunk, reply) in chunks.iter().zip(replies) {
        match received(reply).await {
            Ok(offsets) => {
                answers.extend(offsets.into_iter().map(|(topic, p, offset)| ((topic, p), offset)));
            }
            Err(fault) => {
                answers.extend(chunk.iter().map(|place| (place.clone(), Err(fault.clone()))));
            }
        }
    }
    answers
}

async fn received<T>(reply: Reply<T>) -> Result<T, Fault> {
    // A handle that ends drops what it was asked.
    reply.await.unwrap_or_else(|_| Err(Fault::ended()))
}

/// What every handle is set to.
pub(super) fn client_config(config: &ClusterConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("client.id", "keda-sift");
    // That a broker closed a connection, and why it may have, is only logged, at this level.
    client.set_log_level(RDKafkaLogLevel::Info);
    // A broker that comes back is found within a second; librdkafka's own 10 s are for fleets.
    client.set("reconnect.backoff.max.ms", "1000");
    client.set("socket.keepalive.enable", "true");
    client.set("socket.nagle.disable", "true");
    // KIP-714 would add requests of no use here.
    client.set("enable.metrics.push", "false");
    for (key, value) in config.settings() {
        client.set(key, value.expose_secret());
    }
    client
}

/// What the reading handles are set to besides.
fn reading_config(mut client: ClientConfig) -> ClientConfig {
    client.set("isolation.level", "read_committed");
    client.set("enable.partition.eof", "true");
    // A position that is gone must be heard of, not moved.
    client.set("auto.offset.reset", "error");
    // A commit marker is only heard of by the end-of-partition event of the fetch after it, and a
    // partition is only fetched from once the fetch under way is answered.
    client.set("fetch.wait.max.ms", "100");
    client.set("fetch.error.backoff.ms", "100");
    // With the default of 1 s a reader as fast as the broker stalls whenever its queue is full.
    client.set("fetch.queue.backoff.ms", "2");
    // Bounds what the queue holds, and so how long one topic's flood delays another topic.
    client.set("queued.max.messages.kbytes", "16384");
    client.set("fetch.max.bytes", "16777216");
    // Closes the connection that only served to find the brokers; the others are never idle.
    client.set("connections.max.idle.ms", "10000");
    client
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::runtime::Builder;
    use tokio::task::spawn_blocking;

    use super::*;

    #[test]
    fn dead_clusters_leave_threads_for_others_and_keep_their_deadlines() {
        let runtime = Builder::new_multi_thread().max_blocking_threads(4).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let look_ups = LookUps(Arc::new(Semaphore::new(2)));
            let threads = Arc::new(Threads::default());
            let config = ClusterConfig::plain("127.0.0.1:9").expect("servers");
            let (group, patience) = (Group::from("g"), Duration::from_secs(4));
            let cluster = |_| {
                let look_ups = look_ups.clone();
                Cluster::new(&config, &group, patience, &threads, look_ups, None).expect("handles")
            };
            let clusters: Vec<_> = (0..30).map(cluster).collect();
            let topics = [Topic::from("t")];
            let begun = Instant::now();
            // Twice each, as for layouts and policies.
            let asked = clusters
                .iter()
                .chain(&clusters)
                .map(|cluster| async { cluster.any_broker(&topics, patience).await.is_err() });
            let others = async {
                sleep_until(begun + LOOK_UP / 2).await;
                spawn_blocking(Instant::now).await.expect("a thread") - begun
            };
            let (failed, others) = tokio::join!(join_all(asked), others);
            assert!(failed.into_iter().all(|failed| failed));
            // With turns for all, thirty look-ups on four threads come first.
            assert!(others < patience / 2, "others had to wait for {others:?}");
            assert!(begun.elapsed() < patience * 2, "{:?}", begun.elapsed());
        });
    }
}
