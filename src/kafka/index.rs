//! Where the records of one partition lie that one selector picks, and how many of them are at or
//! after an offset.
//!
//! [`Matches`] holds the offsets of matches as a compressed bitmap: two bytes each at worst, a bit
//! each where they are dense. It knows which stretch of the log it speaks for: everything from
//! [`from`](Matches::from) on, as far as the tail has read. What lies before is filled in by a
//! backfill, in order, and joined once the gap is closed; until then a count that reaches into the
//! gap is a lower bound.
//!
//! ```text
//!   backfill.from ── backfill.reached      from ─────────── tail's position
//!        [ read by the backfill )   …   [ read by the tail )
//! ```
//!
//! Of keys that are told apart the latest million is kept; and where memory is short, the earliest
//! matches are let go of. A count that reaches further back than what is kept is a lower bound.
//!
//! Offsets count records, all ends are exclusive, and nothing here does I/O.

use std::collections::{HashMap, HashSet};

use roaring::{RoaringBitmap, RoaringTreemap};

use super::names::Offset;

/// A record key, as 128 bits of its hash: no two keys that ever meet have the same.
pub type KeyHash = u128;

/// How many keys are kept at most: some 70 MB.
pub(super) const MAX_KEYS: usize = 1_000_000;

/// Bytes of matches without any, in the maps that they lie in.
const EMPTY_BYTES: usize = 256;

/// Bytes of a bitmap, of one of its containers, and of a key, besides what they hold.
const BITMAP_BYTES: usize = 96;
const CONTAINER_BYTES: usize = 64;
const KEY_BYTES: usize = 38;

/// Bytes of a container that has a bit for each of its 65,536 offsets.
const BITSET_BYTES: u64 = 8_192;

/// The matches of one selector in one partition.
#[derive(Debug)]
pub struct Matches {
    from: Offset,
    set: MatchSet,
    backfill: Option<Backfill>,
}

/// How many matches lie at or after an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Matches, or keys.
    pub count: u64,
    /// Whether every record from that offset on has been judged, as far as the tail has read.
    pub complete: bool,
    /// Whether some of those that were found may have been let go of, so that this is a lower
    /// bound.
    pub are_more: bool,
}

/// What a backfill has found so far, before `from`.
#[derive(Debug)]
struct Backfill {
    from: Offset,
    reached: Offset,
    set: MatchSet,
}

#[derive(Debug)]
struct MatchSet {
    found: Found,
    /// Matches that are not after this may have been let go of.
    let_go: Option<Offset>,
}

#[derive(Debug)]
enum Found {
    /// Every match.
    Offsets(RoaringTreemap),
    /// The last match of each key, of so many at most.
    Keys { last: HashMap<KeyHash, Offset>, most: usize },
}

impl Matches {
    /// No matches yet, speaking for the log from this offset on. With `by_key`, keys are told
    /// apart, at 24 bytes and more for each.
    pub fn new(from: Offset, by_key: bool) -> Matches {
        Matches::keeping(MAX_KEYS, from, by_key)
    }

    fn keeping(most: usize, from: Offset, by_key: bool) -> Matches {
        let found = if by_key {
            Found::Keys { last: HashMap::new(), most }
        } else {
            Found::Offsets(RoaringTreemap::new())
        };
        Matches { from, set: MatchSet { found, let_go: None }, backfill: None }
    }

    /// The first offset that this speaks for without a gap.
    pub fn from(&self) -> Offset {
        self.from
    }

    /// Adds a match that the tail came by; offsets must rise.
    pub fn push(&mut self, offset: Offset, key: KeyHash) {
        self.set.push(offset, key);
    }

    /// Begins to fill in what lies between `from` and what this speaks for now; what an earlier
    /// attempt found is dropped.
    pub fn begin_backfill(&mut self, from: Offset) {
        self.backfill = Some(Backfill { from, reached: from, set: self.set.empty() });
    }

    /// Adds a match that the backfill came by; what the tail has itself is left out.
    pub fn push_backfill(&mut self, offset: Offset, key: KeyHash) {
        if let Some(backfill) = &mut self.backfill
            && offset < self.from
        {
            backfill.set.push(offset, key);
        }
    }

