//! How far one topic has been read for all triggers on it, and what was found there.
//!
//! A [`TopicTail`] is the state of one topic that polls and the reading threads share: what is
//! selected on it ([`TailSelector`]s, each with a slot), and per partition how far the tail has
//! come and where each selector matches. Polls only look and say what they miss
//! ([`TopicTail::look`]); the threads only add what they read ([`TopicTail::append`],
//! [`TopicTail::append_backfill`]). Neither does I/O under the lock, and a record is judged outside
//! it.
//!
//! A partition's tail begins where the first poll needs it, but not far from the end. A poll may
//! need what lies before: for a selector that is newer than the tail, or for a group that lies
//! further back. That is read by a *backfill*: backwards from what is known, in stretches of
//! bounded length, each for all selectors that miss something there. So a group that is close to
//! the end never waits for one that is a hundred million records behind.
//!
//! An [`Epoch`] tells what belongs together. A partition that has to be read anew (its topic was
//! made again, its log truncated or trimmed past the tail) gets a new one, and so does each
//! backfill. Whatever a thread still brings of an old one is dropped.
//!
//! Matches are charged to the namespaces whose triggers select them. Where those have no room left,
//! the earliest are let go of, and a count that reaches back to them is a lower bound. When nothing
//! is left of a lower bound they are read again from time to time, so that there is an answer again
//! once there is room.
//!
//! - `selectors`: what is selected · `partition`: a partition, its states and what leads from one
//!   to the next
//! - `times`: when records were written · `look`: what a poll needs, and sees · `reading`: what a tail has others read
//!
//! # References
//! - KIP-98: under `read_committed` a partition ends at the last stable offset, and control records
//!   and aborted records take offsets but are not delivered
//! - KIP-516: a topic that is made again has another id

mod look;
mod partition;
mod reading;
mod selectors;
mod times;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) use self::look::{Indeterminate, Judged, Match, Need, Progress, View};
pub(super) use self::partition::Epoch;
use self::partition::{Backfill, Break, Kept, PartitionTail, Stretch};
pub(super) use self::reading::{ReadTicket, Reading};
use self::selectors::Selectors;
pub(super) use self::selectors::{Judging, SelectorVersion, TailSelector};
pub(super) use self::times::Timestamp;
use super::broker::TopicShape;
use super::by_partition::ByPartition;
use super::fault::Fault;
use super::index::MAX_KEYS;
use super::names::{Offset, Partition, Topic};
use crate::ledger::Account;
use crate::lock::lock;
use crate::selection::{Selector, Sight, Slot};

/// How many offsets one backfill spans: half a second of reading, which is what a poll waits at
/// most for the backfills of others.
const BACKFILL_SPAN: Offset = 250_000;

/// How often matches that every group has passed are dropped.
const DROP_EVERY: Duration = Duration::from_secs(5);

/// One topic as it is tailed.
pub(super) struct TopicTail {
    topic: Topic,
    state: Mutex<State>,
    moved: Notify,
}

/// What a look gave.
pub(super) struct Seen {
    /// For each need how many matches are known, all selectors together.
    pub(super) counts: Vec<u64>,
    /// Whether some that are known of were let go of, so that the counts are lower bounds.
    pub(super) are_more: bool,
    pub(super) state: Progress,
    /// What the readers have to do for the rest.
    pub(super) readings: Vec<Reading>,
}

/// A trigger on a topic, as its tail knows it.
pub(super) type SubscriberId = u64;

struct State {
    /// How many offsets a backfill spans.
    span: Offset,
    shape: Option<TopicShape>,
    selectors: Selectors,
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
    /// Pays for what is found for it.
    account: Account,
    slots: Vec<Slot>,
    /// From where on it last needed each partition.
    needs: ByPartition<Offset>,
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
                selectors: Selectors::new(),
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

    /// Adds a trigger with what it selects; `account` pays for what is found for it.
    pub(super) fn follow(&self, selectors: &[TailSelector], account: &Account) -> SubscriberId {
        let mut state = self.lock();
        let (slots, joined) = state.selectors.add(selectors, account);
        state.recover(&joined);
        state.last_subscriber += 1;
        let id = state.last_subscriber;
        let (account, needs) = (account.clone(), ByPartition::new());
        state.subscribers.insert(id, Subscriber { account, slots, needs });
        id
    }

