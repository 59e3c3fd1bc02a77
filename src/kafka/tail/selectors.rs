//! What is selected on a topic: each selection once, however many triggers have it, in a slot of
//! its own.
//!
//! A batch is judged with what was selected when its judging began ([`Judging`]). A selector that
//! is added meanwhile says so by its [`SelectorVersion`], and speaks for the log only from after
//! that batch; a slot that is given away meanwhile is another selector's by then, and told by the
//! same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kafka::names::{Offset, Partition, Topic};
use crate::ledger::{Account, Payers};
use crate::selection::{Judge, Position, Reason, Selector, Sight, Slot};

/// What is selected on a topic, by one trigger or many, and counted on its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct TailSelector {
    pub(in crate::kafka) selector: Selector,
    /// Whether keys are told apart.
    pub(in crate::kafka) by_key: bool,
}

/// A state of all that is selected on a topic; a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::kafka) struct SelectorVersion(u64);

/// What a reader needs to judge a batch of one partition.
pub(in crate::kafka) struct Judging {
    pub(in crate::kafka) judge: Arc<Judge>,
    pub(in crate::kafka) by_key: bool,
    pub(in crate::kafka) version: SelectorVersion,
}

/// All that is selected on a topic.
pub(super) struct Selectors {
    /// By slot.
    all: Vec<Option<Selected>>,
    slots: HashMap<TailSelector, Slot>,
    /// Slots that hold nothing.
    free: Vec<Slot>,
    judge: Arc<Judge>,
    by_key: bool,
    version: SelectorVersion,
}

/// A selector that a trigger has.
pub(super) struct Selected {
    pub(super) selector: TailSelector,
    /// Those whose triggers have it, who pay for what it finds.
    pub(super) payers: Payers,
    /// The version that first had it.
    pub(super) since: SelectorVersion,
    /// Of how many records it could not be told whether they match.
    pub(super) indeterminate: u64,
}

impl Selectors {
    pub(super) fn new() -> Selectors {
        Selectors {
            all: Vec::new(),
            slots: HashMap::new(),
            free: Vec::new(),
            judge: Arc::new(Judge::new([])),
            by_key: false,
            version: SelectorVersion::default(),
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Selected> {
        self.all.get(slot.0 as usize).and_then(Option::as_ref)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Selected> {
        self.all.get_mut(slot.0 as usize).and_then(Option::as_mut)
    }

    /// What a slot holds, if it did so already in this version.
    pub(super) fn judged(&self, slot: Slot, version: SelectorVersion) -> Option<&Selected> {
        self.get(slot).filter(|selected| selected.since <= version)
    }

    /// Whether any tells keys apart.
    pub(super) fn by_key(&self) -> bool {
        self.by_key
    }

    /// What the next batch is judged with.
    pub(super) fn judging(&self) -> Judging {
        Judging { judge: Arc::clone(&self.judge), by_key: self.by_key, version: self.version }
    }

    /// What was seen of late for what a slot holds, of the records that are meant.
    pub(super) fn sight(&self, slot: Slot, is_meant: impl Fn(Position) -> bool) -> Option<Sight> {
        self.judge.sight(&self.get(slot)?.selector.selector, is_meant)
    }

    /// What a stretch is judged with that only these selectors miss.
    pub(super) fn judge_of(&self, selectors: Vec<(Slot, Selector)>) -> Judge {
        self.judge.for_others(selectors)
    }

    /// Forgets all that was seen, as the topic is another one.
    pub(super) fn forget_seen(&self) {
        self.judge.forget(|_| false);
    }

    /// Adds what one more trigger selects; gives its slots, and those of them that others have
    /// already, for whom this account pays too from now on.
    pub(super) fn add(
        &mut self,
        selectors: &[TailSelector],
        account: &Account,
    ) -> (Vec<Slot>, Vec<Slot>) {
        let known = self.slots.len();
        let mut joined = Vec::new();
        let mut slots = Vec::with_capacity(selectors.len());
        for selector in selectors {
            let slot = match self.slots.get(selector) {
                Some(slot) => *slot,
                None => self.insert(selector),
            };
            if let Some(selected) = self.get_mut(slot) {
                if !selected.payers.is_empty() && !selected.payers.include(account) {
                    joined.push(slot);
                }
                selected.payers.join(account);
            }
            slots.push(slot);
        }
        if self.slots.len() > known {
            self.compile();
        }
        (slots, joined)
    }

    /// Takes away what one trigger selected; gives the slots that hold nothing now.
    pub(super) fn remove(&mut self, slots: &[Slot], account: &Account) -> Vec<Slot> {
        let mut empty = Vec::new();
        for slot in slots {
            let Some(entry) = self.all.get_mut(slot.0 as usize) else { continue };
            let Some(selected) = entry else { continue };
            selected.payers.leave(account);
            if selected.payers.is_empty() {
                self.slots.remove(&selected.selector);
                *entry = None;
                self.free.push(*slot);
                empty.push(*slot);
            }
        }
        if !empty.is_empty() {
            self.compile();
        }
        empty
    }

    fn insert(&mut self, selector: &TailSelector) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            Slot(self.all.len() as u32 - 1)
        });
        let (selector, since) = (selector.clone(), self.version.next());
        self.slots.insert(selector.clone(), slot);
        let payers = Payers::default();
        let selected = Selected { selector, payers, since, indeterminate: 0 };
        self.all[slot.0 as usize] = Some(selected);
        slot
    }