    /// The backfill has passed all records before `reached`; closes the gap where that joins.
    pub fn reach_backfill(&mut self, reached: Offset) {
        if let Some(backfill) = &mut self.backfill {
            backfill.reached = backfill.reached.max(reached);
        }
        if let Some(backfill) = self.backfill.take_if(|backfill| backfill.reached >= self.from) {
            self.from = self.from.min(backfill.from);
            self.set.prepend(backfill.set);
        }
    }

    /// How many matches (keys, where keys are told apart, as far as they are kept) lie at or after
    /// `offset`.
    pub fn count(&self, offset: Offset) -> Counted {
        let mut count = self.set.count(offset);
        if let Some(backfill) = &self.backfill {
            count += match (&self.set.found, &backfill.set.found) {
                (Found::Keys { last: later, .. }, Found::Keys { last, .. }) => {
                    last.iter()
                        .filter(|(key, last)| **last >= offset && !later.contains_key(*key))
                        .count() as u64
                }
                _ => backfill.set.count(offset),
            };
        }
        let are_more = self.sets().any(|set| set.are_more(offset));
        Counted { count, complete: self.from <= offset, are_more }
    }

    /// The first match at or after an offset; `None` where keys are told apart, of which only the
    /// last match is known.
    pub fn first(&self, offset: Offset) -> Option<Offset> {
        self.sets().filter_map(|set| set.first(offset)).min()
    }

    /// Adds to `keys` those kept that have a match at or after `offset`; true where there may be
    /// more.
    pub fn collect_keys(&self, offset: Offset, keys: &mut HashSet<KeyHash>) -> bool {
        let mut are_more = false;
        for set in self.sets() {
            if let Found::Keys { last, .. } = &set.found {
                let waiting = last.iter().filter(|(_, at)| **at >= offset);
                keys.extend(waiting.map(|(key, _)| key));
                are_more |= set.are_more(offset);
            }
        }
        are_more
    }

    /// Drops what lies before `offset`, which nobody will ask for, and speaks for it no more.
    pub fn drop_before(&mut self, offset: Offset) {
        if offset <= self.from {
            return;
        }
        self.from = offset;
        self.backfill = None;
        self.set.drop_before(offset);
    }

    /// Whether matches have been let go of that this speaks for.
    pub fn has_let_go(&self) -> bool {
        self.sets().any(|set| set.let_go.is_some())
    }

    /// About how many bytes of memory this takes.
    pub fn bytes(&self) -> usize {
        EMPTY_BYTES + self.sets().map(MatchSet::bytes).sum::<usize>()
    }

    /// Lets go of the earlier half of the matches; false where there are none.
    pub fn let_half_go(&mut self) -> bool {
        let earlier = self.backfill.as_mut().map(|backfill| &mut backfill.set);
        let set = match earlier.filter(|set| set.len() > 0) {
            Some(earlier) => earlier,
            None => &mut self.set,
        };
        let half = set.len().div_ceil(2);
        set.let_go_of(half);
        half > 0
    }

    fn sets(&self) -> impl Iterator<Item = &MatchSet> {
        let backfill = self.backfill.as_ref().map(|backfill| &backfill.set);
        [Some(&self.set), backfill].into_iter().flatten()
    }
}

impl MatchSet {
    fn empty(&self) -> MatchSet {
        let found = match self.found {
            Found::Offsets(_) => Found::Offsets(RoaringTreemap::new()),
            Found::Keys { most, .. } => Found::Keys { last: HashMap::new(), most },
        };
        MatchSet { found, let_go: None }
    }

    fn push(&mut self, offset: Offset, key: KeyHash) {
        match &mut self.found {
            Found::Offsets(offsets) => {
                offsets.insert(offset);
            }
            Found::Keys { last, .. } => {
                last.insert(key, offset);
                self.keep_no_more_than_may_be();
            }
        }
    }

