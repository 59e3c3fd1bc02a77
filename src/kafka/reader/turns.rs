//! What a broker leads, and in which order that is fetched: topics take turns, and of each topic
//! its partitions, so that none that floods is fetched before the others have been.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::desk::TopicPartition;
use super::session::Session;
use crate::kafka::names::{Partition, Topic};

/// A broker that leads something.
#[derive(Default)]
pub(super) struct Broker {
    pub(super) leads: BTreeSet<TopicPartition>,
    /// When the fetch under way was sent, and how long the broker may wait with the answer.
    pub(super) asked: Option<(Instant, Duration)>,
    /// When the next one may be.
    pub(super) not_before: Option<Instant>,
    /// The topic that gave records last, and of each topic the partition that did.
    last: Option<Topic>,
    within: HashMap<Topic, Partition>,
    pub(super) session: Session,
    /// A partition that has records and gave none: what came before it was enough, or its first
    /// batch is larger than its share.
    pub(super) starved: Option<TopicPartition>,
}

impl Broker {
    /// A partition has given records: its turn is over.
    pub(super) fn gave(&mut self, (topic, partition): &TopicPartition) {
        self.last = Some(topic.clone());
        self.within.insert(topic.clone(), *partition);
        if self.within.len() > 2 * self.leads.len().max(1_000) {
            self.within.clear();
        }
    }

    /// What it leads, topic by topic, from the one after that which gave records last on, and of
    /// each topic from the partition after that on. Where a partition is starved, its topic and the
    /// partition come first.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &TopicPartition> {
        let mut topics: Vec<&Topic> = self.leads.iter().map(|(topic, _)| topic).collect();
        topics.dedup();
        let first = match (&self.starved, &self.last) {
            (Some((topic, _)), _) => topics.partition_point(|of| *of < topic),
            (None, Some(last)) => topics.partition_point(|of| *of <= last),
            (None, None) => 0,
        };
        let first = first.min(topics.len());
        topics.rotate_left(first);
        topics.into_iter().flat_map(|topic| {
            let at = |partition| (topic.clone(), partition);
            let first = match (&self.starved, self.within.get(topic)) {
                (Some((starved, partition)), _) if starved == topic => *partition,
                (_, Some(last)) => last.saturating_add(1),
                (_, None) => Partition::MIN,
            };
            let from = self.leads.range(at(first)..=at(Partition::MAX));
            from.chain(self.leads.range(at(Partition::MIN)..at(first)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(topic: &str, partition: Partition) -> TopicPartition {
        (Topic::from(topic), partition)
    }

    #[test]
    fn topics_and_their_partitions_take_turns() {
        let leads: BTreeSet<TopicPartition> =
            [("a", 0), ("b", 0), ("b", 1), ("b", 2), ("c", 0), ("c", 7)]
                .map(|(topic, partition)| place(topic, partition))
                .into();
        let rows: [(&[TopicPartition], Option<TopicPartition>, &str); 7] = [
            (&[], None, "a0 b0 b1 b2 c0 c7"),
            (&[place("a", 0)], None, "b0 b1 b2 c0 c7 a0"),
            (&[place("b", 1)], None, "c0 c7 a0 b2 b0 b1"),
            (&[place("b", 1), place("c", 0)], None, "a0 b2 b0 b1 c7 c0"),
            (&[place("c", 7)], None, "a0 b0 b1 b2 c0 c7"),
            (&[place("bb", 3)], None, "c0 c7 a0 b0 b1 b2"),
            (&[place("a", 0)], Some(place("b", 2)), "b2 b0 b1 c0 c7 a0"),
        ];
        for (gave, starved, expected) in rows {
            let (leads, mut broker) = (leads.clone(), Broker { starved, ..Broker::default() });
            broker.leads = leads;
            gave.iter().for_each(|place| broker.gave(place));
            let order = broker.in_turn().map(|(topic, partition)| format!("{topic}{partition}"));
            assert_eq!(order.collect::<Vec<_>>().join(" "), expected, "{gave:?}");
        }
    }
}
