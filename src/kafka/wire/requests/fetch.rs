//! Which records do these partitions have from these offsets on?
//!
//! - Up to version 12 a topic is named. From 13 on it is asked for by its id: see
//!   [`Request::highest`].
//! - Records are not copied: a reply says where in its payload they are.
//! - In a fetch session, from version 7 on, the broker remembers the partitions. A question names
//!   only those that are new or have moved, and a reply only those that have something to say.
//! - A broker may name a topic more than once in a reply, since it lists partitions in an order of
//!   its own. A partition it may name once.
//!
//! # References
//! - `FetchRequest.json`, `FetchResponse.json` · KIP-98: transactions · KIP-227: fetch sessions
//! - KIP-320: leader epochs · KIP-516: topic ids · KIP-903: the state of a replica
//! - KIP-951: the new leader in the reply

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::aligned::put;
use super::{BrokerId, Isolation, Request, error, leader_epoch, offset};
use crate::kafka::names::{Offset, Partition, Topic};
use crate::kafka::wire::error_code::ErrorCode;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::{EncodeError, Writer};

/// The id of a topic, which a topic that is made again does not share.
pub type TopicId = [u8; 16];

/// The id of a client, which is no replica.
const NO_REPLICA: i32 = -1;

/// The first version with fetch sessions.
const SESSIONS: i16 = 7;

/// The first version in which a topic is asked for by its id.
const TOPIC_IDS: i16 = 13;

/// The first version that states a replica in a tagged field, which a client leaves out.
const REPLICA_STATE: i16 = 15;

/// Bytes of the shortest partition in a reply.
const PARTITION_BYTES: usize = 30;

/// Asks for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// How long the broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// Bytes of records that are worth a reply before `max_wait` is over.
    pub min_bytes: u32,
    /// Bytes of records in the reply. A first batch that is larger comes nevertheless.
    pub max_bytes: u32,
    /// Whether records past the last stable offset are wanted.
    pub isolation: Isolation,
    /// The fetch session. Before version 7 it is not asked for, and an incremental question cannot
    /// be asked.
    pub session: FetchSession,
    /// What to fetch, each topic, and in it each partition, once. In an incremental question what
    /// is new or changed.
    pub topics: Vec<FetchTopic>,
    /// What the session shall forget.
    pub forgotten: Vec<ForgottenTopic>,
    /// All that the session has once it knows this question, which is what the reply may name.
    /// `None`: the reply may name `topics` and no more, as is right without a session.
    pub in_session: Option<Arc<InSession>>,
}

/// Which fetch session a question belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchSession {
    /// Its id, by the broker.
    pub id: i32,
    /// How many questions it had before, from 0.
    pub epoch: i32,
}

/// Asks for records of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// Its name.
    pub name: Topic,
    /// Its id, if known.
    pub id: Option<TopicId>,
    /// The partitions.
    pub partitions: Vec<FetchPartition>,
}

/// Asks for records of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition.
    pub partition: Partition,
    /// Its leader's epoch, if known. A broker that knows another one says so, from version 9 on.
    pub leader_epoch: Option<i32>,
    /// The first offset wanted. The first batch may begin before it.
    pub fetch_offset: Offset,
    /// The leader's epoch of the record before, if known. Where the log was cut since, the reply
    /// has a diverging epoch, from version 12 on.
    pub last_fetched_epoch: Option<i32>,
    /// Bytes of records. A first batch of the reply that is larger comes nevertheless.
    pub max_bytes: u32,
}

/// Partitions that a session shall forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// The topic's name.
    pub name: Topic,
    /// Its id, if known.
    pub id: Option<TopicId>,
    /// The partitions.
    pub partitions: Vec<Partition>,
}