    fn len(&self) -> u64 {
        match &self.found {
            Found::Offsets(offsets) => offsets.len(),
            Found::Keys { last, .. } => last.len() as u64,
        }
    }

    fn count(&self, from: Offset) -> u64 {
        match &self.found {
            Found::Offsets(offsets) => match from.checked_sub(1) {
                Some(before) => offsets.len() - offsets.rank(before),
                None => offsets.len(),
            },
            Found::Keys { last, .. } => last.values().filter(|at| **at >= from).count() as u64,
        }
    }

    fn first(&self, from: Offset) -> Option<Offset> {
        match &self.found {
            Found::Offsets(offsets) => {
                let before = from.checked_sub(1).map_or(0, |before| offsets.rank(before));
                offsets.select(before)
            }
            Found::Keys { .. } => None,
        }
    }

    /// Whether matches at or after `from` may have been let go of.
    fn are_more(&self, from: Offset) -> bool {
        self.let_go.is_some_and(|let_go| let_go >= from)
    }

    /// Joins what lies before: a key's last match is the later one.
    fn prepend(&mut self, backfill: MatchSet) {
        match (&mut self.found, backfill.found) {
            (Found::Offsets(offsets), Found::Offsets(backfill)) => *offsets |= backfill,
            (Found::Keys { last, .. }, Found::Keys { last: backfill, .. }) => {
                for (key, at) in backfill {
                    last.entry(key).or_insert(at);
                }
            }
            (Found::Offsets(_), Found::Keys { .. }) | (Found::Keys { .. }, Found::Offsets(_)) => {}
        }
        self.let_go = self.let_go.max(backfill.let_go);
        self.keep_no_more_than_may_be();
    }

    fn drop_before(&mut self, offset: Offset) {
        match &mut self.found {
            Found::Offsets(offsets) => {
                offsets.remove_range(..offset);
            }
            Found::Keys { last, .. } => {
                last.retain(|_, at| *at >= offset);
                last.shrink_to_fit();
            }
        }
        self.let_go = self.let_go.filter(|let_go| *let_go >= offset);
    }

    /// Lets go of keys where there are too many; a quarter and more at a time, as it takes a look
    /// at all.
    fn keep_no_more_than_may_be(&mut self) {
        if let Found::Keys { last, most } = &self.found
            && last.len() > *most
        {
            self.let_go_of((last.len() - most * 3 / 4) as u64);
        }
    }

    /// Lets go of so many of the earliest matches: the others count for every group that these
    /// count for.
    fn let_go_of(&mut self, count: u64) {
        let Some(before) = count.checked_sub(1) else { return };
        let let_go = match &mut self.found {
            Found::Offsets(offsets) => {
                let let_go = offsets.select(before).or_else(|| offsets.max());
                offsets.remove_range(..=let_go.unwrap_or(0));
                let_go
            }
            Found::Keys { last, .. } => {
                let mut offsets: Vec<Offset> = last.values().copied().collect();
                let at = (before as usize).min(offsets.len().saturating_sub(1));
                let let_go = (!offsets.is_empty()).then(|| *offsets.select_nth_unstable(at).1);
                last.retain(|_, at| Some(*at) > let_go);
                last.shrink_to_fit();
                let_go
            }
        };
        self.let_go = self.let_go.max(let_go);
    }

    fn bytes(&self) -> usize {
        match &self.found {
            Found::Offsets(offsets) => {
                let of_one = |(_, bitmap): (u32, &RoaringBitmap)| {
                    let of = bitmap.statistics();
                    // The bytes told of arrays are those of 32 bits a value, which has 16; of
                    // bitsets their bits.
                    let held = of.n_bytes_array_containers / 2
                        + of.n_bytes_run_containers
                        + u64::from(of.n_bitset_containers) * BITSET_BYTES;
                    BITMAP_BYTES + of.n_containers as usize * CONTAINER_BYTES + held as usize
                };
                offsets.bitmaps().map(of_one).sum()
            }
            Found::Keys { last, .. } => last.capacity() * KEY_BYTES,
        }
    }
}

#[cfg(test)]
mod tests;