    /// Lets go of what one trigger selected; true when nobody is left.
    pub(super) fn leave(&self, subscriber: SubscriberId) -> bool {
        let mut state = self.lock();
        if let Some(Subscriber { account, slots, .. }) = state.subscribers.remove(&subscriber) {
            let empty = state.selectors.remove(&slots, &account);
            state.forget(&empty);
            state.repay(&slots);
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

    /// Counts the matches of a trigger's selectors as far as they are known, and says what is
    /// missing.
    pub(super) fn look(
        self: &Arc<Self>,
        subscriber: SubscriberId,
        needs: &[Need],
        view: View,
    ) -> Seen {
        let mut state = self.lock();
        let mut seen = Seen {
            counts: vec![0; needs.len()],
            are_more: false,
            state: Progress::Complete,
            readings: Vec::new(),
        };
        let Some(slots) = state.note_needs(subscriber, needs) else {
            seen.state = Progress::Outdated;
            return seen;
        };
        if state.shape.is_some_and(|known| known.id != view.shape.id) {
            // The topic was deleted and made again: nothing that was read is true of it.
            state.partitions.clear();
            state.selectors.forget_seen();
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
            for kept in slots.iter().filter_map(|slot| tail.matches.get(slot)) {
                let counted = kept.count(need.from);
                *count += counted.count;
                seen.are_more |= counted.are_more;
                if !counted.complete {
                    missing = missing.max(kept.from() - need.from);
                }
            }
            behind += missing;
            judged += need.end.saturating_sub(need.from).saturating_sub(missing);
        }
        if seen.state == Progress::Complete && behind > 0 {
            let fault = needs
                .iter()
                .find_map(|need| state.partitions.get(need.partition)?.fault(&slots, *need));
            seen.state = match fault.cloned() {
                Some(fault) if fault.is_lasting() => Progress::Failed(fault),
                fault => Progress::Reading { judged, behind, fault },
            };
        }
        seen
    }

    /// How many distinct keys match at or after each need, all partitions together, and whether
    /// there may be more; `None` for a trigger that has left.
    pub(super) fn keys(&self, subscriber: SubscriberId, needs: &[Need]) -> Option<(u64, bool)> {
        let state = self.lock();
        let slots = &state.subscribers.get(&subscriber)?.slots;
        let mut keys = HashSet::new();
        let mut are_more = false;
        for need in needs {
            if let Some(tail) = state.partitions.get(need.partition) {
                for slot in slots {
                    if let Some(kept) = tail.matches.get(slot) {
                        are_more |= kept.matches().collect_keys(need.from, &mut keys);
                        // As many as one partition keeps are as good as all.
                        if keys.len() > MAX_KEYS {
                            return Some((MAX_KEYS as u64, true));
                        }
                    }
                }
            }
        }
        Some((keys.len() as u64, are_more))
    }

    /// How many matches are known of each of a trigger's selectors, from where on it last needed
    /// them; in the selectors' order.
    pub(super) fn by_selector(&self, subscriber: SubscriberId) -> Vec<(Selector, u64)> {
        let state = self.lock();
        let Some(Subscriber { slots, needs, .. }) = state.subscribers.get(&subscriber) else {
            return Vec::new();
        };
        let count = |slot: &Slot| {
            let selected = &state.selectors.get(*slot)?.selector.selector;
            let kept = needs.iter().filter_map(|(partition, from)| {
                let kept = state.partitions.get(partition)?.matches.get(slot)?;
                Some(kept.count(*from).count)
            });
            Some((selected.clone(), kept.sum()))
        };
        slots.iter().filter_map(count).collect()
    }

    /// What was seen of late among the records that wait for a trigger, as of its last look; `None`
    /// where every record counts for it.
    pub(super) fn sight(&self, subscriber: SubscriberId) -> Option<Sight> {
        let state = self.lock();
        let Subscriber { slots, needs, .. } = state.subscribers.get(&subscriber)?;
        // Its slots differ in the types that they want, and see the same.
        state.selectors.sight(*slots.first()?, |at| {
            needs.get(at.partition).is_some_and(|from| at.number >= *from)
        })
    }

    /// About when the oldest record was written that waits for a trigger, as of its last look;
    /// `None` where there is none, or where keys are told apart.
    pub(super) fn oldest(&self, subscriber: SubscriberId) -> Option<Timestamp> {
        let state = self.lock();
        let Subscriber { slots, needs, .. } = state.subscribers.get(&subscriber)?;
        let tails = needs
            .iter()
            .filter_map(|(partition, from)| Some((state.partitions.get(partition)?, *from)));
        tails.filter_map(|(tail, from)| tail.oldest(slots, from)).min()
    }

    /// What the tail's next batch is judged with.
    pub(super) fn judging(&self) -> Judging {
        self.lock().selectors.judging()
    }

    /// The tail has judged everything before `position`.
    pub(super) fn append(
        &self,
        ticket: &ReadTicket,
        version: SelectorVersion,
        position: Offset,
        judged: Judged<'_>,
    ) {
        let mut state = self.lock();
        let State { selectors, partitions, .. } = &mut *state;
        let current = partitions.get_mut(ticket.partition());
        let Some(partition) = current.filter(|of| of.tail.epoch() == Some(ticket.epoch())) else {
            return;
        };
        partition.append(selectors, version, position, judged);
        for (slot, offset, reason) in judged.indeterminate {
            if let Some(selected) = selectors.get_mut(*slot)
                && selected.since <= version
            {
                selected.warn_of_indeterminate(&self.topic, ticket.partition(), *offset, *reason);
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// Everything of a backfill before `reached` has been judged; gives the next backfill when this
    /// one is over.
    pub(super) fn append_backfill(
        self: &Arc<Self>,
        ticket: &ReadTicket,
        reached: Offset,
        judged: Judged<'_>,
    ) -> Option<Reading> {
        let mut state = self.lock();
        let State { selectors, partitions, .. } = &mut *state;
        let partition = partitions.get_mut(ticket.partition())?;
        if partition.backfill.epoch() != Some(ticket.epoch()) {
            return None;
        }
        for (slot, offset, reason) in judged.indeterminate {
            if partition.is_backfilled(*slot)
                && let Some(selected) = selectors.get_mut(*slot)
            {
                selected.warn_of_indeterminate(&self.topic, ticket.partition(), *offset, *reason);
            }
        }
        partition.append_backfill(selectors, reached, judged);
        let is_over = partition.backfill == Backfill::Idle;
        let next = is_over.then(|| state.begin_backfill(self, ticket.partition())).flatten();
        drop(state);
        self.moved.notify_waiters();
        next
    }

    /// Reading failed, for the tail or for a backfill. Where the log does not hold the position any
    /// more, it is over; polls that come with the new log start say what they want of the rest.
    pub(super) fn fail(&self, ticket: &ReadTicket, fault: Fault) {
        self.change(ticket, |partition| {
            if fault.loses_position() {
                partition.break_off(ticket.epoch(), Break { at: Instant::now(), fault: None });
            } else {
                partition.fail(ticket.epoch(), fault);
            }
        });
    }

    /// What kept a partition from being read is over, though there is nothing to read.
    pub(super) fn heal(&self, ticket: &ReadTicket) {
        if let Some(partition) = self.lock().partitions.get_mut(ticket.partition()) {
            partition.heal(ticket.epoch());
        }
    }

    /// Reading cannot go on, and polls that wait for it fail; the next one has it begun anew.
    pub(super) fn break_off(&self, ticket: &ReadTicket, fault: Fault) {
        let end = Break { at: Instant::now(), fault: Some(fault) };
        self.change(ticket, |partition| partition.break_off(ticket.epoch(), end));
    }

    /// Nobody reads for this ticket any more; where its partition is still read for it, that begins
    /// anew.
    pub(super) fn let_go(&self, ticket: &ReadTicket) {
        let end = Break { at: Instant::now(), fault: None };
        self.change(ticket, |partition| partition.break_off(ticket.epoch(), end));
    }

    /// Whether a ticket is still what its partition is read for.
    pub(super) fn wants(&self, ticket: &ReadTicket) -> bool {
        let state = self.lock();
        let partition = state.partitions.get(ticket.partition());
        partition.is_some_and(|partition| partition.is_read_under(ticket.epoch()))
    }

    fn change(&self, ticket: &ReadTicket, change: impl FnOnce(&mut PartitionTail)) {
        if let Some(partition) = self.lock().partitions.get_mut(ticket.partition()) {
            change(partition);
        }
        self.moved.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Drops what was found for selectors that nobody has any more.
    fn forget(&mut self, slots: &[Slot]) {
        for partition in self.partitions.values_mut() {
            for slot in slots {
                partition.matches.remove(slot);
                partition.wanted.remove(slot);
                partition.read_again.remove(slot);
            }
        }
    }

    /// Has matches read again that were let go of, as there is one more who may pay for them.
    fn recover(&mut self, slots: &[Slot]) {
        for partition in self.partitions.values_mut() {
            for slot in slots {
                if let Some(kept) = partition.matches.get_mut(slot)
                    && kept.matches().has_let_go()
                {
                    kept.drop_before(partition.position);
                }
            }
        }
    }

    /// Has those pay for matches who still have them.
    fn repay(&mut self, slots: &[Slot]) {
        let State { selectors, partitions, .. } = self;
        for partition in partitions.values_mut() {
            for slot in slots {
                if let Some(selected) = selectors.get(*slot)
                    && let Some(kept) = partition.matches.get_mut(slot)
                {
                    kept.repay(&selected.payers);
                }
            }
        }
    }

    /// Notes from where on a trigger needs its partitions, and gives its slots, unless it has left:
    /// without any it would seem to have no matches. From time to time drops what no trigger needs
    /// any more.
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
            let needs = || self.subscribers.values().filter_map(|of| of.needs.get(partition));
            if let Some(least) = needs().min() {
                tail.times.drop_before(*least);
            }
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

    /// Sees to it that a partition is read as a need asks, and says what keeps it from being so.
    fn ready(
        &mut self,
        topic_tail: &Arc<TopicTail>,
        slots: &[Slot],
        need: Need,
        view: View,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Progress> {
        if let Some(partition) = self.partitions.get(need.partition) {
            partition.is_whole(slots, need, view)?;
            if partition.is_past(need) {
                self.partitions.remove(need.partition);
            }
        }
        let State { selectors, partitions, last_epoch, span, .. } = self;
        let partition = partitions.or_insert_with(need.partition, || {
            let epoch = last_epoch.advance();
            let ticket = ReadTicket::new(Arc::clone(topic_tail), need.partition, epoch);
            let position = need.from.max(need.end.saturating_sub(*span)).min(need.end);
            readings.push(Reading::following(ticket, view.shape.id, position));
            PartitionTail::new(epoch, position)
        });
        for slot in slots {
            if let Some(selected) = selectors.get(*slot) {
                let wanted = partition.want(*slot, selected, need.from, view);
                wanted.map_err(Progress::Failed)?;
            }
        }
        if partition.backfill.epoch().is_none() {
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
        let PartitionTail { wanted, matches, backfill, .. } = tail;
        wanted.retain(|slot, from| matches.get(slot).is_some_and(|known| known.from() > *from));
        let known_from = |slot: &Slot| matches.get(slot).map(Kept::from);
        let until = wanted.keys().filter_map(known_from).max()?;
        let first = wanted.values().min().copied()?;
        let from = first.max(until.saturating_sub(*span));
        let epoch = last_epoch.advance();
        let mut lacking = Vec::new();
        let mut stretch = Stretch { epoch, until, slots: HashMap::new(), fault: None };
        for slot in wanted.keys() {
            if let Some(known) = matches.get_mut(slot)
                && known.from() > from
                && let Some(selected) = selectors.get(*slot)
            {
                known.begin_backfill(from);
                stretch.slots.insert(*slot, selected.since);
                lacking.push((*slot, selected.selector.selector.clone()));
            }
        }
        *backfill = Backfill::Running(stretch);
        let ticket = ReadTicket::new(Arc::clone(topic_tail), partition, epoch);
        let judge = selectors.judge_of(lacking);
        Some(Reading::backfill(ticket, id, from, judge, selectors.by_key()))
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kafka::broker::TopicId;
    use crate::ledger::Ledger;
    use crate::selection::{Reason, Selector};

    pub(in crate::kafka) fn view() -> View {
        let shape = TopicShape { id: TopicId::of(1), partitions: 1 };
        View { shape, compacted: false, asked: Instant::now() }
    }

    pub(in crate::kafka) fn need(from: Offset, end: Offset) -> Need {
        Need { partition: 0, from, start: 0, end, seen: 0 }
    }

    /// Of a namespace with more memory than is needed.
    pub(in crate::kafka) fn account() -> Account {
        Ledger::new(100_000_000).account("shop")
    }

    pub(in crate::kafka) fn every_record() -> TailSelector {
        TailSelector { selector: Selector::All, by_key: false }
    }

    #[test]
    fn who_has_left_is_told_to_ask_again_and_not_that_there_is_nothing() {
        let topic_tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = topic_tail.follow(&[every_record()], &account());
        topic_tail.leave(subscriber);
        let seen = topic_tail.look(subscriber, &[need(0, 0), need(0, 10)], view());
        assert_eq!(seen.state, Progress::Outdated);
        assert!(seen.readings.is_empty(), "nobody would end them");
        assert_eq!(topic_tail.keys(subscriber, &[need(0, 10)]), None);
    }

    #[test]
    fn what_is_indeterminate_is_noted_in_backfills_too() {
        let topic_tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = topic_tail.follow(&[every_record()], &account());
        let readings = topic_tail.look(subscriber, &[need(0, 2 * BACKFILL_SPAN)], view()).readings;
        let noted =
            || topic_tail.lock().selectors.get(Slot(0)).map(|selected| selected.indeterminate);
        let judged = Judged { indeterminate: &[(Slot(0), 0, Reason::NoBody)], ..Judged::default() };
        topic_tail.append_backfill(readings[1].ticket(), BACKFILL_SPAN + 1, judged);
        assert_eq!(noted(), Some(1));
        let version = topic_tail.judging().version;
        topic_tail.append(readings[0].ticket(), version, 2 * BACKFILL_SPAN, judged);
        assert_eq!(noted(), Some(2));
    }

    #[test]
    fn a_reading_that_is_dropped_is_handed_out_again() {
        let topic_tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = topic_tail.follow(&[every_record()], &account());
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
        let far = topic_tail.follow(&[every_record()], &account());
        let near = topic_tail.follow(&[every_record()], &account());
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
