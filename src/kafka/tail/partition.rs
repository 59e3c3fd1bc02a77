//! One partition of a topic, as far as it has been read.
//!
//! What is read is in one of a few states, and each thing that happens gives the next one:
//!
//! ```text
//! the tail      Following ⇄ Failing        the backfill   Idle → Running ⇄ Running that fails
//!                   ↘     ↙                                 ↑ ↖    ↓
//!                    Broken → begun anew                    └─── Broken
//! ```
//!
//! Nothing here does I/O or reads the clock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use tokio::time::Instant;

use super::look::{Judged, Need, Progress, View};
use super::selectors::{Selected, SelectorVersion, Selectors};
use super::times::{Times, Timestamp};
use crate::kafka::fault::{Fault, Kind};
use crate::kafka::index::{Counted, KeyHash, Matches};
use crate::kafka::names::Offset;
use crate::ledger::{Charge, Exhausted, Payers, Use};
use crate::selection::Slot;

/// A record that a compacted topic once held may be gone; matches in one are read again when they
/// were last read longer ago than this.
const COMPACTED_STALE_AFTER: Duration = Duration::from_secs(1);

/// How often matches are read again that were all let go of for want of memory.
pub(super) const LET_GO_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Which reading of a partition something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::kafka) struct Epoch(u64);

/// A partition that is tailed.
pub(super) struct PartitionTail {
    /// Every record before this has been judged.
    pub(super) position: Offset,
    pub(super) tail: Tail,
    pub(super) backfill: Backfill,
    /// By slot.
    pub(super) matches: HashMap<Slot, Kept>,
    /// From where on a slot's matches are wanted, where they do not reach that far back.
    pub(super) wanted: HashMap<Slot, Offset>,
    /// When the matches of a slot were last read again.
    pub(super) read_again: HashMap<Slot, Instant>,
    pub(super) times: Times,
}

/// Reading on, from the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tail {
    /// It goes on.
    Following(Epoch),
    /// It is tried again and again, and this is what keeps it from going on.
    Failing(Epoch, Fault),
    /// It is over, and has to begin anew.
    Broken(Break),
}

/// Reading a stretch before what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backfill {
    /// There is none.
    Idle,
    /// One is being read.
    Running(Stretch),
    /// One has ended before its time; what it was to find is wanted no more until a poll says so.
    Broken(Break),
}

/// What a backfill reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) epoch: Epoch,
    pub(super) until: Offset,
    /// With the version since which each is selected.
    pub(super) slots: HashMap<Slot, SelectorVersion>,
    /// What keeps it from going on, while it is tried again.
    pub(super) fault: Option<Fault>,
}

/// The end of a reading before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) at: Instant,
    /// What a poll that needed it fails with; without it the poll asks again.
    pub(super) fault: Option<Fault>,
}

/// Matches, and the memory that they are charged for.
pub(super) struct Kept {
    matches: Matches,
    charge: Charge,
    /// Whether they have grown since they were charged for.
    has_grown: bool,
}

impl Epoch {
    /// The next one, which is the last given from now on.
    pub(super) fn advance(&mut self) -> Epoch {
        self.0 += 1;
        *self
    }
}

impl Tail {
    /// The reading that is to come, or under way.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self {
            Tail::Following(epoch) | Tail::Failing(epoch, _) => Some(*epoch),
            Tail::Broken(_) => None,
        }
    }

    /// Something keeps it from being read.
    fn fail(&mut self, fault: Fault) {
        if let Some(epoch) = self.epoch() {
            *self = Tail::Failing(epoch, fault);
        }
    }

    /// It has been read on.
    fn heal(&mut self) {
        if let Some(epoch) = self.epoch() {
            *self = Tail::Following(epoch);
        }
    }

    /// Nobody reads it any more.
    fn break_off(&mut self, end: Break) {
        if self.epoch().is_some() {
            *self = Tail::Broken(end);
        }
    }
}

