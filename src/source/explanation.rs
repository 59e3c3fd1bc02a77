//! What a measurement counted, and where: the long form of its number, for a person.

use crate::backlog::Measured;

/// Partitions that are told one by one; of more the ones with most waiting.
pub const MAX_PARTITIONS: usize = 1_000;

/// What was measured, and what that was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The numbers that a poll would have been told.
    pub measured: Measured,
    /// What else there is to know, in the order to be read: a word or two, and a text.
    pub facts: Vec<(&'static str, String)>,
    /// Of a source that has them, those that count: [`MAX_PARTITIONS`] at most.
    pub partitions: Vec<Partition>,
    /// How many more there are.
    pub more_partitions: usize,
}

/// One partition of a topic. All offsets are Kafka's, ends exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub number: i32,
    /// The log start offset.
    pub start: u64,
    /// The end offset up to which is counted.
    pub end: u64,
    /// The valid committed offset of the group.
    pub committed: Option<u64>,
    /// From where on messages wait; `None` where the number is KEDA's and not counted.
    pub from: Option<u64>,
    /// How far it has been read, where records are.
    pub tail: Option<u64>,
    /// How many messages wait that are selected.
    pub waiting: u64,
    /// Whether the metric leaves it out, as the group stands still.
    pub persistent: bool,
}

impl Explanation {
    /// A number of which there is nothing more to say yet.
    pub fn of(measured: Measured) -> Self {
        Self { measured, facts: Vec::new(), partitions: Vec::new(), more_partitions: 0 }
    }

    /// With these partitions, of which the ones with least waiting are left out beyond the limit.
    #[must_use]
    pub fn with(self, mut partitions: Vec<Partition>) -> Self {
        let more_partitions = partitions.len().saturating_sub(MAX_PARTITIONS);
        if more_partitions > 0 {
            partitions.sort_by_key(|partition| std::cmp::Reverse(partition.waiting));
            partitions.truncate(MAX_PARTITIONS);
        }
        partitions
            .sort_by(|one, other| one.topic.cmp(&other.topic).then(one.number.cmp(&other.number)));
        Self { partitions, more_partitions, ..self }
    }
}
