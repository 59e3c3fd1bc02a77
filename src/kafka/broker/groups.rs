//! What consumer groups have committed, and which groups are none: who coordinates each, and many
//! groups in one question.
//!
//! Calls that arrive together share requests: those that look for a coordinator, and for each
//! coordinator those that ask it for offsets. So ten thousand groups take a few dozen requests, and
//! a coordinator that does not answer holds up its own groups only.
//!
//! A coordinator is remembered until it says that it is none any more, or fails to answer. One that
//! has stood still may have been replaced meanwhile without having heard of it: for a while each of
//! its answers counts only where it is found to be the coordinator still. And one that has just
//! taken over answers for a moment without what was committed last, and without an error: what it
//! says counts from a second later on.
//!
//! # References
//! - KIP-699 and KIP-709: many groups in one FindCoordinator (version 4) and OffsetFetch (version
//!   8)
//! - KIP-932: a share group commits no offsets, and its name is that of no other group

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::Instant;

use super::connections::{Connections, Lane};
use super::topics::Topics;
use crate::coalescer::{Coalescer, Tasks};
use crate::kafka::by_partition::ByPartition;
use crate::kafka::fault::{Fault, Kind};
use crate::kafka::names::{Group, Offset, Topic};
use crate::kafka::wire::requests::{
    Answer, Broker, CommittedOffset, FindCoordinator, GroupOffsets, GroupQuestion, IsShareGroup,
    OffsetFetch, Refusal, ShareGroupDescribe,
};
use crate::kafka::wire::{Endpoint, ErrorCode, ErrorKind};
use crate::lock::lock;

/// Groups in one request.
const GROUPS_PER_REQUEST: usize = 1_000;

/// Partitions in one request, all groups together: its reply stays far below the largest that is
/// read.
const PARTITIONS_PER_REQUEST: usize = 100_000;

/// Groups in one request that are asked whether they are share groups: a reply tells all members.
const DESCRIBED_PER_REQUEST: usize = 100;

/// How long it is remembered whether a group is a share group: one that is gone may be made again
/// as another kind.
const KIND_HOLDS: Duration = Duration::from_secs(30);

/// Requests that are under way at a time to a broker that takes one group in each.
const SINGLE_AT_ONCE: usize = 64;

/// How long what a coordinator says is not believed after it was looked up anew. It may have taken
/// over, or started again, just now; it then answers with what it knows to be replicated, which may
/// be less than what it has acknowledged before (Kafka 4.1).
const BELIEVE_AFTER: Duration = Duration::from_secs(1);

/// A coordinator that nobody asked for so long is forgotten when others are learnt.
const FORGET_AFTER: Duration = Duration::from_secs(900);

/// A group's committed offsets, by topic and partition; `None` where it has none.
pub(in crate::kafka) type CommittedOffsets = HashMap<Topic, ByPartition<Option<Offset>>>;

/// The groups of a cluster.
pub(in crate::kafka) struct Groups {
    coordinators: Arc<Mutex<Coordinators>>,
    finding: Arc<Coalescer<BTreeSet<Group>, Found>>,
    fetching: OfBrokers<Wanted, Fetched>,
    describing: OfBrokers<BTreeSet<Group>, Described>,
}

/// What is asked of a cluster, and how long.
#[derive(Clone)]
pub(in crate::kafka) struct Asking {
    connections: Arc<Connections>,
    topics: Arc<Topics>,
    coordinators: Arc<Mutex<Coordinators>>,
    timeout: Duration,
}

#[derive(Default)]
struct Coordinators {
    known: HashMap<Group, Coordinator>,
    /// How many there were after the last ones were forgotten.
    kept: usize,
}

struct Coordinator {
    broker: Endpoint,
    used: Instant,
    /// Whether it has to be looked up anew.
    is_in_doubt: bool,
    /// When it was last looked up anew, having been in doubt.
    renewed: Option<Instant>,
    /// Whether the group is a share group, and when that was asked.
    is_share: Option<(bool, Instant)>,
}

