//! What goes on in the topic: an embedded Kafka, producers, and consumer groups that commit now and
//! then what they would have done.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::RDKafkaApiKey;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::script::{Events, Job, Rate, Trigger};

const TOPIC: &str = "uploads";
const PLACE: &str = "topic uploads";
const PARTITIONS: i32 = 3;

const EVENTS: &[Rate] = &[("image.uploaded", 40), ("image.replaced", 10), ("video.uploaded", 5)];

const JOBS: &[Job] = &[
    Job { name: "thumbnails", types: "image.uploaded,image.replaced", target: 10, every: 8 },
    Job { name: "transcode", types: "video.*", target: 1, every: 20 },
    Job { name: "audit", types: "*", target: 25, every: 0 },
];

/// What a broker in the same process may take to do something.
const SOON: Duration = Duration::from_secs(10);

/// A topic with its broker, its producer, and a consumer group for each ScaledJob.
pub(crate) struct Topic {
    // Clients before their broker, as they are dropped in this order.
    producer: BaseProducer,
    groups: Vec<Arc<BaseConsumer>>,
    cluster: MockCluster<'static, DefaultProducerContext>,
    events: Events,
}

impl Topic {
    pub(crate) fn create() -> Result<Topic, Box<dyn Error>> {
        let cluster = MockCluster::new(1)?;
        // Its later versions have a byte too many, which the scaler takes no reply with.
        cluster.apiversion(RDKafkaApiKey::Metadata, Some(0), Some(8))?;
        cluster.create_topic(TOPIC, PARTITIONS, 1)?;
        let servers = cluster.bootstrap_servers();
        let config = |key: &str, value: &str| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", &servers).set(key, value);
            config
        };
        let producer = config("linger.ms", "1").create()?;
        let group = |job: &Job| config("group.id", job.name).create().map(Arc::new);
        let groups = JOBS.iter().map(group).collect::<Result<_, _>>()?;
        Ok(Topic { producer, groups, cluster, events: Events::new(EVENTS) })
    }

    /// Writes the events that come until so many seconds have passed.
    pub(crate) fn write(&mut self, seconds: u64) -> Result<(), Box<dyn Error>> {
        for (number, event_type) in self.events.until(seconds).into_iter().enumerate() {
            let header = Header { key: "ce_type", value: Some(event_type) };
            let key = number.to_string();
            let record = BaseRecord::to(TOPIC)
                .key(&key)
                .payload("{}")
                .headers(OwnedHeaders::new().insert(header));
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(self.producer.flush(SOON)?)
    }

    /// Commits for each group whose turn it is all that there is by now.
    pub(crate) async fn commit(&self, seconds: u64) -> Result<(), Box<dyn Error>> {
        for (job, group) in JOBS.iter().zip(&self.groups) {
            if !job.is_due(seconds) {
                continue;
            }
            let group = Arc::clone(group);
            let commit = spawn_blocking(move || {
                let mut offsets = TopicPartitionList::new();
                for partition in 0..PARTITIONS {
                    let (_, end) = group.fetch_watermarks(TOPIC, partition, SOON)?;
                    offsets.add_partition_offset(TOPIC, partition, Offset::Offset(end))?;
                }
                group.commit(&offsets, CommitMode::Sync)
            });
            timeout(SOON, commit).await???;
        }
        Ok(())
    }

    pub(crate) fn triggers(&self) -> Vec<Trigger> {
        let servers = self.cluster.bootstrap_servers();
        let trigger = |job: &'static Job| {
            let metadata = [
                ("source", "kafka"),
                ("bootstrapServers", &servers),
                ("consumerGroup", job.name),
                ("topic", TOPIC),
                ("lagThreshold", &job.target.to_string()),
                ("offsetResetPolicy", "earliest"),
                ("allowIdleConsumers", "true"),
                ("eventType", job.types),
            ];
            Trigger::new(job, PLACE, metadata)
        };
        JOBS.iter().map(trigger).collect()
    }

    /// What has happened here.
    pub(crate) fn scene(&self) -> String {
        format!("{PLACE}, {PARTITIONS} partitions; written so far: {}", self.events.text())
    }
}
