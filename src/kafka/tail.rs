//! How far one topic has been read for all triggers on it, and what was found there.
//!
//! A [`TopicTail`] is the state of one topic that polls and the reading threads share: what is
//! selected on it ([`Selector`]s, each with a slot), and per partition how far the tail has come and
//! where each selector matches. Polls only look and say what they miss ([`TopicTail::look`]); the
//! threads only add what they read ([`TopicTail::append`], [`TopicTail::append_backfill`]). Neither
//! does I/O under the lock, and a record is judged outside it.
//!
//! A partition's tail begins where the first poll needs it, but not far from the end. A poll may need
//! what lies before: for a selector that is newer than the tail, or for a group that lies further
//! back. That is read by a *backfill*: backwards from what is known, in stretches of bounded length,
//! each for all selectors that miss something there. So a group that is close to the end never waits
//! for one that is a hundred million records behind.
//!
//! An [`Epoch`] tells what belongs together. A partition that has to be read anew (its topic was made
//! again, its log truncated or trimmed past the tail) gets a new one, and so does each backfill.
//! Whatever a thread still brings of an old one is dropped. A selector that is added while a batch is
//! being judged is told by `version`, and speaks for the log only from after that batch.
//!
//! # References
//! - KIP-98: under `read_committed` a partition ends at the last stable offset, and control records
//!   and aborted records take offsets but are not delivered
//! - KIP-516: a topic that is made again has another id

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::broker::TopicShape;
use super::by_partition::ByPartition;
use super::fault::Fault;
use super::index::{KeyHash, MAX_KEYS, Matches};
use super::names::{Offset, Partition, Topic};
use super::reader::{ReadTicket, Reading};
use crate::lock::lock;
use crate::selection::{Judge, Part, Slot};

/// A record that a compacted topic once held may be gone; matches in one are read again when they
/// were last read longer ago than this.
const COMPACTED_STALE_AFTER: Duration = Duration::from_secs(1);

/// How many offsets one backfill spans: half a second of reading, which is what a poll waits at most
/// for the backfills of others.
const BACKFILL_SPAN: Offset = 250_000;

/// How often matches that every group has passed are dropped.
const DROP_EVERY: Duration = Duration::from_secs(5);

/// One topic as it is tailed.
pub(super) struct TopicTail {
    topic: Topic,
    state: Mutex<State>,
    moved: Notify,
}

/// What is selected on a topic, by one trigger or many, and counted on its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Selector {
    pub(super) part: Part,
    /// Whether keys are told apart.
    pub(super) by_key: bool,
}

/// What a poll needs of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub(super) partition: Partition,
    /// Matches at or after this count.
    pub(super) from: Offset,
    /// The log start offset.
    pub(super) start: Offset,
    /// The end offset: everything before it must have been judged.
    pub(super) end: Offset,
    /// How far the tail had come before the end was asked for.
    pub(super) seen: Offset,
}

/// What a poll knows of a topic when it looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) shape: TopicShape,
    /// Whether records may vanish from the middle of the log.
    pub(super) compacted: bool,
    /// When the ends were asked for.
    pub(super) asked: Instant,
}

/// What a look gave.
pub(super) struct Seen {
    /// For each need how many matches are known, all selectors together.
    pub(super) counts: Vec<u64>,
    pub(super) state: Progress,
    /// What the readers have to do for the rest.
    pub(super) readings: Vec<Reading>,
}

/// How complete what was seen is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    Complete,
    /// Offsets judged and offsets to go.
    Reading {
        judged: Offset,
        behind: Offset,
    },
    /// What the poll brought is older than what has happened since: ask again.
    Outdated,
    /// Reading fails, and this poll need not wait for it.
    Failed(Fault),
}

/// What a reader needs to judge a batch of one partition.
pub(super) struct Judging {
    pub(super) judge: Arc<Judge>,
    pub(super) by_key: bool,
    pub(super) version: u64,
}

/// A trigger on a topic, as its tail knows it.
pub(super) type SubscriberId = u64;