impl Backfill {
    /// The reading under way.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self {
            Backfill::Running(stretch) => Some(stretch.epoch),
            Backfill::Idle | Backfill::Broken(_) => None,
        }
    }

    /// What keeps it from going on.
    fn fault(&self) -> Option<&Fault> {
        match self {
            Backfill::Running(stretch) => stretch.fault.as_ref(),
            Backfill::Idle | Backfill::Broken(_) => None,
        }
    }

    /// Something keeps it from being read.
    fn fail(&mut self, fault: Fault) {
        if let Backfill::Running(stretch) = self {
            stretch.fault = Some(fault);
        }
    }

    /// It has been read on.
    fn heal(&mut self) {
        if let Backfill::Running(stretch) = self {
            stretch.fault = None;
        }
    }

    /// Nobody reads it any more.
    fn break_off(&mut self, end: Break) {
        if let Backfill::Running(_) = self {
            *self = Backfill::Broken(end);
        }
    }

    /// Everything before `reached` has been read; it is over where that is all.
    fn reach(&mut self, reached: Offset) {
        self.heal();
        if let Backfill::Running(stretch) = self
            && reached >= stretch.until
        {
            *self = Backfill::Idle;
        }
    }
}

impl PartitionTail {
    /// One that is read from an offset on.
    pub(super) fn new(epoch: Epoch, position: Offset) -> PartitionTail {
        PartitionTail {
            position,
            tail: Tail::Following(epoch),
            backfill: Backfill::Idle,
            matches: HashMap::new(),
            wanted: HashMap::new(),
            read_again: HashMap::new(),
            times: Times::default(),
        }
    }

    /// Whether something is read, or to be read, under this epoch.
    pub(super) fn is_read_under(&self, epoch: Epoch) -> bool {
        [self.tail.epoch(), self.backfill.epoch()].contains(&Some(epoch))
    }

    /// The tail has judged everything before `position`.
    pub(super) fn append(
        &mut self,
        selectors: &Selectors,
        version: SelectorVersion,
        position: Offset,
        judged: Judged<'_>,
    ) {
        self.note_time(judged);
        for (slot, offset, key) in judged.found {
            if selectors.judged(*slot, version).is_some()
                && let Some(kept) = self.matches.get_mut(slot)
            {
                kept.push(*offset, *key);
            }
        }
        self.position = self.position.max(position);
        self.tail.heal();
        for (slot, kept) in &mut self.matches {
            if selectors.judged(*slot, version).is_none() {
                // Selected while this batch was being judged without it.
                kept.drop_before(self.position);
            } else if let Some(selected) = selectors.get(*slot) {
                kept.settle(&selected.payers);
            }
        }
    }

    /// The backfill has judged everything before `reached`.
    pub(super) fn append_backfill(
        &mut self,
        selectors: &Selectors,
        reached: Offset,
        judged: Judged<'_>,
    ) {
        self.note_time(judged);
        let Backfill::Running(stretch) = &mut self.backfill else { return };
        stretch.slots.retain(|slot, since| {
            selectors.get(*slot).is_some_and(|selected| selected.since == *since)
        });
        for (slot, offset, key) in judged.found {
            if stretch.slots.contains_key(slot)
                && let Some(kept) = self.matches.get_mut(slot)
            {
                kept.matches.push_backfill(*offset, *key);
                kept.has_grown = true;
            }
        }
        for slot in stretch.slots.keys() {
            if let Some(kept) = self.matches.get_mut(slot)
                && let Some(selected) = selectors.get(*slot)
            {
                kept.matches.reach_backfill(reached);
                kept.settle(&selected.payers);
            }
        }
        self.backfill.reach(reached);
    }

    fn note_time(&mut self, judged: Judged<'_>) {
        if let (Some((_, offset, _)), Some(at)) = (judged.found.first(), judged.first_at) {
            self.times.note(*offset, at);
        }
    }

    /// About when the first match of these slots at or after an offset was written.
    pub(super) fn oldest(&self, slots: &[Slot], from: Offset) -> Option<Timestamp> {
        let kept = slots.iter().filter_map(|slot| self.matches.get(slot));
        let first = kept.filter_map(|kept| kept.matches.first(from)).min()?;
        self.times.at(first)
    }

