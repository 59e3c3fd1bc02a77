//! Records of every form, written by two producers that share no code: librdkafka's and Java's.
//!
//! Each writes with every codec, in batches of one record and of hundreds, with and without keys,
//! values and headers, and in transactions that overlap, of which some are aborted. What it writes
//! follows from a seed; what comes of it is to be read from the topics.

use std::process::Stdio;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use test_basics::PATIENCE;

use super::client::Client;
use super::install::{Install, source};
use super::version::KafkaVersion;

/// What Kafka can compress by.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Values of headers; the last is not UTF-8.
const HEADERS: [&[u8]; 6] = [b"a", b"b", b"bb", b"c", b"", b"\xff"];

/// Bytes of most values, of some, and of a few.
const SIZES: [usize; 3] = [200, 60_000, 900_000];

const HOUR: i64 = 3_600_000;

/// A topic to write to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// Whether records may lack a key, and say when they are from: those of the last hour. Else all
    /// have a key, and are from now.
    pub is_plain: bool,
}

impl Client {
    /// Writes with librdkafka. Returns once all is written, and no transaction is open.
    pub async fn write_by_librdkafka(&self, targets: &[Target], seed: u64, rounds: usize) {
        let (config, targets) = (self.own_config(), targets.to_vec());
        let write = move || by_librdkafka(&config, &targets, seed, rounds);
        tokio::task::spawn_blocking(write).await.expect("all is written");
    }

    /// Writes with Java's producer, likewise.
    ///
    /// # Panics
    /// If it cannot, which it says why.
    pub async fn write_by_java(&self, targets: &[Target], seed: u64, rounds: usize) {
        let targets = targets.iter().map(|Target { topic, partitions, is_plain }| {
            format!("{topic}:{partitions}:{is_plain}")
        });
        let how = [seed.cast_signed().to_string(), rounds.to_string()];
        self.run_java("Writer", how.into_iter().chain(targets)).await;
    }

    /// Runs a program in Java that stands beside the broker's classes; its first argument is the
    /// broker.
    ///
    /// # Panics
    /// If it fails, which it says why.
    pub(super) async fn run_java(
        &self,
        class: &'static str,
        arguments: impl IntoIterator<Item = String>,
    ) {
        let bootstrap = self.harness().to_owned();
        let arguments: Vec<String> = arguments.into_iter().collect();
        let run = move || {
            let log = tempfile::tempdir().expect("a temporary folder");
            let install = Install::of(KafkaVersion::Newest);
            let mut java = install.java(&log.path().join("requests.log"));
            java.args(["-Xmx256m", "-XX:TieredStopAtLevel=1"])
                .arg(source(&format!("{class}.java")));
            java.arg(bootstrap).args(arguments);
            let output = java.stdin(Stdio::null()).output().expect("java can be run");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{class} fails:\n{said}");
        };
        tokio::task::spawn_blocking(run).await.expect("the program ends");
    }
}

fn by_librdkafka(config: &ClientConfig, targets: &[Target], seed: u64, rounds: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let id = &targets[0].topic;
    let plain = CODECS.map(|codec| producer(config, codec, None, &mut random));
    let transactional = CODECS.map(|codec| {
        let producer = producer(config, codec, Some(&format!("{id}-{codec}")), &mut random);
        producer.init_transactions(PATIENCE).expect("the coordinator answers");
        producer
    });
    let mut open = [false; CODECS.len()];
    for round in 0..rounds {
        // Every codec has its turn, and every topic with each.
        let target = &targets[round / CODECS.len() % targets.len()];
        burst(&plain[round % CODECS.len()], target, &mut random);
        let at = random.usize(..CODECS.len());
        if !open[at] {
            transactional[at].begin_transaction().expect("a transaction can begin");
            open[at] = true;
        }
        burst(&transactional[at], &targets[random.usize(..targets.len())], &mut random);
        let ends = random.usize(..CODECS.len());
        if std::mem::take(&mut open[ends]) {
            end(&transactional[ends], &mut random);
        }
    }
    for (producer, _) in transactional.iter().zip(open).filter(|(_, open)| *open) {
        end(producer, &mut random);
    }
    for producer in plain.iter().chain(&transactional) {
        producer.flush(PATIENCE).expect("all is acknowledged");
    }
}

fn producer(
    config: &ClientConfig,
    codec: &str,
    transaction: Option<&str>,
    random: &mut fastrand::Rng,
) -> BaseProducer {
    let mut config = config.clone();
    config.set("compression.codec", codec).set("linger.ms", "20").set("acks", "all");
    config.set("batch.num.messages", ["1", "20", "10000"][random.usize(..3)]);
    match transaction {
        Some(id) => config.set("transactional.id", id),
        None => config.set("enable.idempotence", random.bool().to_string()),
    };
    config.create().expect("a producer")
}

fn end(producer: &BaseProducer, random: &mut fastrand::Rng) {
    // What is still in the producer would be thrown away, and not be aborted.
    producer.flush(PATIENCE).expect("all is acknowledged");
    let ended = if random.bool() {
        producer.commit_transaction(PATIENCE)
    } else {
        producer.abort_transaction(PATIENCE)
    };
    ended.expect("the coordinator agrees");
}

/// One record, a few, or hundreds.
fn burst(producer: &BaseProducer, target: &Target, random: &mut fastrand::Rng) {
    let most = [1, 20, 300][random.usize(..3)];
    for _ in 0..random.usize(1..=most) {
        send(producer, target, random);
    }
    if random.bool() {
        producer.flush(PATIENCE).expect("all is acknowledged");
    }
}

fn send(producer: &BaseProducer, target: &Target, random: &mut fastrand::Rng) {
    let (mut key, value) = (Some(format!("k{}", random.u8(..40))), value(random));
    if target.is_plain && random.u8(..4) == 0 {
        key = random.bool().then(String::new);
    }
    let mut headers = OwnedHeaders::new();
    for name in ["ce_type", "kind", "kind", "other"] {
        if random.u8(..3) != 0 {
            let value = (random.u8(..12) != 0).then(|| HEADERS[random.usize(..HEADERS.len())]);
            headers = headers.insert(Header { key: name, value });
        }
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_millis()).expect("a time");
    let mut record = BaseRecord::<[u8], [u8]>::to(&target.topic)
        .partition(random.i32(0..target.partitions))
        .headers(headers);
    record.timestamp = target.is_plain.then(|| now - random.i64(0..HOUR));
    record.key = key.as_deref().map(str::as_bytes);
    record.payload = value.as_deref();
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::UnknownPartition,
                ),
                again,
            )) => {
                producer.poll(Duration::from_millis(5));
                record = again;
            }
            Err((error, _)) => panic!("a record cannot be written: {error}"),
        }
    }
}

fn value(random: &mut fastrand::Rng) -> Option<Vec<u8>> {
    let most = match random.u16(..400) {
        0 => SIZES[2],
        1..12 => SIZES[1],
        _ => SIZES[0],
    };
    let size = random.usize(..most);
    match random.u8(..8) {
        0 => None,
        1 => Some(Vec::new()),
        2 | 3 => Some(std::iter::repeat_with(|| random.u8(..)).take(size).collect()),
        _ => {
            let (n, pad) = (random.u8(..100), "x".repeat(size));
            Some(format!(r#"{{"n":{n},"pad":"{pad}"}}"#).into_bytes())
        }
    }
}
