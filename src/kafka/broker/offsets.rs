//! Where partitions begin and end, as their leaders say.
//!
//! Starts and ends are asked for side by side, since a partition may stand in a request once; each
//! leader is asked about all of its partitions together.
//!
//! # References
//! - KIP-79 (offsets by time), KIP-98 (the last stable offset), KIP-320 (leader epochs)

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::connections::{Connections, Lane};
use super::topics::Description;
use crate::kafka::by_partition::ByPartition;
use crate::kafka::fault::{Fault, Kind};
use crate::kafka::names::{Offset, Topic};
use crate::kafka::wire::Endpoint;
use crate::kafka::wire::requests::{
    Answer, Isolation, ListOffsets, ListedOffset, PartitionPosition, Position,
};

/// Which end of a partition to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::kafka) enum End {
    /// The last stable offset: the end that `read_committed` sees.
    LastStable,
    /// The high watermark.
    HighWatermark,
}

/// What a partition's log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) struct OffsetRange {
    /// The log start offset.
    pub(in crate::kafka) start: Offset,
    /// The end offset, exclusive.
    pub(in crate::kafka) end: Offset,
}

/// The range of each partition of each topic, or why that is not known for all of a topic.
pub(in crate::kafka) type OfTopics = HashMap<Topic, Result<Vec<OffsetRange>, Fault>>;

/// An offset for each partition of each topic, or why there is none for all of a topic.
type Listed = HashMap<Topic, Result<Vec<Option<Offset>>, Fault>>;

/// Log start and end offset of each partition, or what keeps those of a topic from being known.
pub(in crate::kafka) async fn ranges(
    connections: &Connections,
    topics: &HashMap<Topic, Arc<Description>>,
    end: End,
    deadline: Instant,
) -> OfTopics {
    if topics.is_empty() {
        return HashMap::new();
    }
    let isolation = match end {
        End::LastStable => Isolation::ReadCommitted,
        End::HighWatermark => Isolation::ReadUncommitted,
    };
    let ask = |lane, position| list(connections, lane, topics, isolation, position, deadline);
    let (mut starts, mut ends) =
        tokio::join!(ask(Lane::Starts, Position::Earliest), ask(Lane::Ends, Position::Latest));
    let mut range_of = |topic: &Topic| {
        let starts = starts.remove(topic).unwrap_or_else(|| Err(Fault::left_out("a topic")))?;
        let ends = ends.remove(topic).unwrap_or_else(|| Err(Fault::left_out("a topic")))?;
        let range = |(start, end): (Option<Offset>, Option<Offset>)| match (start, end) {
            (Some(start), Some(end)) if start <= end => Ok(OffsetRange { start, end }),
            // They are asked for side by side, and records may have been deleted in between.
            (Some(_), Some(_)) => {
                Err(Fault::new(Kind::Passing, "a partition begins after its end"))
            }
            // Either end of a log is always there.
            _ => Err(Fault::left_out("an offset")),
        };
        starts.into_iter().zip(ends).map(range).collect()
    };
    topics.keys().map(|topic| (topic.clone(), range_of(topic))).collect()
}

/// By partition the first offset whose record is of this time or later, in milliseconds since 1970;
/// `None` where no record is.
pub(in crate::kafka) async fn since(
    connections: &Connections,
    topic: &Topic,
    description: Arc<Description>,
    time: u64,
    deadline: Instant,
) -> Result<ByPartition<Option<Offset>>, Fault> {
    let topics = HashMap::from([(topic.clone(), description)]);
    let (isolation, position) = (Isolation::ReadUncommitted, Position::Since(time));
    let mut found = list(connections, Lane::Ends, &topics, isolation, position, deadline).await;
    let offsets = found.remove(topic).unwrap_or_else(|| Err(Fault::left_out("a topic")))?;
    Ok((0..).zip(offsets).collect())
}

/// Asks each leader about its partitions of these topics.
async fn list(
    connections: &Connections,
    lane: Lane,
    topics: &HashMap<Topic, Arc<Description>>,
    isolation: Isolation,
    position: Position,
    deadline: Instant,
) -> Listed {
    let mut offsets: Listed = HashMap::new();
    let mut requests: BTreeMap<&Endpoint, Vec<(Topic, Vec<PartitionPosition>)>> = BTreeMap::new();
    for (topic, description) in topics {
        let leaders: Result<Vec<_>, &Fault> =
            description.leaders.iter().map(Result::as_ref).collect();
        let leaders = match leaders {
            Ok(leaders) => leaders,
            Err(fault) => {
                // Part of a topic is no answer, so the rest of it is not asked for.
                offsets.insert(topic.clone(), Err(fault.clone()));
                continue;
            }
        };
        for (partition, leader) in (0..).zip(&leaders) {
            let topics = requests.entry(&leader.broker).or_default();
            let asked = PartitionPosition { partition, leader_epoch: leader.epoch, position };
            match topics.last_mut() {
                Some((last, partitions)) if last == topic => partitions.push(asked),
                _ => topics.push((topic.clone(), vec![asked])),
            }
        }
        offsets.insert(topic.clone(), Ok(vec![None; leaders.len()]));
    }
    let asked = requests.into_iter().map(|(broker, topics)| async move {
        let request = ListOffsets { isolation, topics };
        let reply = connections.ask(broker, lane, &request, deadline).await;
        (request.topics, reply)
    });
    for (topics, reply) in join_all(asked).await {
        let mut answers = reply.map(Vec::into_iter);
        for (topic, partitions) in topics {
            let answers = match &mut answers {
                Ok(answers) => answers.next().ok_or_else(|| Fault::left_out("a topic")),
                Err(fault) => Err(fault.clone()),
            };
            if let Some(of_topic) = offsets.get_mut(&topic)
                && let Ok(known) = of_topic
                && let Err(fault) = merge(known, &partitions, answers)
            {
                *of_topic = Err(fault);
            }
        }
    }
    offsets
}

/// Adds what one leader says of a topic.
fn merge(
    offsets: &mut [Option<Offset>],
    asked: &[PartitionPosition],
    answers: Result<Vec<Answer<ListedOffset>>, Fault>,
) -> Result<(), Fault> {
    for (asked, answer) in asked.iter().zip(answers?) {
        let listed = answer.ok_or_else(|| Fault::left_out("a partition"))?;
        let listed = listed.map_err(|code| Fault::of_broker(code, None))?;
        let place = usize::try_from(asked.partition).ok().and_then(|at| offsets.get_mut(at));
        if let Some(place) = place {
            *place = listed.offset;
        }
    }
    Ok(())
}
