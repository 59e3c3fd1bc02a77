//! Values by partition, in one stretch of memory.
//!
//! A topic's partitions are numbered from 0 without a gap, and mostly all of them are there. So a
//! value is looked for at the place of its number first, and by halves only where some are left
//! out.

use std::fmt;

use super::names::Partition;

/// A map from partitions, in ascending order.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ByPartition<T>(Vec<(Partition, T)>);

impl<T> ByPartition<T> {
    pub(super) fn new() -> ByPartition<T> {
        ByPartition(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, partition: Partition) -> Option<&T> {
        let (_, value) = self.0.get(self.place(partition).ok()?)?;
        Some(value)
    }

    pub(super) fn get_mut(&mut self, partition: Partition) -> Option<&mut T> {
        let place = self.place(partition).ok()?;
        let (_, value) = self.0.get_mut(place)?;
        Some(value)
    }

    /// Puts a value in, in place of the one that is there.
    pub(super) fn insert(&mut self, partition: Partition, value: T) {
        match self.place(partition) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (partition, value)),
        }
    }

    /// The value that is there, or else this one, which is put in.
    pub(super) fn or_insert_with(
        &mut self,
        partition: Partition,
        value: impl FnOnce() -> T,
    ) -> &mut T {
        let place = match self.place(partition) {
            Ok(place) => place,
            Err(place) => {
                self.0.insert(place, (partition, value()));
                place
            }
        };
        &mut self.0[place].1
    }

    pub(super) fn remove(&mut self, partition: Partition) -> Option<T> {
        let place = self.place(partition).ok()?;
        Some(self.0.remove(place).1)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (Partition, &T)> {
        self.0.iter().map(|(partition, value)| (*partition, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (Partition, &mut T)> {
        self.0.iter_mut().map(|(partition, value)| (*partition, value))
    }

    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = Partition> {
        self.0.iter().map(|(partition, _)| *partition)
    }

    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Where a partition is, or would be.
    fn place(&self, partition: Partition) -> Result<usize, usize> {
        let guess = usize::try_from(partition).unwrap_or(usize::MAX);
        match self.0.get(guess) {
            Some((found, _)) if *found == partition => Ok(guess),
            // What comes after all others is put in most.
            None if self.0.last().is_none_or(|(last, _)| *last < partition) => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&partition, |(found, _)| *found),
        }
    }
}

impl<T> Default for ByPartition<T> {
    fn default() -> ByPartition<T> {
        ByPartition::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for ByPartition<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Of values for the same partition the last one counts.
impl<T> FromIterator<(Partition, T)> for ByPartition<T> {
    fn from_iter<I: IntoIterator<Item = (Partition, T)>>(values: I) -> ByPartition<T> {
        let values = values.into_iter();
        let mut map = ByPartition(Vec::with_capacity(values.size_hint().0));
        map.extend(values);
        map
    }
}

impl<T> Extend<(Partition, T)> for ByPartition<T> {
    fn extend<I: IntoIterator<Item = (Partition, T)>>(&mut self, values: I) {
        values.into_iter().for_each(|(partition, value)| self.insert(partition, value));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Insert(Partition, u8),
        OrInsert(Partition, u8),
        Remove(Partition),
    }

    fn change() -> impl Strategy<Value = Change> {
        let partition = || prop_oneof![0..12, -3..200];
        prop_oneof![
            (partition(), any::<u8>()).prop_map(|(at, value)| Change::Insert(at, value)),
            (partition(), any::<u8>()).prop_map(|(at, value)| Change::OrInsert(at, value)),
            partition().prop_map(Change::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_does(changes in prop::collection::vec(change(), 0..60)) {
            let (mut ours, mut map) = (ByPartition::new(), BTreeMap::new());
            for change in changes {
                match change {
                    Change::Insert(at, value) => {
                        ours.insert(at, value);
                        map.insert(at, value);
                    }
                    Change::OrInsert(at, value) => {
                        prop_assert_eq!(
                            *ours.or_insert_with(at, || value),
                            *map.entry(at).or_insert(value)
                        );
                    }
                    Change::Remove(at) => prop_assert_eq!(ours.remove(at), map.remove(&at)),
                }
                prop_assert!(ours.iter().eq(map.iter().map(|(at, value)| (*at, value))));
                for at in -4..201 {
                    prop_assert_eq!(ours.get(at), map.get(&at));
                    prop_assert_eq!(ours.get_mut(at), map.get_mut(&at));
                }
            }
        }
    }
}