/// Which reading of a partition something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Epoch(u64);

/// A match that a reader found.
pub(super) type Match = (Slot, Offset, KeyHash);

struct State {
    /// How many offsets a backfill spans.
    span: Offset,
    shape: Option<TopicShape>,
    /// By slot.
    selectors: Vec<Option<Selected>>,
    slots: HashMap<Selector, Slot>,
    /// Slots that hold nothing.
    free: Vec<Slot>,
    judge: Arc<Judge>,
    by_key: bool,
    version: u64,
    /// The last one given to a partition or a backfill.
    last_epoch: Epoch,
    partitions: ByPartition<PartitionTail>,
    subscribers: HashMap<SubscriberId, Subscriber>,
    last_subscriber: SubscriberId,
    /// When matches that nobody needs were last dropped.
    dropped: Instant,
}

/// One trigger on the topic.
struct Subscriber {
    slots: Vec<Slot>,
    /// From where on it last needed each partition.
    needs: ByPartition<Offset>,
}

struct Selected {
    selector: Selector,
    triggers: usize,
    /// The version of the judge that first had it.
    since: u64,
    /// Of how many records it could not be told whether they match.
    indeterminate: u64,
}

struct PartitionTail {
    epoch: Epoch,
    /// Every record before this has been judged.
    position: Offset,
    /// By slot.
    matches: HashMap<Slot, Matches>,
    lost: Option<Break>,
    /// The same of a backfill.
    cut: Option<Break>,
    fault: Option<Fault>,
    /// From where on a slot's matches are wanted, where they do not reach that far back.
    wanted: HashMap<Slot, Offset>,
    backfill: Option<Backfill>,
    /// When the matches of a slot were last read again, on a compacted topic.
    read_again: HashMap<Slot, Instant>,
}

/// The end of a reading before its time, which must begin anew.
struct Break {
    at: Instant,
    /// What a poll that needed it fails with; without it the poll asks again.
    fault: Option<Fault>,
}

/// A reading of a stretch before the tail.
struct Backfill {
    epoch: Epoch,
    until: Offset,
    /// With the version since which each is selected.
    slots: HashMap<Slot, u64>,
    fault: Option<Fault>,
}

impl TopicTail {
    pub(super) fn new(topic: Topic) -> TopicTail {
        TopicTail::spanning(BACKFILL_SPAN, topic)
    }

    fn spanning(span: Offset, topic: Topic) -> TopicTail {
        TopicTail {
            topic,
            state: Mutex::new(State {
                span,
                shape: None,
                selectors: Vec::new(),
                slots: HashMap::new(),
                free: Vec::new(),
                judge: Arc::new(Judge::new([])),
                by_key: false,
                version: 0,
                last_epoch: Epoch::default(),
                partitions: ByPartition::new(),
                subscribers: HashMap::new(),
                last_subscriber: 0,
                dropped: Instant::now(),
            }),
            moved: Notify::new(),
        }
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Resolves when a reader has come further; create it before looking, so that none is missed.
    pub(super) fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    /// Adds a trigger with what it selects.
    pub(super) fn follow(&self, selectors: &[Selector]) -> SubscriberId {
        let mut state = self.lock();
        let known = state.slots.len();
        let slots = selectors.iter().map(|selector| state.slot_of(selector)).collect();
        if state.slots.len() > known {
            state.compile();
        }
        state.last_subscriber += 1;
        let id = state.last_subscriber;
        state.subscribers.insert(id, Subscriber { slots, needs: ByPartition::new() });
        id
    }

    /// Lets go of what one trigger selected; true when nobody is left.
    pub(super) fn leave(&self, subscriber: SubscriberId) -> bool {
        let mut state = self.lock();
        let known = state.slots.len();
        if let Some(subscriber) = state.subscribers.remove(&subscriber) {
            for slot in subscriber.slots {
                state.release(slot);
            }
        }
        if state.slots.len() < known {
            state.compile();
        }
        state.subscribers.is_empty()
    }

    /// The partitions being tailed.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.lock().partitions.keys().collect()
    }