/// The requests of a kind, by the broker that is asked.
type OfBrokers<W, A> = Mutex<HashMap<Endpoint, Arc<Coalescer<W, A>>>>;

/// Which offsets of which groups are wanted.
type Wanted = HashMap<Group, WantedTopics>;

#[derive(Debug, Default)]
struct WantedTopics {
    topics: BTreeSet<Topic>,
    all: bool,
}

type Found = Arc<HashMap<Group, Result<Endpoint, Fault>>>;

type Fetched = Arc<HashMap<Group, Result<Arc<CommittedOffsets>, Fault>>>;

/// Which groups are share groups.
type Described = Arc<HashMap<Group, Result<bool, Fault>>>;

impl Groups {
    pub(in crate::kafka) fn new() -> Groups {
        let (coordinators, fetching, describing) = <_>::default();
        Groups { coordinators, finding: Coalescer::new(), fetching, describing }
    }

    /// What it takes to ask.
    pub(in crate::kafka) fn asking(
        &self,
        connections: &Arc<Connections>,
        topics: &Arc<Topics>,
        timeout: Duration,
    ) -> Asking {
        let (connections, topics) = (Arc::clone(connections), Arc::clone(topics));
        Asking { connections, topics, coordinators: Arc::clone(&self.coordinators), timeout }
    }

    /// A group's committed offsets of these topics, or of all that it has any for where there are
    /// none; of a topic whose partitions are not known yet none are given. `None` when the tasks
    /// end.
    ///
    /// # Errors
    /// [`Fault`], after which a coordinator is looked up anew where it may have moved.
    pub(in crate::kafka) async fn committed(
        &self,
        asking: &Asking,
        tasks: &Tasks,
        group: &Group,
        topics: &[Topic],
    ) -> Option<Result<Arc<CommittedOffsets>, Fault>> {
        let coordinator = match self.coordinator(asking, tasks, group).await? {
            Ok(coordinator) => coordinator,
            Err(fault) => return Some(Err(fault)),
        };
        let asked_at = Instant::now();
        let fetching = requests_to(&self.fetching, &coordinator);
        let (asked, broker) = (asking.clone(), coordinator.clone());
        let add = |wanted: &mut Wanted| {
            let wanted = wanted.entry(group.clone()).or_default();
            wanted.topics.extend(topics.iter().cloned());
            wanted.all |= topics.is_empty();
        };
        let fetched = fetching.ask(tasks, add, move |wanted| {
            let (asking, broker) = (asked.clone(), broker.clone());
            async move {
                let fetched = fetch(&asking, &broker, wanted).await;
                // It may have moved, or something else may be at its address now. Whoever asked may
                // have gone away, so that is noted here.
                let mut coordinators = lock(&asking.coordinators);
                for (group, offsets) in &fetched {
                    if offsets.as_ref().is_err_and(|fault| fault.kind != Kind::Denied) {
                        coordinators.doubt(group, &broker);
                    }
                }
                drop(coordinators);
                Arc::new(fetched)
            }
        });
        let fetched = fetched.await?;
        let answer = fetched.get(group).cloned();
        let answer = answer.unwrap_or_else(|| Err(Fault::left_out("a group")));
        if answer.is_ok() && lock(&self.coordinators).is_new(group, asked_at) {
            let reason = "a group's coordinator may have just taken over";
            return Some(Err(Fault::new(Kind::Passing, reason)));
        }
        if answer.is_ok() && asking.connections.may_be_behind(&coordinator) {
            // It may have been replaced while it stood still, and answers without an error until it
            // hears of that. The other brokers know.
            return Some(match self.look_up(asking, tasks, group).await? {
                Ok(now) if now == coordinator => answer,
                Ok(_) => {
                    lock(&self.coordinators).doubt(group, &coordinator);
                    Err(Fault::new(Kind::Passing, "a group's coordinator has moved"))
                }
                Err(fault) => Err(fault),
            });
        }
        Some(answer)
    }

