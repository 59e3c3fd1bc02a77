//! Which part of a question does a part of its reply answer?
//!
//! Replies mostly come in the order of the question, so the next part is tried first. The first
//! that is out of order makes a map of the question, and aligning stays linear.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The parts of a question, by what a reply calls them.
pub(super) struct Asked<'q, T, K> {
    parts: &'q [T],
    key: fn(&'q T) -> K,
    next: usize,
    places: Option<HashMap<K, usize>>,
}

impl<'q, T, K: Eq + Hash> Asked<'q, T, K> {
    pub(super) fn new(parts: &'q [T], key: fn(&'q T) -> K) -> Self {
        Self { parts, key, next: 0, places: None }
    }

    /// The part that is called so, and its place. Of equal parts the first counts, unless the reply
    /// has both in order.
    pub(super) fn find<Q>(&mut self, name: &Q) -> Option<(usize, &'q T)>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let key = self.key;
        let next = self.parts.get(self.next).filter(|part| key(part).borrow() == name);
        let place = match next {
            Some(_) => self.next,
            None => {
                let places = self.places.get_or_insert_with(|| {
                    let last_first = self.parts.iter().enumerate().rev();
                    last_first.map(|(place, part)| (key(part), place)).collect()
                });
                places.get(name).copied()?
            }
        };
        self.next = place.saturating_add(1);
        Some((place, self.parts.get(place)?))
    }
}

/// Puts an answer into its place, unless there is one already.
pub(super) fn put<T>(answers: &mut [Option<T>], place: usize, answer: T) -> Option<()> {
    let slot = answers.get_mut(place).filter(|slot| slot.is_none())?;
    *slot = Some(answer);
    Some(())
}

/// Places for this many answers, all left out as yet.
pub(super) fn left_out<T>(parts: usize) -> Vec<Option<T>> {
    std::iter::repeat_with(|| None).take(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_any_order() {
        let rows = [
            ("in order", [7, 8, 9], [7, 8, 9], [Some(0), Some(1), Some(2)]),
            ("backwards", [7, 8, 9], [9, 8, 7], [Some(2), Some(1), Some(0)]),
            ("with gaps", [7, 8, 9], [8, 9, 7], [Some(1), Some(2), Some(0)]),
            ("others", [7, 8, 9], [6, 7, 10], [None, Some(0), None]),
            ("twice in both", [7, 7, 9], [7, 7, 7], [Some(0), Some(1), Some(0)]),
        ];
        for (name, asked, named, expected) in rows {
            let mut parts = Asked::new(&asked, |part| *part);
            let found: Vec<_> =
                named.iter().map(|name| parts.find(name).map(|(place, _)| place)).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn an_answer_is_put_once() {
        let mut answers = left_out(1);
        assert_eq!(put(&mut answers, 0, 1), Some(()));
        assert_eq!(put(&mut answers, 0, 2), None);
        assert_eq!(put(&mut answers, 1, 2), None);
        assert_eq!(answers, [Some(1)]);
    }
}
