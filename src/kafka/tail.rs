//! How far one topic has been read for all triggers on it, and what was found there.
//!
//! A [`Log`] is the state of one topic that polls and the reading threads share: which things are
//! selected on it ([`Part`]s, each with a slot), and per partition how far the tail has come and
//! where each thing matches. Polls only look and say what they miss ([`Log::look`]); the threads
//! only add what they read ([`Log::append`], [`Log::append_earlier`]). Neither does I/O under the
//! lock, and a record is judged outside it.
//!
//! A partition's tail begins where the first poll needs it, but not far from the end. A poll that
//! needs an earlier stretch, for a thing that was not selected when the tail came by or for a group
//! that lies further back, has it read by a second reader: backwards from what is known, in passes
//! of bounded length, each for all things that miss something there. So a group that is close to
//! the end never waits for one that is a hundred million records behind.
//!
//! What belongs together is told by `run`: a partition that has to be read anew (its topic was made
//! again, its log truncated or trimmed past the tail) gets a new run, and whatever a thread still
//! brings of the old one is dropped. A thing that is selected while a batch is being judged is told
//! by `version`, and speaks for the log only from after that batch.
//!
//! # References
//! - KIP-98: under `read_committed` a partition ends at the last stable offset, and control records
//!   and aborted records take offsets but are not delivered
//! - KIP-516: a topic that is made again has another id

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::Kind;
use super::index::{KeyHash, MAX_KEYS, Matches};
use super::librdkafka::{Fault, Layout};
use super::names::{Offset, Partition, Topic};
use super::reader::{Reading, Seat};
use crate::lock::lock;
use crate::selection::{Judge, Part, Slot};

/// A record that a compacted topic once held may be gone; matches in one are read again when they
/// were last read longer ago than this.
const COMPACTED_STALE_AFTER: Duration = Duration::from_secs(1);

/// How many offsets one pass of the second reader spans: half a second of reading, which is what a
/// poll waits at most for the passes of others.
const PASS: Offset = 250_000;

/// How often matches that every group has passed are dropped.
const DROP_EVERY: Duration = Duration::from_secs(5);

/// One topic as it is tailed.
pub(super) struct Log {
    topic: Topic,
    state: Mutex<State>,
    moved: Notify,
}

/// One thing selected on a topic, by one trigger or many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Thing {
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
    pub(super) layout: Layout,
    /// Whether records may vanish from the middle of the log.
    pub(super) compacted: bool,
    /// When the ends were asked for.
    pub(super) asked: Instant,
}