    /// Notes from where on a slot's matches are wanted.
    ///
    /// # Errors
    /// There is no memory for more of them.
    pub(super) fn want(
        &mut self,
        slot: Slot,
        selected: &Selected,
        from: Offset,
        view: View,
    ) -> Result<(), Fault> {
        let kept = match self.matches.entry(slot) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Kept::new(self.position, selected)?),
        };
        // Counting keys takes a look at each, so that is left to those of which some may be read
        // again.
        let may_read_again = view.compacted || kept.matches.has_let_go();
        let known = may_read_again.then(|| kept.count(from));
        if let Some(known) = known.filter(|known| view.compacted || known.are_more) {
            let again_after = match (known.count, known.are_more) {
                (0, true) => Some(LET_GO_AGAIN_AFTER),
                (1.., _) if view.compacted => Some(COMPACTED_STALE_AFTER),
                _ => None,
            };
            let last = self.read_again.entry(slot).or_insert(view.asked);
            if !known.complete {
                // Being read: beginning anew for each who asks meanwhile would never end.
                *last = view.asked.max(*last);
            } else if again_after.is_some_and(|after| view.asked > *last + after) {
                *last = view.asked;
                kept.drop_before(self.position);
            }
        }
        if kept.from() > from {
            let wanted = self.wanted.entry(slot).or_insert(from);
            *wanted = from.min(*wanted);
        }
        Ok(())
    }

    /// Whether a backfill under way is for a slot.
    pub(super) fn is_backfilled(&self, slot: Slot) -> bool {
        matches!(&self.backfill, Backfill::Running(stretch) if stretch.slots.contains_key(&slot))
    }

    /// What is read under this epoch cannot be read now.
    pub(super) fn fail(&mut self, epoch: Epoch, fault: Fault) {
        if self.tail.epoch() == Some(epoch) {
            self.tail.fail(fault);
        } else if self.backfill.epoch() == Some(epoch) {
            self.backfill.fail(fault);
        }
    }

    /// It can be, though there is nothing to read.
    pub(super) fn heal(&mut self, epoch: Epoch) {
        if self.tail.epoch() == Some(epoch) {
            self.tail.heal();
        } else if self.backfill.epoch() == Some(epoch) {
            self.backfill.heal();
        }
    }

    /// Nobody reads under this epoch any more.
    pub(super) fn break_off(&mut self, epoch: Epoch, end: Break) {
        if self.tail.epoch() == Some(epoch) {
            self.tail.break_off(end);
        } else if self.backfill.epoch() == Some(epoch) {
            self.backfill.break_off(end);
            self.wanted.clear();
        }
    }

    /// Whether nothing has broken off since a poll asked, and what to tell it otherwise.
    pub(super) fn is_whole(&self, slots: &[Slot], need: Need, view: View) -> Result<(), Progress> {
        let since = |end: &Break| (end.at >= view.asked).then(|| end.fault.clone());
        let of_tail = match &self.tail {
            Tail::Broken(end) => since(end),
            Tail::Following(_) | Tail::Failing(..) => None,
        };
        let of_backfill = match &self.backfill {
            Backfill::Broken(end) => since(end),
            Backfill::Idle | Backfill::Running(_) => None,
        };
        let fault = match (of_tail, of_backfill) {
            (None, None) => return Ok(()),
            (Some(Some(fault)), _) => Some(fault),
            // Whoever does not need the backfill only asks again.
            (_, Some(fault)) if !self.knows(slots, need.from) => fault,
            _ => None,
        };
        Err(fault.map_or(Progress::Outdated, Progress::Failed))
    }

    /// Whether what is known is no longer true of the log, as a poll has seen it.
    pub(super) fn is_past(&self, need: Need) -> bool {
        let is_truncated = need.end < need.seen.min(self.position);
        let is_trimmed = need.start > self.position;
        matches!(self.tail, Tail::Broken(_)) || is_truncated || is_trimmed
    }

    /// Why what a poll needs cannot be read now.
    pub(super) fn fault(&self, slots: &[Slot], need: Need) -> Option<&Fault> {
        match &self.tail {
            Tail::Failing(_, fault) => Some(fault),
            // Whoever does not need the backfill is not told.
            _ => self.backfill.fault().filter(|_| !self.knows(slots, need.from)),
        }
    }

    /// Whether the matches of all these slots reach back to an offset.
    fn knows(&self, slots: &[Slot], from: Offset) -> bool {
        slots.iter().all(|slot| self.matches.get(slot).is_some_and(|kept| kept.from() <= from))
    }
}

