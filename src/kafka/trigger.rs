//! What a trigger on Kafka asks for: its Kafka parameters, decoded.
//!
//! Names, defaults and meanings are those of KEDA's scalers `kafka` and `apache-kafka`, so that a
//! trigger of theirs goes on to mean what it meant. Thresholds and limits count messages, or what
//! `countBy` names instead.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers/kafka_scaler.go` and `apache_kafka_scaler.go`.
//! - sarama's `ParseKafkaVersion`, for the form of `version`.

use std::collections::HashSet;
use std::fmt::{self, Display};

use super::names::{Group, Topic, TopicError};
use super::security::ClusterConfig;
use crate::metadata::{self, Reader};
use crate::selection::Selection;
use crate::source::{Scaling, Wanted};

/// Bytes of the longest group that the protocol can carry.
const GROUP_BYTES: usize = i16::MAX as usize;
/// Bytes of the names of topics that a person is shown.
const SHOWN_BYTES: usize = 100;
/// Topics that one trigger may name: each is a tail.
pub(super) const MAX_TOPICS: usize = 1_000;

/// A trigger on Kafka, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTrigger {
    /// Where the topics are.
    pub cluster: ClusterConfig,
    /// Whose committed offsets say what has been done.
    pub group: Group,
    /// Topics that count, each once; empty: every topic the group has committed offsets for.
    pub topics: Vec<Topic>,
    /// Partitions that count, of each topic; `None`: all.
    pub partitions: Option<PartitionList>,
    /// Where a partition without a committed offset is taken to stand.
    pub offset_reset: OffsetReset,
    /// Whether a partition without a committed offset counts nothing.
    pub scale_to_zero_on_invalid_offset: bool,
    /// When and how far to scale.
    pub scaling: Scaling,
    /// How the backlog is bounded by the number of partitions.
    pub spread: Spread,
    /// Whether a partition whose committed offset has not moved since the poll before counts 0 in
    /// the metric.
    pub exclude_persistent_lag: bool,
    /// What a backlog is made of.
    pub count_from: CountFrom,
    /// What one message counts as.
    pub count_by: CountBy,
    /// Which messages count.
    pub selection: Selection,
}

/// Where a partition without a committed offset is taken to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OffsetReset {
    /// At its end when the trigger was first seen.
    #[default]
    Latest,
    /// At its log start.
    Earliest,
}

/// How the metric is bounded, so that no replica is without a partition to read.
///
/// KEDA's three booleans in the four combinations that it allows and tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Spread {
    /// No more than the partitions can share.
    #[default]
    Partitions,
    /// `allowIdleConsumers`: not bounded.
    Unbounded,
    /// `limitToPartitionsWithLag`: no more than the partitions with a backlog can share.
    PartitionsWithLag,
    /// `ensureEvenDistributionOfPartitions`: as many replicas as divide the partitions evenly. They
    /// are never more than partitions, so `allowIdleConsumers` changes nothing.
    Even,
}

/// What a backlog is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CountFrom {
    /// Records that exist.
    #[default]
    Records,
    /// End offset − committed offset, as KEDA counts; nothing is read.
    Offsets,
}

/// What one message counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CountBy {
    /// Itself.
    #[default]
    Messages,
    /// Its key: distinct keys are counted.
    Keys,
    /// Its partition: partitions that have one are counted.
    Partitions,
}

/// A set of partitions, kept as ranges, since a range may span all numbers there are.
///
/// Displayed in the form it is written in, sorted: `1-4,8,10-12`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionList(Vec<(i32, i32)>);

/// Why a text is no list of partitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionListError {
    /// An element is neither a partition's number nor two of them with a `-` between.
    #[error("{} is no partition and no range; give them as 1-4,8", metadata::quoted(.0))]
    Malformed(String),
    /// A range whose end is below its start.
    #[error("{0}-{1} is a reversed range; give {1}-{0}")]
    Reversed(i32, i32),
}