/// What a reply may name. It is made once per change of a session, and looked up by each reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InSession {
    topics: Vec<SessionTopic>,
    by_name: HashMap<Topic, usize>,
    by_id: HashMap<TopicId, usize>,
    /// How many partitions there are.
    partitions: usize,
    /// Whether a topic lacks an id.
    nameless: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SessionTopic {
    name: Topic,
    /// Partitions of the topics before.
    before: usize,
    /// In ascending order.
    partitions: Vec<Partition>,
}

/// What a broker has of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchReply {
    /// What is wrong with the question or the session as a whole, from version 7 on.
    pub error: Option<ErrorCode>,
    /// The session's id, if the broker keeps one.
    pub session: Option<i32>,
    /// The partitions that the broker named, in its order.
    pub partitions: Vec<FetchedPartition>,
}

/// What a broker has of one partition. Where there is an error, only the leader may be known
/// besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The place of its topic in [`Fetch::in_session`], or without that in [`Fetch::topics`].
    pub topic: usize,
    /// The partition.
    pub partition: Partition,
    /// What is wrong with it.
    pub error: Option<ErrorCode>,
    /// The end of the replicated log.
    pub high_watermark: Option<Offset>,
    /// The end that `read_committed` sees.
    pub last_stable_offset: Option<Offset>,
    /// The first offset that is kept, from version 5 on.
    pub log_start_offset: Option<Offset>,
    /// Transactions that were aborted among these records, for `read_committed`.
    pub aborted: Vec<AbortedTransaction>,
    /// Where the log ended of the largest epoch that is not above the last fetched one: the log was
    /// cut there. From version 12 on.
    pub diverging: Option<EpochEnd>,
    /// Who leads the partition, where the broker asked does not. From version 12 on.
    pub leader: Option<CurrentLeader>,
    /// Where in the payload the record batches are; empty where there are none.
    pub records: Range<usize>,
}

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Who wrote it.
    pub producer_id: i64,
    /// The offset of its first record.
    pub first_offset: Offset,
}

/// Where the log of an epoch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: Offset,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The broker.
    pub id: BrokerId,
    /// Its epoch, if known.
    pub epoch: Option<i32>,
}

impl Request for Fetch {
    const KEY: ApiKey = ApiKey::Fetch;

    type Reply = FetchReply;

    /// 12 where a topic has no id. A session whose topics have ids cannot go on without.
    fn highest(&self) -> i16 {
        let nameless = self.topics.iter().any(|topic| topic.id.is_none())
            || self.forgotten.iter().any(|topic| topic.id.is_none())
            || self.in_session.as_ref().is_some_and(|session| session.nameless);
        if nameless { TOPIC_IDS - 1 } else { i16::MAX }
    }

