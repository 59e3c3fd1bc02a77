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
//! Of keys that are told apart the latest million is kept: a count that reaches further back is a lower
//! bound.
//!
//! Offsets count records, all ends are exclusive, and nothing here does I/O.

use std::collections::{HashMap, HashSet};

use roaring::RoaringTreemap;

use super::names::Offset;

/// A record key, as 128 bits of its hash: no two keys that ever meet have the same.
pub type KeyHash = u128;

/// How many keys are kept at most: some 50 MB.
pub(super) const MAX_KEYS: usize = 1_000_000;

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
}

/// What a backfill has found so far, before `from`.
#[derive(Debug)]
struct Backfill {
    from: Offset,
    reached: Offset,
    set: MatchSet,
}

#[derive(Debug)]
enum MatchSet {
    /// Every match.
    Offsets(RoaringTreemap),
    Keys(Keys),
}

#[derive(Debug)]
struct Keys {
    /// The last match of each key.
    last: HashMap<KeyHash, Offset>,
    /// How many are kept.
    most: usize,
    /// Keys whose last match is not after this may have been let go.
    let_go: Option<Offset>,
}

impl Matches {
    /// No matches yet, speaking for the log from this offset on. With `by_key`, keys are told
    /// apart, at 24 bytes and more for each.
    pub fn new(from: Offset, by_key: bool) -> Matches {
        Matches::keeping(MAX_KEYS, from, by_key)
    }

