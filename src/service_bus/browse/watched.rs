//! How far one selector has been read, and which of its matches still wait.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::selection::{Reason, Selector};

/// One selector, as far as it has been read.
pub(super) struct Watched {
    pub(super) selector: Selector,
    /// The next number to judge in each partition; absent: from its beginning.
    pub(super) next: HashMap<u16, u64>,
    pub(super) matches: BTreeMap<u64, Match>,
    /// How many matches are kept.
    pub(super) cap: usize,
    /// Whether as many are; then it is read no further.
    pub(super) full: bool,
    /// Whether what it selects may change while a message waits.
    pub(super) changeable: bool,
    /// Matches that this round has seen waiting.
    pub(super) waiting: u64,
    /// Their sessions, if someone counts those.
    pub(super) sessions: Option<HashSet<u64>>,
    /// The first message of which it cannot be told whether it matches, and why.
    pub(super) indeterminate: Option<(u64, Reason)>,
    /// Whether that was told.
    pub(super) told: bool,
}

/// A message selected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    pub(super) enqueued: i64,
    /// `i64::MAX`: never.
    pub(super) expires: i64,
    pub(super) session: u64,
}

impl Watched {
    pub(super) fn new(selector: Selector) -> Watched {
        let changeable = matches!(&selector, Selector::Filtered { filter, .. } if filter.asks_source("deliveryCount"));
        Watched {
            selector,
            next: HashMap::new(),
            matches: BTreeMap::new(),
            cap: 0,
            full: false,
            changeable,
            waiting: 0,
            sessions: None,
            indeterminate: None,
            told: false,
        }
    }

    pub(super) fn begin(&mut self, now: i64) {
        if self.changeable {
            self.forget();
        }
        self.matches.retain(|_, found| found.expires > now);
        self.full = self.matches.len() >= self.cap;
        self.waiting = 0;
    }

    pub(super) fn forget(&mut self) {
        self.next.clear();
        self.matches.clear();
        self.full = false;
    }

    /// The next number to judge in a partition.
    pub(super) fn next(&self, partition: u16) -> u64 {
        self.next.get(&partition).copied().unwrap_or_else(|| beginning(partition))
    }

    /// Whether it goes on from what was judged for it, when messages from `from` on are read.
    pub(super) fn reads(&self, from: u64) -> bool {
        !self.full && self.next(partition(from)) >= from
    }

    /// Whether a message is to be judged for it, when messages from `from` on are read.
    pub(super) fn is_new(&self, from: u64, sequence: u64) -> bool {
        self.reads(from) && sequence >= self.next(partition(from))
    }

    /// How many more matches can be kept.
    pub(super) fn room(&self) -> u64 {
        self.cap.saturating_sub(self.matches.len()) as u64
    }

    pub(super) fn add(&mut self, from: u64, sequence: u64, found: Match) {
        if !self.is_new(from, sequence) {
            return;
        }
        if self.matches.len() >= self.cap {
            self.full = true;
            self.next.insert(partition(from), sequence);
            return;
        }
        self.matches.insert(sequence, found);
        self.see(found);
    }

    fn see(&mut self, found: Match) {
        self.waiting += 1;
        if let Some(sessions) = &mut self.sessions {
            sessions.insert(found.session);
        }
    }

    /// Has a partition read from `first` on again, if it was read that far.
    pub(super) fn rewind(&mut self, first: u64) {
        let partition = partition(first);
        if self.next(partition) <= first {
            return;
        }
        self.next.insert(partition, first);
        let mut later = self.matches.split_off(&first);
        if let Some(other) = partition.checked_add(1) {
            self.matches.append(&mut later.split_off(&beginning(other)));
        }
        self.full &= later.is_empty();
    }

    /// Keeps of the matches from `first` to `last` those that still wait.
    pub(super) fn look_again(
        &mut self,
        first: u64,
        last: u64,
        waits: impl Fn(u64, &Match) -> bool,
    ) {
        let known: Vec<(u64, Match)> =
            self.matches.range(first..=last).map(|(at, found)| (*at, *found)).collect();
        for (sequence, found) in known {
            if waits(sequence, &found) {
                self.see(found);
            } else {
                self.matches.remove(&sequence);
                self.full = false;
            }
        }
    }
}

/// The partition that a sequence number is of; 0 on an entity without any.
pub(super) fn partition(sequence: u64) -> u16 {
    (sequence >> 48) as u16
}

/// The least number that a partition can have.
pub(super) fn beginning(partition: u16) -> u64 {
    u64::from(partition) << 48
}
