//! Yardsticks of the benchmarks: the broker calls of a poll, bare (the two that no poll can do
//! without, and all four that ours makes); a bare fetch loop; and records that are only walked
//! over, or judged as well.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::broker::{ConnectionHealth, Connections, Lane};
use super::names::{Group, Offset, Partition, Topic};
use super::reader::{FETCH_BYTES, PARTITION_BYTES};
use super::record::KafkaMessage;
use super::security::ClusterConfig;
use super::wire::records::{Batches, Heads, Record, Scratch};
use super::wire::requests::{
    Fetch, FetchPartition, FetchSession, FetchTopic, GroupQuestion, Isolation, ListOffsets,
    Metadata, OffsetFetch, PartitionPosition, Position,
};
use super::wire::{Dialer, Endpoint, Network, Resolver};
use crate::coalescer::Tasks;
use crate::ledger::{Ledger, Payers};
use crate::selection::{Judge, Verdicts};

/// Bytes that its replies may take.
const MEMORY: usize = 512 * 1024 * 1024;

const TIMEOUT: Duration = Duration::from_secs(10);

/// ListOffsets and OffsetFetch of one group on one topic, on a connection each, to a broker that
/// leads all of the topic and coordinates the group.
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

/// Fetches a topic from its beginning and drops what it gets, from a broker that leads all of it.
pub struct FetchLoop {
    connections: Connections,
    broker: Endpoint,
    topic: Topic,
    partitions: Partition,
    tasks: Tasks,
}

impl Pair {
    /// The pair for the topic's partitions from 0 up to `partitions`; it connects when first asked.
    ///
    /// # Panics
    /// Where `bootstrap` is not one `host:port`.
    pub fn new(bootstrap: &str, group: &str, topic: &str, partitions: Partition) -> Pair {
        let (connections, broker, tasks) = connect(bootstrap);
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

    /// The pair, and beside it what tells that the topic is still the same, and where it begins, on
    /// a connection each.
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

impl FetchLoop {
    /// The loop for the topic's partitions from 0 up to `partitions`; it connects when first asked.
    ///
    /// # Panics
    /// Where `bootstrap` is not one `host:port`.
    pub fn new(bootstrap: &str, topic: &str, partitions: Partition) -> FetchLoop {
        let (connections, broker, tasks) = connect(bootstrap);
        FetchLoop { connections, broker, topic: Topic::from(topic), partitions, tasks }
    }

    /// Reads all partitions to their ends, as much at a time as a reader does; gives `each` what
    /// comes of batches, and how many offsets there were.
    ///
    /// # Panics
    /// Where a fetch fails.
    pub async fn read(&self, mut each: impl FnMut(Bytes)) -> Offset {
        let mut open: BTreeMap<Partition, Offset> =
            (0..self.partitions).map(|of| (of, 0)).collect();
        let (mut last, mut offsets) = (0, 0);
        while !open.is_empty() {
            // Whoever gave something comes last.
            let after = open.range(last + 1..).chain(open.range(..=last));
            let partitions = after.map(|(partition, position)| FetchPartition {
                partition: *partition,
                leader_epoch: None,
                fetch_offset: *position,
                last_fetched_epoch: None,
                max_bytes: PARTITION_BYTES,
            });
            let partitions = partitions.collect();
            let topic = FetchTopic { name: self.topic.clone(), id: None, partitions };
            let request = Fetch {
                max_wait: Duration::ZERO,
                min_bytes: 1,
                max_bytes: FETCH_BYTES,
                isolation: Isolation::ReadCommitted,
                session: FetchSession::NONE,
                topics: vec![topic],
                forgotten: Vec::new(),
                in_session: None,
            };
            let deadline = Instant::now() + TIMEOUT;
            let fetched = self.connections.fetch(&self.broker, Lane::Tails, &request, deadline);
            let (reply, payload) = fetched.await.expect("a fetch");
            for fetched in reply.partitions {
                let bytes = payload.slice(fetched.records);
                let Some(position) = open.get_mut(&fetched.partition) else { continue };
                if let Ok(heads) = Heads::of(&bytes) {
                    offsets += heads.next - *position;
                    *position = heads.next;
                    last = fetched.partition;
                    each(bytes);
                }
                if fetched.last_stable_offset == Some(*position) {
                    open.remove(&fetched.partition);
                }
            }
        }
        offsets
    }
}

impl Drop for FetchLoop {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// Checks, decompresses and walks over the records of batches; gives how many there are.
///
/// # Panics
/// Where they cannot be read.
pub fn walk(bytes: &[u8], scratch: &mut Scratch) -> usize {
    each_record(bytes, scratch, |record| std::hint::black_box(record).value.is_some())
}

/// The same, and judges each; gives how many match.
///
/// # Panics
/// Where they cannot be read.
pub fn judge(bytes: &[u8], scratch: &mut Scratch, judge: &Judge, verdicts: &mut Verdicts) -> usize {
    let topic = Topic::from("baseline");
    each_record(bytes, scratch, |record| {
        let message = KafkaMessage::new(&topic, 0, *record);
        judge.judge(&message, None, verdicts);
        !verdicts.selected.is_empty()
    })
}

fn each_record(
    bytes: &[u8],
    scratch: &mut Scratch,
    mut counts: impl FnMut(&Record<'_>) -> bool,
) -> usize {
    let mut count = 0;
    for batch in Batches::new(bytes) {
        let walked = batch.expect("a batch").for_each(scratch, |record| {
            count += usize::from(counts(record));
            ControlFlow::Continue(())
        });
        walked.expect("records");
    }
    count
}

fn connect(bootstrap: &str) -> (Connections, Endpoint, Tasks) {
    let config = ClusterConfig::plain(bootstrap).expect("bootstrap servers");
    let broker = config.endpoints().pop().expect("one server");
    let payers = Arc::new(Payers::default());
    payers.join(&Ledger::new(MEMORY).account("baseline"));
    let network = Network::new(&Arc::new(Resolver::default()), &payers);
    let dialer = Arc::new(Dialer { network, tls: None, credentials: None });
    let (tasks, health) = (Tasks::default(), Arc::new(ConnectionHealth::new()));
    let connections = Connections::new(dialer, vec![broker.clone()], tasks.clone(), health);
    (connections, broker, tasks)
}