    /// Whether a group is a share group, as its coordinator says or has said lately. Where it may
    /// not say, or knows of none, the group is none. `None` when the tasks end.
    ///
    /// # Errors
    /// [`Fault`], after which a coordinator is looked up anew where it may have moved.
    pub(in crate::kafka) async fn is_share_group(
        &self,
        asking: &Asking,
        tasks: &Tasks,
        group: &Group,
    ) -> Option<Result<bool, Fault>> {
        if let Some(known) = lock(&self.coordinators).is_share_group(group) {
            return Some(Ok(known));
        }
        let coordinator = match self.coordinator(asking, tasks, group).await? {
            Ok(coordinator) => coordinator,
            Err(fault) => return Some(Err(fault)),
        };
        let (asking, broker) = (asking.clone(), coordinator.clone());
        let describing = requests_to(&self.describing, &coordinator);
        let described = describing.ask(
            tasks,
            |groups| groups.extend([group.clone()]),
            move |groups| {
                let (asking, broker) = (asking.clone(), broker.clone());
                async move { Arc::new(describe(&asking, &broker, groups).await) }
            },
        );
        let described = described.await?;
        let answer = described.get(group).cloned();
        Some(answer.unwrap_or_else(|| Err(left_out())))
    }

    /// The broker to ask for a group.
    async fn coordinator(
        &self,
        asking: &Asking,
        tasks: &Tasks,
        group: &Group,
    ) -> Option<Result<Endpoint, Fault>> {
        if let Some(known) = lock(&self.coordinators).get(group) {
            return Some(Ok(known));
        }
        let found = self.look_up(asking, tasks, group).await?;
        if let Ok(coordinator) = &found {
            lock(&self.coordinators).learn(group, coordinator);
        }
        Some(found)
    }

    /// Who coordinates a group, as any broker says.
    async fn look_up(
        &self,
        asking: &Asking,
        tasks: &Tasks,
        group: &Group,
    ) -> Option<Result<Endpoint, Fault>> {
        let asking = asking.clone();
        let found = self.finding.ask(
            tasks,
            |groups| groups.extend([group.clone()]),
            move |groups| {
                let asking = asking.clone();
                async move { Arc::new(find(&asking, groups).await) }
            },
        );
        let found = found.await?;
        let found = found.get(group).cloned();
        Some(found.unwrap_or_else(|| Err(Fault::left_out("a group"))))
    }
}

impl Coordinators {
    fn get(&mut self, group: &Group) -> Option<Endpoint> {
        let known = self.known.get_mut(group).filter(|known| !known.is_in_doubt)?;
        known.used = Instant::now();
        Some(known.broker.clone())
    }

    fn learn(&mut self, group: &Group, broker: &Endpoint) {
        let now = Instant::now();
        let old = self.known.get(group);
        let is_as_known = old.is_some_and(|old| !old.is_in_doubt && old.broker == *broker);
        // Others who waited for the same look-up have learnt it.
        let renewed = if is_as_known { old.and_then(|old| old.renewed) } else { old.map(|_| now) };
        let is_share = old.and_then(|old| old.is_share);
        let broker = broker.clone();
        let known = Coordinator { broker, used: now, is_in_doubt: false, renewed, is_share };
        self.known.insert(group.clone(), known);
        if self.known.len() > 2 * self.kept.max(1_000) {
            self.known.retain(|_, known| now - known.used < FORGET_AFTER);
            self.kept = self.known.len();
        }
    }

    /// Puts a coordinator in doubt, unless another one has been learnt meanwhile.
    fn doubt(&mut self, group: &Group, broker: &Endpoint) {
        if let Some(known) = self.known.get_mut(group)
            && known.broker == *broker
        {
            known.is_in_doubt = true;
        }
    }

    /// Notes whether a group is a share group.
    fn learn_kind(&mut self, group: &Group, is_share: bool) {
        if let Some(known) = self.known.get_mut(group) {
            known.is_share = Some((is_share, Instant::now()));
        }
    }

    /// Whether a group is a share group, if that was asked lately.
    fn is_share_group(&self, group: &Group) -> Option<bool> {
        let (is_share, asked) = self.known.get(group)?.is_share?;
        (asked.elapsed() < KIND_HOLDS).then_some(is_share)
    }

