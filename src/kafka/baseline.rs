//! The broker calls of a poll, bare: the two that no poll can do without, and all four that ours makes. They
//! are the yardsticks of the `poll` benchmark.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::broker::{ConnectionHealth, Connections, Lane};
use super::names::{Group, Partition, Topic};
use super::security::ClusterConfig;
use super::wire::requests::{
    GroupQuestion, Isolation, ListOffsets, Metadata, OffsetFetch, PartitionPosition, Position,
};
use super::wire::{Dialer, Endpoint, Network};
use crate::coalescer::Tasks;

const TIMEOUT: Duration = Duration::from_secs(10);

/// ListOffsets and OffsetFetch of one group on one topic, on a connection each, to a broker that leads
/// all of the topic and coordinates the group.
pub struct Pair {
    connections: Connections,
    broker: Endpoint,
    shape: Metadata,
    starts: ListOffsets,
    ends: ListOffsets,
    committed: OffsetFetch,
    /// Ends when the pair does.
    tasks: Tasks,
}

impl Pair {
    /// The pair for the topic's partitions from 0 up to `partitions`; it connects when first asked.
    ///
    /// # Panics
    /// Where `bootstrap` is not one `host:port`.
    pub fn new(bootstrap: &str, group: &str, topic: &str, partitions: Partition) -> Pair {
        let config = ClusterConfig::plain(bootstrap).expect("bootstrap servers");
        let broker = config.endpoints().pop().expect("one server");
        let dialer = Dialer { network: Network::default(), tls: None, credentials: None };
        let (tasks, health) = (Tasks::default(), Arc::new(ConnectionHealth::new()));
        let dialer = Arc::new(dialer);
        let connections = Connections::new(dialer, vec![broker.clone()], tasks.clone(), health);
        let topic = Topic::from(topic);
        let list = |isolation, position| {
            let each = (0..partitions).map(|partition| PartitionPosition {
                partition,
                leader_epoch: None,
                position,
            });
            ListOffsets { isolation, topics: vec![(topic.clone(), each.collect())] }
        };
        let starts = list(Isolation::ReadUncommitted, Position::Earliest);
        let ends = list(Isolation::ReadCommitted, Position::Latest);
        let shape = Metadata { topics: vec![topic.clone()] };
        let topics = Some(vec![(topic, (0..partitions).collect())]);
        let question = GroupQuestion { group: Group::from(group), topics };
        let committed = OffsetFetch { groups: vec![question], require_stable: false };
        Pair { connections, broker, shape, starts, ends, committed, tasks }
    }

    /// Both calls, side by side in flight.
    ///
    /// # Panics
    /// Where either gets no answer.
    pub async fn ask(&self) {
        let deadline = Instant::now() + TIMEOUT;
        let ends = self.connections.ask(&self.broker, Lane::Ends, &self.ends, deadline);
        let committed = self.connections.ask(&self.broker, Lane::Groups, &self.committed, deadline);
        let (ends, committed) = tokio::join!(ends, committed);
        ends.expect("the ends");
        committed.expect("the committed offsets");
    }

    /// The pair, and beside it what tells that the topic is still the same, and where it begins, on a
    /// connection each.
    ///
    /// # Panics
    /// Where any gets no answer.
    pub async fn ask_all(&self) {
        let deadline = Instant::now() + TIMEOUT;
        let shape = self.connections.ask(&self.broker, Lane::Describe, &self.shape, deadline);
        let starts = self.connections.ask(&self.broker, Lane::Starts, &self.starts, deadline);
        let (shape, starts, ()) = tokio::join!(shape, starts, self.ask());
        shape.expect("the topic");
        starts.expect("the starts");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.tasks.end();
    }
}
