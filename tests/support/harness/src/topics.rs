//! What a test does to topics. Each returns when the cluster's metadata says that it is done.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::admin::{
    AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use test_basics::{LOOK, PATIENCE, until};
use tokio::time::{Instant, sleep};

use super::client::{CLIENT_ID, Client, admin_options};
use super::messages::Message;
use super::wire::{Api, Body, Connection};

/// The key of the records that only make a segment end.
const TOMBSTONE: &[u8] = b"harness";

/// A topic about to be created.
#[must_use = "it is made by `create`"]
#[derive(Debug)]
pub struct Topic<'a> {
    client: &'a Client,
    name: String,
    partitions: i32,
    replication: i32,
    config: Vec<(String, String)>,
}

impl Client {
    /// A topic to create: one partition, one replica, the broker's defaults.
    pub fn topic(&self, name: &str) -> Topic<'_> {
        Topic { client: self, name: name.into(), partitions: 1, replication: 1, config: Vec::new() }
    }

    /// Deletes a topic with what is in it.
    pub async fn delete_topic(&self, topic: &str) {
        let answers = self
            .admin
            .delete_topics(&[topic], &admin_options())
            .await
            .expect("the cluster answers");
        answers.into_iter().next().expect("an answer a topic").expect("the topic can be deleted");
        until("the topic is gone", async || self.leaders(topic).is_empty()).await;
    }

    /// Extends a topic to so many partitions in all.
    pub async fn set_partitions(&self, topic: &str, partitions: i32) {
        let count = usize::try_from(partitions).expect("a number of partitions");
        let answers = self
            .admin
            .create_partitions(&[NewPartitions::new(topic, count)], &admin_options())
            .await
            .expect("the cluster answers");
        answers.into_iter().next().expect("an answer a topic").expect("the topic can be extended");
        until("the partitions are there", async || self.leads_all(topic, count)).await;
    }

    /// Changes the configuration of a topic; what is not named stays as it is.
    pub async fn configure_topic(&self, topic: &str, changes: &[(&str, &str)]) {
        let resource = ResourceSpecifier::Topic(topic);
        let described = self
            .admin
            .describe_configs(&[resource], &admin_options())
            .await
            .expect("the cluster answers");
        let described = described
            .into_iter()
            .next()
            .expect("an answer a topic")
            .expect("the topic can be described");
        // The call replaces the whole configuration, so what was set before is set again.
        let mut entries: HashMap<&str, &str> = described
            .entries
            .iter()
            .filter(|entry| entry.source == ConfigSource::DynamicTopic)
            .filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)))
            .collect();
        entries.extend(changes.iter().copied());
        let alter = entries
            .iter()
            .fold(AlterConfig::new(resource), |alter, (key, value)| alter.set(key, value));
        let answers = self
            .admin
            .alter_configs(&[alter], &admin_options())
            .await
            .expect("the cluster answers");
        answers
            .into_iter()
            .next()
            .expect("an answer a topic")
            .expect("the topic can be configured");
    }

    /// Deletes the records of a partition before an offset.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        let answer = self
            .admin
            .delete_records(&offsets, &admin_options())
            .await
            .expect("the cluster answers");
        answer.elements()[0].error().expect("the records can be deleted");
    }

    /// The log start and the last stable offset, a partition each: the bounds of what a reader of
    /// committed records can be given.
    pub fn offsets(&self, topic: &str) -> Vec<(i64, i64)> {
        let partitions = (0..).take(self.leaders(topic).len());
        partitions.map(|partition| self.bounds(topic, partition)).collect()
    }

    /// Waits until the log start of a partition has reached an offset: until retention, say, has
    /// done its work.
    pub async fn until_log_starts_at(&self, topic: &str, partition: i32, offset: i64) {
        until("the log start has moved", async || {
            let bounds = self.reader.fetch_watermarks(topic, partition, PATIENCE);
            bounds.expect("the cluster answers").0 >= offset
        })
        .await;
    }

    /// Writes tombstones of its own to a partition until compaction has left at most so many other
    /// records, and returns their offsets.
    ///
    /// Compaction spares the newest segment, which ends only with a record that comes too late for
    /// it: hence the tombstones. The topic needs `cleanup.policy=compact`, a short `segment.ms` and
    /// a small `min.cleanable.dirty.ratio`.
    pub async fn compact(&self, topic: &str, partition: i32, at_most: usize) -> Vec<i64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.produce(topic, Message::new().key(TOMBSTONE).partition(partition)).await;
            let left = self.read(topic, partition).await;
            let others: Vec<i64> = left
                .iter()
                .filter(|record| record.key() != Some(TOMBSTONE))
                .map(OwnedMessage::offset)
                .collect();
            if others.len() <= at_most {
                return others;
            }
            assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} for compaction, in vain: {others:?}"
            );
            sleep(LOOK).await;
        }
    }

    /// Every committed record that a partition holds now.
    pub async fn read(&self, topic: &str, partition: i32) -> Vec<OwnedMessage> {
        let config = self
            .own_config()
            .set("group.id", "harness")
            .set("enable.partition.eof", "true")
            .clone();
        let topic = topic.to_owned();
        let read = move || {
            let reader: BaseConsumer = config.create().expect("a consumer");
            let mut all = TopicPartitionList::new();
            all.add_partition_offset(&topic, partition, Offset::Beginning).expect("an offset");
            reader.assign(&all).expect("a partition can be assigned");
            let mut records = Vec::new();
            loop {
                match reader.poll(PATIENCE).expect("a record or the end, in time") {
                    Ok(record) => records.push(record.detach()),
                    Err(KafkaError::PartitionEOF(_)) => return records,
                    Err(error) => panic!("{topic} cannot be read: {error}"),
                }
            }
        };
        tokio::task::spawn_blocking(read).await.expect("the reader ends")
    }

    /// The ids of the nodes that lead the partitions, −1 where nobody does; none at all for a topic
    /// that is not there.
    pub(super) fn leaders(&self, topic: &str) -> Vec<i32> {
        leaders(&self.reader.fetch_metadata(Some(topic), PATIENCE).expect("the cluster answers"))
    }

    /// The ids of the nodes that keep a copy of a partition.
    pub(super) fn replicas(&self, topic: &str, partition: i32) -> Vec<i32> {
        let metadata =
            self.reader.fetch_metadata(Some(topic), PATIENCE).expect("the cluster answers");
        let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let partition = partitions.find(|known| known.id() == partition);
        partition.expect("the partition is there").replicas().to_vec()
    }

    /// Makes a node, by its id, the one that is to lead a partition. It does so with the next
    /// election of preferred leaders.
    ///
    /// # Panics
    /// If it keeps no copy of the partition, or the cluster does not take the change.
    pub fn prefer_leader(&self, topic: &str, partition: i32, node: i32) {
        const TIMEOUT_MS: i32 = 30_000;
        let mut replicas = self.replicas(topic, partition);
        let place = replicas.iter().position(|replica| *replica == node).expect("a replica");
        replicas.rotate_left(place);
        let body = Body::default().int32(TIMEOUT_MS).compact_array(&[topic], |body, topic| {
            let body = body.compact_string(topic);
            let body = body.compact_array(&[partition], |body, partition| {
                let body = body.int32(*partition);
                body.compact_array(&replicas, |body, replica| body.int32(*replica)).no_tags()
            });
            body.no_tags()
        });
        let mut any = self.harness().split(',').map(|broker| Connection::open(broker, CLIENT_ID));
        let mut any = any.find_map(Result::ok).expect("a broker that takes connections");
        let asked = any.ask(Api::AlterPartitionReassignments, &body.no_tags());
        let mut answer = asked.expect("the broker answers");
        let _throttled = answer.int32().expect("a time");
        assert_eq!(answer.int16().expect("an error code"), 0);
    }

    /// Whether each partition of a topic is led by the replica that is to lead it, and all of its
    /// replicas are in sync; as far as the cluster answers now.
    pub fn is_settled(&self, topic: &str) -> bool {
        const WITHIN: Duration = Duration::from_secs(2);
        self.reader.fetch_metadata(Some(topic), WITHIN).is_ok_and(|metadata| {
            let mut partitions =
                metadata.topics().iter().flat_map(MetadataTopic::partitions).peekable();
            partitions.peek().is_some()
                && partitions.all(|partition| {
                    partition.replicas().first() == Some(&partition.leader())
                        && partition.isr().len() == partition.replicas().len()
                })
        })
    }

    fn bounds(&self, topic: &str, partition: i32) -> (i64, i64) {
        // The node has yet to hear that it leads, or how much is replicated; or librdkafka, that
        // another one leads.
        const NOT_YET: [KafkaError; 4] = [
            KafkaError::MetadataFetch(RDKafkaErrorCode::NotLeaderForPartition),
            KafkaError::MetadataFetch(RDKafkaErrorCode::OffsetNotAvailable),
            KafkaError::MetadataFetch(RDKafkaErrorCode::DestroyBroker),
            KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure),
        ];
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.reader.fetch_watermarks(topic, partition, PATIENCE) {
                Ok(bounds) => return bounds,
                Err(error) if NOT_YET.contains(&error) && Instant::now() < deadline => {}
                Err(error) => panic!("the bounds of {topic} {partition} are not told: {error}"),
            }
        }
    }

    /// Whether each of so many partitions has a leader.
    ///
    /// The producer is asked too: a handle does not know of a new partition before it has asked by
    /// itself.
    fn leads_all(&self, topic: &str, partitions: usize) -> bool {
        let to_producer = self
            .producer
            .client()
            .fetch_metadata(Some(topic), PATIENCE)
            .expect("the cluster answers");
        [leaders(&to_producer), self.leaders(topic)]
            .iter()
            .all(|leaders| leaders.len() == partitions && leaders.iter().all(|leader| *leader >= 0))
    }
}