    /// Whether a group's coordinator was looked up anew so lately that it may have just taken over.
    fn is_new(&self, group: &Group, now: Instant) -> bool {
        let renewed = self.known.get(group).and_then(|known| known.renewed);
        renewed.is_some_and(|at| now.saturating_duration_since(at) < BELIEVE_AFTER)
    }
}

/// The requests to a broker. Those to others are forgotten once nothing is under way.
fn requests_to<W, A>(all: &OfBrokers<W, A>, to: &Endpoint) -> Arc<Coalescer<W, A>>
where
    W: Default + Send + 'static,
    A: Clone + Send + 'static,
{
    let mut all = lock(all);
    all.retain(|broker, requests| broker == to || !requests.is_idle());
    Arc::clone(all.entry(to.clone()).or_insert_with(Coalescer::new))
}

/// Asks any broker who coordinates these groups.
async fn find(asking: &Asking, groups: BTreeSet<Group>) -> HashMap<Group, Result<Endpoint, Fault>> {
    let groups: Vec<Group> = groups.into_iter().collect();
    let chunks = groups.chunks(GROUPS_PER_REQUEST).map(|groups| find_together(asking, groups));
    join_all(chunks).await.into_iter().flatten().collect()
}

async fn find_together(asking: &Asking, groups: &[Group]) -> Vec<(Group, Result<Endpoint, Fault>)> {
    let deadline = Instant::now() + asking.timeout;
    let ask = async |groups: Vec<Group>| {
        let request = FindCoordinator { groups };
        let reply = asking.connections.ask_any(Lane::Describe, &request, deadline).await;
        reply.map(|answers| answers.into_iter().map(coordinator_of).collect::<Vec<_>>())
    };
    let found = match ask(groups.to_vec()).await {
        Err(fault) if is_for_each(&fault) && groups.len() > 1 => {
            let single: Vec<_> = groups.iter().map(|group| ask(vec![group.clone()])).collect();
            let found: Vec<_> = stream::iter(single).buffered(SINGLE_AT_ONCE).collect().await;
            let only = |found: Result<Vec<_>, Fault>| {
                found.and_then(|mut found| found.pop().unwrap_or_else(|| Err(left_out())))
            };
            found.into_iter().map(only).collect()
        }
        Ok(found) => found,
        Err(fault) => groups.iter().map(|_| Err(fault.clone())).collect(),
    };
    groups.iter().cloned().zip(found).collect()
}

fn coordinator_of(answer: Answer<Broker, Refusal>) -> Result<Endpoint, Fault> {
    let broker = answer.ok_or_else(left_out)?;
    let broker =
        broker.map_err(|refusal| Fault::of_broker(refusal.code, refusal.message.as_deref()))?;
    Endpoint::new(&broker.host, broker.port).ok_or_else(|| {
        let reason = "the brokers give no address of a group's coordinator";
        Fault::new(Kind::Passing, reason)
    })
}

/// Whether each group is to be asked about by itself: the broker takes one at a time, or it is one
/// group alone of which something cannot be read.
fn is_for_each(fault: &Fault) -> bool {
    matches!(fault.kind, Kind::Unaskable | Kind::Foreign)
}

fn left_out() -> Fault {
    Fault::left_out("a group")
}

/// Asks a coordinator for the offsets of its groups.
async fn fetch(
    asking: &Asking,
    coordinator: &Endpoint,
    wanted: Wanted,
) -> HashMap<Group, Result<Arc<CommittedOffsets>, Fault>> {
    // A third of the time that a poll has leaves time to ask anew, another broker perhaps.
    let deadline = Instant::now() + asking.timeout / 3;
    let mut answers = HashMap::new();
    let mut requests = vec![Vec::new()];
    let mut partitions = 0;
    for (group, wanted) in wanted {
        let question = question(&asking.topics, group, &wanted);
        let size = question.topics.iter().flatten().map(|(_, partitions)| partitions.len()).sum();
        if size == 0 && question.topics.is_some() {
            // Nothing is known to ask for, as before the first look at its topics.
            answers.insert(question.group, Ok(Arc::default()));
            continue;
        }
        partitions += size;
        match requests.last_mut() {
            Some(last)
                if last.len() < GROUPS_PER_REQUEST
                    && (last.is_empty() || partitions <= PARTITIONS_PER_REQUEST) =>
            {
                last.push((question, wanted));
            }
            _ => {
                partitions = size;
                requests.push(vec![(question, wanted)]);
            }
        }
    }
    let requests = requests.into_iter().filter(|groups| !groups.is_empty());
    let fetched = requests.map(|groups| fetch_together(asking, coordinator, groups, deadline));
    answers.extend(join_all(fetched).await.into_iter().flatten());
    answers
}