    /// How far the tail has come in each partition, and the shape that this is true of.
    pub(super) fn positions(&self) -> ByPartition<Offset> {
        let state = self.lock();
        let positions = state.partitions.iter();
        positions.map(|(partition, tail)| (partition, tail.position)).collect()
    }

    /// Counts the matches of a trigger's selectors as far as they are known, and says what is missing.
    pub(super) fn look(
        self: &Arc<Self>,
        subscriber: SubscriberId,
        needs: &[Need],
        view: View,
    ) -> Seen {
        let mut state = self.lock();
        let mut seen =
            Seen { counts: vec![0; needs.len()], state: Progress::Complete, readings: Vec::new() };
        let Some(slots) = state.note_needs(subscriber, needs) else {
            seen.state = Progress::Outdated;
            return seen;
        };
        if state.shape.is_some_and(|known| known.id != view.shape.id) {
            // The topic was deleted and made again: nothing that was read is true of it.
            state.partitions.clear();
        }
        state.shape = Some(view.shape);
        let (mut judged, mut behind) = (0, 0);
        for (need, count) in needs.iter().zip(&mut seen.counts) {
            if let Err(verdict) = state.ready(self, &slots, *need, view, &mut seen.readings) {
                if !matches!(seen.state, Progress::Failed(_)) {
                    seen.state = verdict;
                }
                continue;
            }
            let Some(tail) = state.partitions.get(need.partition) else {
                seen.state = Progress::Outdated;
                continue;
            };
            let mut missing = need.end.saturating_sub(tail.position.max(need.from));
            for slot in &slots {
                let counted = tail.matches[slot].count(need.from);
                *count += counted.count;
                if !counted.complete {
                    missing = missing.max(tail.matches[slot].from() - need.from);
                }
            }
            behind += missing;
            judged += need.end.saturating_sub(need.from).saturating_sub(missing);
        }
        if seen.state == Progress::Complete && behind > 0 {
            let fault = needs.iter().find_map(|need| {
                let tail = state.partitions.get(need.partition)?;
                let of_backfill = || tail.backfill.as_ref().and_then(|of| of.fault.clone());
                tail.fault.clone().filter(Fault::is_lasting).or_else(|| {
                    // Whoever does not need the backfill is not told.
                    let needs_it = slots.iter().any(|slot| !tail.knows(slot, need.from));
                    needs_it.then(of_backfill).flatten()
                })
            });
            seen.state = match fault {
                Some(fault) => Progress::Failed(fault),
                None => Progress::Reading { judged, behind },
            };
        }
        seen
    }

    /// How many distinct keys match at or after each need, all partitions together, and whether there are
    /// no more; `None` for a trigger that has left.
    pub(super) fn keys(&self, subscriber: SubscriberId, needs: &[Need]) -> Option<(u64, bool)> {
        let state = self.lock();
        let slots = &state.subscribers.get(&subscriber)?.slots;
        let mut keys = HashSet::new();
        let mut all = true;
        for need in needs {
            if let Some(tail) = state.partitions.get(need.partition) {
                for slot in slots {
                    if let Some(matches) = tail.matches.get(slot) {
                        all &= matches.collect_keys(need.from, &mut keys);
                        // As many as one partition keeps are as good as all.
                        if keys.len() > MAX_KEYS {
                            return Some((MAX_KEYS as u64, false));
                        }
                    }
                }
            }
        }
        Some((keys.len() as u64, all))
    }

    /// What the tail's next batch is judged with.
    pub(super) fn judging(&self) -> Judging {
        let state = self.lock();
        Judging { judge: Arc::clone(&state.judge), by_key: state.by_key, version: state.version }
    }