impl Kept {
    /// No matches yet, speaking for the log from this offset on.
    pub(super) fn new(from: Offset, selected: &Selected) -> Result<Kept, Fault> {
        let matches = Matches::new(from, selected.by_key());
        let charge = match selected.payers.charge(Use::Keeping, matches.bytes()) {
            Some(Ok(charge)) => charge,
            Some(Err(exhausted)) => return Err(Fault::exhausted(&exhausted)),
            None => return Err(Fault::new(Kind::Other, "nobody selects this any more")),
        };
        Ok(Kept { matches, charge, has_grown: false })
    }

    pub(super) fn from(&self) -> Offset {
        self.matches.from()
    }

    pub(super) fn count(&self, from: Offset) -> Counted {
        self.matches.count(from)
    }

    pub(super) fn matches(&self) -> &Matches {
        &self.matches
    }

    pub(super) fn push(&mut self, offset: Offset, key: KeyHash) {
        self.matches.push(offset, key);
        self.has_grown = true;
    }

    pub(super) fn begin_backfill(&mut self, from: Offset) {
        self.matches.begin_backfill(from);
    }

    /// Drops what lies before `offset`, which nobody will ask for, and speaks for it no more.
    pub(super) fn drop_before(&mut self, offset: Offset) {
        if offset > self.matches.from() {
            self.matches.drop_before(offset);
            // Less can always be had.
            let _less = self.charge.resize(self.matches.bytes());
        }
    }

    /// Charges for what has been added, and lets the earliest matches go where nobody has room for
    /// it.
    pub(super) fn settle(&mut self, payers: &Payers) {
        if !self.has_grown {
            return;
        }
        self.has_grown = false;
        while let Err(exhausted) = self.charge_for(payers, self.matches.bytes()) {
            tracing::debug!(%exhausted, "matches are let go of");
            if !self.matches.let_half_go() {
                return;
            }
        }
    }

    /// Has somebody else pay, where whoever pays has left.
    pub(super) fn repay(&mut self, payers: &Payers) {
        if !payers.include(self.charge.account()) {
            self.has_grown = true;
            // What is not kept for anyone any more is not owed.
            let _less = self.charge.resize(0);
            self.settle(payers);
        }
    }

