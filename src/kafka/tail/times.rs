//! About when the records of a partition were written, for the age of what waits.
//!
//! Some offsets with their timestamps are remembered, of the first match in each portion that was
//! judged. Where there are too many, every other one of the later ones goes: what waits for a long
//! time lies between the earlier ones.

use std::collections::BTreeMap;

use crate::kafka::names::Offset;

/// How many are remembered: half a kilobyte.
const MOST: usize = 32;

/// Milliseconds since 1970, as records have them.
pub(in crate::kafka) type Timestamp = i64;

/// Offsets and the timestamps of the records there.
#[derive(Debug, Default)]
pub(super) struct Times(BTreeMap<Offset, Timestamp>);

impl Times {
    /// Notes a record's.
    pub(super) fn note(&mut self, offset: Offset, timestamp: Timestamp) {
        self.0.insert(offset, timestamp);
        if self.0.len() > MOST {
            let mut number = 0;
            self.0.retain(|_, _| {
                number += 1;
                number <= MOST / 2 || number % 2 == 0
            });
        }
    }

    /// Forgets what lies before an offset, but for the last of it: later records are no older.
    pub(super) fn drop_before(&mut self, offset: Offset) {
        let Some((&last, _)) = self.0.range(..=offset).next_back() else { return };
        self.0 = self.0.split_off(&last);
    }

    /// When the record at an offset was written, or one not long before it.
    pub(super) fn at(&self, offset: Offset) -> Option<Timestamp> {
        self.0.range(..=offset).next_back().map(|(_, timestamp)| *timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_old_as_the_one_noted_before_it() {
        let mut times = Times::default();
        assert_eq!(times.at(5), None);
        times.note(10, 1_000);
        times.note(20, 2_000);
        for (offset, expected) in
            [(9, None), (10, Some(1_000)), (19, Some(1_000)), (99, Some(2_000))]
        {
            assert_eq!(times.at(offset), expected, "{offset}");
        }
        times.drop_before(15);
        assert_eq!((times.at(9), times.at(15)), (None, Some(1_000)));
        times.drop_before(20);
        assert_eq!(times.at(19), None);
    }

    #[test]
    fn however_many_are_noted_the_earlier_ones_stay_close() {
        let mut times = Times::default();
        for offset in 0..100_000 {
            times.note(offset, i64::try_from(offset).unwrap());
            assert!(times.0.len() <= MOST);
        }
        assert_eq!(times.at(7), Some(7));
        assert_eq!(times.at(99_999), Some(99_999));
    }
}