    fn keeping(most: usize, from: Offset, by_key: bool) -> Matches {
        let set = if by_key {
            MatchSet::Keys(Keys::keeping(most))
        } else {
            MatchSet::Offsets(RoaringTreemap::new())
        };
        Matches { from, set, backfill: None }
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

    /// How many matches (keys, where keys are told apart, as far as they are kept) lie at or after `offset`.
    pub fn count(&self, offset: Offset) -> Counted {
        let mut count = self.set.count(offset);
        if let Some(backfill) = &self.backfill {
            count += match (&self.set, &backfill.set) {
                (MatchSet::Keys(later), MatchSet::Keys(keys)) => {
                    keys.last
                        .iter()
                        .filter(|(key, last)| **last >= offset && !later.last.contains_key(*key))
                        .count() as u64
                }
                (_, set) => set.count(offset),
            };
        }
        Counted { count, complete: self.from <= offset }
    }

    /// Adds to `keys` those kept that have a match at or after `offset`; false where there may be more.
    pub fn collect_keys(&self, offset: Offset, keys: &mut HashSet<KeyHash>) -> bool {
        let backfill = self.backfill.as_ref().map(|backfill| &backfill.set);
        let mut all = true;
        for set in [Some(&self.set), backfill].into_iter().flatten() {
            if let MatchSet::Keys(set) = set {
                let last = set.last.iter().filter(|(_, at)| **at >= offset);
                keys.extend(last.map(|(key, _)| key));
                all &= set.let_go.is_none_or(|let_go| let_go < offset);
            }
        }
        all
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
}

impl MatchSet {
    fn empty(&self) -> MatchSet {
        match self {
            MatchSet::Offsets(_) => MatchSet::Offsets(RoaringTreemap::new()),
            MatchSet::Keys(keys) => MatchSet::Keys(Keys::keeping(keys.most)),
        }
    }

    fn push(&mut self, offset: Offset, key: KeyHash) {
        match self {
            MatchSet::Offsets(offsets) => {
                offsets.insert(offset);
            }
            MatchSet::Keys(keys) => {
                keys.last.insert(key, offset);
                keys.let_some_go();
            }
        }
    }

    fn count(&self, from: Offset) -> u64 {
        match self {
            MatchSet::Offsets(offsets) => match from.checked_sub(1) {
                Some(before) => offsets.len() - offsets.rank(before),
                None => offsets.len(),
            },
            MatchSet::Keys(keys) => keys.last.values().filter(|at| **at >= from).count() as u64,
        }
    }

    /// Joins what lies before: a key's last match is the later one.
    fn prepend(&mut self, backfill: MatchSet) {
        match (self, backfill) {
            (MatchSet::Offsets(offsets), MatchSet::Offsets(backfill)) => *offsets |= backfill,
            (MatchSet::Keys(keys), MatchSet::Keys(backfill)) => {
                for (key, at) in backfill.last {
                    keys.last.entry(key).or_insert(at);
                }
                keys.let_go = keys.let_go.max(backfill.let_go);
                keys.let_some_go();
            }
            (MatchSet::Offsets(_), MatchSet::Keys(_))
            | (MatchSet::Keys(_), MatchSet::Offsets(_)) => {}
        }
    }

    fn drop_before(&mut self, offset: Offset) {
        match self {
            MatchSet::Offsets(offsets) => {
                offsets.remove_range(..offset);
            }
            MatchSet::Keys(keys) => {
                keys.last.retain(|_, at| *at >= offset);
                keys.last.shrink_to_fit();
                keys.let_go = keys.let_go.filter(|let_go| *let_go >= offset);
            }
        }
    }
}

impl Keys {
    fn keeping(most: usize) -> Keys {
        Keys { last: HashMap::new(), most, let_go: None }
    }

    /// Lets go of the keys that were last seen longest ago, where there are too many: the others count for
    /// every group that these count for. A quarter and more at a time, as it takes a look at all.
    fn let_some_go(&mut self) {
        if self.last.len() <= self.most {
            return;
        }
        let surplus = self.last.len() - self.most * 3 / 4;
        let mut offsets: Vec<Offset> = self.last.values().copied().collect();
        let (_, let_go, _) = offsets.select_nth_unstable(surplus - 1);
        let let_go = *let_go;
        self.last.retain(|_, at| *at > let_go);
        self.let_go = self.let_go.max(Some(let_go));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What happens to a partition, as far as one selector's matches know.
    #[derive(Debug, Clone)]
    enum Step {
        /// The tail judges records: of each whether it matches, and a key. `None` is a gap, as
        /// compaction and commit markers leave.
        Append(Vec<Option<(bool, u8)>>),
        /// A backfill reads back so many offsets, in so many batches, and may stop before.
        Backfill { back: u64, batches: u64, stop: bool },
        /// Groups have passed so many of the offsets that are spoken for.
        Drop(u64),
        /// The log is truncated or made anew: matches begin afresh where it now ends.
        Reset(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let record = prop::option::weighted(0.9, (any::<bool>(), 0_u8..5));
        prop_oneof![
            4 => prop::collection::vec(record, 0..40).prop_map(Step::Append),
            2 => (0_u64..60, 1_u64..5, any::<bool>())
                .prop_map(|(back, batches, stop)| Step::Backfill { back, batches, stop }),
            1 => (0_u64..30).prop_map(Step::Drop),
            1 => (0_u64..100).prop_map(Step::Reset),
        ]
    }

    /// The log as it is, and how far the tail has come.
    #[derive(Default)]
    struct Log {
        matches: BTreeSet<(Offset, KeyHash)>,
        end: Offset,
    }

    impl Log {
        fn append(&mut self, matches: &mut Matches, records: &[Option<(bool, u8)>]) {
            for record in records {
                if let Some((true, key)) = record {
                    matches.push(self.end, KeyHash::from(*key));
                    self.matches.insert((self.end, KeyHash::from(*key)));
                }
                self.end += 1;
            }
        }

        fn read_backfill(&self, matches: &mut Matches, from: Offset, batches: u64, stop: bool) {
            let until = matches.from();
            matches.begin_backfill(from);
            let size = (until - from) / batches + 1;
            for batch in 0..batches {
                let begin = (from + batch * size).min(until);
                let reached = (begin + size).min(until);
                for (offset, key) in self.matches.range((begin, 0)..(reached, 0)) {
                    matches.push_backfill(*offset, *key);
                }
                if stop && batch + 1 == batches {
                    return;
                }
                matches.reach_backfill(reached);
            }
        }

        fn count(&self, from: Offset, by_key: bool) -> u64 {
            let waiting = self.matches.range((from, 0)..);
            if by_key {
                waiting.map(|(_, key)| key).collect::<BTreeSet<_>>().len() as u64
            } else {
                waiting.count() as u64
            }
        }
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_plain_set(
            by_key: bool,
            // There are five.
            most in 2_usize..7,
            begin in 0_u64..50,
            steps in prop::collection::vec(step(), 1..30),
            asked in prop::collection::vec(0_u64..400, 1..8),
        ) {
            // What lies before the first position is judged by nobody yet.
            let mut log = Log { end: begin, ..Log::default() };
            for offset in (0..begin).step_by(3) {
                log.matches.insert((offset, KeyHash::from(offset % 5)));
            }
            let mut matches = Matches::keeping(most, begin, by_key);
            for step in &steps {
                match step {
                    Step::Append(records) => log.append(&mut matches, records),
                    Step::Backfill { back, batches, stop } => {
                        let from = matches.from().saturating_sub(*back);
                        log.read_backfill(&mut matches, from, *batches, *stop);
                    }
                    Step::Drop(passed) => {
                        matches.drop_before((matches.from() + passed).min(log.end));
                    }
                    Step::Reset(end) => {
                        log.end = *end;
                        log.matches.retain(|(offset, _)| offset < end);
                        matches = Matches::keeping(most, *end, by_key);
                    }
                }
                for from in &asked {
                    let counted = matches.count(*from);
                    let truth = log.count(*from, by_key);
                    prop_assert!(counted.count <= truth, "{counted:?} of {truth} from {from}");
                    let mut keys = HashSet::new();
                    let all = matches.collect_keys(*from, &mut keys);
                    if by_key {
                        prop_assert_eq!(keys.len() as u64, counted.count);
                    }
                    if counted.complete && all {
                        prop_assert_eq!(counted.count, truth, "from {}", from);
                    }
                    if counted.complete && !all {
                        prop_assert!(counted.count > 0 && most < 5, "an unknown is never 0");
                    }
                }
                prop_assert!(matches.count(matches.from()).complete);
            }
        }
    }
}