/// What to ask for a group: its topics by name, so that a topic that we may not see is an error and
/// not one without offsets.
fn question(topics: &Topics, group: Group, wanted: &WantedTopics) -> GroupQuestion {
    let partitions = |topic: &Topic| {
        let count = topics.partitions(topic)?;
        Some((topic.clone(), (0..count).collect()))
    };
    let named = || wanted.topics.iter().filter_map(partitions).collect();
    GroupQuestion { group, topics: (!wanted.all).then(named) }
}

async fn fetch_together(
    asking: &Asking,
    coordinator: &Endpoint,
    groups: Vec<(GroupQuestion, WantedTopics)>,
    deadline: Instant,
) -> Vec<(Group, Result<Arc<CommittedOffsets>, Fault>)> {
    let (questions, wanted): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    let ask = async |groups: Vec<GroupQuestion>| {
        let request = OffsetFetch { groups, require_stable: false };
        let reply = asking.connections.ask(coordinator, Lane::Groups, &request, deadline).await;
        (request.groups, reply)
    };
    let (questions, reply) = ask(questions).await;
    let answers: Vec<Result<Answer<GroupOffsets>, Fault>> = match reply {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(fault) if is_for_each(&fault) && questions.len() > 1 => {
            let single: Vec<_> =
                questions.iter().map(|question| ask(vec![question.clone()])).collect();
            let replies: Vec<_> = stream::iter(single).buffered(SINGLE_AT_ONCE).collect().await;
            replies
                .into_iter()
                .map(|(_, reply)| reply.map(|mut answers| answers.pop().flatten()))
                .collect()
        }
        Err(fault) => questions.iter().map(|_| Err(fault.clone())).collect(),
    };
    let each = questions.into_iter().zip(wanted).zip(answers);
    each.map(|((question, wanted), answer)| {
        let offsets = answer.and_then(|answer| {
            let answer = answer.ok_or_else(left_out)?;
            let answer = answer.map_err(|code| Fault::of_broker(code, None))?;
            offsets_of(&asking.topics, &question, &wanted, answer)
        });
        (question.group, offsets.map(Arc::new))
    })
    .collect()
}

fn offsets_of(
    topics: &Topics,
    question: &GroupQuestion,
    wanted: &WantedTopics,
    answer: GroupOffsets,
) -> Result<CommittedOffsets, Fault> {
    let mut offsets = CommittedOffsets::new();
    let told = |committed: Result<CommittedOffset, ErrorCode>| {
        committed.map_err(|code| Fault::of_broker(code, None))
    };
    match answer {
        GroupOffsets::Asked(answers) => {
            let asked = question.topics.iter().flatten();
            for ((topic, partitions), answers) in asked.zip(answers) {
                let of_topic = offsets.entry(topic.clone()).or_default();
                for (partition, answer) in partitions.iter().zip(answers) {
                    let answer = answer.ok_or_else(|| Fault::left_out("a partition"))?;
                    of_topic.insert(*partition, told(answer)?);
                }
            }
        }
        GroupOffsets::All(all) => {
            // All that the group has is listed, so what is not there is known to be absent.
            for topic in &wanted.topics {
                let absent = (0..topics.partitions(topic).unwrap_or(0)).map(|p| (p, None));
                offsets.entry(topic.clone()).or_default().extend(absent);
            }
            for of_topic in all {
                let known = offsets.entry(of_topic.topic).or_default();
                for (partition, committed) in of_topic.partitions {
                    known.insert(partition, told(committed)?);
                }
            }
        }
    }
    Ok(offsets)
}

