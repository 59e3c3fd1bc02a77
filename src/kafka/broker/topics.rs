//! What topics look like: their ids, how many partitions they have, who leads them, and whether
//! they are compacted.
//!
//! # References
//! - KIP-516: a topic that is deleted and made again has another id
//! - KIP-320: leader epochs

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::connections::{Connections, Lane};
use crate::kafka::fault::{Fault, Kind};
use crate::kafka::names::{Partition, Topic};
use crate::kafka::wire::Endpoint;
use crate::kafka::wire::requests::{
    Broker, BrokerId, DescribeConfigs, Metadata, PartitionMetadata,
};
use crate::lock::lock;

/// The setting that says whether a topic is compacted.
const POLICY: &str = "cleanup.policy";

/// How long a topic's cleanup policy is taken to stay as it was.
const POLICY_STALE_AFTER: Duration = Duration::from_secs(30);

/// How soon it is asked again where there was no answer.
const POLICY_RETRY_AFTER: Duration = Duration::from_secs(2);

/// How long that may take: it holds up a poll, and nothing that is wrong without it stays so.
const POLICY_WITHIN: Duration = Duration::from_secs(1);

/// The partitions of all topics whose descriptions are kept of one cluster.
const MAX_PARTITIONS_KEPT: usize = 200_000;

/// The topics whose descriptions are kept of one cluster.
const MAX_KEPT: usize = 10_000;

/// What tells a topic from another one of its name (KIP-516). All zero from a broker without ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::kafka) struct TopicId(pub(in crate::kafka) [u8; 16]);

impl TopicId {
    /// The id, unless the broker has none.
    pub(in crate::kafka) fn given(self) -> Option<[u8; 16]> {
        Some(self.0).filter(|id| *id != [0; 16])
    }
}

#[cfg(test)]
impl TopicId {
    /// An id that differs from those of other numbers.
    pub(in crate::kafka) fn of(number: u8) -> TopicId {
        TopicId([number; 16])
    }
}

/// A topic as polls need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) struct TopicShape {
    /// Differs when a topic was deleted and made again.
    pub(in crate::kafka) id: TopicId,
    /// How many partitions there are, numbered from 0.
    pub(in crate::kafka) partitions: Partition,
}

/// A topic as a broker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Description {
    pub(in crate::kafka) shape: TopicShape,
    /// By partition: who leads it, or why that is not known.
    pub(super) leaders: Vec<Result<Leader, Fault>>,
}

/// Who leads a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Leader {
    pub(in crate::kafka) broker: Endpoint,
    /// Grows with each election; absent from a broker that is too old.
    pub(in crate::kafka) epoch: Option<i32>,
}

impl Description {
    /// Whether a partition has a leader of a later election in the other one.
    pub(in crate::kafka) fn is_superseded_by(&self, other: &Description) -> bool {
        let epoch = |leader: &Result<Leader, Fault>| leader.as_ref().ok()?.epoch;
        let mut each = self.leaders.iter().zip(&other.leaders);
        each.any(|(ours, theirs)| epoch(theirs) > epoch(ours))
    }
}

/// What was last said of each topic.
#[derive(Default)]
pub(in crate::kafka) struct Topics {
    /// Those of which the offsets could be had.
    known: Mutex<HashMap<Topic, Arc<Description>>>,
    /// Whether each is compacted, and when to ask again.
    policies: Mutex<HashMap<Topic, (Instant, bool)>>,
}

/// Descriptions, or why there is none.
pub(in crate::kafka) type Descriptions = HashMap<Topic, Result<Arc<Description>, Fault>>;

impl Topics {
    /// What these topics last looked like, of those whose offsets could be had then.
    pub(in crate::kafka) fn known(
        &self,
        topics: &BTreeSet<Topic>,
    ) -> HashMap<Topic, Arc<Description>> {
        let known = lock(&self.known);
        let of_each = topics.iter().filter_map(|topic| known.get_key_value(topic));
        of_each.map(|(topic, description)| (topic.clone(), Arc::clone(description))).collect()
    }

    /// How many partitions a topic had.
    pub(super) fn partitions(&self, topic: &Topic) -> Option<Partition> {
        lock(&self.known).get(topic).map(|description| description.shape.partitions)
    }

    /// A topic's id, and who leads a partition of it, as far as anybody has heard.
    pub(in crate::kafka) fn leader(
        &self,
        topic: &Topic,
        partition: Partition,
    ) -> Option<(TopicId, Option<Leader>)> {
        let known = lock(&self.known);
        let description = known.get(topic)?;
        let leader = usize::try_from(partition).ok().and_then(|at| description.leaders.get(at));
        Some((description.shape.id, leader.and_then(|leader| leader.clone().ok())))
    }

    /// Learns what topics look like now. Without an answer, what is known of them stands.
    pub(in crate::kafka) async fn look_up(
        &self,
        connections: &Connections,
        topics: &BTreeSet<Topic>,
        deadline: Instant,
    ) {
        if let Ok(described) = self.describe(connections, topics, deadline).await {
            for (topic, description) in described {
                // A broker that lags knows less than what was heard before.
                let known = lock(&self.known).get(&topic).cloned();
                let is_older = |description: &Description| {
                    known.is_some_and(|known| {
                        known.shape == description.shape && description.is_superseded_by(&known)
                    })
                };
                if let Ok(description) = description
                    && !is_older(&description)
                {
                    self.keep(&topic, Some(&description));
                }
            }
        }
    }