    fn encode(&self, version: i16, to: &mut Writer) {
        if version < REPLICA_STATE {
            to.i32(NO_REPLICA);
        }
        to.i32(i32::try_from(self.max_wait.as_millis()).unwrap_or(i32::MAX));
        to.i32(up_to_i32(self.min_bytes));
        to.i32(up_to_i32(self.max_bytes));
        to.i8((self.isolation == Isolation::ReadCommitted).into());
        if version >= SESSIONS {
            to.i32(self.session.id);
            to.i32(self.session.epoch);
        } else if self.session.is_incremental() {
            let what = "what is new in a session";
            to.fail(EncodeError::NotInVersion { key: Self::KEY, version, what });
        }
        to.count(self.topics.len());
        for topic in &self.topics {
            encode_topic(&topic.name, topic.id, version, to);
            to.count(topic.partitions.len());
            for asked in &topic.partitions {
                to.i32(asked.partition);
                if version >= 9 {
                    to.i32(asked.leader_epoch.unwrap_or(-1));
                }
                to.i64(i64::try_from(asked.fetch_offset).unwrap_or(i64::MAX));
                if version >= 12 {
                    to.i32(asked.last_fetched_epoch.unwrap_or(-1));
                }
                if version >= 5 {
                    to.i64(-1); // A replica's log start.
                }
                to.i32(up_to_i32(asked.max_bytes));
                to.tags();
            }
            to.tags();
        }
        if version >= SESSIONS {
            to.count(self.forgotten.len());
            for topic in &self.forgotten {
                encode_topic(&topic.name, topic.id, version, to);
                to.count(topic.partitions.len());
                for partition in &topic.partitions {
                    to.i32(*partition);
                }
                to.tags();
            }
        }
        if version >= 11 {
            to.string(""); // No rack, so no other replica is preferred.
        }
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        from.throttle()?;
        let (error, session) =
            if version >= SESSIONS { (error(from)?, from.i32("session id")?) } else { (None, 0) };
        let asked;
        let named = match &self.in_session {
            Some(session) => session.as_ref(),
            None => {
                asked = InSession::of(&self.topics);
                &asked
            }
        };
        let mut answered = vec![None; named.partitions];
        let mut partitions = Vec::new();
        for _ in 0..from.count("topics", 3)? {
            let place = named.place(version, from)?;
            let count = from.count("partitions", PARTITION_BYTES)?;
            partitions.reserve(count);
            for _ in 0..count {
                let fetched = partition(version, place, from)?;
                let number = || fetched.partition.to_string();
                let at = named.partition(place, fetched.partition);
                let at = at.ok_or_else(|| DecodeError::not_asked("partition", &number()))?;
                put(&mut answered, at, ())
                    .ok_or_else(|| DecodeError::duplicate("partition", &number()))?;
                partitions.push(fetched);
            }
            from.tags()?;
        }
        from.tags()?;
        Ok(FetchReply { error, session: (session != 0).then_some(session), partitions })
    }
}

impl FetchSession {
    /// No session: a question with all that is wanted.
    pub const NONE: Self = Self { id: 0, epoch: -1 };

    /// Asks the broker for a new session, with all that is wanted.
    pub const NEW: Self = Self { id: 0, epoch: 0 };

    /// A session of this id that the broker has just made.
    pub const fn begun(id: i32) -> Self {
        Self { id, epoch: 1 }
    }

    /// The same session at its next question. After the last number comes 1 again.
    #[must_use]
    pub const fn next(self) -> Self {
        let epoch = match self.epoch {
            i32::MAX => 1,
            epoch => epoch.saturating_add(1),
        };
        Self { id: self.id, epoch }
    }

    /// Whether a question in it says only what has changed.
    pub const fn is_incremental(self) -> bool {
        self.epoch > 0
    }
}

impl InSession {
    /// Of these topics, each once, these partitions, in any order.
    pub fn new<P: IntoIterator<Item = Partition>>(
        topics: impl IntoIterator<Item = (Topic, Option<TopicId>, P)>,
    ) -> Self {
        let mut session = Self::default();
        for (name, id, partitions) in topics {
            let mut partitions: Vec<_> = partitions.into_iter().collect();
            partitions.sort_unstable();
            partitions.dedup();
            let place = session.topics.len();
            session.by_name.entry(name.clone()).or_insert(place);
            match id {
                Some(id) => drop(session.by_id.entry(id).or_insert(place)),
                None => session.nameless = true,
            }
            let before = session.partitions;
            session.partitions = before.saturating_add(partitions.len());
            session.topics.push(SessionTopic { name, before, partitions });
        }
        session
    }