impl Wanted for KafkaTrigger {
    fn metric_name(reader: &mut Reader<'_>) -> String {
        let topics = topics(reader);
        let group = Group::from(reader.text("consumerGroup").unwrap_or_default());
        metric_name(&topics, &group)
    }

    fn decode(reader: &mut Reader<'_>, scaling: Scaling, selection: Selection) -> Option<Self> {
        let cluster = ClusterConfig::decode(reader);
        reader.require("consumerGroup", "give the consumer group of the workload");
        let group = reader.text("consumerGroup");
        if group.is_some_and(|group| group.len() > GROUP_BYTES) {
            reader.complain(
                "consumerGroup",
                format_args!("is too long; give at most {GROUP_BYTES} bytes"),
            );
        }
        let topics = topics(reader);
        let partitions = partitions(reader);
        let offset_reset = reader.choice(
            "offsetResetPolicy",
            &[("latest", Some(OffsetReset::Latest)), ("earliest", Some(OffsetReset::Earliest))],
        );
        let scale_to_zero_on_invalid_offset = reader.boolean("scaleToZeroOnInvalidOffset");
        let spread = spread(reader);
        let exclude_persistent_lag = reader.boolean("excludePersistentLag");
        let count_by = reader.choice(
            "countBy",
            &[
                ("messages", Some(CountBy::Messages)),
                ("keys", Some(CountBy::Keys)),
                ("partitions", Some(CountBy::Partitions)),
            ],
        );
        let count_by = count_by.unwrap_or_default();
        let count_from = count_from(reader, count_by);
        reader.parsed("version", "give one such as 2.8.0", version);
        full_metadata(reader);

        Some(Self {
            cluster: cluster?,
            group: Group::from(group?),
            topics,
            partitions,
            offset_reset: offset_reset.unwrap_or_default(),
            scale_to_zero_on_invalid_offset,
            scaling,
            spread,
            exclude_persistent_lag,
            count_from,
            count_by,
            selection,
        })
    }

    fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    fn selection(&self) -> &Selection {
        &self.selection
    }

    fn place(&self) -> String {
        let topics: Vec<_> = self.topics.iter().map(Topic::as_str).collect();
        let topics = match topics[..] {
            [] => "all topics".to_owned(),
            [topic] => format!("topic {topic}"),
            _ => format!("topics {}", topics.join(",")),
        };
        let group = metadata::quoted(self.group.as_str());
        format!("{} for group {group}", metadata::one_line(&topics, SHOWN_BYTES))
    }

    /// Offsets are reckoned with, as KEDA does.
    fn is_reckoned(&self) -> bool {
        self.count_from == CountFrom::Offsets
    }
}

/// The topics named, each once, in their order.
fn topics(reader: &mut Reader<'_>) -> Vec<Topic> {
    const FITS: &str = "give topics by comma, of letters, digits, '.', '_' and '-'";
    let topics = reader.parsed("topic", FITS, |text| {
        let mut seen = HashSet::new();
        let names = metadata::list(text).filter(|name| seen.insert(*name));
        names.map(Topic::parse).collect::<Result<Vec<_>, TopicError>>()
    });
    let Some(topics) = topics else {
        return Vec::new();
    };
    if topics.is_empty() {
        reader.complain("topic", format_args!("names no topic; {FITS}"));
    }
    if topics.len() > MAX_TOPICS {
        reader.complain(
            "topic",
            format_args!("names {} topics; give at most {MAX_TOPICS}", topics.len()),
        );
    }
    topics
}

/// The partitions that count. Without a topic the row means nothing to KEDA, whatever it holds.
fn partitions(reader: &mut Reader<'_>) -> Option<PartitionList> {
    if !reader.has("topic") {
        return None;
    }
    reader.parsed(
        "partitionLimitation",
        "give partitions and ranges by comma, such as 1-4,8",
        PartitionList::parse,
    )
}

