//! What lies in a trigger's topics, read once for a person.
//!
//! Each partition is read from where the plan says to its end as that is at the beginning, from its
//! leader, with one fetch at a time. Partitions take turns, so that a limit is spread over them.
//! Where leaders are in motion they are asked again until the deadline.
//!
//! # References
//! - KIP-74: a fetch has a first batch whole, however large

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::broker::{CommittedOffsets, End, Lane, Leader, OffsetRange, TopicId};
use super::by_partition::ByPartition;
use super::cluster::{Cluster, TopicOffsets};
use super::clusters::Clusters;
use super::error::Error;
use super::fault::{Fault, Kind};
use super::names::{Offset, Partition, Topic};
use super::reader::{FETCH_BYTES, PARTITION_BYTES};
use super::record::KafkaMessage;
use super::trigger::{KafkaTrigger, OffsetReset};
use super::wire::records::{Aborted, BatchError, Batches, Heads, HeadsError, Scratch};
use super::wire::requests::{
    Fetch, FetchPartition, FetchSession, FetchTopic, FetchedPartition, Isolation,
};
use crate::ledger::Account;
use crate::source::{SurveyFrom, SurveyPlan, Surveyed, Surveyor};

/// How long a fetch may take, and what is asked before the first.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a broker waits for records where there are none.
const WAIT: Duration = Duration::from_millis(100);

/// How soon brokers in motion are asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Partitions in a fetch.
const MAX_PARTITIONS: usize = 1_000;

/// What is to be read of one partition.
struct Stretch {
    topic: Topic,
    id: TopicId,
    partition: Partition,
    /// Where the next fetch begins.
    position: Offset,
    end: Offset,
    /// From here on records wait for the group; `None` where it was not asked.
    waiting_from: Option<Offset>,
}

/// Shows a surveyor the records of a trigger's topics.
///
/// # Errors
/// They cannot be read, or none of them by the deadline.
pub(super) async fn survey(
    clusters: &Clusters,
    trigger: &KafkaTrigger,
    account: &Account,
    plan: SurveyPlan,
    surveyor: &mut dyn Surveyor,
) -> Result<Surveyed, Error> {
    if trigger.topics.is_empty() {
        return Err(Error::NoTopic);
    }
    let cluster = clusters.get(&trigger.cluster, within(plan.deadline)).await?;
    cluster.payers().join(account);
    let surveyed = survey_on(&cluster, trigger, plan, surveyor).await;
    cluster.payers().leave(account);
    surveyed
}

async fn survey_on(
    cluster: &Arc<Cluster>,
    trigger: &KafkaTrigger,
    plan: SurveyPlan,
    surveyor: &mut dyn Surveyor,
) -> Result<Surveyed, Error> {
    let deadline = within(plan.deadline);
    let topics = &trigger.topics;
    // First, so that it is known of which partitions the group is to be asked.
    let ask = |topic| cluster.offsets(topic, End::LastStable, deadline);
    let offsets = try_join_all(topics.iter().map(ask)).await?;
    let committed = match plan.asks_group {
        true => Some(committed(cluster, trigger, &offsets, deadline).await?),
        false => None,
    };
    let mut stretches = VecDeque::new();
    for (topic, offsets) in topics.iter().zip(&offsets) {
        stretches.extend(of_topic(topic, offsets, committed.as_deref(), trigger, plan.from)?);
    }
    let mut notes = Vec::new();
    if let Some(committed) = &committed {
        let all = || committed.values().flat_map(ByPartition::values);
        let absent = all().filter(|offset| offset.is_none()).count();
        if absent > 0 && absent == all().count() {
            if cluster.is_share_group(&trigger.group, deadline).await? {
                return Err(Error::ShareGroup { group: trigger.group.clone() });
            }
            notes.push(never_committed("the group has committed nothing", trigger));
        } else if absent > 0 {
            let what = format!("the group has committed nothing in {absent} partitions");
            notes.push(never_committed(&what, trigger));
        }
    }
    surveyor.expect(stretches.iter().map(|stretch| stretch.end - stretch.position).sum());
    stretches.retain(|stretch| stretch.position < stretch.end);
    let is_whole = Reader { cluster, scratch: Scratch::default(), deadline: plan.deadline }
        .read(stretches, surveyor)
        .await?;
    Ok(Surveyed { is_whole, notes })
}