    /// Keeps what a topic looks like, or forgets it.
    pub(in crate::kafka) fn keep(&self, topic: &Topic, description: Option<&Arc<Description>>) {
        let mut known = lock(&self.known);
        match description {
            Some(description) if known.get(topic) == Some(description) => {}
            Some(description) => {
                let partitions: usize = known.values().map(|of| of.leaders.len()).sum();
                if known.len() >= MAX_KEPT
                    || partitions + description.leaders.len() > MAX_PARTITIONS_KEPT
                {
                    known.clear();
                }
                known.insert(topic.clone(), Arc::clone(description));
            }
            None => drop(known.remove(topic)),
        }
    }

    /// Asks any broker what topics look like.
    ///
    /// # Errors
    /// No broker answers by the deadline. A topic that does not exist is a fault of its own.
    pub(in crate::kafka) async fn describe(
        &self,
        connections: &Connections,
        topics: &BTreeSet<Topic>,
        deadline: Instant,
    ) -> Result<Descriptions, Fault> {
        let request = Metadata { topics: topics.iter().cloned().collect() };
        let reply = connections.ask_any(Lane::Describe, &request, deadline).await?;
        if let Some(code) = reply.error {
            return Err(Fault::of_broker(code, None));
        }
        let endpoint = |broker: &Broker| Endpoint::new(&broker.host, broker.port);
        let brokers = reply.brokers.iter().filter_map(|b| Some((b.id, endpoint(b)?)));
        let brokers: BTreeMap<BrokerId, Endpoint> = brokers.collect();
        connections.learn(brokers.values().cloned());
        let leader = |partition: &PartitionMetadata| leader(partition, &brokers);
        let described = request.topics.into_iter().zip(reply.topics).map(|(topic, answer)| {
            let description = match answer {
                None => Err(Fault::left_out("a topic")),
                Some(Err(code)) => Err(Fault::of_broker(code, None)),
                Some(Ok(metadata)) => {
                    let leaders: Vec<_> = metadata.partitions.iter().map(leader).collect();
                    let id = TopicId(metadata.id.unwrap_or_default());
                    // As many as a reply may have.
                    let partitions = Partition::try_from(leaders.len()).unwrap_or(Partition::MAX);
                    Ok(Arc::new(Description { shape: TopicShape { id, partitions }, leaders }))
                }
            };
            (topic, description)
        });
        Ok(described.collect())
    }

    /// Which of these topics are compacted, as any broker says. Where we may not know, none is
    /// taken to be; without an answer what was known before stands for as long.
    pub(in crate::kafka) async fn compacted(
        &self,
        connections: &Connections,
        topics: &BTreeSet<Topic>,
        deadline: Instant,
    ) -> BTreeSet<Topic> {
        let now = Instant::now();
        let stale: Vec<Topic> = {
            let policies = lock(&self.policies);
            let is_stale = |topic: &&Topic| {
                policies.get(*topic).is_none_or(|(ask_again, _)| *ask_again <= now)
            };
            topics.iter().filter(is_stale).cloned().collect()
        };
        if !stale.is_empty() {
            let request = DescribeConfigs { topics: stale, setting: POLICY };
            let deadline = deadline.min(now + POLICY_WITHIN);
            let answer = connections.ask_any(Lane::Describe, &request, deadline).await;
            let mut known = lock(&self.policies);
            if known.len() >= MAX_KEPT {
                known.retain(|topic, _| topics.contains(topic));
            }
            match answer {
                Ok(policies) => {
                    for (topic, policy) in request.topics.into_iter().zip(policies) {
                        let compacts =
                            |policy: &str| policy.split(',').any(|one| one.trim() == "compact");
                        let policy = policy.and_then(Result::ok).flatten();
                        let compacted = policy.as_deref().is_some_and(compacts);
                        known.insert(topic, (now + POLICY_STALE_AFTER, compacted));
                    }
                }
                // Some that speak Kafka's protocol never answer this.
                Err(_) => {
                    for topic in request.topics {
                        known.entry(topic).or_insert((now, false)).0 = now + POLICY_RETRY_AFTER;
                    }
                }
            }
        }
        let policies = lock(&self.policies);
        let compacted = |topic: &&Topic| policies.get(*topic).is_some_and(|(_, is)| *is);
        topics.iter().filter(compacted).cloned().collect()
    }
}

fn leader(
    partition: &PartitionMetadata,
    brokers: &BTreeMap<BrokerId, Endpoint>,
) -> Result<Leader, Fault> {
    let Some(id) = partition.leader else {
        return Err(match partition.error {
            Some(code) => Fault::of_broker(code, None),
            None => Fault::new(Kind::Passing, "a partition has no leader"),
        });
    };
    let broker = brokers.get(&id).cloned().ok_or_else(|| {
        let reason = format!("the brokers give no address of broker {id}, which leads a partition");
        Fault::new(Kind::Passing, reason)
    })?;
    Ok(Leader { broker, epoch: partition.leader_epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_election_supersedes_a_leader_and_an_earlier_one_does_not() {
        let leader = |epoch: Option<i32>| {
            let broker = Endpoint::new("broker", 9092).expect("an endpoint");
            Ok(Leader { broker, epoch })
        };
        let nobody = || Err(Fault::new(Kind::Passing, "a partition has no leader"));
        let of = |leaders| {
            let shape = TopicShape { id: TopicId::of(1), partitions: 2 };
            Description { shape, leaders }
        };
        let rows = [
            ("the same", [leader(Some(5)), leader(Some(3))], false),
            ("one led anew", [leader(Some(5)), leader(Some(4))], true),
            ("a broker that lags", [leader(Some(4)), leader(Some(3))], false),
            ("no leader", [nobody(), leader(Some(3))], false),
            ("no epochs", [leader(None), leader(None)], false),
        ];
        let known = of(vec![leader(Some(5)), leader(Some(3))]);
        for (name, now, expected) in rows {
            assert_eq!(known.is_superseded_by(&of(now.into())), expected, "{name}");
        }
    }
}