impl Topic<'_> {
    /// With so many partitions.
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    /// With so many replicas of each.
    pub fn replication(mut self, replicas: i32) -> Self {
        self.replication = replicas;
        self
    }

    /// With a setting such as `cleanup.policy`.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }

    /// Creates it, and waits until every partition has a leader.
    pub async fn create(self) {
        let Self { client, name, partitions, replication, config } = self;
        let topic = config.iter().fold(
            NewTopic::new(&name, partitions, TopicReplication::Fixed(replication)),
            |topic, (key, value)| topic.set(key, value),
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answers = client
                .admin
                .create_topics([&topic], &admin_options())
                .await
                .expect("the cluster answers");
            match answers.into_iter().next().expect("an answer a topic") {
                Ok(_) => break,
                // A topic just deleted may still be known to the broker that was asked.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if Instant::now() < deadline => {
                    sleep(LOOK).await;
                }
                Err((name, error)) => panic!("topic {name} cannot be created: {error}"),
            }
        }
        let count = usize::try_from(partitions).expect("a number of partitions");
        until("the topic is there", async || client.leads_all(&name, count)).await;
    }
}

/// The leaders in an answer about one topic, by partition.
fn leaders(metadata: &Metadata) -> Vec<i32> {
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    partitions
        .map(|partition| (partition.id(), partition.leader()))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .collect()
}
