//! How many messages one trigger has waiting: the way of a poll through this source.
//!
//! A poll asks, side by side, for the ends of the trigger's partitions and for its group's committed
//! offsets; works out from where on messages wait; and counts. Counting records, it first waits until
//! the topics' tails have judged everything up to those ends, so that a record whose produce was
//! acknowledged before the call is in the answer. When the deadline comes first, what is known is a
//! lower bound.
//!
//! Brokers move while they are asked, and a question is asked again when its answers do not fit
//! together: a partition is new since the committed offsets were asked for, or a topic was made again
//! under the tail.
//!
//! A group may stand past the end that it is counted up to: one that reads uncommitted records does so
//! while a transaction is open, and one that reads on does when its offset was asked for later. Only an
//! offset past a high watermark that was asked for after it is none: the log was made anew or cut.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::cluster::{Bounds, Cluster, CommittedOffsets};
use super::clusters::Clusters;
use super::error::Error;
use super::lag::{self, PartitionLag, Waiting};
use super::librdkafka::{End, Layout};
use super::names::{Offset, Partition, Topic};
use super::tail::{FollowerId, Log, Need, Progress, Thing, View};
use super::trigger::{CountBy, CountFrom, KafkaTrigger, Spread};
use crate::backlog::{Backlog, Measured, Purpose, Scope};
use crate::lock::lock;

/// How long to wait before asking again when answers do not fit together.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How long a committed offset must have stood lower than it was, or have been gone, before that is
/// believed. A coordinator that has just moved to another broker answers, without an error, with what
/// it knows to be replicated there, which may be less than what it knew before (Kafka 4.1).
const BELIEVE_AFTER: Duration = Duration::from_secs(1);

/// A live trigger's hold on its cluster and tails, and what is remembered of it between polls.
/// Dropping it lets go.
pub struct Follower {
    trigger: Arc<KafkaTrigger>,
    clusters: Arc<Clusters>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    held: Option<Held>,
    /// Where that counts.
    first_seen: HashMap<Topic, FirstSeen>,
    /// The committed offsets of the last poll, where lag that persists is excluded.
    committed: HashMap<(Topic, Partition), Offset>,
    standing: HashMap<(Topic, Partition), Standing>,
}

/// A cluster, and the trigger's place on each topic that is tailed there.
struct Held {
    cluster: Arc<Cluster>,
    followed: HashMap<Topic, Followed>,
}

/// Where a group was last known to stand, and since when it is said to stand further back.
struct Standing {
    committed: Offset,
    back_since: Option<Instant>,
}

/// The trigger's place on a topic that is tailed.
#[derive(Clone)]
struct Followed {
    log: Arc<Log>,
    id: FollowerId,
}

/// Where a topic's partitions ended when the trigger first saw it, or what its group has committed
/// since; partitions that came later are seen from their start.
struct FirstSeen {
    id: (i64, i64),
    ends: BTreeMap<Partition, Offset>,
    /// The time from which on it is seen, where one is known.
    since: Option<i64>,
}

/// A partition that counts, and what the brokers say of it.
#[derive(Debug, Clone)]
struct Place {
    topic: Topic,
    partition: Partition,
    end: Offset,
    start: Offset,
    committed: Option<Offset>,
    /// Where it ended when the trigger first saw it.
    first_seen: Offset,
}

/// What the brokers answered, of one moment.
struct Offsets {
    bounds: BTreeMap<Topic, Arc<Bounds>>,
    places: Vec<Place>,
}

/// What is counted, and how far.
#[derive(Clone, Copy)]
struct About<'a> {
    offsets: &'a Offsets,
    /// From where on, at each place.
    waiting: &'a [Waiting],
    /// How far the tails had come before the offsets were asked for.
    seen: &'a HashMap<Topic, BTreeMap<Partition, Offset>>,
    limit: Option<NonZeroU64>,
}

/// What is known of each place's messages.
struct Counts {
    counts: Vec<u64>,
    /// Distinct keys altogether, and in the places that are not persistent.
    keys: Option<(u64, u64)>,
    /// Whether there are more keys than are kept.
    more_keys: bool,
    /// Where it is not all that there is: the topic still being read, offsets judged and to go.
    reading: Option<(Topic, Offset, Offset)>,
}