    fn charge_for(&mut self, payers: &Payers, bytes: usize) -> Result<(), Exhausted> {
        if payers.include(self.charge.account()) && self.charge.resize(bytes).is_ok() {
            return Ok(());
        }
        // Where nobody selects this any more, it goes with the slot.
        if let Some(charge) = payers.charge(Use::Keeping, bytes) {
            self.charge = charge?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch(number)
    }

    fn fault(reason: &str) -> Fault {
        Fault::new(Kind::Passing, reason)
    }

    fn stretch(fault: Option<Fault>) -> Backfill {
        let slots = HashMap::from([(Slot(0), SelectorVersion::default())]);
        Backfill::Running(Stretch { epoch: epoch(2), until: 10, slots, fault })
    }

    type Step<T> = Box<dyn Fn(&mut T)>;

    #[test]
    fn each_thing_that_happens_to_a_tail_leads_to_its_next_state() {
        let now = Instant::now();
        let end = move |reason: Option<&str>| Break { at: now, fault: reason.map(fault) };
        let (following, failing) =
            (Tail::Following(epoch(1)), Tail::Failing(epoch(1), fault("slow")));
        let broken = Tail::Broken(end(Some("gone")));
        let fails: fn(&mut Tail) = |tail| tail.fail(fault("slow"));
        let breaks = move |tail: &mut Tail| tail.break_off(end(Some("gone")));
        let rows: [(&str, &Tail, Step<Tail>, &Tail); 9] = [
            ("a tail fails", &following, Box::new(fails), &failing),
            ("it goes on failing", &failing, Box::new(fails), &failing),
            ("what is over fails no more", &broken, Box::new(fails), &broken),
            ("a tail goes on", &following, Box::new(Tail::heal), &following),
            ("it is mended", &failing, Box::new(Tail::heal), &following),
            ("what is over is mended no more", &broken, Box::new(Tail::heal), &broken),
            ("a tail breaks", &following, Box::new(breaks), &broken),
            ("one that fails breaks", &failing, Box::new(breaks), &broken),
            (
                "who fails is told first, and lets go afterwards",
                &broken,
                Box::new(move |tail| {
                    tail.break_off(Break { at: now + Duration::from_secs(1), fault: None });
                }),
                &broken,
            ),
        ];
        for (name, before, step, after) in rows {
            let mut tail = before.clone();
            step(&mut tail);
            assert_eq!(tail, *after, "{name}");
        }
    }

    #[test]
    fn each_thing_that_happens_to_a_backfill_leads_to_its_next_state() {
        let end = Break { at: Instant::now(), fault: None };
        let (idle, running, failing) =
            (Backfill::Idle, stretch(None), stretch(Some(fault("slow"))));
        let broken = Backfill::Broken(end.clone());
        let fails: fn(&mut Backfill) = |backfill| backfill.fail(fault("slow"));
        let breaks = move |backfill: &mut Backfill| backfill.break_off(end.clone());
        let comes_on: fn(&mut Backfill) = |backfill| backfill.reach(9);
        let is_done: fn(&mut Backfill) = |backfill| backfill.reach(10);
        let rows: [(&str, &Backfill, Step<Backfill>, &Backfill); 12] = [
            ("none fails", &idle, Box::new(fails), &idle),
            ("one fails", &running, Box::new(fails), &failing),
            ("what is over fails no more", &broken, Box::new(fails), &broken),
            ("it is mended", &failing, Box::new(Backfill::heal), &running),
            ("none is mended", &idle, Box::new(Backfill::heal), &idle),
            ("one comes on", &failing, Box::new(comes_on), &running),
            ("one is done", &running, Box::new(is_done), &idle),
            ("one that failed is done", &failing, Box::new(is_done), &idle),
            ("what is over is done no more", &broken, Box::new(is_done), &broken),
            ("none breaks", &idle, Box::new(breaks.clone()), &idle),
            ("one breaks", &running, Box::new(breaks.clone()), &broken),
            ("one that fails breaks", &failing, Box::new(breaks), &broken),
        ];
        for (name, before, step, after) in rows {
            let mut backfill = before.clone();
            step(&mut backfill);
            assert_eq!(backfill, *after, "{name}");
        }
    }

    #[test]
    fn what_is_read_under_another_epoch_changes_nothing() {
        let mut partition = PartitionTail::new(epoch(1), 5);
        partition.backfill = stretch(None);
        let end = || Break { at: Instant::now(), fault: None };
        partition.fail(epoch(3), fault("slow"));
        partition.break_off(epoch(3), end());
        assert!(partition.is_read_under(epoch(1)) && partition.is_read_under(epoch(2)));
        assert_eq!(
            (&partition.tail, &partition.backfill),
            (&Tail::Following(epoch(1)), &stretch(None))
        );
        partition.break_off(epoch(2), end());
        assert!(partition.is_read_under(epoch(1)) && !partition.is_read_under(epoch(2)));
        partition.break_off(epoch(1), end());
        assert!(!partition.is_read_under(epoch(1)));
    }
}
