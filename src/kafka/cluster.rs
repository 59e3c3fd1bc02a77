//! One Kafka cluster, as one login sees it: what polls ask of it, and the topics tailed on it.
//!
//! All triggers with the same bootstrap servers and security settings share a `Cluster`, and so its
//! connections. Calls that arrive together share requests, but a call is never answered by a
//! request that was sent before it arrived; cancelling one never cancels a request that others
//! share.
//!
//! A cluster that refuses our login is [rejected](Cluster::is_rejected): the next call makes a new
//! one, so that a refusal is never remembered.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, join, select};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::broker::offsets::{self, OfTopics};
use super::broker::{
    CommittedOffsets, ConnectionHealth, Connections, Description, Descriptions, End, Groups, Lane,
    OffsetRange, TopicShape, Topics, token,
};
use super::by_partition::ByPartition;
use super::error::Error;
use super::fault::{Fault, Kind};
use super::judges::Judges;
use super::names::{Group, Offset, Topic};
use super::reader::{Parts, Reader};
use super::security::ClusterConfig;
use super::tail::{Reading, SubscriberId, TailSelector, TopicTail};
use super::wire::tls::TlsClient;
use super::wire::{Dialer, Network, Resolver};
use crate::coalescer::{Coalescer, ENDED, Tasks};
use crate::ledger::{Account, Payers};
use crate::lock::lock;
use crate::source::Figures;

/// How soon a question is asked again that met brokers in motion.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How many polls ask at a time; what a poll holds meanwhile is what a burst takes of memory. Far
/// more than a broker answers at once, so that waiting for one's turn costs nothing.
const ASKING_AT_ONCE: usize = 2_000;

/// Kinds of requests for offsets that are kept before idle ones are dropped.
const MAX_KINDS: usize = 1_000;

/// How long the offsets of topics that stayed as they were are waited for beside those that
/// changed.
const UNCHANGED_WITHIN: Duration = Duration::from_secs(1);

/// A cluster with its connections.
pub(super) struct Cluster {
    label: String,
    timeout: Duration,
    health: Arc<ConnectionHealth>,
    /// Those who are measured on it, who pay for what it holds.
    payers: Arc<Payers>,
    connections: Arc<Connections>,
    topics: Arc<Topics>,
    groups: Groups,
    turns: Semaphore,
    tasks: Tasks,
    offsets: Mutex<HashMap<OffsetsKind, Arc<OffsetsRequests>>>,
    /// Topics that had no answer, or none that can be read, when they were last asked about.
    alone: Mutex<HashSet<Topic>>,
    tails: Mutex<HashMap<Topic, Arc<TopicTail>>>,
    tailing: Reader,
    backfill: Reader,
}

/// What a topic's partitions hold.
#[derive(Debug, Clone)]
pub(super) struct TopicOffsets {
    pub(super) shape: TopicShape,
    pub(super) compacted: bool,
    /// When it was asked.
    pub(super) asked: Instant,
    /// By partition.
    pub(super) ranges: Vec<OffsetRange>,
}

/// Topics are asked about together; one that had no answer in time, or none that can be read, is
/// asked about alone, so that it cannot hold up the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OffsetsKind {
    end: End,
    alone: Option<Topic>,
}

type OffsetsRequests = Coalescer<BTreeSet<Topic>, OffsetsAnswer>;

type OffsetsAnswer = Arc<HashMap<Topic, Result<Arc<TopicOffsets>, NoOffsets>>>;

/// Why a topic's offsets are not known.
#[derive(Debug, Clone)]
enum NoOffsets {
    /// The brokers describe no topic of this name.
    NoTopic,
    Fault(Fault),
}