    /// The tail has judged everything before `position`, and found these, in rising order.
    pub(super) fn append(
        &self,
        ticket: &ReadTicket,
        version: u64,
        position: Offset,
        found: &[Match],
        indeterminate: &[Slot],
    ) {
        let mut state = self.lock();
        let State { selectors, partitions, .. } = &mut *state;
        let current = partitions.get_mut(ticket.partition());
        let Some(tail) = current.filter(|tail| tail.epoch == ticket.epoch()) else {
            return;
        };
        // A slot may have been given away, or to another selector, since the judge was made.
        let judged = |slot: Slot| {
            let selected = selectors.get(slot.0 as usize).and_then(Option::as_ref);
            selected.filter(|selected| selected.since <= version)
        };
        for (slot, offset, key) in found {
            if let Some(selected) = judged(*slot) {
                let from = tail.position;
                let matches = tail.matches.entry(*slot);
                let matches = matches.or_insert_with(|| Matches::new(from, selected.by_key()));
                matches.push(*offset, *key);
            }
        }
        tail.position = tail.position.max(position);
        tail.fault = None;
        for (slot, matches) in &mut tail.matches {
            if judged(*slot).is_none() {
                // Selected while this batch was being judged without it.
                matches.drop_before(tail.position);
            }
        }
        for slot in indeterminate {
            if let Some(selected) = selectors.get_mut(slot.0 as usize).and_then(Option::as_mut)
                && selected.since <= version
            {
                selected.warn_of_indeterminate(&self.topic, ticket.partition(), position);
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// Everything of a backfill before `reached` has been judged, and these were found; gives the next
    /// backfill when this one is over.
    pub(super) fn append_backfill(
        self: &Arc<Self>,
        ticket: &ReadTicket,
        reached: Offset,
        found: &[Match],
        indeterminate: &[Slot],
    ) -> Option<Reading> {
        let mut state = self.lock();
        let State { selectors, partitions, .. } = &mut *state;
        let tail = partitions.get_mut(ticket.partition())?;
        let backfill =
            tail.backfill.as_mut().filter(|backfill| backfill.epoch == ticket.epoch())?;
        backfill.fault = None;
        backfill.slots.retain(|slot, since| {
            let selected = selectors.get(slot.0 as usize).and_then(Option::as_ref);
            selected.is_some_and(|selected| selected.since == *since)
        });
        for (slot, offset, key) in found {
            if backfill.slots.contains_key(slot)
                && let Some(matches) = tail.matches.get_mut(slot)
            {
                matches.push_backfill(*offset, *key);
            }
        }
        for slot in indeterminate {
            if backfill.slots.contains_key(slot)
                && let Some(selected) = selectors.get_mut(slot.0 as usize).and_then(Option::as_mut)
            {
                selected.warn_of_indeterminate(&self.topic, ticket.partition(), reached);
            }
        }
        for slot in backfill.slots.keys() {
            if let Some(matches) = tail.matches.get_mut(slot) {
                matches.reach_backfill(reached);
            }
        }
        let mut next = None;
        if reached >= backfill.until {
            tail.backfill = None;
            next = state.begin_backfill(self, ticket.partition());
        }
        drop(state);
        self.moved.notify_waiters();
        next
    }

    /// Reading failed, for the tail or for a backfill.
    pub(super) fn fail(&self, ticket: &ReadTicket, fault: Fault) {
        let mut state = self.lock();
        if let Some(tail) = state.partitions.get_mut(ticket.partition()) {
            let gone = fault.loses_position();
            if gone {
                // A backfill's stretch is no longer there; polls that come with the new log start say
                // what they want of the rest.
                tail.break_off(ticket, None);
            }
            if tail.epoch == ticket.epoch() {
                tail.fault = Some(fault);
            } else if let Some(backfill) = tail.backfill_of(ticket) {
                backfill.fault = Some(fault);
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// What kept a partition from being read is over, though there is nothing to read.
    pub(super) fn heal(&self, ticket: &ReadTicket) {
        if let Some(tail) = self.lock().partitions.get_mut(ticket.partition()) {
            if tail.epoch == ticket.epoch() {
                tail.fault = None;
            } else if let Some(backfill) = tail.backfill_of(ticket) {
                backfill.fault = None;
            }
        }
    }

    /// Reading cannot go on, and polls that wait for it fail; the next one has it begun anew.
    pub(super) fn break_off(&self, ticket: &ReadTicket, fault: Fault) {
        if let Some(tail) = self.lock().partitions.get_mut(ticket.partition()) {
            tail.break_off(ticket, Some(fault));
        }
        self.moved.notify_waiters();
    }

    /// Nobody reads for this ticket any more; where its partition is still read for it, that begins
    /// anew.
    pub(super) fn let_go(&self, ticket: &ReadTicket) {
        if let Some(tail) = self.lock().partitions.get_mut(ticket.partition()) {
            tail.break_off(ticket, None);
        }
        self.moved.notify_waiters();
    }

    /// Whether a ticket is still what its partition is read for.
    pub(super) fn wants(&self, ticket: &ReadTicket) -> bool {
        let state = self.lock();
        let tail = state.partitions.get(ticket.partition());
        tail.is_some_and(|tail| {
            let backfill = tail.backfill.as_ref().map(|backfill| backfill.epoch);
            tail.epoch == ticket.epoch() || backfill == Some(ticket.epoch())
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Epoch {
    /// The next one, which is the last given from now on.
    fn advance(&mut self) -> Epoch {
        self.0 += 1;
        *self
    }
}

impl State {
    fn slot_of(&mut self, selector: &Selector) -> Slot {
        if let Some(slot) = self.slots.get(selector)
            && let Some(selected) = &mut self.selectors[slot.0 as usize]
        {
            selected.triggers += 1;
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.selectors.push(None);
            Slot(self.selectors.len() as u32 - 1)
        });
        self.selectors[slot.0 as usize] = Some(Selected {
            selector: selector.clone(),
            triggers: 1,
            since: self.version + 1,
            indeterminate: 0,
        });
        self.slots.insert(selector.clone(), slot);
        slot
    }

    fn release(&mut self, slot: Slot) {
        let entry = &mut self.selectors[slot.0 as usize];
        if let Some(selected) = entry.as_mut() {
            selected.triggers -= 1;
            if selected.triggers == 0 {
                self.slots.remove(&selected.selector);
                *entry = None;
                self.free.push(slot);
                for tail in self.partitions.values_mut() {
                    tail.matches.remove(&slot);
                    tail.wanted.remove(&slot);
                    tail.read_again.remove(&slot);
                }
            }
        }
    }

    /// Notes from where on a trigger needs its partitions, and gives its slots, unless it has left:
    /// without any it would seem to have no matches. From time to time drops what no trigger needs any
    /// more.
    fn note_needs(&mut self, subscriber: SubscriberId, needs: &[Need]) -> Option<Vec<Slot>> {
        let subscriber = self.subscribers.get_mut(&subscriber)?;
        subscriber.needs.extend(needs.iter().map(|need| (need.partition, need.from)));
        let slots = subscriber.slots.clone();
        if self.dropped.elapsed() > DROP_EVERY {
            self.dropped = Instant::now();
            self.drop_unneeded();
        }
        Some(slots)
    }

    fn drop_unneeded(&mut self) {
        for (partition, tail) in self.partitions.iter_mut() {
            let mut least: HashMap<Slot, Offset> = HashMap::new();
            for subscriber in self.subscribers.values() {
                if let Some(need) = subscriber.needs.get(partition) {
                    for slot in &subscriber.slots {
                        let least = least.entry(*slot).or_insert(*need);
                        *least = (*least).min(*need);
                    }
                }
            }
            for (slot, matches) in &mut tail.matches {
                if let Some(least) = least.get(slot)
                    && *least <= tail.position
                {
                    matches.drop_before(*least);
                }
            }
        }
    }

    /// Makes the judge fit what is selected, if it does not.
    fn compile(&mut self) {
        let selected = || {
            let selectors = self.selectors.iter().enumerate();
            selectors.filter_map(|(slot, selected)| Some((Slot(slot as u32), selected.as_ref()?)))
        };
        self.by_key = selected().any(|(_, selected)| selected.selector.by_key);
        self.judge = Arc::new(Judge::new(
            selected().map(|(slot, selected)| (slot, selected.selector.part.clone())),
        ));
        self.version += 1;
    }

    /// Sees to it that a partition is read as a need asks, and says what keeps it from being so.
    fn ready(
        &mut self,
        topic_tail: &Arc<TopicTail>,
        slots: &[Slot],
        need: Need,
        view: View,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Progress> {
        if let Some(tail) = self.partitions.get(need.partition) {
            let truncated = need.end < need.seen.min(tail.position);
            let trimmed = need.start > tail.position;
            tail.is_whole(slots, need, view)?;
            if tail.lost.is_some() || truncated || trimmed {
                self.partitions.remove(need.partition);
            }
        }
        let State { selectors, partitions, last_epoch, span, .. } = self;
        let tail = partitions.or_insert_with(need.partition, || {
            let epoch = last_epoch.advance();
            let ticket = ReadTicket::new(Arc::clone(topic_tail), need.partition, epoch);
            let position = need.from.max(need.end.saturating_sub(*span)).min(need.end);
            readings.push(Reading::following(ticket, view.shape.id, position));
            PartitionTail {
                epoch,
                position,
                matches: HashMap::new(),
                lost: None,
                cut: None,
                fault: None,
                wanted: HashMap::new(),
                backfill: None,
                read_again: HashMap::new(),
            }
        });
        for slot in slots {
            let position = tail.position;
            let by_key = selectors[slot.0 as usize].as_ref().is_some_and(Selected::by_key);
            let matches = tail.matches.entry(*slot);
            let matches = matches.or_insert_with(|| Matches::new(position, by_key));
            if view.compacted {
                let known = matches.count(need.from);
                let last = tail.read_again.entry(*slot).or_insert(view.asked);
                if !known.complete {
                    // Being read: beginning anew for each who asks meanwhile would never end.
                    *last = view.asked.max(*last);
                } else if known.count > 0 && view.asked > *last + COMPACTED_STALE_AFTER {
                    *last = Instant::now();
                    matches.drop_before(tail.position);
                }
            }
            if matches.from() > need.from {
                let wanted = tail.wanted.entry(*slot).or_insert(need.from);
                *wanted = need.from.min(*wanted);
            }
        }
        if tail.backfill.is_none() {
            readings.extend(self.begin_backfill(topic_tail, need.partition));
        }
        Ok(())
    }

    /// The next stretch before the tail that has to be read in a partition, if any.
    fn begin_backfill(
        &mut self,
        topic_tail: &Arc<TopicTail>,
        partition: Partition,
    ) -> Option<Reading> {
        let id = self.shape?.id;
        let State { selectors, partitions, last_epoch, span, .. } = self;
        let tail = partitions.get_mut(partition)?;
        let PartitionTail { wanted, matches, .. } = tail;
        wanted.retain(|slot, from| matches.get(slot).is_some_and(|known| known.from() > *from));
        let until = wanted.keys().map(|slot| matches[slot].from()).max()?;
        let first = wanted.values().min().copied()?;
        let from = first.max(until.saturating_sub(*span));
        let epoch = last_epoch.advance();
        let mut parts = Vec::new();
        let mut backfill = Backfill { epoch, until, slots: HashMap::new(), fault: None };
        for slot in wanted.keys() {
            if let Some(known) = matches.get_mut(slot)
                && known.from() > from
                && let Some(selected) = selectors[slot.0 as usize].as_ref()
            {
                known.begin_backfill(from);
                backfill.slots.insert(*slot, selected.since);
                parts.push((*slot, selected.selector.part.clone()));
            }
        }
        let by_key = selectors.iter().flatten().any(Selected::by_key);
        tail.backfill = Some(backfill);
        let ticket = ReadTicket::new(Arc::clone(topic_tail), partition, epoch);
        Some(Reading::backfill(ticket, id, from, Judge::new(parts), by_key))
    }
}

impl PartitionTail {
    /// The backfill that a ticket is for.
    fn backfill_of(&mut self, ticket: &ReadTicket) -> Option<&mut Backfill> {
        self.backfill.as_mut().filter(|backfill| backfill.epoch == ticket.epoch())
    }

    /// Whether a slot's matches reach back to an offset.
    fn knows(&self, slot: &Slot, from: Offset) -> bool {
        self.matches.get(slot).is_some_and(|known| known.from() <= from)
    }

    /// Ends what is read for this ticket, if it still is.
    fn break_off(&mut self, ticket: &ReadTicket, fault: Option<Fault>) {
        let at = Instant::now();
        if self.epoch == ticket.epoch() {
            // Whoever fails is told first, and lets go afterwards.
            let fault = fault.or_else(|| self.lost.take().and_then(|lost| lost.fault));
            self.lost = Some(Break { at, fault });
        } else if self.backfill_of(ticket).is_some() {
            self.cut = Some(Break { at, fault });
            self.backfill = None;
            self.wanted.clear();
        }
    }

    /// Whether nothing has broken off since a poll asked, and what to tell it otherwise.
    fn is_whole(&self, slots: &[Slot], need: Need, view: View) -> Result<(), Progress> {
        let of = |end: &Option<Break>| {
            end.as_ref().filter(|end| end.at >= view.asked).map(|end| end.fault.clone())
        };
        let knows = |slot| self.knows(slot, need.from);
        let fault = match (of(&self.lost), of(&self.cut)) {
            (None, None) => return Ok(()),
            (Some(Some(fault)), _) => Some(fault),
            // Whoever does not need the backfill only asks again.
            (_, Some(fault)) if !slots.iter().all(knows) => fault,
            _ => None,
        };
        Err(fault.map_or(Progress::Outdated, Progress::Failed))
    }
}

impl Selected {
    fn by_key(&self) -> bool {
        self.selector.by_key
    }

    /// Logs once that there is a record of which it cannot be told whether it matches: a flood of such
    /// records must not flood the log.
    fn warn_of_indeterminate(&mut self, topic: &Topic, partition: Partition, before: Offset) {
        self.indeterminate += 1;
        if self.indeterminate == 1 {
            let selection = &self.selector.part;
            tracing::warn!(
                %topic,
                partition,
                before,
                %selection,
                "a record cannot be judged: it lacks what a trigger selects by, and does not count"
            );
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kafka::broker::TopicId;
    use crate::selection::EventTypeFrom;

    pub(in crate::kafka) fn view() -> View {
        let shape = TopicShape { id: TopicId::of(1), partitions: 1 };
        View { shape, compacted: false, asked: Instant::now() }
    }

    pub(in crate::kafka) fn need(from: Offset, end: Offset) -> Need {
        Need { partition: 0, from, start: 0, end, seen: 0 }
    }

    pub(in crate::kafka) fn every_record() -> Selector {
        Selector { part: Part::All, by_key: false }
    }

    #[test]
    fn who_has_left_is_told_to_ask_again_and_not_that_there_is_nothing() {
        let topic_tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = topic_tail.follow(&[every_record()]);
        topic_tail.leave(subscriber);
        let seen = topic_tail.look(subscriber, &[need(0, 0), need(0, 10)], view());
        assert_eq!(seen.state, Progress::Outdated);
        assert!(seen.readings.is_empty(), "nobody would end them");
        assert_eq!(topic_tail.keys(subscriber, &[need(0, 10)]), None);
    }

    #[test]
    fn what_is_indeterminate_is_noted_in_backfills_too() {
        let topic_tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = topic_tail.follow(&[every_record()]);
        let readings = topic_tail.look(subscriber, &[need(0, 2 * BACKFILL_SPAN)], view()).readings;
        let noted =
            || topic_tail.lock().selectors[0].as_ref().map(|selected| selected.indeterminate);
        topic_tail.append_backfill(readings[1].ticket(), BACKFILL_SPAN + 1, &[], &[Slot(0)]);
        assert_eq!(noted(), Some(1));
        let version = topic_tail.judging().version;
        topic_tail.append(readings[0].ticket(), version, 2 * BACKFILL_SPAN, &[], &[Slot(0)]);
        assert_eq!(noted(), Some(2));
    }

    #[test]
    fn a_slot_is_given_to_one_selector_at_a_time_and_then_to_another() {
        let topic_tail = TopicTail::new(Topic::from("t"));
        let selector = |name: &str| {
            let from = EventTypeFrom::default();
            Selector { part: Part::Type { from, name: name.into() }, by_key: false }
        };
        let names = |range: std::ops::Range<u32>| range.map(|n| selector(&n.to_string())).collect();
        let first: Vec<Selector> = names(0..1_000);
        let first = topic_tail.follow(&first);
        let second: Vec<Selector> = names(500..1_500);
        let second = topic_tail.follow(&second);
        topic_tail.leave(first);
        let third: Vec<Selector> = names(1_000..2_000);
        let third = topic_tail.follow(&third);
        let state = topic_tail.lock();
        let slots = |subscriber| state.subscribers[&subscriber].slots.iter().copied();
        let all: HashSet<Slot> = slots(second).chain(slots(third)).collect();
        assert_eq!(all.len(), 1_500, "500 are shared");
        assert_eq!(state.selectors.len(), 1_500, "and 500 were free");
    }

    #[test]
    fn a_reading_that_is_dropped_is_handed_out_again() {
        let topic_tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = topic_tail.follow(&[every_record()]);
        // The tail begins near the end, so that there is a backfill before it.
        let needs = [need(0, 2 * BACKFILL_SPAN)];
        for round in 0..2 {
            let seen = topic_tail.look(subscriber, &needs, view());
            let backfills: Vec<bool> = seen.readings.iter().map(Reading::is_backfill).collect();
            assert_eq!(backfills, [false, true], "round {round}");
        }
        let early = view();
        let mut seen = topic_tail.look(subscriber, &needs, early);
        let kept = seen.readings.remove(0);
        drop(seen.readings);
        assert_eq!(
            topic_tail.look(subscriber, &needs, early).state,
            Progress::Outdated,
            "the backfill is lost"
        );
        let again = topic_tail.look(subscriber, &needs, view()).readings;
        assert!(again.len() == 1 && again[0].is_backfill(), "the tail is kept");
        drop((kept, again));
        assert_eq!(
            topic_tail.look(subscriber, &needs, early).state,
            Progress::Outdated,
            "both are lost"
        );
    }

    #[test]
    fn where_judging_breaks_off_polls_fail_and_the_next_begins_anew() {
        let topic_tail = Arc::new(TopicTail::new(Topic::from("t")));
        let far = topic_tail.follow(&[every_record()]);
        let near = topic_tail.follow(&[every_record()]);
        let (needs, close) =
            ([need(0, 2 * BACKFILL_SPAN)], [need(2 * BACKFILL_SPAN, 2 * BACKFILL_SPAN)]);
        let early = view();
        let readings = topic_tail.look(far, &needs, early).readings;
        topic_tail.break_off(readings[1].ticket(), Fault::panicked());
        assert_eq!(topic_tail.look(far, &needs, early).state, Progress::Failed(Fault::panicked()));
        let state = topic_tail.look(near, &close, early).state;
        assert_eq!(state, Progress::Outdated, "it does not need the backfill");
        assert_eq!(topic_tail.look(near, &close, view()).state, Progress::Complete);
        topic_tail.break_off(readings[0].ticket(), Fault::panicked());
        drop(readings);
        assert_eq!(topic_tail.look(near, &close, early).state, Progress::Failed(Fault::panicked()));
        assert_eq!(topic_tail.look(far, &needs, view()).readings.len(), 2);
    }
}