/// What the group has committed in each partition of these topics.
///
/// # Errors
/// When it cannot be had by the deadline.
async fn committed(
    cluster: &Arc<Cluster>,
    trigger: &KafkaTrigger,
    offsets: &[Arc<TopicOffsets>],
    deadline: Instant,
) -> Result<Arc<CommittedOffsets>, Error> {
    loop {
        let committed = cluster.committed(&trigger.group, &trigger.topics, deadline).await?;
        let is_told = |(topic, offsets): (&Topic, &Arc<TopicOffsets>)| {
            let told = committed.get(topic).map_or(0, |of| of.values().count());
            told >= offsets.ranges.len()
        };
        if trigger.topics.iter().zip(offsets).all(is_told) {
            return Ok(committed);
        }
        if Instant::now() + ASK_AGAIN_AFTER >= deadline {
            let what = format!("the committed offsets of group {}", trigger.group);
            return Err(cluster.error(&Fault::left_out("a partition"), what));
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

fn never_committed(what: &str, trigger: &KafkaTrigger) -> String {
    match waits_uncommitted(trigger) {
        true => format!("{what}, so all that lies there waits, as offsetResetPolicy says"),
        false => format!(
            "{what}, so what lies there now does not wait for it; with offsetResetPolicy earliest it would"
        ),
    }
}

/// Whether what lies in a partition without a committed offset waits.
fn waits_uncommitted(trigger: &KafkaTrigger) -> bool {
    trigger.offset_reset == OffsetReset::Earliest && !trigger.scale_to_zero_on_invalid_offset
}

/// What is to be read of a topic.
fn of_topic(
    topic: &Topic,
    offsets: &TopicOffsets,
    committed: Option<&CommittedOffsets>,
    trigger: &KafkaTrigger,
    from: SurveyFrom,
) -> Result<Vec<Stretch>, Error> {
    let limited = trigger.partitions.as_ref();
    let each = (0..).zip(&offsets.ranges);
    let counted: Vec<_> =
        each.filter(|(partition, _)| limited.is_none_or(|of| of.contains(*partition))).collect();
    if counted.is_empty() {
        let asked = limited.map(ToString::to_string).unwrap_or_default();
        return Err(Error::NoPartition { topic: topic.clone(), asked });
    }
    let partitions = Offset::try_from(counted.len()).unwrap_or(Offset::MAX);
    let stretch = |(partition, range): (Partition, &OffsetRange)| {
        let OffsetRange { start, end } = *range;
        let of_group = committed.map(|of| of.get(topic).and_then(|of| *of.get(partition)?));
        let waiting_from = of_group.map(|committed| match committed {
            Some(committed) => committed.clamp(start, end),
            None if waits_uncommitted(trigger) => start,
            None => end,
        });
        let last = |messages: u64| end.saturating_sub(messages.div_ceil(partitions)).max(start);
        let position = match from {
            SurveyFrom::Earliest => start,
            SurveyFrom::Last(messages) => last(messages),
            SurveyFrom::Committed { at_least } => waiting_from.unwrap_or(end).min(last(at_least)),
        };
        let (topic, id) = (topic.clone(), offsets.shape.id);
        Stretch { topic, id, partition, position, end, waiting_from }
    };
    Ok(counted.into_iter().map(stretch).collect())
}

struct Reader<'a> {
    cluster: &'a Arc<Cluster>,
    scratch: Scratch,
    deadline: Instant,
}

/// What a broker had of one partition.
enum Taken {
    Shown(ControlFlow<()>),
    /// A batch that comes whole only where it comes first.
    Cut,
    Nothing,
}

/// What became of a fetch.
enum Step {
    /// Something was read.
    Read,
    /// Nothing can be had just now.
    Wait,
    /// The surveyor has seen enough.
    Enough,
}

impl Reader<'_> {
    /// Reads all; whether it came to the end of all.
    async fn read(
        mut self,
        mut stretches: VecDeque<Stretch>,
        surveyor: &mut dyn Surveyor,
    ) -> Result<bool, Error> {
        let mut has_read = false;
        let mut last = Fault::silent();
        while !stretches.is_empty() {
            if Instant::now() >= self.deadline {
                return match has_read {
                    true => Ok(false),
                    false => Err(self.error(&last, &stretches)),
                };
            }
            match self.step(&mut stretches, surveyor).await {
                Ok(Step::Read) => has_read = true,
                Ok(Step::Wait) => sleep(WAIT.min(self.left())).await,
                Ok(Step::Enough) => return Ok(false),
                Err(fault) if passes(&fault) => {
                    last = fault;
                    self.look_up(&stretches).await;
                    sleep(ASK_AGAIN_AFTER.min(self.left())).await;
                }
                Err(fault) => return Err(self.error(&fault, &stretches)),
            }
        }
        Ok(true)
    }

    /// Fetches from the leader of the first partition, for all partitions of its topic that the
    /// same broker leads.
    async fn step(
        &mut self,
        stretches: &mut VecDeque<Stretch>,
        surveyor: &mut dyn Surveyor,
    ) -> Result<Step, Fault> {
        let (connections, topics) = self.cluster.brokers();
        let Some(first) = stretches.front() else { return Ok(Step::Read) };
        let leader_of = |stretch: &Stretch| -> Result<Leader, Fault> {
            match topics.leader(&stretch.topic, stretch.partition) {
                Some((id, _)) if id != stretch.id => Err(made_again()),
                Some((_, Some(leader))) => Ok(leader),
                _ => Err(Fault::new(Kind::Passing, "a partition has no leader")),
            }
        };
        let broker = leader_of(first)?.broker;
        let (name, id) = (first.topic.clone(), first.id.given());
        let mut partitions = Vec::new();
        for stretch in stretches.iter().filter(|stretch| stretch.topic == name) {
            let Ok(leader) = leader_of(stretch) else { continue };
            if leader.broker == broker && partitions.len() < MAX_PARTITIONS {
                partitions.push(FetchPartition {
                    partition: stretch.partition,
                    leader_epoch: leader.epoch,
                    fetch_offset: stretch.position,
                    last_fetched_epoch: None,
                    max_bytes: PARTITION_BYTES,
                });
            }
        }
        let request = Fetch {
            max_wait: WAIT,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            isolation: Isolation::ReadCommitted,
            session: FetchSession::NONE,
            topics: vec![FetchTopic { name: name.clone(), id, partitions }],
            forgotten: Vec::new(),
            in_session: None,
        };
        let deadline = within(self.deadline);
        let fetched = connections.fetch(&broker, Lane::Backfills, &request, deadline).await;
        let (reply, payload) = fetched?;
        if let Some(code) = reply.error {
            return Err(Fault::of_broker(code, None));
        }
        let (mut step, mut is_first) = (Step::Wait, true);
        for fetched in reply.partitions {
            let is_this = |of: &Stretch| of.topic == name && of.partition == fetched.partition;
            let Some(at) = stretches.iter().position(is_this) else { continue };
            let Some(mut stretch) = stretches.remove(at) else { continue };
            let is_empty = fetched.records.is_empty();
            let taken = self.take(&mut stretch, fetched, &payload, is_first, surveyor);
            is_first &= is_empty;
            match taken {
                Ok(Taken::Shown(ControlFlow::Continue(()))) => step = Step::Read,
                Ok(Taken::Shown(ControlFlow::Break(()))) => return Ok(Step::Enough),
                Ok(Taken::Nothing) => {}
                Ok(Taken::Cut) => {
                    stretches.push_front(stretch);
                    continue;
                }
                Err(fault) => {
                    stretches.push_front(stretch);
                    return Err(fault);
                }
            }
            if stretch.position < stretch.end {
                stretches.push_back(stretch);
            }
        }
        Ok(step)
    }

    /// Shows what a broker has of a partition.
    fn take(
        &mut self,
        stretch: &mut Stretch,
        fetched: FetchedPartition,
        payload: &Bytes,
        is_first: bool,
        surveyor: &mut dyn Surveyor,
    ) -> Result<Taken, Fault> {
        if let Some(code) = fetched.error {
            return Err(Fault::of_fetch(code));
        }
        let bytes = payload.get(fetched.records).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(Taken::Nothing);
        }
        let unreadable = |why: &dyn std::fmt::Display, from: Offset| {
            Fault::unreadable(stretch.partition, from, why)
        };
        let heads = match Heads::of(bytes) {
            Ok(heads) if heads.next > stretch.position => heads,
            Ok(_) => return Err(unreadable(&"records from before it", stretch.position)),
            Err(HeadsError::Cut(_)) if !is_first => return Ok(Taken::Cut),
            Err(error) => return Err(unreadable(&error, stretch.position)),
        };
        let mut aborted = Aborted::new(fetched.aborted);
        let mut flow = ControlFlow::Continue(());
        for batch in Batches::new(bytes) {
            let shown = batch.and_then(|batch| {
                let is_aborted = aborted.is_aborted(&batch, &mut self.scratch)?;
                if is_aborted || batch.is_control() {
                    return Ok(ControlFlow::Continue(()));
                }
                let (mut wrong, mut flow) = (None, ControlFlow::Continue(()));
                batch.for_each(&mut self.scratch, |record| {
                    if record.offset < stretch.position {
                        return ControlFlow::Continue(());
                    }
                    if record.offset >= stretch.end {
                        return ControlFlow::Break(());
                    }
                    let waits = stretch.waiting_from.is_some_and(|from| from <= record.offset);
                    let message = KafkaMessage::new(&stretch.topic, stretch.partition, *record);
                    flow = surveyor.see(&message, waits);
                    wrong = message.check().err();
                    match wrong.is_some() {
                        true => ControlFlow::Break(()),
                        false => flow,
                    }
                })?;
                wrong.map_or(Ok(flow), Err)
            });
            match shown {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => {
                    flow = ControlFlow::Break(());
                    break;
                }
                Err(BatchError::Memory(exhausted)) => return Err(Fault::exhausted(&exhausted)),
                Err(error) => return Err(unreadable(&error, stretch.position)),
            }
        }
        stretch.position = heads.next;
        Ok(Taken::Shown(flow))
    }

    /// Learns who leads what is still to be read.
    async fn look_up(&self, stretches: &VecDeque<Stretch>) {
        let (connections, topics) = self.cluster.brokers();
        let names: BTreeSet<Topic> = stretches.iter().map(|of| of.topic.clone()).collect();
        topics.look_up(connections, &names, within(self.deadline)).await;
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn error(&self, fault: &Fault, stretches: &VecDeque<Stretch>) -> Error {
        let topic = stretches.front().map(|stretch| stretch.topic.to_string());
        self.cluster.error(fault, format!("the records of topic {}", topic.unwrap_or_default()))
    }
}

/// Whether asking again may help.
fn passes(fault: &Fault) -> bool {
    matches!(fault.kind, Kind::Passing | Kind::Missing | Kind::Absent | Kind::Silent)
}

fn made_again() -> Fault {
    Fault::new(Kind::Gone, "the topic was made again meanwhile")
}

fn within(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + ANSWER_WITHIN)
}
