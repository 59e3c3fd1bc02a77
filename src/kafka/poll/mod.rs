//! How many messages one trigger has waiting: the way of a poll through this source.
//!
//! 1. Ask, side by side, for the ends of the trigger's partitions and for its group's committed
//!    offsets (`TriggerPoller::ask`).
//! 2. Work out from where on messages wait (`memory`, `partition`), and ask for what that takes
//!    besides: high watermarks, and offsets by time.
//! 3. Count. Where records count, wait until the topics' tails have judged everything before those
//!    ends, so that a record whose produce was acknowledged before the call is in the answer. When
//!    the deadline comes first, what is known is a lower bound.
//! 4. Add up (`answer`), as KEDA does (`lag`).
//!
//! Brokers move while they are asked. Where their answers do not fit together, the poll begins
//! again with step 1: a partition is new since the committed offsets were asked for, a topic was
//! made again, or a committed offset is not believed yet.
//!
//! Only this file of the module knows the cluster and the tails.

mod answer;
mod lag;
mod memory;
mod partition;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::{
    BoxFuture, Either, FutureExt as _, TryFutureExt as _, select, try_join_all,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{Instrument as _, info_span};

use self::answer::{StillReading, Tally, add_up, total};
use self::memory::{Memory, ObservedTopic, Questions};
use self::partition::{Committed, Observed, Polled, Rules, Waiting, WithoutOffset};
use super::broker::{CommittedOffsets, End, OffsetRange};
use super::by_partition::ByPartition;
use super::cluster::{Cluster, TopicOffsets};
use super::clusters::Clusters;
use super::error::Error;
use super::names::{Offset, Topic};
use super::tail::{Need, Progress, Seen, SubscriberId, TailSelector, TopicTail, View};
use super::trigger::{CountBy, CountFrom, KafkaTrigger, MAX_TOPICS, Spread};
use crate::backlog::{Measured, Purpose, Scope};
use crate::failure::Failure;
use crate::ledger::{Account, Charge, Use};
use crate::lock::lock;
use crate::metadata::one_line;
use crate::selection::{Selector, Sight};
use crate::source::{self, Explanation, Measure};
use crate::telemetry::POLL;

/// How long the error of one question waits for that of the other, which comes first in an answer:
/// the same cause is to read the same each time.
const OTHER_ERROR_WITHIN: Duration = Duration::from_millis(200);

/// Bytes that a trigger takes for a partition: what is remembered of it between polls.
const PARTITION_BYTES: usize = 128;

/// Bytes of a name that the log shows.
const SHOWN_BYTES: usize = 200;

/// How long to wait before asking again when answers do not fit together.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A live trigger's hold on its cluster and tails, and what is remembered of it between polls.
/// Dropping it lets go.
pub struct TriggerPoller {
    trigger: Arc<KafkaTrigger>,
    rules: Rules,
    clusters: Arc<Clusters>,
    /// Pays for what the trigger makes the process hold.
    account: Account,
    hold: Mutex<Hold>,
    memory: Mutex<Memory>,
    /// For what is remembered of partitions.
    charge: Mutex<Option<Charge>>,
    /// Whether it was told that the group has never committed.
    told_never_committed: AtomicBool,
    /// Offsets that the latest measurement would have needed besides.
    behind: AtomicU64,
}

/// The cluster that the trigger is measured on, if it has been yet.
#[derive(Default)]
struct Hold(Option<Held>);

/// A cluster, and the trigger's subscriptions there.
struct Held {
    cluster: Arc<Cluster>,
    account: Account,
    subscriptions: HashMap<Topic, Subscription>,
}

/// The trigger's place on a topic that is tailed.
#[derive(Clone)]
struct Subscription {
    tail: Arc<TopicTail>,
    id: SubscriberId,
}

/// What the brokers answered, and what follows from it.
struct Asked {
    /// By topic, in the order of `observed`.
    bounds: Vec<Arc<TopicOffsets>>,
    observed: Vec<ObservedTopic>,
    /// In the order of `observed`; of each topic there is one at least.
    partitions: Vec<Polled>,
}

/// What was counted, in which partitions.
struct Counted {
    measured: Measured,
    partitions: Vec<Polled>,
}

/// How far the tails had come before the ends were asked for.
type Positions = HashMap<Topic, ByPartition<Offset>>;

impl TriggerPoller {
    pub(super) fn new(
        trigger: Arc<KafkaTrigger>,
        clusters: Arc<Clusters>,
        account: Account,
    ) -> TriggerPoller {
        let rules = Rules::of(&trigger);
        TriggerPoller {
            trigger,
            rules,
            clusters,
            account,
            hold: Mutex::default(),
            memory: Mutex::default(),
            charge: Mutex::default(),
            told_never_committed: AtomicBool::new(false),
            behind: AtomicU64::new(0),
        }
    }