    /// What a question asks for, each topic once: a new session has that.
    pub fn of(topics: &[FetchTopic]) -> Self {
        Self::new(topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| asked.partition);
            (topic.name.clone(), topic.id, partitions)
        }))
    }

    /// The topic at this place.
    pub fn topic(&self, place: usize) -> Option<&Topic> {
        self.topics.get(place).map(|topic| &topic.name)
    }

    /// The place of the topic that a reply names next.
    fn place(&self, version: i16, from: &mut Reader<'_>) -> Result<usize, DecodeError> {
        if version >= TOPIC_IDS {
            let id = from.uuid("topic id")?;
            let place = self.by_id.get(&id).copied();
            return place.ok_or_else(|| DecodeError::not_asked("topic id", &hex(id)));
        }
        let name = from.string("topic")?;
        let place = self.by_name.get(name).copied();
        place.ok_or_else(|| DecodeError::not_asked("topic", name))
    }

    /// The place of a partition among those of all topics.
    fn partition(&self, topic: usize, partition: Partition) -> Option<usize> {
        let topic = self.topics.get(topic)?;
        // Mostly all partitions of a topic are there, each at its own number.
        let straight = usize::try_from(partition).ok();
        let straight = straight.filter(|place| topic.partitions.get(*place) == Some(&partition));
        let place = straight.or_else(|| topic.partitions.binary_search(&partition).ok())?;
        topic.before.checked_add(place)
    }
}

fn encode_topic(name: &Topic, id: Option<TopicId>, version: i16, to: &mut Writer) {
    match id {
        _ if version < TOPIC_IDS => to.string(name.as_str()),
        Some(id) => to.uuid(id),
        None => {
            let what = "a topic whose id is not known";
            to.fail(EncodeError::NotInVersion { key: Fetch::KEY, version, what });
        }
    }
}

fn partition(
    version: i16,
    topic: usize,
    from: &mut Reader<'_>,
) -> Result<FetchedPartition, DecodeError> {
    let partition = from.i32("partition")?;
    let error = error(from)?;
    // What a broker writes into the offsets of a partition that it refuses does not matter.
    let offset = |value| if error.is_some() { Ok(None) } else { offset(value) };
    let high_watermark = offset(from.i64("high watermark")?)?;
    let last_stable_offset = offset(from.i64("last stable offset")?)?;
    let log_start_offset = if version >= 5 { offset(from.i64("log start offset")?)? } else { None };
    let aborted = aborted(from)?;
    if version >= 11 {
        from.i32("preferred read replica")?;
    }
    let records = from.range("records")?;
    let (mut diverging, mut leader) = (None, None);
    from.each_tag(&mut |tag, field| {
        match tag {
            0 => diverging = epoch_end(field)?,
            1 => leader = current_leader(field)?,
            _ => field.skip_rest(),
        }
        Ok(())
    })?;
    Ok(FetchedPartition {
        topic,
        partition,
        error,
        high_watermark,
        last_stable_offset,
        log_start_offset,
        aborted,
        diverging,
        leader,
        records,
    })
}

fn aborted(from: &mut Reader<'_>) -> Result<Vec<AbortedTransaction>, DecodeError> {
    let count = from.nullable_count("aborted transactions", 16)?.unwrap_or(0);
    let mut aborted = Vec::with_capacity(count);
    for _ in 0..count {
        let producer_id = from.i64("producer id")?;
        let value = from.i64("first offset")?;
        from.tags()?;
        let first_offset = offset(value)?;
        let first_offset =
            first_offset.ok_or(DecodeError::Negative { what: "first offset", value })?;
        aborted.push(AbortedTransaction { producer_id, first_offset });
    }
    Ok(aborted)
}

/// Where an epoch ends; an epoch or an offset below zero is none.
fn epoch_end(from: &mut Reader<'_>) -> Result<Option<EpochEnd>, DecodeError> {
    let epoch = leader_epoch(from)?;
    let end_offset = offset(from.i64("end offset")?)?;
    from.tags()?;
    Ok(epoch.zip(end_offset).map(|(epoch, end_offset)| EpochEnd { epoch, end_offset }))
}

/// Who leads; a broker below zero is none.
fn current_leader(from: &mut Reader<'_>) -> Result<Option<CurrentLeader>, DecodeError> {
    let id = BrokerId::from_wire(from.i32("leader")?);
    let epoch = leader_epoch(from)?;
    from.tags()?;
    Ok(id.map(|id| CurrentLeader { id, epoch }))
}

fn up_to_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn hex(id: TopicId) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}