impl Follower {
    pub(super) fn new(trigger: Arc<KafkaTrigger>, clusters: Arc<Clusters>) -> Follower {
        Follower { trigger, clusters, memory: Mutex::default() }
    }

    /// How many messages wait, now: asked of the brokers after this call came. Counts no further than the scope says, if the trigger
    /// has no `countLimit`.
    ///
    /// Dropping the future gives up this caller's wait and nothing that others wait for. What
    /// `excludePersistentLag` remembers moves on only with [`Purpose::Metric`], and only when the
    /// answer is there.
    ///
    /// # Errors
    /// [`Error`] where the number cannot be had by the deadline. A group that does not exist, or has
    /// nothing committed, is no error: `offsetResetPolicy` says what waits for it.
    pub async fn measure(
        &self,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> Result<Measured, Error> {
        let cluster = self.cluster(deadline).await?;
        let scope = Scope { enough: self.trigger.count_limit.or(scope.enough), ..scope };
        let measured = self.measure_on(&cluster, deadline, purpose, scope).await;
        if cluster.is_spent() {
            // Its handles would go on to log in and be refused until the next poll, which locks
            // accounts. Whoever else waits for this cluster is refused as well.
            cluster.end();
            let mut memory = self.memory();
            if memory.on(&cluster).is_some() {
                memory.leave();
            }
        }
        measured
    }

    async fn measure_on(
        &self,
        cluster: &Arc<Cluster>,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> Result<Measured, Error> {
        let limit = scope.enough;
        let topics = self.topics(cluster, deadline).await?;
        let mut again = false;
        loop {
            let seen = self.positions(cluster, &topics);
            let turn = cluster.turn(deadline).await?;
            let offsets = Box::pin(self.ask(cluster, &topics, scope.since, deadline)).await?;
            drop(turn);
            let Some(offsets) = offsets else {
                // The first time at once, since a topic that was not known yet is now; polls that came
                // together stay together.
                if again {
                    sleep(ASK_AGAIN_AFTER).await;
                }
                again = true;
                continue;
            };
            let waiting = self.waiting(&offsets);
            let persistent = self.persistent(&offsets.places);
            let counts = match self.trigger.count_from {
                CountFrom::Offsets => Some(count_offsets(&offsets.places, &waiting)),
                CountFrom::Records => {
                    let about = About { offsets: &offsets, waiting: &waiting, seen: &seen, limit };
                    self.count_records(cluster, about, &persistent, deadline).await?
                }
            };
            let Some(counts) = counts else {
                sleep(ASK_AGAIN_AFTER).await;
                continue;
            };
            let measured = self.add_up(&counts, &persistent, limit)?;
            if purpose == Purpose::Metric && self.trigger.exclude_persistent_lag {
                let committed = offsets.places.iter().filter_map(|place| {
                    Some(((place.topic.clone(), place.partition), place.committed?))
                });
                self.memory().committed = committed.collect();
            }
            return Ok(measured);
        }
    }

    /// The cluster, which is made if there is none, or none of use.
    async fn cluster(&self, deadline: Instant) -> Result<Arc<Cluster>, Error> {
        if let Some(cluster) = self.memory().cluster_of_use() {
            return Ok(cluster);
        }
        let trigger = &self.trigger;
        let cluster = self.clusters.get(&trigger.cluster, &trigger.group, deadline).await?;
        let mut memory = self.memory();
        // Another call may have come by one meanwhile.
        if let Some(cluster) = memory.cluster_of_use() {
            return Ok(cluster);
        }
        memory.held = Some(Held { cluster: Arc::clone(&cluster), followed: HashMap::new() });
        Ok(cluster)
    }

    /// The topics that count.
    async fn topics(&self, cluster: &Arc<Cluster>, deadline: Instant) -> Result<Vec<Topic>, Error> {
        if !self.trigger.topics.is_empty() {
            return Ok(self.trigger.topics.clone());
        }
        let group = &self.trigger.group;
        let committed = cluster.committed(group, &[], deadline).await?;
        let has_one = |offsets: &BTreeMap<_, Option<Offset>>| offsets.values().any(Option::is_some);
        let topics = committed.iter().filter(|(_, offsets)| has_one(offsets));
        let topics: Vec<Topic> = topics.map(|(topic, _)| topic.clone()).collect();
        if topics.is_empty() {
            return Err(Error::NothingCommitted { group: group.clone() });
        }
        Ok(topics)
    }

    /// How far the tails have come that this trigger follows.
    fn positions(
        &self,
        cluster: &Arc<Cluster>,
        topics: &[Topic],
    ) -> HashMap<Topic, BTreeMap<Partition, Offset>> {
        let mut memory = self.memory();
        let Some(held) = memory.on(cluster) else {
            return HashMap::new();
        };
        let followed = topics.iter().filter_map(|topic| held.followed.get_key_value(topic));
        followed.map(|(topic, followed)| (topic.clone(), followed.log.positions())).collect()
    }

    /// Asks for ends and committed offsets; `None` where the answers do not fit together.
    async fn ask(
        &self,
        cluster: &Arc<Cluster>,
        topics: &[Topic],
        since: Option<i64>,
        deadline: Instant,
    ) -> Result<Option<Offsets>, Error> {
        let end = match self.trigger.count_from {
            CountFrom::Records => End::LastStable,
            CountFrom::Offsets => End::HighWatermark,
        };
        let bounds = try_join_all(topics.iter().map(|topic| cluster.bounds(topic, end, deadline)));
        let committed = cluster.committed(&self.trigger.group, topics, deadline);
        let (bounds, committed) = tokio::try_join!(bounds, committed)?;
        let mut offsets = Offsets { bounds: BTreeMap::new(), places: Vec::new() };
        for (topic, bounds) in topics.iter().zip(bounds) {
            let places = offsets.places.len();
            if !self.add_places(topic, &bounds, &committed, &mut offsets.places) {
                return Ok(None);
            }
            if offsets.places.len() == places {
                let asked = self.trigger.partitions.as_ref().map(ToString::to_string);
                let (topic, asked) = (topic.clone(), asked.unwrap_or_default());
                return Err(Error::NoPartition { topic, asked });
            }
            if let Some(time) = since.filter(|_| self.trigger.counts_from_first_seen()) {
                self.see_since(cluster, topic, bounds.layout, time, deadline).await?;
            }
            offsets.bounds.insert(topic.clone(), bounds);
        }
        let settled = self.settle(cluster, &mut offsets, deadline).await?;
        Ok(settled.then_some(offsets))
    }

    /// Has a topic seen from this time on, if that is earlier than it was. All replicas, and one that was started again, then count from
    /// one place.
    async fn see_since(
        &self,
        cluster: &Arc<Cluster>,
        topic: &Topic,
        layout: Layout,
        time: i64,
        deadline: Instant,
    ) -> Result<(), Error> {
        let seen = self.memory().first_seen.get(topic).and_then(|seen| seen.since);
        if seen == Some(time) {
            return Ok(());
        }
        let offsets = cluster.since(topic, layout, time, deadline).await?;
        let mut memory = self.memory();
        let Some(seen) = memory.first_seen.get_mut(topic).filter(|seen| seen.id == layout.id)
        else {
            return Ok(());
        };
        seen.since = Some(time);
        for (partition, end) in &mut seen.ends {
            *end = offsets.get(partition).copied().flatten().map_or(*end, |first| first.min(*end));
        }
        Ok(())
    }

    /// Asks for the high watermark where an offset lies past the end; false where a topic has changed
    /// meanwhile.
    async fn settle(
        &self,
        cluster: &Arc<Cluster>,
        offsets: &mut Offsets,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let Offsets { bounds, places } = offsets;
        let past = places.iter().filter(|place| place.is_past_end());
        let topics: BTreeSet<Topic> = past.map(|place| place.topic.clone()).collect();
        let high = |topic| cluster.bounds(topic, End::HighWatermark, deadline);
        let high = try_join_all(topics.iter().map(high)).await?;
        let high: HashMap<&Topic, &Arc<Bounds>> = topics.iter().zip(&high).collect();
        for place in places.iter_mut().filter(|place| place.is_past_end()) {
            let (before, now) = (&bounds[&place.topic], high[&place.topic]);
            let Some((_, high)) =
                usize::try_from(place.partition).ok().and_then(|index| now.ends.get(index))
            else {
                return Ok(false);
            };
            if now.layout.id != before.layout.id {
                return Ok(false);
            }
            let first_seen = place.first_seen;
            place.settle(*high);
            if place.first_seen != first_seen {
                self.memory().set_first_seen(place);
            }
        }
        Ok(true)
    }

    /// Adds a topic's partitions that count; false where the answers do not fit together.
    fn add_places(
        &self,
        topic: &Topic,
        bounds: &Bounds,
        committed: &CommittedOffsets,
        places: &mut Vec<Place>,
    ) -> bool {
        let mut memory = self.memory();
        if self.trigger.counts_from_first_seen() {
            memory.see(topic, bounds);
        }
        let mut fit = true;
        for (partition, (start, end)) in (0..).zip(&bounds.ends) {
            // Without a topic of its own, a trigger's limitation has nothing to apply to.
            let limited =
                self.trigger.partitions.as_ref().filter(|_| !self.trigger.topics.is_empty());
            if limited.is_some_and(|limited| !limited.contains(partition)) {
                continue;
            }
            let of_topic = committed.get(topic);
            let Some(committed) = of_topic.and_then(|of_topic| of_topic.get(&partition)).copied()
            else {
                // A partition that was not known when the committed offsets were asked for.
                fit = false;
                continue;
            };
            let place = (topic.clone(), partition);
            fit &= memory.believes(&place, committed);
            let first_seen = memory.first_seen(topic, partition);
            let (topic, start, end) = (topic.clone(), *start, *end);
            places.push(Place { topic, partition, start, end, committed, first_seen });
        }
        fit
    }

    /// From where on messages wait at each place.
    fn waiting(&self, offsets: &Offsets) -> Vec<Waiting> {
        let mut memory = self.memory();
        let places = offsets.places.iter();
        places
            .map(|place| {
                let ends = memory.first_seen.get_mut(&place.topic).map(|seen| &mut seen.ends);
                let seen = ends.map(|ends| ends.entry(place.partition).or_insert(0));
                let first_seen = seen.map_or(0, |seen| {
                    // What the group has passed does not wait for it, even once it is forgotten.
                    *seen = place.committed.map_or(*seen, |committed| committed.max(*seen));
                    *seen
                });
                lag::waiting(&self.trigger, place.committed, place.start, first_seen)
            })
            .collect()
    }

    /// Which places stand still since the poll before, where the trigger excludes those.
    fn persistent(&self, places: &[Place]) -> Vec<bool> {
        if !self.trigger.exclude_persistent_lag {
            return vec![false; places.len()];
        }
        let memory = self.memory();
        let stands = |place: &Place| {
            let before = memory.committed.get(&(place.topic.clone(), place.partition));
            place.committed.is_some() && before == place.committed.as_ref()
        };
        places.iter().map(stands).collect()
    }

    /// Counts records as the tails know them, waiting for what they have yet to judge; `None` where
    /// a tail has learnt that the offsets are out of date.
    async fn count_records(
        &self,
        cluster: &Arc<Cluster>,
        about: About<'_>,
        persistent: &[bool],
        deadline: Instant,
    ) -> Result<Option<Counts>, Error> {
        let About { offsets, waiting, seen, limit } = about;
        let enough = self.enough(limit);
        let mut all = Counts {
            counts: vec![0; offsets.places.len()],
            keys: (self.trigger.count_by == CountBy::Keys).then_some((0, 0)),
            more_keys: false,
            reading: None,
        };
        for (topic, bounds) in &offsets.bounds {
            let mut at = Vec::new();
            let mut needs = Vec::new();
            for (index, (place, waiting)) in offsets.places.iter().zip(waiting).enumerate() {
                match waiting {
                    _ if place.topic != *topic => {}
                    Waiting::Fixed(count) => {
                        all.counts[index] = *count;
                        // Set, not measured: there are no keys to tell apart.
                        if let Some((every, moving)) = &mut all.keys {
                            *every += count;
                            *moving += count;
                        }
                    }
                    Waiting::From(from) => {
                        let seen = seen.get(topic).and_then(|seen| seen.get(&place.partition));
                        at.push(index);
                        needs.push(Need {
                            partition: place.partition,
                            from: *from,
                            start: place.start,
                            end: place.end,
                            seen: seen.copied().unwrap_or(0),
                        });
                    }
                }
            }
            let Some(followed) = self.followed(cluster, topic) else {
                return Ok(None);
            };
            let view =
                View { layout: bounds.layout, compacted: bounds.compacted, asked: bounds.asked };
            let (counts, progress) = self
                .wait(cluster, &followed, &needs, view, (&all.counts, enough), deadline)
                .await?;
            for (index, count) in at.iter().zip(counts) {
                all.counts[*index] = count;
            }
            if let Some((every, moving)) = &mut all.keys {
                let of_moving = needs.iter().zip(&at).filter(|(_, at)| !persistent[**at]);
                let of_moving: Vec<Need> = of_moving.map(|(need, _)| *need).collect();
                let keys = |needs: &[Need]| followed.log.keys(followed.id, needs);
                let (Some(of_all), Some(of_moving)) = (keys(&needs), keys(&of_moving)) else {
                    return Ok(None);
                };
                *every += of_all.0;
                *moving += of_moving.0;
                all.more_keys |= !of_all.1;
            }
            match progress {
                Progress::Complete => {}
                Progress::Reading { judged, behind } => {
                    all.reading = Some((topic.clone(), judged, behind));
                }
                Progress::Outdated => return Ok(None),
                Progress::Failed(fault) => {
                    return Err(cluster.error(&fault, format!("the records of topic {topic}")));
                }
            }
        }
        Ok(Some(all))
    }

    /// Looks until everything needed is known, enough is, or the deadline has come.
    async fn wait(
        &self,
        cluster: &Arc<Cluster>,
        followed: &Followed,
        needs: &[Need],
        view: View,
        (before, enough): (&[u64], Option<NonZeroU64>),
        deadline: Instant,
    ) -> Result<(Vec<u64>, Progress), Error> {
        loop {
            let moved = followed.log.moved();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let seen = followed.log.look(followed.id, needs, view);
            cluster.read(seen.readings)?;
            let known: u64 = seen.counts.iter().chain(before).sum();
            let waits = matches!(seen.state, Progress::Reading { .. });
            if !waits
                || enough.is_some_and(|enough| known >= enough.get())
                || timeout_at(deadline, moved).await.is_err()
            {
                return Ok((seen.counts, seen.state));
            }
        }
    }

    /// The trigger's place on a topic, which it takes on first need; `None` once this cluster is held no more.
    fn followed(&self, cluster: &Arc<Cluster>, topic: &Topic) -> Option<Followed> {
        let mut memory = self.memory();
        let held = memory.on(cluster)?;
        let followed = held.followed.entry(topic.clone()).or_insert_with(|| {
            let by_key = self.trigger.count_by == CountBy::Keys;
            let parts = self.trigger.selection.parts().into_iter();
            let things: Vec<Thing> = parts.map(|part| Thing { part, by_key }).collect();
            let (log, id) = cluster.follow(topic, &things);
            Followed { log, id }
        });
        Some(followed.clone())
    }

    /// How many messages make it needless to look further: none do where the number depends on where they are.
    fn enough(&self, limit: Option<NonZeroU64>) -> Option<NonZeroU64> {
        let KafkaTrigger { count_by, spread, exclude_persistent_lag, .. } = *self.trigger;
        let by_place = count_by != CountBy::Messages
            || spread == Spread::PartitionsWithLag
            || exclude_persistent_lag;
        limit.filter(|_| !by_place)
    }

    fn add_up(
        &self,
        counts: &Counts,
        persistent: &[bool],
        limit: Option<NonZeroU64>,
    ) -> Result<Measured, Error> {
        let each = counts.counts.iter().zip(persistent);
        let partitions: Vec<PartitionLag> = each
            .map(|(count, persistent)| PartitionLag { count: *count, persistent: *persistent })
            .collect();
        let moving = || partitions.iter().filter(|lag| !lag.persistent);
        let (all, moving) = match self.trigger.count_by {
            CountBy::Messages => {
                (partitions.iter().map(|lag| lag.count).sum(), moving().map(|lag| lag.count).sum())
            }
            CountBy::Partitions => (
                partitions.iter().filter(|lag| lag.count > 0).count() as u64,
                moving().filter(|lag| lag.count > 0).count() as u64,
            ),
            CountBy::Keys => counts.keys.unwrap_or_default(),
        };
        let sum = lag::add_up(&self.trigger, &partitions, all, moving, limit);
        let limited = limit.is_some_and(|limit| all >= limit.get());
        // Bounded or rounded, what was counted may be another number; but nothing stays unknown.
        let answer = |counted: u64, value: u64| match (&counts.reading, NonZeroU64::new(value)) {
            (Some((topic, judged, behind)), _) if counted == 0 => {
                Err(Error::Warming { topic: topic.clone(), judged: *judged, behind: *behind })
            }
            (None, Some(_)) if !limited && !counts.more_keys => Ok(Backlog::Exact(value)),
            (_, Some(value)) => Ok(Backlog::AtLeast(value)),
            (_, None) => Ok(Backlog::Exact(0)),
        };
        Ok(Measured { metric: answer(moving, sum.metric)?, activity: answer(all, sum.activity)? })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

impl Place {
    /// Whether the offset to count from lies past the end.
    fn is_past_end(&self) -> bool {
        self.committed.unwrap_or(self.first_seen) > self.end
    }

    /// Takes an offset past the high watermark as what it is: a consumer would be reset there, and of
    /// what the log now holds nothing was there before.
    fn settle(&mut self, high_watermark: Offset) {
        self.committed = self.committed.filter(|committed| *committed <= high_watermark);
        if self.committed.is_none() && self.first_seen > high_watermark {
            self.first_seen = self.start;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.memory().leave();
    }
}

impl Memory {
    /// The cluster, unless it is of no more use: then it is let go of.
    fn cluster_of_use(&mut self) -> Option<Arc<Cluster>> {
        if self.held.as_ref().is_some_and(|held| held.cluster.is_spent()) {
            self.leave();
        }
        self.held.as_ref().map(|held| Arc::clone(&held.cluster))
    }

    /// What is held on this very cluster. A measurement may still go on on one that another has found spent.
    fn on(&mut self, cluster: &Arc<Cluster>) -> Option<&mut Held> {
        self.held.as_mut().filter(|held| Arc::ptr_eq(&held.cluster, cluster))
    }

    /// Lets go of the cluster and of every topic followed on it.
    fn leave(&mut self) {
        if let Some(Held { cluster, followed }) = self.held.take() {
            for followed in followed.into_values() {
                cluster.leave(&followed.log, followed.id);
            }
        }
    }

    /// Whether a committed offset can be taken as true: it is no further back than it was, or has been
    /// for long enough.
    fn believes(&mut self, place: &(Topic, Partition), committed: Option<Offset>) -> bool {
        let Some(standing) = self.standing.get_mut(place) else {
            if let Some(committed) = committed {
                let standing = Standing { committed, back_since: None };
                self.standing.insert(place.clone(), standing);
            }
            return true;
        };
        if committed.is_none_or(|committed| committed < standing.committed) {
            let since = *standing.back_since.get_or_insert_with(Instant::now);
            if since.elapsed() < BELIEVE_AFTER {
                return false;
            }
        }
        match committed {
            Some(committed) => *standing = Standing { committed, back_since: None },
            None => drop(self.standing.remove(place)),
        }
        true
    }

    /// Where a partition ended when it was first seen.
    fn first_seen(&self, topic: &Topic, partition: Partition) -> Offset {
        let seen = self.first_seen.get(topic).and_then(|seen| seen.ends.get(&partition));
        seen.copied().unwrap_or(0)
    }

    fn set_first_seen(&mut self, place: &Place) {
        if let Some(seen) = self.first_seen.get_mut(&place.topic) {
            seen.ends.insert(place.partition, place.first_seen);
        }
    }

    /// Notes where a topic's partitions end, if this is the first time.
    fn see(&mut self, topic: &Topic, bounds: &Bounds) {
        let Layout { id, .. } = bounds.layout;
        let seen = self.first_seen.entry(topic.clone()).or_insert_with(|| {
            let ends = (0..).zip(bounds.ends.iter().map(|(_, end)| *end));
            FirstSeen { id, ends: ends.collect(), since: None }
        });
        if seen.id != id {
            // Made again since: everything in it arrived after the trigger was first seen.
            *seen = FirstSeen { id, ends: BTreeMap::new(), since: None };
        }
    }
}

/// Counts offsets, as KEDA's scaler does.
fn count_offsets(places: &[Place], waiting: &[Waiting]) -> Counts {
    let count = |(place, waiting): (&Place, &Waiting)| match waiting {
        Waiting::From(from) => place.end.saturating_sub(*from),
        Waiting::Fixed(count) => *count,
    };
    Counts {
        counts: places.iter().zip(waiting).map(count).collect(),
        keys: None,
        more_keys: false,
        reading: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::cluster::LookUps;
    use crate::kafka::threads::Threads;
    use crate::kafka::{Kafka, Options};
    use crate::metadata::Reader;
    use crate::selection::Selection;

    fn trigger() -> KafkaTrigger {
        let rows = [("bootstrapServers", "127.0.0.1:9"), ("consumerGroup", "g"), ("topic", "t")];
        let rows = rows.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let decoded = KafkaTrigger::decode(&mut Reader::new(&rows), Selection::default(), None);
        decoded.expect("a trigger").trigger
    }

    #[test]
    fn a_measurement_on_a_cluster_held_no_more_follows_nothing() {
        let trigger = trigger();
        let cluster = || {
            let (threads, patience) = (Arc::new(Threads::default()), Duration::from_secs(1));
            let (config, group) = (&trigger.cluster, &trigger.group);
            Cluster::new(config, group, patience, &threads, LookUps::default(), None).unwrap()
        };
        let (spent, held, topic) = (cluster(), cluster(), Topic::from("t"));
        let follower = Kafka::new(Options::default()).follow(Arc::new(trigger.clone()));
        let hold = |cluster| Held { cluster: Arc::clone(cluster), followed: HashMap::new() };
        follower.memory().held = Some(hold(&spent));
        let dead = follower.followed(&spent, &topic).expect("a place on the cluster held");
        follower.memory().leave();
        assert!(follower.followed(&spent, &topic).is_none(), "held is none");
        follower.memory().held = Some(hold(&held));
        assert!(follower.followed(&spent, &topic).is_none(), "held is another");
        let alive = follower.followed(&held, &topic).expect("a place on the cluster held");
        assert!(!Arc::ptr_eq(&dead.log, &alive.log));
    }

    #[test]
    fn where_not_all_keys_are_kept_the_answer_is_a_lower_bound() {
        let trigger =
            KafkaTrigger { count_by: CountBy::Keys, spread: Spread::Unbounded, ..trigger() };
        let follower = Kafka::new(Options::default()).follow(Arc::new(trigger));
        for (more_keys, expected) in
            [(false, Backlog::Exact(5)), (true, Backlog::AtLeast(NonZeroU64::new(5).unwrap()))]
        {
            let counts = Counts { counts: vec![5], keys: Some((5, 5)), more_keys, reading: None };
            let measured = follower.add_up(&counts, &[false], None).unwrap();
            assert_eq!((measured.metric, measured.activity), (expected, expected));
        }
    }

    #[test]
    fn only_an_offset_past_the_high_watermark_is_none() {
        // The log has offsets from 10 up to 50, of which those from 40 on are not stable.
        let rows = [
            ("up to the end", Some(40), 40, false, Some(40), 40),
            ("into an open transaction", Some(45), 40, true, Some(45), 40),
            ("up to the high watermark", Some(50), 40, true, Some(50), 40),
            ("past it", Some(51), 40, true, None, 40),
            ("past it, and so was the end", Some(51), 51, true, None, 10),
            ("none, and the log was cut", None, 51, true, None, 10),
            ("none, and a transaction is open", None, 45, true, None, 45),
            ("the log was cut before it", Some(30), 51, false, Some(30), 51),
        ];
        for (name, committed, first_seen, past_end, expected, counted_from) in rows {
            let topic = Topic::from("t");
            let (start, end) = (10, 40);
            let mut place = Place { topic, partition: 0, end, start, committed, first_seen };
            assert_eq!(place.is_past_end(), past_end, "{name}");
            if past_end {
                place.settle(50);
            }
            assert_eq!((place.committed, place.first_seen), (expected, counted_from), "{name}");
        }
    }
}
