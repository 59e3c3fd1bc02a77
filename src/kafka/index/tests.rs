//! The index against a plain set of offsets, under whatever happens to a partition.

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
    /// Memory is short.
    LetHalfGo,
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
        1 => Just(Step::LetHalfGo),
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

#[test]
fn what_it_takes_is_about_what_it_is_charged_for() {
    let dense = |by_key| {
        let mut matches = Matches::new(0, by_key);
        (0..100_000_u64).for_each(|offset| matches.push(offset, offset.into()));
        matches
    };
    let mut sparse = Matches::new(0, false);
    (0..100_000_u64).for_each(|offset| sparse.push(offset * 40, 0));
    let rows = [
        ("dense", dense(false), 16_000, 40_000),
        ("sparse", sparse, 200_000, 400_000),
        // 131,072 places of 33 bytes, 7 of 8 of them of use.
        ("keys", dense(true), 4_300_000, 4_500_000),
    ];
    for (name, mut matches, least, most) in rows {
        let bytes = matches.bytes();
        assert!((least..most).contains(&bytes), "{name}: {bytes}");
        (0..3).for_each(|_| assert!(matches.let_half_go()));
        let left = matches.bytes();
        assert!(left < bytes * 7 / 10, "{name}: {left} of {bytes}");
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
        let mut is_let_go = false;
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
                Step::LetHalfGo => {
                    let before = matches.count(0).count;
                    prop_assert_eq!(matches.let_half_go(), before > 0);
                    is_let_go = true;
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
                let are_more = matches.collect_keys(*from, &mut keys);
                if by_key {
                    prop_assert_eq!(keys.len() as u64, counted.count);
                    prop_assert_eq!(are_more, counted.are_more);
                }
                if counted.complete && !counted.are_more {
                    prop_assert_eq!(counted.count, truth, "from {}", from);
                }
                if counted.complete && counted.are_more && !is_let_go {
                    prop_assert!(counted.count > 0 && most < 5, "an unknown is never 0");
                }
            }
            prop_assert!(matches.count(matches.from()).complete);
        }
    }
}