/// What a look gave.
pub(super) struct Seen {
    /// For each need how many matches are known, all things together.
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

/// A trigger on a topic, as its log knows it.
pub(super) type FollowerId = u64;

/// A match that a reader found.
pub(super) type Found = (Slot, Offset, KeyHash);

struct State {
    layout: Option<Layout>,
    /// By slot.
    things: Vec<Option<Selected>>,
    slots: HashMap<Thing, Slot>,
    /// Slots that hold nothing.
    free: Vec<Slot>,
    judge: Arc<Judge>,
    by_key: bool,
    version: u64,
    /// The last run given to a partition or a pass.
    runs: u64,
    partitions: BTreeMap<Partition, Tail>,
    followers: HashMap<FollowerId, Following>,
    last_follower: FollowerId,
    /// When matches that nobody needs were last dropped.
    dropped: Instant,
}

/// One trigger on the topic.
struct Following {
    slots: Vec<Slot>,
    /// From where on it last needed each partition.
    needs: BTreeMap<Partition, Offset>,
}

struct Selected {
    thing: Thing,
    triggers: usize,
    /// The version of the judge that first had it.
    since: u64,
    /// How many records could not be judged for it.
    unjudged: u64,
}

struct Tail {
    run: u64,
    /// Every record before this has been judged.
    position: Offset,
    /// By slot.
    matches: HashMap<Slot, Matches>,
    lost: Option<Break>,
    /// The same of a pass.
    cut: Option<Break>,
    fault: Option<Fault>,
    /// From where on a slot's matches are wanted, where they do not reach that far back.
    wanted: HashMap<Slot, Offset>,
    pass: Option<Pass>,
    /// When the matches of a slot were last read again, on a compacted topic.
    read_again: HashMap<Slot, Instant>,
}

/// The end of a reading before its time, which must begin anew.
struct Break {
    at: Instant,
    /// What a poll that needed it fails with; without it the poll asks again.
    fault: Option<Fault>,
}

/// A second reading of a stretch before the tail.
struct Pass {
    run: u64,
    until: Offset,
    /// With the version since which each is selected.
    slots: HashMap<Slot, u64>,
}

impl Log {
    pub(super) fn new(topic: Topic) -> Log {
        Log {
            topic,
            state: Mutex::new(State {
                layout: None,
                things: Vec::new(),
                slots: HashMap::new(),
                free: Vec::new(),
                judge: Arc::new(Judge::new([])),
                by_key: false,
                version: 0,
                runs: 0,
                partitions: BTreeMap::new(),
                followers: HashMap::new(),
                last_follower: 0,
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

    /// Selects things for one more trigger.
    pub(super) fn follow(&self, things: &[Thing]) -> FollowerId {
        let mut state = self.lock();
        let known = state.slots.len();
        let slots = things.iter().map(|thing| state.slot_of(thing)).collect();
        if state.slots.len() > known {
            state.compile();
        }
        state.last_follower += 1;
        let id = state.last_follower;
        state.followers.insert(id, Following { slots, needs: BTreeMap::new() });
        id
    }

    /// Lets go of what one trigger selected; true when nobody is left.
    pub(super) fn leave(&self, follower: FollowerId) -> bool {
        let mut state = self.lock();
        let known = state.slots.len();
        if let Some(following) = state.followers.remove(&follower) {
            for slot in following.slots {
                state.release(slot);
            }
        }
        if state.slots.len() < known {
            state.compile();
        }
        state.followers.is_empty()
    }

    /// The partitions being tailed.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.lock().partitions.keys().copied().collect()
    }

    /// How far the tail has come in each partition, and the layout that this is true of.
    pub(super) fn positions(&self) -> BTreeMap<Partition, Offset> {
        let state = self.lock();
        let positions = state.partitions.iter();
        positions.map(|(partition, tail)| (*partition, tail.position)).collect()
    }

    /// Counts the matches of a trigger's things as far as they are known, and says what is missing.
    pub(super) fn look(self: &Arc<Self>, follower: FollowerId, needs: &[Need], view: View) -> Seen {
        let mut state = self.lock();
        let mut seen =
            Seen { counts: vec![0; needs.len()], state: Progress::Complete, readings: Vec::new() };
        let Some(slots) = state.note_needs(follower, needs) else {
            seen.state = Progress::Outdated;
            return seen;
        };
        if state.layout.is_some_and(|known| known.id != view.layout.id) {
            // The topic was deleted and made again: nothing that was read is true of it.
            state.partitions.clear();
        }
        state.layout = Some(view.layout);
        let (mut judged, mut behind) = (0, 0);
        for (need, count) in needs.iter().zip(&mut seen.counts) {
            if let Err(verdict) = state.ready(self, &slots, *need, view, &mut seen.readings) {
                if !matches!(seen.state, Progress::Failed(_)) {
                    seen.state = verdict;
                }
                continue;
            }
            let tail = &state.partitions[&need.partition];
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
                let tail = state.partitions.get(&need.partition)?;
                tail.fault.clone().filter(Fault::is_lasting)
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
    pub(super) fn keys(&self, follower: FollowerId, needs: &[Need]) -> Option<(u64, bool)> {
        let state = self.lock();
        let slots = &state.followers.get(&follower)?.slots;
        let mut keys = HashSet::new();
        let mut all = true;
        for need in needs {
            if let Some(tail) = state.partitions.get(&need.partition) {
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
        seat: &Seat,
        version: u64,
        position: Offset,
        found: &[Found],
        unjudged: &[Slot],
    ) {
        let mut state = self.lock();
        let State { things, partitions, .. } = &mut *state;
        let current = partitions.get_mut(&seat.partition());
        let Some(tail) = current.filter(|tail| tail.run == seat.run()) else {
            return;
        };
        // A slot may have been given away, or to another thing, since the judge was made.
        let judged = |slot: Slot| {
            let selected = things.get(slot.0 as usize).and_then(Option::as_ref);
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
        for slot in unjudged {
            if let Some(selected) = things.get_mut(slot.0 as usize).and_then(Option::as_mut)
                && selected.since <= version
            {
                selected.warn_of_unjudged(&self.topic, seat.partition(), position);
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// The second reader has judged everything of its pass before `reached`, and found these; gives
    /// the next pass when this one is over.
    pub(super) fn append_earlier(
        self: &Arc<Self>,
        seat: &Seat,
        reached: Offset,
        found: &[Found],
        unjudged: &[Slot],
    ) -> Option<Reading> {
        let mut state = self.lock();
        let State { things, partitions, .. } = &mut *state;
        let tail = partitions.get_mut(&seat.partition())?;
        let pass = tail.pass.as_mut().filter(|pass| pass.run == seat.run())?;
        pass.slots.retain(|slot, since| {
            let selected = things.get(slot.0 as usize).and_then(Option::as_ref);
            selected.is_some_and(|selected| selected.since == *since)
        });
        for (slot, offset, key) in found {
            if pass.slots.contains_key(slot)
                && let Some(matches) = tail.matches.get_mut(slot)
            {
                matches.push_earlier(*offset, *key);
            }
        }
        for slot in unjudged {
            if pass.slots.contains_key(slot)
                && let Some(selected) = things.get_mut(slot.0 as usize).and_then(Option::as_mut)
            {
                selected.warn_of_unjudged(&self.topic, seat.partition(), reached);
            }
        }
        for slot in pass.slots.keys() {
            if let Some(matches) = tail.matches.get_mut(slot) {
                matches.reach_earlier(reached);
            }
        }
        let mut next = None;
        if reached >= pass.until {
            tail.pass = None;
            next = state.begin_pass(self, seat.partition());
        }
        drop(state);
        self.moved.notify_waiters();
        next
    }

    /// Reading failed, for the tail or for a pass.
    pub(super) fn fail(&self, seat: &Seat, fault: Fault) {
        let mut state = self.lock();
        if let Some(tail) = state.partitions.get_mut(&seat.partition()) {
            let gone = fault.loses_position();
            if gone {
                // Of a pass the stretch is no longer there; polls that come with the new log start say
                // what they want of the rest.
                tail.break_off(seat, None);
            }
            if tail.run == seat.run() {
                tail.fault = Some(fault);
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// Reading cannot go on, and polls that wait for it fail; the next one has it begun anew.
    pub(super) fn break_off(&self, seat: &Seat, fault: Fault) {
        if let Some(tail) = self.lock().partitions.get_mut(&seat.partition()) {
            tail.break_off(seat, Some(fault));
        }
        self.moved.notify_waiters();
    }

    /// Nobody reads for this seat any more; where its partition is still read for it, that begins anew.
    pub(super) fn let_go(&self, seat: &Seat) {
        if let Some(tail) = self.lock().partitions.get_mut(&seat.partition()) {
            tail.break_off(seat, None);
        }
        self.moved.notify_waiters();
    }

    /// Whether a seat is still what its partition is read for.
    pub(super) fn wants(&self, seat: &Seat) -> bool {
        let state = self.lock();
        let tail = state.partitions.get(&seat.partition());
        tail.is_some_and(|tail| {
            let pass = tail.pass.as_ref().map(|pass| pass.run);
            tail.run == seat.run() || pass == Some(seat.run())
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn slot_of(&mut self, thing: &Thing) -> Slot {
        if let Some(slot) = self.slots.get(thing)
            && let Some(selected) = &mut self.things[slot.0 as usize]
        {
            selected.triggers += 1;
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            Slot(self.things.len() as u32 - 1)
        });
        self.things[slot.0 as usize] = Some(Selected {
            thing: thing.clone(),
            triggers: 1,
            since: self.version + 1,
            unjudged: 0,
        });
        self.slots.insert(thing.clone(), slot);
        slot
    }

    fn release(&mut self, slot: Slot) {
        let entry = &mut self.things[slot.0 as usize];
        if let Some(selected) = entry.as_mut() {
            selected.triggers -= 1;
            if selected.triggers == 0 {
                self.slots.remove(&selected.thing);
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
    fn note_needs(&mut self, follower: FollowerId, needs: &[Need]) -> Option<Vec<Slot>> {
        let following = self.followers.get_mut(&follower)?;
        following.needs.extend(needs.iter().map(|need| (need.partition, need.from)));
        let slots = following.slots.clone();
        if self.dropped.elapsed() > DROP_EVERY {
            self.dropped = Instant::now();
            self.drop_unneeded();
        }
        Some(slots)
    }

    fn drop_unneeded(&mut self) {
        for (partition, tail) in &mut self.partitions {
            let mut least: HashMap<Slot, Offset> = HashMap::new();
            for following in self.followers.values() {
                if let Some(need) = following.needs.get(partition) {
                    for slot in &following.slots {
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

    /// Makes the judge fit the things selected, if it does not.
    fn compile(&mut self) {
        let selected = || {
            let things = self.things.iter().enumerate();
            things.filter_map(|(slot, selected)| Some((Slot(slot as u32), selected.as_ref()?)))
        };
        self.by_key = selected().any(|(_, selected)| selected.thing.by_key);
        self.judge = Arc::new(Judge::new(
            selected().map(|(slot, selected)| (slot, selected.thing.part.clone())),
        ));
        self.version += 1;
    }

    /// Sees to it that a partition is read as a need asks, and says what keeps it from being so.
    fn ready(
        &mut self,
        log: &Arc<Log>,
        slots: &[Slot],
        need: Need,
        view: View,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Progress> {
        if let Some(tail) = self.partitions.get(&need.partition) {
            let truncated = need.end < need.seen.min(tail.position);
            let trimmed = need.start > tail.position;
            tail.is_whole(slots, need, view)?;
            if tail.lost.is_some() || truncated || trimmed {
                self.partitions.remove(&need.partition);
            }
        }
        let State { things, partitions, runs, .. } = self;
        let tail = partitions.entry(need.partition).or_insert_with(|| {
            *runs += 1;
            let seat = Seat::new(Arc::clone(log), need.partition, *runs);
            let position = need.from.max(need.end.saturating_sub(PASS)).min(need.end);
            readings.push(Reading::tail(seat, position));
            Tail {
                run: *runs,
                position,
                matches: HashMap::new(),
                lost: None,
                cut: None,
                fault: None,
                wanted: HashMap::new(),
                pass: None,
                read_again: HashMap::new(),
            }
        });
        for slot in slots {
            let position = tail.position;
            let by_key = things[slot.0 as usize].as_ref().is_some_and(Selected::by_key);
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
        if tail.pass.is_none() {
            readings.extend(self.begin_pass(log, need.partition));
        }
        Ok(())
    }

    /// The next stretch that the second reader has to read in a partition, if any.
    fn begin_pass(&mut self, log: &Arc<Log>, partition: Partition) -> Option<Reading> {
        let State { things, partitions, runs, .. } = self;
        let tail = partitions.get_mut(&partition)?;
        let Tail { wanted, matches, .. } = tail;
        wanted.retain(|slot, from| matches.get(slot).is_some_and(|known| known.from() > *from));
        let until = wanted.keys().map(|slot| matches[slot].from()).max()?;
        let first = wanted.values().min().copied()?;
        let from = first.max(until.saturating_sub(PASS));
        *runs += 1;
        let mut parts = Vec::new();
        let mut pass = Pass { run: *runs, until, slots: HashMap::new() };
        for slot in wanted.keys() {
            if let Some(known) = matches.get_mut(slot)
                && known.from() > from
                && let Some(selected) = things[slot.0 as usize].as_ref()
            {
                known.begin_earlier(from);
                pass.slots.insert(*slot, selected.since);
                parts.push((*slot, selected.thing.part.clone()));
            }
        }
        let by_key = things.iter().flatten().any(Selected::by_key);
        tail.pass = Some(pass);
        let seat = Seat::new(Arc::clone(log), partition, *runs);
        Some(Reading::pass(seat, from, until, Judge::new(parts), by_key))
    }
}

impl Tail {
    /// Ends what is read for this seat, if it still is.
    fn break_off(&mut self, seat: &Seat, fault: Option<Fault>) {
        let at = Instant::now();
        if self.run == seat.run() {
            // Whoever fails is told first, and lets go afterwards.
            let fault = fault.or_else(|| self.lost.take().and_then(|lost| lost.fault));
            self.lost = Some(Break { at, fault });
        } else if self.pass.as_ref().is_some_and(|pass| pass.run == seat.run()) {
            self.cut = Some(Break { at, fault });
            self.pass = None;
            self.wanted.clear();
        }
    }

    /// Whether nothing has broken off since a poll asked, and what to tell it otherwise.
    fn is_whole(&self, slots: &[Slot], need: Need, view: View) -> Result<(), Progress> {
        let of = |end: &Option<Break>| {
            end.as_ref().filter(|end| end.at >= view.asked).map(|end| end.fault.clone())
        };
        let knows = |slot| self.matches.get(slot).is_some_and(|known| known.from() <= need.from);
        let fault = match (of(&self.lost), of(&self.cut)) {
            (None, None) => return Ok(()),
            (Some(Some(fault)), _) => Some(fault),
            // Whoever does not need the pass only asks again.
            (_, Some(fault)) if !slots.iter().all(knows) => fault,
            _ => None,
        };
        Err(fault.map_or(Progress::Outdated, Progress::Failed))
    }
}

impl Selected {
    fn by_key(&self) -> bool {
        self.thing.by_key
    }

    /// Tells of a record that cannot be judged for this, once: a flood of such records must not flood the
    /// log.
    fn warn_of_unjudged(&mut self, topic: &Topic, partition: Partition, before: Offset) {
        self.unjudged += 1;
        if self.unjudged == 1 {
            let selection = &self.thing.part;
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

impl Fault {
    /// Whether reading cannot go on from where it was.
    fn loses_position(&self) -> bool {
        use rdkafka::types::RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
        matches!(self.code, AutoOffsetReset | OffsetOutOfRange) || self.kind() == Kind::Missing
    }

    /// Whether waiting would not help.
    fn is_lasting(&self) -> bool {
        self.kind() == Kind::Denied
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::selection::EventTypeFrom;

    pub(in crate::kafka) fn view() -> View {
        let layout = Layout { id: (1, 1), partitions: 1 };
        View { layout, compacted: false, asked: Instant::now() }
    }

    pub(in crate::kafka) fn need(from: Offset, end: Offset) -> Need {
        Need { partition: 0, from, start: 0, end, seen: 0 }
    }

    pub(in crate::kafka) fn every_record() -> Thing {
        Thing { part: Part::All, by_key: false }
    }

    #[test]
    fn who_has_left_is_told_to_ask_again_and_not_that_there_is_nothing() {
        let log = Arc::new(Log::new(Topic::from("t")));
        let follower = log.follow(&[every_record()]);
        log.leave(follower);
        let seen = log.look(follower, &[need(0, 0), need(0, 10)], view());
        assert_eq!(seen.state, Progress::Outdated);
        assert!(seen.readings.is_empty(), "nobody would end them");
        assert_eq!(log.keys(follower, &[need(0, 10)]), None);
    }

    #[test]
    fn what_cannot_be_judged_is_noted_in_earlier_stretches_too() {
        let log = Arc::new(Log::new(Topic::from("t")));
        let follower = log.follow(&[every_record()]);
        let readings = log.look(follower, &[need(0, 2 * PASS)], view()).readings;
        let noted = || log.lock().things[0].as_ref().map(|selected| selected.unjudged);
        log.append_earlier(readings[1].seat(), PASS + 1, &[], &[Slot(0)]);
        assert_eq!(noted(), Some(1));
        let version = log.judging().version;
        log.append(readings[0].seat(), version, 2 * PASS, &[], &[Slot(0)]);
        assert_eq!(noted(), Some(2));
    }

    #[test]
    fn a_slot_is_given_to_one_thing_at_a_time_and_then_to_another() {
        let log = Log::new(Topic::from("t"));
        let thing = |name: &str| {
            let from = EventTypeFrom::default();
            Thing { part: Part::Type { from, name: name.into() }, by_key: false }
        };
        let names = |range: std::ops::Range<u32>| range.map(|n| thing(&n.to_string())).collect();
        let first: Vec<Thing> = names(0..1_000);
        let first = log.follow(&first);
        let second: Vec<Thing> = names(500..1_500);
        let second = log.follow(&second);
        log.leave(first);
        let third: Vec<Thing> = names(1_000..2_000);
        let third = log.follow(&third);
        let state = log.lock();
        let slots = |follower| state.followers[&follower].slots.iter().copied();
        let all: HashSet<Slot> = slots(second).chain(slots(third)).collect();
        assert_eq!(all.len(), 1_500, "500 are shared");
        assert_eq!(state.things.len(), 1_500, "and 500 were free");
    }

    #[test]
    fn a_reading_that_is_dropped_is_handed_out_again() {
        let log = Arc::new(Log::new(Topic::from("t")));
        let follower = log.follow(&[every_record()]);
        // The tail begins near the end, so that there is a pass before it.
        let needs = [need(0, 2 * PASS)];
        for round in 0..2 {
            let seen = log.look(follower, &needs, view());
            let passes: Vec<bool> = seen.readings.iter().map(Reading::is_pass).collect();
            assert_eq!(passes, [false, true], "round {round}");
        }
        let early = view();
        let mut seen = log.look(follower, &needs, early);
        let kept = seen.readings.remove(0);
        drop(seen.readings);
        assert_eq!(log.look(follower, &needs, early).state, Progress::Outdated, "the pass is lost");
        let again = log.look(follower, &needs, view()).readings;
        assert!(again.len() == 1 && again[0].is_pass(), "the tail is kept");
        drop((kept, again));
        assert_eq!(log.look(follower, &needs, early).state, Progress::Outdated, "both are lost");
    }

    #[test]
    fn where_judging_breaks_off_polls_fail_and_the_next_begins_anew() {
        let log = Arc::new(Log::new(Topic::from("t")));
        let far = log.follow(&[every_record()]);
        let near = log.follow(&[every_record()]);
        let (needs, close) = ([need(0, 2 * PASS)], [need(2 * PASS, 2 * PASS)]);
        let early = view();
        let readings = log.look(far, &needs, early).readings;
        log.break_off(readings[1].seat(), Fault::panicked());
        assert_eq!(log.look(far, &needs, early).state, Progress::Failed(Fault::panicked()));
        let state = log.look(near, &close, early).state;
        assert_eq!(state, Progress::Outdated, "it does not need the pass");
        assert_eq!(log.look(near, &close, view()).state, Progress::Complete);
        log.break_off(readings[0].seat(), Fault::panicked());
        drop(readings);
        assert_eq!(log.look(near, &close, early).state, Progress::Failed(Fault::panicked()));
        assert_eq!(log.look(far, &needs, view()).readings.len(), 2);
    }
}