    /// How many messages wait, now: asked of the brokers after this call came. Counts no further
    /// than the scope says, if the trigger has no `countLimit`.
    ///
    /// Dropping the future gives up this caller's wait and nothing that others wait for. What
    /// `excludePersistentLag` remembers moves on only with [`Purpose::Metric`], and only when the
    /// answer is there.
    ///
    /// # Errors
    /// [`Error`] where the number cannot be had by the deadline. A group that does not exist, or
    /// has nothing committed, is no error: `offsetResetPolicy` says what waits for it.
    pub async fn measure(
        &self,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> Result<Measured, Error> {
        Ok(self.counted(deadline, purpose, scope).await?.measured)
    }

    /// The same with all that it follows from.
    async fn counted(
        &self,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> Result<Counted, Error> {
        let cluster = self.cluster(deadline).await?;
        let scope = Scope { enough: self.trigger.scaling.count_limit.or(scope.enough), ..scope };
        let counted = self.count_on(&cluster, deadline, purpose, scope).await;
        if cluster.is_rejected() {
            // Its handles would go on to tail in and be refused until the next poll, which locks
            // accounts. Whoever else waits for this cluster is refused as well.
            cluster.end();
            let mut hold = self.hold();
            if hold.on(&cluster).is_some() {
                hold.let_go();
            }
        }
        counted
    }

    async fn count_on(
        &self,
        cluster: &Arc<Cluster>,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> Result<Counted, Error> {
        let limit = scope.enough;
        let topics = self.topics(cluster, deadline).await?;
        let mut is_again = false;
        loop {
            let positions = self.positions(cluster, &topics);
            let asking = Box::pin(self.ask(cluster, &topics, scope.since, deadline));
            let asked = asking.instrument(info_span!(target: POLL, "ask the brokers")).await?;
            let Some(mut asked) = asked else {
                // The first time at once, since a topic that was not known yet is now; polls that
                // came together stay together.
                if is_again {
                    sleep(ASK_AGAIN_AFTER).await;
                }
                is_again = true;
                continue;
            };
            let tally = match self.trigger.count_from {
                CountFrom::Offsets => {
                    asked.partitions.iter_mut().for_each(Polled::count_offsets);
                    Some(Tally::default())
                }
                CountFrom::Records => {
                    self.count_records(cluster, &mut asked, &positions, limit, deadline)
                        .instrument(info_span!(target: POLL, "read the records"))
                        .await?
                }
            };
            let Some(tally) = tally else {
                sleep(ASK_AGAIN_AFTER).await;
                continue;
            };
            let behind = tally.reading.as_ref().map_or(0, |reading| reading.behind);
            self.behind.store(behind, Ordering::Relaxed);
            let measured = add_up(&self.trigger, &asked.partitions, &tally, limit)?;
            if purpose == Purpose::Metric && self.rules.exclude_persistent_lag {
                self.memory().answered(&asked.observed, &asked.partitions);
            }
            return Ok(Counted { measured, partitions: asked.partitions });
        }
    }

    /// The cluster, which is made if there is none, or none of use.
    async fn cluster(&self, deadline: Instant) -> Result<Arc<Cluster>, Error> {
        if let Some(cluster) = self.hold().cluster_of_use() {
            return Ok(cluster);
        }
        let trigger = &self.trigger;
        let cluster = self.clusters.get(&trigger.cluster, deadline).await?;
        let mut hold = self.hold();
        // Another call may have come by one meanwhile.
        if let Some(cluster) = hold.cluster_of_use() {
            return Ok(cluster);
        }
        hold.take(&cluster, &self.account);
        Ok(cluster)
    }

    /// The topics that count, sorted.
    async fn topics(&self, cluster: &Arc<Cluster>, deadline: Instant) -> Result<Vec<Topic>, Error> {
        let mut topics = self.trigger.topics.clone();
        if topics.is_empty() {
            let group = &self.trigger.group;
            let committed = cluster.committed(group, &[], deadline).await?;
            let has_one =
                |offsets: &ByPartition<Option<Offset>>| offsets.values().any(Option::is_some);
            let of_group = committed.iter().filter(|(_, offsets)| has_one(offsets));
            topics.extend(of_group.map(|(topic, _)| topic.clone()));
            if topics.is_empty() {
                self.refuse_share_group(cluster, deadline).await?;
                return Err(Error::NothingCommitted { group: group.clone() });
            }
            if topics.len() > MAX_TOPICS {
                return Err(Error::TooManyTopics { group: group.clone(), topics: topics.len() });
            }
        }
        topics.sort_unstable();
        Ok(topics)
    }

    /// How far the tails have come that this trigger follows.
    fn positions(&self, cluster: &Arc<Cluster>, topics: &[Topic]) -> Positions {
        let mut hold = self.hold();
        let Some(held) = hold.on(cluster) else {
            return HashMap::new();
        };
        let subscriptions =
            topics.iter().filter_map(|topic| held.subscriptions.get_key_value(topic));
        subscriptions.map(|(topic, on)| (topic.clone(), on.tail.positions())).collect()
    }

    /// Asks the brokers until it is known from where on to count; `None` where their answers do not
    /// fit together, or are not believed yet.
    async fn ask(
        &self,
        cluster: &Arc<Cluster>,
        topics: &[Topic],
        since: Option<i64>,
        deadline: Instant,
    ) -> Result<Option<Asked>, Error> {
        let _turn = cluster.turn(deadline).await?;
        let end = match self.trigger.count_from {
            CountFrom::Records => End::LastStable,
            CountFrom::Offsets => End::HighWatermark,
        };
        let bounds = try_join_all(topics.iter().map(|topic| cluster.offsets(topic, end, deadline)));
        let committed = cluster.committed(&self.trigger.group, topics, deadline);
        let (bounds, committed) = both(bounds, committed).await?;
        if are_absent(&committed) {
            self.refuse_share_group(cluster, deadline).await?;
        }
        let each = topics.iter().zip(&bounds);
        let observed: Result<Vec<_>, _> =
            each.map(|(topic, bounds)| self.observe(topic, bounds, &committed)).collect();
        let mut observed = observed?;
        self.charge_for(&observed)?;
        self.tell_never_committed(&observed);

        let questions = self.memory().plan(&observed, self.rules, since, Instant::now());
        let Some(questions) = questions else {
            return Ok(None);
        };
        for observed in &mut observed {
            if let Some(time) = since.filter(|_| questions.since.contains(&observed.topic)) {
                let offsets = cluster.since(&observed.topic, time, deadline).await?;
                for (partition, seen) in observed.partitions.iter_mut() {
                    seen.since = offsets.get(partition).copied().flatten();
                }
            }
        }
        let fit = Self::ask_high_watermarks(cluster, &questions, &mut observed, deadline).await?;
        if !fit {
            return Ok(None);
        }

        let partitions = self.memory().commit(&observed, self.rules, since);
        Ok(partitions.map(|partitions| Asked { bounds, observed, partitions }))
    }

    /// Charges for partitions, of which a cluster names as many as it likes.
    ///
    /// # Errors
    /// Their namespace has no memory for them.
    fn charge_for(&self, observed: &[ObservedTopic]) -> Result<(), Error> {
        let partitions: usize = observed.iter().map(|of| of.partitions.iter().count()).sum();
        let bytes = partitions * PARTITION_BYTES;
        let mut charge = lock(&self.charge);
        let charged = match &mut *charge {
            Some(charge) => charge.resize(bytes),
            None => self.account.charge(Use::Keeping, bytes).map(|new| *charge = Some(new)),
        };
        charged.map_err(|exhausted| {
            let what = format!("{partitions} partitions");
            Error::Memory { what, reason: exhausted.to_string() }
        })
    }

    /// Makes sure that a group without a committed offset is no share group, which never has one,
    /// and of which all that the topics hold would count for ever.
    ///
    /// # Errors
    /// [`Error::ShareGroup`], or [`Error`] where that cannot be known by the deadline.
    async fn refuse_share_group(&self, cluster: &Cluster, deadline: Instant) -> Result<(), Error> {
        let group = &self.trigger.group;
        match cluster.is_share_group(group, deadline).await? {
            true => Err(Error::ShareGroup { group: group.clone() }),
            false => Ok(()),
        }
    }

    /// Logs once that the group has never committed, where everything counts because of that: it
    /// may be new, but its name may be wrong as well.
    fn tell_never_committed(&self, observed: &[ObservedTopic]) {
        if self.rules.without_offset != WithoutOffset::FromLogStart {
            return;
        }
        let partitions = || observed.iter().flat_map(|topic| topic.partitions.values());
        let never = partitions().all(|seen| seen.committed == Committed::Absent);
        if never
            && partitions().any(|seen| seen.end > seen.start)
            && !self.told_never_committed.swap(true, Ordering::Relaxed)
        {
            let topics: Vec<_> = observed.iter().map(|of| of.topic.as_str()).collect();
            tracing::warn!(
                group = %one_line(self.trigger.group.as_str(), SHOWN_BYTES),
                topics = %one_line(&topics.join(","), SHOWN_BYTES),
                "the group has committed no offsets there, so all that the topics hold counts; \
                 correct consumerGroup unless the group is new"
            );
        }
    }

    /// Asks for high watermarks, and notes them; false where a topic has changed meanwhile.
    async fn ask_high_watermarks(
        cluster: &Arc<Cluster>,
        questions: &Questions,
        observed: &mut [ObservedTopic],
        deadline: Instant,
    ) -> Result<bool, Error> {
        let topics = questions.high_watermarks.keys();
        let ask = |topic| cluster.offsets(topic, End::HighWatermark, deadline);
        let bounds = try_join_all(topics.map(ask)).await?;
        for ((topic, partitions), bounds) in questions.high_watermarks.iter().zip(bounds) {
            let of_topic = |observed: &&mut ObservedTopic| observed.topic == *topic;
            let Some(observed) = observed.iter_mut().find(of_topic) else { continue };
            if observed.id != bounds.shape.id {
                return Ok(false);
            }
            for partition in partitions {
                let index = usize::try_from(*partition).ok();
                let end = index.and_then(|index| bounds.ranges.get(index));
                let (Some(range), Some(seen)) = (end, observed.partitions.get_mut(*partition))
                else {
                    return Ok(false);
                };
                seen.high_watermark = Some(range.end);
            }
        }
        Ok(true)
    }

    /// What the brokers said of a topic's partitions that count.
    ///
    /// # Errors
    /// The trigger's limitation leaves none.
    fn observe(
        &self,
        topic: &Topic,
        bounds: &TopicOffsets,
        committed: &CommittedOffsets,
    ) -> Result<ObservedTopic, Error> {
        // Without a topic of its own, a trigger's limitation has nothing to apply to.
        let limited = self.trigger.partitions.as_ref().filter(|_| !self.trigger.topics.is_empty());
        let committed = committed.get(topic);
        let each = (0..).zip(&bounds.ranges);
        let counted = each
            .filter(|(partition, _)| limited.is_none_or(|limited| limited.contains(*partition)));
        let partitions: ByPartition<Observed> = counted
            .map(|(partition, OffsetRange { start, end })| {
                let committed = match committed.and_then(|of_topic| of_topic.get(partition)) {
                    None => Committed::NotAsked,
                    Some(None) => Committed::Absent,
                    Some(Some(committed)) => Committed::At(*committed),
                };
                let (start, end) = (*start, *end);
                let seen = Observed { start, end, committed, high_watermark: None, since: None };
                (partition, seen)
            })
            .collect();
        let topic = topic.clone();
        if partitions.is_empty() {
            let asked = self.trigger.partitions.as_ref().map(ToString::to_string);
            return Err(Error::NoPartition { topic, asked: asked.unwrap_or_default() });
        }
        Ok(ObservedTopic { topic, id: bounds.shape.id, asked: bounds.asked, partitions })
    }

    /// Counts records as the tails know them, waiting for what they have yet to judge; `None` where
    /// a tail has learnt that the offsets are out of date.
    async fn count_records(
        &self,
        cluster: &Arc<Cluster>,
        asked: &mut Asked,
        positions: &Positions,
        limit: Option<NonZeroU64>,
        deadline: Instant,
    ) -> Result<Option<Tally>, Error> {
        let enough = self.enough(limit);
        let mut tally = Tally::default();
        let mut known = total(asked.partitions.iter().map(|partition| partition.count));
        // Set, not measured: there are no keys to tell apart.
        (tally.keys.all, tally.keys.moving) = (known, known);
        let topics = asked.partitions.chunk_by_mut(|one, next| one.topic == next.topic);
        for ((partitions, observed), bounds) in topics.zip(&asked.observed).zip(&asked.bounds) {
            let topic = &observed.topic;
            let positions = positions.get(topic);
            let all = needs(&*partitions, positions);
            let Some(subscription) = self.subscription(cluster, topic) else {
                return Ok(None);
            };
            let view =
                View { shape: bounds.shape, compacted: bounds.compacted, asked: bounds.asked };
            let enough = enough.map(|enough| enough.get().saturating_sub(known));
            let Seen { counts, are_more, state: progress, .. } =
                self.wait(cluster, &subscription, &all, view, enough, deadline).await;
            let mut are_more = are_more;
            known = total([known].into_iter().chain(counts.iter().copied()));
            let counted = partitions.iter_mut().filter(|partition| partition.is_measured());
            for (partition, count) in counted.zip(counts) {
                partition.count = count;
            }
            if self.trigger.count_by == CountBy::Keys {
                let moving = partitions.iter().filter(|partition| !partition.persistent);
                let moving = needs(moving, positions);
                let keys = |needs: &[Need]| subscription.tail.keys(subscription.id, needs);
                let (Some(of_all), Some(of_moving)) = (keys(&all), keys(&moving)) else {
                    return Ok(None);
                };
                tally.keys.all += of_all.0;
                tally.keys.moving += of_moving.0;
                are_more |= of_all.1;
            }
            if are_more {
                tally.are_more.get_or_insert_with(|| topic.clone());
            }
            match progress {
                Progress::Complete => {}
                Progress::Reading { judged, behind, fault } => {
                    let topic = topic.clone();
                    tally.reading = Some(StillReading { topic, judged, behind, fault });
                }
                Progress::Outdated => return Ok(None),
                Progress::Failed(fault) => {
                    return Err(cluster.error(&fault, format!("the records of topic {topic}")));
                }
            }
        }
        Ok(Some(tally))
    }

    /// Looks until everything needed is known, enough is, or the deadline has come.
    async fn wait(
        &self,
        cluster: &Arc<Cluster>,
        subscription: &Subscription,
        needs: &[Need],
        view: View,
        enough: Option<u64>,
        deadline: Instant,
    ) -> Seen {
        let Subscription { tail, id } = subscription;
        loop {
            let moved = tail.moved();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let mut seen = tail.look(*id, needs, view);
            cluster.read(std::mem::take(&mut seen.readings));
            let known = total(seen.counts.iter().copied());
            let waits = matches!(seen.state, Progress::Reading { .. });
            if !waits
                || enough.is_some_and(|enough| known >= enough)
                || timeout_at(deadline, moved).await.is_err()
            {
                return seen;
            }
        }
    }

    /// The trigger's subscription to a topic, which it takes on first need; `None` once this
    /// cluster is held no more.
    fn subscription(&self, cluster: &Arc<Cluster>, topic: &Topic) -> Option<Subscription> {
        let mut hold = self.hold();
        let held = hold.on(cluster)?;
        let subscription = held.subscriptions.entry(topic.clone()).or_insert_with(|| {
            let by_key = self.trigger.count_by == CountBy::Keys;
            let selectors = self.trigger.selection.selectors().into_iter();
            let selectors: Vec<TailSelector> =
                selectors.map(|selector| TailSelector { selector, by_key }).collect();
            let (tail, id) = cluster.follow(topic, &selectors, &self.account);
            Subscription { tail, id }
        });
        Some(subscription.clone())
    }

    /// How many messages make it needless to look further: none do where the number depends on
    /// where they are.
    fn enough(&self, limit: Option<NonZeroU64>) -> Option<NonZeroU64> {
        let KafkaTrigger { count_by, spread, exclude_persistent_lag, .. } = *self.trigger;
        let by_place = count_by != CountBy::Messages
            || spread == Spread::PartitionsWithLag
            || exclude_persistent_lag;
        limit.filter(|_| !by_place)
    }

    /// How far each tail of this trigger has come.
    fn tails(&self) -> Positions {
        let hold = self.hold();
        let subscriptions = hold.0.iter().flat_map(|held| &held.subscriptions);
        subscriptions.map(|(topic, on)| (topic.clone(), on.tail.positions())).collect()
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        lock(&self.hold)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

impl Measure for TriggerPoller {
    fn measure(
        &self,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> BoxFuture<'_, Result<Measured, Failure>> {
        TriggerPoller::measure(self, deadline, purpose, scope).err_into().boxed()
    }

    fn explain(
        &self,
        deadline: Instant,
        scope: Scope,
    ) -> BoxFuture<'_, Result<Explanation, Failure>> {
        let explained = async move {
            let Counted { measured, partitions } =
                self.counted(deadline, Purpose::Activity, scope).await?;
            let tails = self.tails();
            let partitions = partitions.into_iter().map(|polled| {
                let tail = tails.get(&polled.topic).and_then(|of| of.get(polled.partition));
                polled.told(tail.copied())
            });
            let by = match self.trigger.count_from {
                CountFrom::Records => "reading the records",
                CountFrom::Offsets => "offsets alone",
            };
            let facts = vec![("counted by", by.to_owned())];
            Ok(Explanation { facts, ..Explanation::of(measured) }.with(partitions.collect()))
        };
        explained.boxed()
    }

    fn progress(&self) -> source::Progress {
        let hold = self.hold();
        let tails = || hold.0.iter().flat_map(|held| held.subscriptions.values());
        if tails().next().is_none() {
            return source::Progress::default();
        }
        let position = |on: &Subscription| total(on.tail.positions().values().copied());
        let oldest = tails().filter_map(|on| on.tail.oldest(on.id)).min();
        source::Progress {
            position: Some(total(tails().map(position))),
            behind: Some(self.behind.load(Ordering::Relaxed)),
            oldest: oldest.and_then(|millis| {
                UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
            }),
        }
    }

    /// How many records wait of each thing selected, all topics together.
    fn by_type(&self) -> Vec<(String, u64)> {
        let hold = self.hold();
        let Some(Held { subscriptions, .. }) = &hold.0 else { return Vec::new() };
        let mut counts: HashMap<Selector, u64> = HashMap::new();
        for on in subscriptions.values() {
            for (selector, count) in on.tail.by_selector(on.id) {
                *counts.entry(selector).or_default() += count;
            }
        }
        let told = |selector: Selector| Some((selector.label(), *counts.get(&selector)?));
        self.trigger.selection.selectors().into_iter().filter_map(told).collect()
    }

    /// Of the records that waited for the latest measurement.
    fn sight(&self) -> Option<Sight> {
        let hold = self.hold();
        let subscriptions = hold.0.as_ref()?.subscriptions.values();
        subscriptions.filter_map(|on| on.tail.sight(on.id)).reduce(Sight::plus)
    }
}

impl Drop for TriggerPoller {
    fn drop(&mut self) {
        self.hold().let_go();
    }
}

impl Hold {
    fn take(&mut self, cluster: &Arc<Cluster>, account: &Account) {
        cluster.payers().join(account);
        let (cluster, account) = (Arc::clone(cluster), account.clone());
        self.0 = Some(Held { cluster, account, subscriptions: HashMap::new() });
    }

    /// The cluster, unless it is of no more use: then it is let go of.
    fn cluster_of_use(&mut self) -> Option<Arc<Cluster>> {
        if self.0.as_ref().is_some_and(|held| held.cluster.is_rejected()) {
            self.let_go();
        }
        self.0.as_ref().map(|held| Arc::clone(&held.cluster))
    }

    /// What is held on this very cluster. A measurement may still go on on one that another has
    /// found spent.
    fn on(&mut self, cluster: &Arc<Cluster>) -> Option<&mut Held> {
        self.0.as_mut().filter(|held| Arc::ptr_eq(&held.cluster, cluster))
    }

    /// Lets go of the cluster and of every topic subscribed to on it.
    fn let_go(&mut self) {
        if let Some(Held { cluster, account, subscriptions }) = self.0.take() {
            for subscription in subscriptions.into_values() {
                cluster.leave(&subscription.tail, subscription.id);
            }
            cluster.payers().leave(&account);
        }
    }
}

impl Polled {
    /// The same for a person.
    fn told(self, tail: Option<Offset>) -> source::Partition {
        let Polled { topic, partition, start, end, committed, waiting, persistent, count } = self;
        let from = match waiting {
            Waiting::From(from) => Some(from),
            Waiting::Fixed(_) => None,
        };
        source::Partition {
            topic: topic.as_str().to_owned(),
            number: partition,
            start,
            end,
            committed,
            from,
            tail,
            waiting: count,
            persistent,
        }
    }
}

/// What has to be read of these partitions, of one topic.
fn needs<'a>(
    partitions: impl IntoIterator<Item = &'a Polled>,
    positions: Option<&ByPartition<Offset>>,
) -> Vec<Need> {
    let need = |polled: &Polled| match polled.waiting {
        Waiting::Fixed(_) => None,
        Waiting::From(from) => {
            let Polled { partition, start, end, .. } = *polled;
            let seen = positions.and_then(|positions| positions.get(partition));
            Some(Need { partition, from, start, end, seen: seen.copied().unwrap_or(0) })
        }
    };
    partitions.into_iter().filter_map(need).collect()
}

/// Whether a group was asked for offsets, and has none.
fn are_absent(committed: &CommittedOffsets) -> bool {
    let mut offsets = committed.values().flat_map(ByPartition::values).peekable();
    offsets.peek().is_some() && offsets.all(Option::is_none)
}

/// Both answers, or an error: the first question's where both fail about together.
async fn both<A, B>(
    first: impl Future<Output = Result<A, Error>>,
    second: impl Future<Output = Result<B, Error>>,
) -> Result<(A, B), Error> {
    let (first, second) = (pin!(first), pin!(second));
    match select(first, second).await {
        Either::Left((Ok(one), second)) => Ok((one, second.await?)),
        Either::Left((Err(error), _)) => Err(error),
        Either::Right((Ok(other), first)) => Ok((first.await?, other)),
        Either::Right((Err(error), first)) => match timeout(OTHER_ERROR_WITHIN, first).await {
            Ok(Err(first)) => Err(first),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::judges::Judges;
    use crate::kafka::{Kafka, Options};
    use crate::ledger::Ledger;
    use crate::selection::Selection;

    /// A trigger that nothing but its place is said of.
    pub(super) fn trigger() -> KafkaTrigger {
        let rows = [("bootstrapServers", "127.0.0.1:9"), ("consumerGroup", "g"), ("topic", "t")];
        source::decode::<Kafka>(&rows, Selection::default()).expect("a trigger")
    }

    #[test]
    fn a_measurement_on_a_cluster_held_no_more_follows_nothing() {
        let trigger = trigger();
        let cluster = || {
            let (judges, timeout) = (Arc::new(Judges::default()), Duration::from_secs(1));
            Cluster::new(&trigger.cluster, timeout, &Arc::default(), &judges, None).unwrap()
        };
        let (rejected, held, topic) = (cluster(), cluster(), Topic::from("t"));
        let account = Ledger::new(1_000_000).account("shop");
        let kafka = Kafka::new(Options::default());
        let poller = kafka.follow(Arc::new(trigger.clone()), account.clone());
        poller.hold().take(&rejected, &account);
        let dead = poller.subscription(&rejected, &topic).expect("a place on the cluster held");
        poller.hold().let_go();
        assert!(poller.subscription(&rejected, &topic).is_none(), "held is none");
        poller.hold().take(&held, &account);
        assert!(poller.subscription(&rejected, &topic).is_none(), "held is another");
        let alive = poller.subscription(&held, &topic).expect("a place on the cluster held");
        assert!(!Arc::ptr_eq(&dead.tail, &alive.tail));
    }
}