impl Cluster {
    /// The cluster, not yet connected; `bearer` where its login is a token.
    ///
    /// # Errors
    /// [`Error::Config`] where TLS cannot be had with these settings.
    pub(super) fn new(
        config: &ClusterConfig,
        timeout: Duration,
        resolver: &Arc<Resolver>,
        judges: &Arc<Judges>,
        bearer: Option<Arc<token::Bearer>>,
    ) -> Result<Arc<Cluster>, Error> {
        let health = Arc::new(ConnectionHealth::new());
        let tasks = Tasks::default();
        let tls = config.tls().map(TlsClient::new).transpose();
        let tls = tls.map_err(|error| Error::Config { reason: error.to_string() })?;
        let (tls, credentials) = (tls.map(Arc::new), token::credentials(config, bearer.as_ref()));
        let payers: Arc<Payers> = Arc::default();
        let dialer = Dialer { network: Network::new(resolver, &payers), tls, credentials };
        let connections = Arc::new(Connections::new(
            Arc::new(dialer),
            config.endpoints(),
            tasks.clone(),
            Arc::clone(&health),
        ));
        let topics: Arc<Topics> = Arc::default();
        let parts = Parts {
            connections: Arc::clone(&connections),
            topics: Arc::clone(&topics),
            judges: Arc::clone(judges),
            payers: Arc::clone(&payers),
        };
        let tailing = Reader::new(Lane::Tails, parts.clone(), tasks.clone());
        let backfill = Reader::new(Lane::Backfills, parts, tasks.clone());
        if let Some(bearer) = bearer {
            tasks.spawn(bearer.keep());
        }
        Ok(Arc::new(Cluster {
            label: config.label(),
            timeout,
            health,
            payers,
            connections,
            topics,
            groups: Groups::new(),
            turns: Semaphore::new(ASKING_AT_ONCE),
            tasks,
            offsets: Mutex::default(),
            alone: Mutex::default(),
            tails: Mutex::default(),
            tailing,
            backfill,
        }))
    }

    /// Whether this cluster has refused our login, so that the next call must make another.
    pub(super) fn is_rejected(&self) -> bool {
        self.health.refusal().is_some()
    }

