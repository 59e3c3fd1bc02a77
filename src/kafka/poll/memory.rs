//! What one trigger remembers of its topics between polls.
//!
//! A poll comes here twice. [`Memory::plan`] takes the ends and committed offsets and says what
//! else has to be asked for. [`Memory::commit`] takes the answers to that and says from where on to
//! count in each partition. Between the two nothing is locked, so that other polls of the trigger
//! may come by. A poll for the metric comes once more when its answer is there
//! ([`Memory::answered`]).
//!
//! All that is remembered of a topic is true of one topic id. A topic that was deleted and made
//! again has another, and nothing of the old one decides about it:
//!
//! - `plan` begins anew with the new id. All that the new topic holds came after the trigger was
//!   first seen.
//! - `plan` refuses answers that were asked for before the ones that showed another id.
//! - `commit` refuses what was planned for another id.
//!
//! A poll that is refused asks again.
//!
//! # Brokers without topic ids
//! Brokers before Kafka 2.8 and other services that speak its protocol (Azure Event Hubs) know no
//! ids: there all topics have the same one, and a topic made again is not seen as such. What tells
//! is its log, partition by partition. A committed offset past the high watermark is not valid, and
//! where the trigger first saw a partition past the high watermark, that moves to the log start
//! ([`step`](super::partition::step)). The tail begins anew where the log ends before, or starts
//! after, the position that it has reached. A topic that by the next poll is as long as the old one
//! was passes for it. The same holds for an offset that was committed in the old one, until the
//! coordinator forgets it.
//!
//! # References
//! - KIP-516: a topic that is made again has another id

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use super::partition::{
    Observed, Polled, Remembered, Rules, Step, WithoutOffset, count_from, step,
};
use crate::kafka::broker::TopicId;
use crate::kafka::by_partition::ByPartition;
use crate::kafka::names::{Partition, Topic};

/// What is remembered of all topics of a trigger.
#[derive(Debug, Default)]
pub(super) struct Memory {
    topics: HashMap<Topic, RememberedTopic>,
}

/// What the brokers were seen to say of one topic.
#[derive(Debug, Clone)]
pub(super) struct ObservedTopic {
    pub(super) topic: Topic,
    pub(super) id: TopicId,
    /// When the id and the ends were asked for.
    pub(super) asked: Instant,
    /// Those that the trigger counts.
    pub(super) partitions: ByPartition<Observed>,
}

/// What has to be asked for before it is known from where on to count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Questions {
    /// High watermarks.
    pub(super) high_watermarks: BTreeMap<Topic, BTreeSet<Partition>>,
    /// The first offsets of the time from which on the trigger's object counts.
    pub(super) since: BTreeSet<Topic>,
}

#[derive(Debug, Clone)]
struct RememberedTopic {
    id: TopicId,
    /// When the latest answer was asked for that showed this id.
    asked: Instant,
    /// The time from which on it is seen, where one is known.
    since: Option<i64>,
    partitions: ByPartition<Remembered>,
}

impl Memory {
    /// Takes ends and committed offsets, and gives what else to ask for; `None` where the answers
    /// do not fit together, or are not believed yet, so that all must be asked for again.
    ///
    /// `since` is the time from which on the trigger's object counts, in milliseconds since 1970.
    pub(super) fn plan(
        &mut self,
        observed: &[ObservedTopic],
        rules: Rules,
        since: Option<i64>,
        now: Instant,
    ) -> Option<Questions> {
        let mut questions = Questions::default();
        let mut fit = true;
        for observed in observed {
            // All of them, so that what has to stand for a while does so in each at the same time.
            let Some(remembered) = self.see(observed, rules) else {
                fit = false;
                continue;
            };
            for (partition, seen) in observed.partitions.iter() {
                let Some(known) = remembered.partitions.get_mut(partition) else { continue };
                let (next, step) = step(*known, seen, rules, now);
                *known = next;
                match step {
                    Step::Count(_) => {}
                    Step::AskHighWatermark => {
                        let topic = questions.high_watermarks.entry(observed.topic.clone());
                        topic.or_default().insert(partition);
                    }
                    Step::AskAgain => fit = false,
                }
            }
            let knows_since = since.is_none() || remembered.since == since;
            if rules.without_offset == WithoutOffset::FromFirstSeen && !knows_since {
                questions.since.insert(observed.topic.clone());
            }
        }
        fit.then_some(questions)
    }

    /// Takes the answers to what [`plan`](Memory::plan) had to ask for, and gives all partitions
    /// with from where on to count; `None` where they are no longer of use, and nothing is
    /// remembered.
    pub(super) fn commit(
        &mut self,
        observed: &[ObservedTopic],
        rules: Rules,
        since: Option<i64>,
    ) -> Option<Vec<Polled>> {
        let mut polled = Vec::new();
        let mut next = Vec::new();
        for observed in observed {
            let remembered = self.topics.get(&observed.topic).filter(|of| of.id == observed.id)?;
            let mut remembered = remembered.clone();
            for (partition, seen) in observed.partitions.iter() {
                let known = remembered.partitions.get_mut(partition)?;
                let (next, step) = count_from(*known, seen, rules);
                *known = next;
                let Step::Count(waiting) = step else { return None };
                let persistent = known.is_persistent(seen.valid_committed(), rules);
                let at = (observed.topic.clone(), partition);
                polled.push(Polled::new(at, seen, waiting, persistent));
            }
            remembered.since = since.or(remembered.since);
            next.push((observed.topic.clone(), remembered));
        }
        self.topics.extend(next);
        Some(polled)
    }

    /// Remembers where the group stood, for the next poll to tell whether it has moved: an answer
    /// was given for the metric.
    pub(super) fn answered(&mut self, observed: &[ObservedTopic], polled: &[Polled]) {
        // What this answer does not speak of has not stood still since.
        let known = self.topics.values_mut().flat_map(|topic| topic.partitions.values_mut());
        known.for_each(|known| known.last_metric = None);
        let ids: HashMap<&Topic, TopicId> =
            observed.iter().map(|observed| (&observed.topic, observed.id)).collect();
        for Polled { topic, partition, committed, .. } in polled {
            let remembered = self.topics.get_mut(topic);
            let same = remembered.filter(|remembered| ids.get(topic) == Some(&remembered.id));
            if let Some(known) = same.and_then(|same| same.partitions.get_mut(*partition)) {
                known.last_metric = *committed;
            }
        }
    }

    /// What is remembered of a topic with this id, begun anew where it is another one than before;
    /// `None` where the answer is older than one that showed another id.
    fn see(&mut self, observed: &ObservedTopic, rules: Rules) -> Option<&mut RememberedTopic> {
        let ObservedTopic { topic, id, asked, partitions } = observed;
        let new = || {
            let (id, asked) = (*id, *asked);
            RememberedTopic { id, asked, since: None, partitions: ByPartition::new() }
        };
        let mut is_first = false;
        let remembered = self.topics.entry(topic.clone()).or_insert_with(|| {
            is_first = true;
            new()
        });
        if remembered.id != *id {
            if remembered.asked > *asked {
                return None;
            }
            *remembered = new();
        }
        remembered.asked = remembered.asked.max(*asked);
        for (partition, seen) in partitions.iter() {
            // What comes to a topic that is known already, as a partition or made again, is new.
            let is_seen = is_first && rules.without_offset == WithoutOffset::FromFirstSeen;
            let first_seen = if is_seen { seen.end } else { 0 };
            remembered.partitions.or_insert_with(partition, || Remembered::new(first_seen));
        }
        Some(remembered)
    }
}

#[cfg(test)]
mod tests;