    /// Makes the judge fit what is selected.
    fn compile(&mut self) {
        let selected = || {
            let all = self.all.iter().enumerate();
            all.filter_map(|(slot, selected)| Some((Slot(slot as u32), selected.as_ref()?)))
        };
        self.by_key = selected().any(|(_, selected)| selected.by_key());
        let selectors =
            selected().map(|(slot, selected)| (slot, selected.selector.selector.clone()));
        self.judge = Arc::new(self.judge.for_others(selectors));
        self.version = self.version.next();
    }
}

impl SelectorVersion {
    fn next(self) -> SelectorVersion {
        SelectorVersion(self.0 + 1)
    }
}

impl Selected {
    pub(super) fn by_key(&self) -> bool {
        self.selector.by_key
    }

    /// Logs once that there is a record of which it cannot be told whether it matches: a flood of
    /// such records must not flood the log.
    pub(super) fn warn_of_indeterminate(
        &mut self,
        topic: &Topic,
        partition: Partition,
        offset: Offset,
        reason: Reason,
    ) {
        self.indeterminate += 1;
        if self.indeterminate == 1 {
            let selection = &self.selector.selector;
            tracing::warn!(
                %topic,
                partition,
                offset,
                %selection,
                %reason,
                "a record cannot be judged, and does not count"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::ledger::Ledger;
    use crate::selection::EventTypeFrom;

    #[test]
    fn a_slot_is_given_to_one_selector_at_a_time_and_then_to_another() {
        let account = Ledger::new(1_000_000).account("shop");
        let mut selectors = Selectors::new();
        let selector = |name: &str| {
            let from = EventTypeFrom::default();
            TailSelector { selector: Selector::Type { from, name: name.into() }, by_key: false }
        };
        let names = |range: std::ops::Range<u32>| -> Vec<TailSelector> {
            range.map(|n| selector(&n.to_string())).collect()
        };
        let (first, _) = selectors.add(&names(0..1_000), &account);
        let (second, joined) = selectors.add(&names(500..1_500), &account);
        assert!(joined.is_empty(), "who pays already does not join");
        let before = selectors.judging().version;
        assert_eq!(selectors.remove(&first, &account).len(), 500);
        let other = Ledger::new(1_000_000).account("other");
        let (third, joined) = selectors.add(&names(1_000..2_000), &other);
        assert_eq!(joined.len(), 500);
        let all: HashSet<Slot> = second.into_iter().chain(third.iter().copied()).collect();
        assert_eq!(all.len(), 1_500, "500 are shared");
        assert_eq!(selectors.all.len(), 1_500, "and 500 were free");
        let given_anew = third.iter().filter(|slot| selectors.judged(**slot, before).is_none());
        assert_eq!(given_anew.count(), 500, "what was judged before is not theirs");
    }
}
