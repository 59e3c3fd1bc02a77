//! What a test writes: messages acknowledged by all replicas, and transactions.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use test_basics::PATIENCE;
use tokio::time::{Instant, sleep};

use super::client::Client;

/// A message to write. Without a body it is a tombstone.
#[derive(Clone, Debug, Default)]
pub struct Message {
    key: Option<Vec<u8>>,
    body: Option<Vec<u8>>,
    headers: Option<OwnedHeaders>,
    partition: Option<i32>,
    timestamp: Option<i64>,
}

/// A transaction under way. One that is dropped stays open until the broker's time-out for it.
#[must_use = "a transaction is committed, aborted, or held open"]
pub struct Transaction {
    producer: FutureProducer,
}

impl Message {
    /// A message with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message with the event type where the CloudEvents binding for Kafka puts it.
    pub fn of_type(event_type: &str) -> Self {
        Self::new().header("ce_type", event_type).body("{}")
    }

    /// With a key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().into());
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().into());
        self
    }

    /// With one more header; names may repeat.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let headers = self.headers.take().unwrap_or_default();
        self.headers = Some(headers.insert(Header { key: name, value: Some(value.as_ref()) }));
        self
    }

    /// To this partition; else the key decides, or chance.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With a time of creation, in milliseconds since 1970.
    pub fn at(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }

    fn record<'a>(&'a self, topic: &'a str) -> FutureRecord<'a, [u8], [u8]> {
        FutureRecord {
            topic,
            partition: self.partition,
            payload: self.body.as_deref(),
            key: self.key.as_deref(),
            timestamp: self.timestamp,
            headers: self.headers.clone(),
        }
    }
}

impl Client {
    /// Writes a message and returns where it went, once it is acknowledged.
    pub async fn produce(&self, topic: &str, message: Message) -> Delivery {
        produce_all(&self.producer, topic, [message]).await.remove(0)
    }

    /// Writes messages, in this order within a partition, and returns where they went, once all are
    /// acknowledged.
    pub async fn produce_all(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Vec<Delivery> {
        produce_all(&self.producer, topic, messages).await
    }

    /// Waits until nothing is on its way, whoever has written it and no longer waits.
    pub async fn flush(&self) {
        drop(blocking(self.producer.clone(), |producer| producer.flush(PATIENCE)).await);
    }

    /// Begins a transaction. A later one with the same id aborts it, if it is still open.
    pub async fn transaction(&self, id: &str) -> Transaction {
        let producer: FutureProducer = self
            .own_config()
            .set("transactional.id", id)
            .set("queue.buffering.max.ms", "0")
            .create()
            .expect("a transactional producer");
        let producer = blocking(producer, |producer| producer.init_transactions(PATIENCE)).await;
        producer.begin_transaction().expect("a transaction can begin");
        Transaction { producer }
    }
}

impl Transaction {
    /// Writes a message within the transaction.
    pub async fn produce(&self, topic: &str, message: Message) -> Delivery {
        produce_all(&self.producer, topic, [message]).await.remove(0)
    }

    /// Writes messages within the transaction.
    pub async fn produce_all(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Vec<Delivery> {
        produce_all(&self.producer, topic, messages).await
    }

    /// Commits it: its messages count from now on, and a marker follows them in each partition.
    pub async fn commit(self) {
        drop(blocking(self.producer, |producer| producer.commit_transaction(PATIENCE)).await);
    }

    /// Aborts it: its messages never count, and a marker follows them in each partition.
    pub async fn abort(self) {
        drop(blocking(self.producer, |producer| producer.abort_transaction(PATIENCE)).await);
    }
}

async fn produce_all(
    producer: &FutureProducer,
    topic: &str,
    messages: impl IntoIterator<Item = Message>,
) -> Vec<Delivery> {
    let (mut written, mut waiting) = (Vec::new(), Vec::new());
    for message in messages {
        let deadline = Instant::now() + PATIENCE;
        let delivery = loop {
            match producer.send_result(message.record(topic)) {
                Ok(delivery) => break delivery,
                // Either the queue is full, or the producer has not heard of the partition yet.
                Err((KafkaError::MessageProduction(code), _))
                    if is_passing(code) && Instant::now() < deadline =>
                {
                    sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => panic!("a message cannot be written to {topic}: {error}"),
            }
        };
        if written.is_empty() {
            // Until the producer has heard of a topic its messages wait apart, and may come after
            // those that follow them.
            written.push(delivered(topic, delivery).await);
        } else {
            waiting.push(delivery);
        }
    }
    for delivery in waiting {
        written.push(delivered(topic, delivery).await);
    }
    written
}

async fn delivered(topic: &str, delivery: DeliveryFuture) -> Delivery {
    let answer = delivery.await.expect("the producer lives");
    answer.unwrap_or_else(|(error, _)| panic!("a message was not written to {topic}: {error}"))
}

fn is_passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::QueueFull
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopic
    )
}

/// Runs a call that blocks where it may, and gives the producer back.
async fn blocking<E: std::fmt::Debug + Send + 'static>(
    producer: FutureProducer,
    call: impl FnOnce(&FutureProducer) -> Result<(), E> + Send + 'static,
) -> FutureProducer {
    let run = move || call(&producer).map(|()| producer);
    tokio::task::spawn_blocking(run).await.expect("the call ends").expect("the coordinator agrees")
}