    /// A poll's turn to ask, until it is dropped.
    ///
    /// # Errors
    /// When it does not come by the deadline.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        let turn = async { self.turns.acquire().await.ok() };
        self.before(deadline, || "a turn to ask".to_owned(), turn).await
    }

    /// What a topic's partitions hold, asked after this call came.
    ///
    /// # Errors
    /// When it cannot be had by the deadline. Brokers in motion are asked again until then.
    pub(super) async fn offsets(
        self: &Arc<Self>,
        topic: &Topic,
        end: End,
        deadline: Instant,
    ) -> Result<Arc<TopicOffsets>, Error> {
        let what = || format!("the offsets of topic {topic}");
        loop {
            let alone = lock(&self.alone).contains(topic);
            let requests = {
                let mut kinds = lock(&self.offsets);
                if kinds.len() > MAX_KINDS {
                    kinds.retain(|kind, requests| kind.alone.is_none() || !requests.is_idle());
                }
                let kind = OffsetsKind { end, alone: alone.then(|| topic.clone()) };
                Arc::clone(kinds.entry(kind).or_insert_with(Coalescer::new))
            };
            let cluster = Arc::clone(self);
            let answer = requests.ask(
                &self.tasks,
                |topics| topics.extend([topic.clone()]),
                move |topics| {
                    let cluster = Arc::clone(&cluster);
                    async move { cluster.ask_offsets(topics, end, alone).await }
                },
            );
            let answer = self.before(deadline, what, answer).await?;
            match answer.get(topic) {
                Some(Ok(offsets)) => return Ok(Arc::clone(offsets)),
                // One topic that has no answer, or none that can be read, leaves its companions
                // without one.
                Some(Err(NoOffsets::Fault(fault)))
                    if matches!(fault.kind, Kind::Silent | Kind::Foreign) && !alone => {}
                Some(Err(NoOffsets::Fault(fault))) => self.pause(deadline, fault, what).await?,
                Some(Err(NoOffsets::NoTopic)) => {
                    let (topic, cluster) = (topic.clone(), self.label.clone());
                    return Err(Error::TopicNotFound { topic, cluster });
                }
                None => return Err(self.ended()),
            }
        }
    }

    /// The first offset of each of a topic's partitions whose record is of this time or later, in
    /// milliseconds since 1970; `None` where no record is.
    ///
    /// # Errors
    /// When they cannot be had by the deadline.
    pub(super) async fn since(
        self: &Arc<Self>,
        topic: &Topic,
        time: i64,
        deadline: Instant,
    ) -> Result<ByPartition<Option<Offset>>, Error> {
        let what = || format!("the offsets of topic {topic} by time");
        let time = u64::try_from(time).unwrap_or(0);
        loop {
            let known = self.topics.known(&BTreeSet::from([topic.clone()])).remove(topic);
            if let Some(description) = known {
                let answer = offsets::since(&self.connections, topic, description, time, deadline);
                match self.before(deadline, what, async { Some(answer.await) }).await? {
                    Ok(offsets) => return Ok(offsets),
                    Err(fault) => self.pause(deadline, &fault, what).await?,
                }
            }
            // Learns who leads its partitions now.
            self.offsets(topic, End::HighWatermark, deadline).await?;
        }
    }

    /// A group's committed offsets of these topics, asked after this call came; with no topics, of
    /// every topic that it has any for.
    ///
    /// # Errors
    /// When they cannot be had by the deadline. A group that does not exist is no error.
    pub(super) async fn committed(
        &self,
        group: &Group,
        topics: &[Topic],
        deadline: Instant,
    ) -> Result<Arc<CommittedOffsets>, Error> {
        let what = || format!("the committed offsets of group {group}");
        let asking = self.groups.asking(&self.connections, &self.topics, self.timeout);
        let ask = || self.groups.committed(&asking, &self.tasks, group, topics);
        self.ask_coordinator(deadline, what, ask).await
    }

    /// Whether a group is a share group, as its coordinator says or has said lately. One of which
    /// that is not to be had, because of rights or of the broker's version, is taken for another
    /// kind.
    ///
    /// # Errors
    /// When there is no answer by the deadline.
    pub(super) async fn is_share_group(
        &self,
        group: &Group,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let what = || format!("the kind of group {group}");
        let asking = self.groups.asking(&self.connections, &self.topics, self.timeout);
        let ask = || self.groups.is_share_group(&asking, &self.tasks, group);
        self.ask_coordinator(deadline, what, ask).await
    }

    /// The way to its brokers, and what they last said of topics: for whoever reads for itself.
    pub(super) fn brokers(&self) -> (&Connections, &Topics) {
        (&self.connections, &self.topics)
    }

    /// Those who pay for what this cluster holds: whoever is measured on it joins them.
    pub(super) fn payers(&self) -> &Payers {
        &self.payers
    }

    /// Follows a topic for one more trigger, which selects this on it and pays for what it finds.
    pub(super) fn follow(
        &self,
        topic: &Topic,
        selectors: &[TailSelector],
        account: &Account,
    ) -> (Arc<TopicTail>, SubscriberId) {
        // Under the lock, so that a tail is not ended at the moment that it is wanted again.
        let mut tails = lock(&self.tails);
        let tail = tails.entry(topic.clone());
        let tail = tail.or_insert_with(|| Arc::new(TopicTail::new(topic.clone())));
        (Arc::clone(tail), tail.follow(selectors, account))
    }

    /// Ends what [`follow`](Cluster::follow) began; a topic that nobody follows is tailed no more.
    pub(super) fn leave(&self, tail: &TopicTail, subscriber: SubscriberId) {
        let mut tails = lock(&self.tails);
        if tail.leave(subscriber) {
            tails.remove(tail.topic());
            for partition in tail.partitions() {
                self.tailing.stop(tail.topic(), partition);
                self.backfill.stop(tail.topic(), partition);
            }
        }
    }

    /// Has partitions read.
    pub(super) fn read(&self, readings: Vec<Reading>) {
        for reading in readings {
            let reader = if reading.is_backfill() { &self.backfill } else { &self.tailing };
            reader.read(reading);
        }
    }

    /// How it is connected now.
    pub(super) fn figures(&self) -> Figures {
        self.connections.figures()
    }

    /// Ends all that runs for this cluster, without waiting for it.
    pub(super) fn end(&self) {
        self.tasks.end();
        self.tailing.end();
        self.backfill.end();
    }

    /// Waits until the tasks have ended.
    pub(super) async fn tasks_ended(&self) {
        self.tasks.ended().await;
    }

    /// What a fault means to a user.
    pub(super) fn error(&self, fault: &Fault, what: String) -> Error {
        let (cluster, reason) = (self.label.clone(), fault.reason.clone());
        match fault.kind {
            Kind::Refused => Error::Refused { cluster, reason },
            Kind::Denied => Error::Denied { what, reason },
            Kind::Silent => Error::Unreachable { cluster, reason: self.why_silent(reason) },
            Kind::Exhausted => Error::Memory { what, reason },
            Kind::Foreign | Kind::Absent | Kind::AllAbsent => {
                Error::Unreachable { cluster, reason }
            }
            Kind::Passing
            | Kind::Missing
            | Kind::Gone
            | Kind::Unaskable
            | Kind::Unreadable
            | Kind::Other => Error::Broker { what, reason },
        }
    }

    /// Asks a group's coordinator until there is an answer.
    async fn ask_coordinator<T, A>(
        &self,
        deadline: Instant,
        what: impl Fn() -> String,
        ask: impl Fn() -> A,
    ) -> Result<T, Error>
    where
        A: Future<Output = Option<Result<T, Fault>>>,
    {
        loop {
            match self.before(deadline, &what, ask()).await? {
                Ok(answer) => return Ok(answer),
                // Asked anew, perhaps of another broker, for as long as this call has time.
                Err(fault) if fault.kind == Kind::Silent => {
                    let again = async {
                        sleep(ASK_AGAIN_AFTER).await;
                        Some(())
                    };
                    self.before(deadline, &what, again).await?;
                }
                Err(fault) => self.pause(deadline, &fault, &what).await?,
            }
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
                Ok(None) => Err(match self.health.refusal() {
                    Some(fault) => self.error(&fault, what()),
                    None => self.ended(),
                }),
                Err(_) => Err(Error::Unreachable {
                    cluster: self.label.clone(),
                    reason: self.why_silent("no answer in time".to_owned()),
                }),
            },
            fault = self.health.refused() => Err(self.error(&fault, what())),
        }
    }

    /// Waits a moment where the brokers may only be in motion.
    ///
    /// # Errors
    /// What the fault means where they are not, or there is no time left.
    async fn pause(
        &self,
        deadline: Instant,
        fault: &Fault,
        what: impl Fn() -> String,
    ) -> Result<(), Error> {
        let until = Instant::now() + ASK_AGAIN_AFTER;
        // A leader that does not know of what the cluster describes is behind.
        let passes = matches!(fault.kind, Kind::Passing | Kind::Missing | Kind::Absent);
        if !passes || until >= deadline {
            return Err(self.error(fault, what()));
        }
        sleep_until(until).await;
        Ok(())
    }

    fn why_silent(&self, otherwise: String) -> String {
        self.health.last().map_or(otherwise, |fault| fault.reason)
    }

    fn ended(&self) -> Error {
        Error::Unreachable { cluster: self.label.clone(), reason: ENDED.to_owned() }
    }

    /// Asks what topics look like beside the offsets of those that are known; then for the offsets
    /// of those that turn out to be new, or other than they were.
    async fn ask_offsets(&self, topics: BTreeSet<Topic>, end: End, alone: bool) -> OffsetsAnswer {
        // Together, so much time is left that each can be asked alone.
        let timeout = if alone { self.timeout } else { self.timeout / 3 };
        let asked = Instant::now();
        let deadline = asked + timeout;
        let connections = &*self.connections;
        let known = self.topics.known(&topics);
        let compacted = async {
            match end {
                End::LastStable => self.topics.compacted(connections, &topics, deadline).await,
                // Nothing is read.
                End::HighWatermark => BTreeSet::new(),
            }
        };
        let described = self.topics.describe(connections, &topics, deadline);
        let of_known = pin!(offsets::ranges(connections, &known, end, deadline));
        let asked_first = join(described, compacted);
        let ((described, compacted), of_known) = match select(pin!(asked_first), of_known).await {
            Either::Left((first, of_known)) => (first, Either::Left(of_known)),
            Either::Right((ranges, first)) => (first.await, Either::Right(ranges)),
        };
        let described = match described {
            Ok(described) => described,
            Err(fault) => {
                // It may be one topic alone of which something cannot be read.
                if fault.kind == Kind::Foreign {
                    topics.iter().for_each(|topic| self.ask_alone(topic, true));
                }
                let fault = NoOffsets::Fault(fault);
                let each = topics.into_iter().map(|topic| (topic, Err(fault.clone())));
                return Arc::new(each.collect());
            }
        };
        let ranges = self.all_ranges(&known, &described, of_known, end, deadline).await;
        Arc::new(self.add_up(topics, asked, described, &compacted, ranges))
    }

    /// The ranges of topics that are as they were known, for which it was asked already, and of the
    /// others.
    async fn all_ranges(
        &self,
        known: &HashMap<Topic, Arc<Description>>,
        described: &Descriptions,
        of_known: Either<impl Future<Output = OfTopics>, OfTopics>,
        end: End,
        deadline: Instant,
    ) -> OfTopics {
        let connections = &*self.connections;
        match of_known {
            Either::Right(mut ranges) => {
                let changed = changed(known, described, Some(&ranges));
                ranges.extend(offsets::ranges(connections, &changed, end, deadline).await);
                ranges
            }
            // A leader that is gone may never answer, and its topics are led by others by now.
            Either::Left(of_known) => {
                let changed = changed(known, described, None);
                let until = match changed.is_empty() {
                    true => deadline,
                    false => deadline.min(Instant::now() + UNCHANGED_WITHIN),
                };
                let (of_known, of_changed) = tokio::join!(
                    timeout_at(until, of_known),
                    offsets::ranges(connections, &changed, end, deadline),
                );
                let unanswered = || known.keys().map(|topic| (topic.clone(), Err(Fault::silent())));
                let mut ranges = of_known.unwrap_or_else(|_| unanswered().collect());
                ranges.extend(of_changed);
                ranges
            }
        }
    }

    /// What is known of each topic now, and what the next question about it is to be.
    fn add_up(
        &self,
        topics: BTreeSet<Topic>,
        asked: Instant,
        mut described: Descriptions,
        compacted: &BTreeSet<Topic>,
        mut ranges: OfTopics,
    ) -> HashMap<Topic, Result<Arc<TopicOffsets>, NoOffsets>> {
        let mut answer = HashMap::new();
        for topic in topics {
            let left_out = || Fault::left_out("a topic");
            let description = described.remove(&topic).unwrap_or_else(|| Err(left_out()));
            let ranges = ranges.remove(&topic).unwrap_or_else(|| Err(left_out()));
            let known = description.as_ref().ok().filter(|_| ranges.is_ok());
            self.topics.keep(&topic, known);
            let offsets = match (description, ranges) {
                (Err(fault), _) if fault.kind == Kind::Missing => Err(NoOffsets::NoTopic),
                (Err(fault), _) | (Ok(_), Err(fault)) => {
                    self.ask_alone(&topic, matches!(fault.kind, Kind::Silent | Kind::Foreign));
                    Err(NoOffsets::Fault(fault))
                }
                (Ok(description), Ok(ranges)) => {
                    self.ask_alone(&topic, false);
                    let (shape, compacted) = (description.shape, compacted.contains(&topic));
                    Ok(Arc::new(TopicOffsets { shape, compacted, asked, ranges }))
                }
            };
            answer.insert(topic, offsets);
        }
        answer
    }

    /// Whether a topic is asked about alone from now on.
    fn ask_alone(&self, topic: &Topic, is_alone: bool) {
        let mut alone = lock(&self.alone);
        if is_alone {
            alone.insert(topic.clone());
        } else {
            alone.remove(topic);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

/// Topics that are new, or other than they were known; `ranges` are what those known have answered.
fn changed(
    known: &HashMap<Topic, Arc<Description>>,
    described: &Descriptions,
    ranges: Option<&OfTopics>,
) -> HashMap<Topic, Arc<Description>> {
    let changed = described.iter().filter_map(|(topic, description)| {
        let now = description.as_ref().ok()?;
        let is_answered = ranges.is_some_and(|of| matches!(of.get(topic), Some(Ok(_))));
        let is_as_known = known.get(topic).is_some_and(|known| {
            // Answered, it does not matter that a partition's leader is not known now. But one that
            // was replaced while it stood still answers without an error until it hears of that.
            known == now || is_answered && known.shape == now.shape && !known.is_superseded_by(now)
        });
        (!is_as_known).then(|| (topic.clone(), Arc::clone(now)))
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::RDKafkaApiKey;

    use super::*;

    /// The demo stands on librdkafka's mock cluster, which does not know every request.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_mock_cluster_answers_what_the_demo_needs() {
        let mock = MockCluster::new(1).expect("a mock cluster");
        mock.create_topic("uploads", 2, 1).expect("a topic");
        // Its later versions have a byte too many.
        mock.apiversion(RDKafkaApiKey::Metadata, Some(0), Some(8)).expect("a version");
        let config = ClusterConfig::plain(&mock.bootstrap_servers()).expect("servers");
        let (resolver, judges) = (Arc::default(), Arc::default());
        let timeout = Duration::from_secs(5);
        let cluster = Cluster::new(&config, timeout, &resolver, &judges, None).expect("no TLS");
        let (topic, group) = (Topic::from("uploads"), Group::from("thumbnails"));
        let deadline = Instant::now() + timeout;
        for end in [End::LastStable, End::HighWatermark] {
            let offsets = cluster.offsets(&topic, end, deadline).await.expect("offsets");
            assert_eq!(offsets.ranges, [OffsetRange { start: 0, end: 0 }; 2], "{end:?}");
            assert_eq!(offsets.shape.partitions, 2);
        }
        let committed = cluster.committed(&group, std::slice::from_ref(&topic), deadline).await;
        let committed = committed.expect("committed offsets");
        assert!(committed[&topic].iter().eq([(0, &None), (1, &None)]));
        let missing = cluster.offsets(&Topic::from("missing"), End::LastStable, deadline).await;
        assert!(matches!(missing, Err(Error::TopicNotFound { .. })), "{missing:?}");
    }
}