/// Asks a coordinator which of its groups are share groups, and remembers that.
async fn describe(
    asking: &Asking,
    coordinator: &Endpoint,
    groups: BTreeSet<Group>,
) -> HashMap<Group, Result<bool, Fault>> {
    let deadline = Instant::now() + asking.timeout / 3;
    let groups: Vec<Group> = groups.into_iter().collect();
    let chunks = groups.chunks(DESCRIBED_PER_REQUEST).map(|groups| async move {
        let request = ShareGroupDescribe { groups: groups.to_vec() };
        let reply = asking.connections.ask(coordinator, Lane::Groups, &request, deadline).await;
        (request.groups, reply)
    });
    let replies = join_all(chunks).await;
    let mut coordinators = lock(&asking.coordinators);
    let mut described = HashMap::new();
    for (groups, reply) in replies {
        let answers: Vec<Result<Answer<IsShareGroup>, Fault>> = match reply {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(fault) => groups.iter().map(|_| Err(fault.clone())).collect(),
        };
        for (group, answer) in groups.into_iter().zip(answers) {
            let is_share = match answer {
                Ok(Some(Ok(IsShareGroup))) => Ok(true),
                Ok(Some(Err(code))) if code.kind() == ErrorKind::Moving => {
                    Err(Fault::of_broker(code, None))
                }
                Ok(Some(Err(_))) => Ok(false),
                Ok(None) => Err(left_out()),
                // A Kafka before 4.1, or what speaks its protocol otherwise.
                Err(fault) if matches!(fault.kind, Kind::Unaskable | Kind::Foreign) => Ok(false),
                Err(fault) => Err(fault),
            };
            match &is_share {
                Ok(is_share) => coordinators.learn_kind(&group, *is_share),
                Err(_) => coordinators.doubt(&group, coordinator),
            }
            described.insert(group, is_share);
        }
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whether_a_group_is_a_share_group_is_remembered_for_a_while() {
        let (group, broker) = (Group::from("g"), Endpoint::new("broker", 1).expect("an endpoint"));
        let mut coordinators = Coordinators::default();
        coordinators.learn(&group, &broker);
        assert_eq!(coordinators.is_share_group(&group), None);
        for is_share in [true, false] {
            coordinators.learn_kind(&group, is_share);
            // Wherever its coordinator moves.
            coordinators.doubt(&group, &broker);
            coordinators.learn(&group, &broker);
            tokio::time::advance(KIND_HOLDS.saturating_sub(Duration::from_millis(1))).await;
            assert_eq!(coordinators.is_share_group(&group), Some(is_share));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(coordinators.is_share_group(&group), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_coordinator_that_is_looked_up_anew_is_believed_a_second_later() {
        let group = Group::from("thumbnails");
        let [one, other] = [1, 2].map(|port| Endpoint::new("broker", port).expect("an endpoint"));
        for next in [&one, &other] {
            let mut coordinators = Coordinators::default();
            coordinators.learn(&group, &one);
            assert!(!coordinators.is_new(&group, Instant::now()), "the first one is believed");
            coordinators.doubt(&group, &other);
            assert_eq!(coordinators.get(&group).as_ref(), Some(&one), "another one is in doubt");
            coordinators.doubt(&group, &one);
            assert_eq!(coordinators.get(&group), None);
            tokio::time::advance(BELIEVE_AFTER).await;
            coordinators.learn(&group, next);
            let learnt = Instant::now();
            assert_eq!(coordinators.get(&group).as_ref(), Some(next));
            tokio::time::advance(BELIEVE_AFTER / 2).await;
            coordinators.learn(&group, next);
            let almost = learnt + BELIEVE_AFTER.saturating_sub(Duration::from_millis(1));
            assert!(coordinators.is_new(&group, almost), "what was asked before is not believed");
            assert!(!coordinators.is_new(&group, learnt + BELIEVE_AFTER));
        }
    }
}