fn spread(reader: &mut Reader<'_>) -> Spread {
    let idle = reader.boolean("allowIdleConsumers");
    let with_lag = reader.boolean("limitToPartitionsWithLag");
    let even = reader.boolean("ensureEvenDistributionOfPartitions");
    if with_lag && idle {
        reader.complain(
            "limitToPartitionsWithLag",
            "does not go with allowIdleConsumers; give one of the two",
        );
    }
    if with_lag && even {
        reader.complain(
            "limitToPartitionsWithLag",
            "does not go with ensureEvenDistributionOfPartitions; give one of the two",
        );
    }
    for (key, wanted) in
        [("limitToPartitionsWithLag", with_lag), ("ensureEvenDistributionOfPartitions", even)]
    {
        if wanted && !reader.has("topic") {
            reader.complain(key, "needs topic; give one");
        }
    }
    match (with_lag, even, idle) {
        (true, ..) => Spread::PartitionsWithLag,
        (false, true, _) => Spread::Even,
        (false, false, true) => Spread::Unbounded,
        (false, false, false) => Spread::Partitions,
    }
}

fn count_from(reader: &mut Reader<'_>, count_by: CountBy) -> CountFrom {
    let count_from = reader
        .choice(
            "countFrom",
            &[("records", Some(CountFrom::Records)), ("offsets", Some(CountFrom::Offsets))],
        )
        .unwrap_or_default();
    if count_from == CountFrom::Offsets {
        for key in ["eventType", "filter"] {
            if reader.has(key) {
                reader.complain(
                    "countFrom",
                    format_args!("does not go with {key}, which needs messages read; give records"),
                );
            }
        }
        if count_by != CountBy::Messages {
            reader.complain("countFrom", "goes with countBy messages alone; give records");
        }
    }
    count_from
}

/// How much KEDA's client keeps of a cluster's metadata. Ours asks for what it needs alone, so this
/// changes nothing; KEDA wants a topic with `false`.
fn full_metadata(reader: &mut Reader<'_>) {
    let is_full = reader.boolean("fullMetadata");
    if reader.has("fullMetadata") && !is_full && !reader.has("topic") {
        reader.complain("fullMetadata", "needs topic where it is false; give one");
    }
}

/// As KEDA names it: by its topics, or else by its group.
fn metric_name(topics: &[Topic], group: &Group) -> String {
    if topics.is_empty() {
        return format!("kafka-{}-topics", group.as_str());
    }
    let names: Vec<_> = topics.iter().map(Topic::as_str).collect();
    format!("kafka-{}", names.join(","))
}

/// Whether the text has the form of a broker's version: three numbers, or four with a leading 0.
fn version(text: &str) -> Result<(), String> {
    let parts: Vec<_> = text.splitn(5, '.').collect();
    let numbers = parts
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u32>().is_ok());
    let form = match parts.as_slice() {
        ["0", _, _, _] => true,
        [major, _, _] => !major.starts_with('0'),
        _ => false,
    };
    if numbers && form {
        Ok(())
    } else {
        Err(format!("{} is not a version of Kafka; give one such as 2.8.0", metadata::quoted(text)))
    }
}

impl PartitionList {
    /// The partitions of a list of numbers and ranges by comma.
    ///
    /// # Errors
    /// An element is neither, a range is reversed, or a number is above `i32::MAX`.
    pub fn parse(text: &str) -> Result<Self, PartitionListError> {
        let mut ranges = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let joins = next.0 <= last.1.saturating_add(1);
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        Ok(Self(ranges))
    }

    /// Whether the list has this partition.
    pub fn contains(&self, partition: i32) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= partition);
        after > 0 && partition <= self.0[after - 1].1
    }
}

fn range(element: &str) -> Result<(i32, i32), PartitionListError> {
    let number = |text: &str| text.trim().parse::<i32>().ok().filter(|number| *number >= 0);
    let (start, end) = element.split_once('-').unwrap_or((element, element));
    let (Some(start), Some(end)) = (number(start), number(end)) else {
        return Err(PartitionListError::Malformed(element.trim().to_owned()));
    };
    if end < start {
        return Err(PartitionListError::Reversed(start, end));
    }
    Ok((start, end))
}

impl Display for PartitionList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (start, end)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            if start == end {
                write!(f, "{comma}{start}")?;
            } else {
                write!(f, "{comma}{start}-{end}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
