//! What the latest messages were, to explain why none of them matches.
//!
//! A [`Judge`](super::Judge) notes the types of some of the messages that it judges, and why others
//! could not be judged: once for each place of the event type and for each filter. The number of
//! messages and of types is bounded, so that this takes 4 KiB at most. Nothing of a body is kept.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use super::reason::Reason;
use crate::metadata::{cut, quoted};

/// How many messages are remembered.
const MESSAGES: usize = 128;

/// How many types and reasons are told apart; the rest counts as others.
const KINDS: usize = 16;

/// Bytes that are kept of a type.
const TYPE_BYTES: usize = 64;

/// How many types are listed.
const TOLD: usize = 10;

/// Where a message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its partition.
    pub partition: i32,
    /// Its offset, or sequence number.
    pub number: u64,
}

/// What was seen of the latest messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    kinds: HashMap<Kind, u64>,
    others: u64,
}

/// What a message is, as far as a selection sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// Of this type, of which it may be the beginning.
    Type(Box<str>),
    /// Seen by a filter that asks for no type.
    Untyped,
    /// It cannot be judged.
    Indeterminate(Reason),
}

/// The latest messages.
#[derive(Debug, Default)]
pub(super) struct Latest {
    messages: VecDeque<(Position, Option<u8>)>,
    /// By number, each with how many of the messages it has.
    kinds: Vec<(Kind, u32)>,
}

impl Latest {
    /// Adds one message, with its type where that matters, or why it cannot be judged. The earliest
    /// is dropped.
    pub(super) fn note(&mut self, at: Position, found: Result<Option<&str>, Reason>) {
        let kind = match found {
            Ok(event_type) => event_type.map_or(Kind::Untyped, Kind::of_type),
            Err(reason) => Kind::Indeterminate(reason),
        };
        if self.messages.len() >= MESSAGES
            && let Some((_, Some(gone))) = self.messages.pop_front()
        {
            self.kinds[usize::from(gone)].1 -= 1;
        }
        let known = self.kinds.iter().position(|known| known.0 == kind);
        let free = || self.kinds.iter().position(|known| known.1 == 0);
        let number = match known.or_else(free) {
            Some(number) => Some(number),
            None if self.kinds.len() < KINDS => {
                self.kinds.push((Kind::Untyped, 0));
                Some(self.kinds.len() - 1)
            }
            None => None,
        };
        if let Some(number) = number {
            let of = self.kinds[number].1;
            self.kinds[number] = (kind, of + 1);
        }
        self.messages.push_back((at, number.map(|number| number as u8)));
    }

    /// What was seen of those that are meant.
    pub(super) fn sight(&self, is_meant: impl Fn(Position) -> bool) -> Sight {
        let mut sight = Sight::default();
        for (_, kind) in self.messages.iter().filter(|(at, _)| is_meant(*at)) {
            match kind {
                Some(number) => {
                    let kind = self.kinds[usize::from(*number)].0.clone();
                    *sight.kinds.entry(kind).or_default() += 1;
                }
                None => sight.others += 1,
            }
        }
        sight
    }

    /// Forgets those that are not meant.
    pub(super) fn retain(&mut self, is_meant: impl Fn(Position) -> bool) {
        let Latest { messages, kinds } = self;
        messages.retain(|(at, kind)| {
            let stays = is_meant(*at);
            if let (false, Some(number)) = (stays, kind) {
                kinds[usize::from(*number)].1 -= 1;
            }
            stays
        });
    }
}

impl Kind {
    fn of_type(event_type: &str) -> Kind {
        Kind::Type(cut(event_type, TYPE_BYTES).into())
    }
}

impl Sight {
    /// How many messages were looked at.
    pub fn messages(&self) -> u64 {
        self.kinds.values().sum::<u64>() + self.others
    }

    /// How many messages there were of each type, the most frequent first; `None` stands for those
    /// of which a filter asks for no type.
    pub fn types(&self) -> Vec<(Option<&str>, u64)> {
        let types = self.kinds.iter().filter_map(|(kind, count)| match kind {
            Kind::Type(name) => Some((Some(&**name), *count)),
            Kind::Untyped => Some((None, *count)),
            Kind::Indeterminate(_) => None,
        });
        most_first(types.collect())
    }

    /// How many could not be judged, and why, the most frequent first.
    pub fn indeterminate(&self) -> Vec<(&Reason, u64)> {
        let reasons = self.kinds.iter().filter_map(|(kind, count)| match kind {
            Kind::Indeterminate(reason) => Some((reason, *count)),
            Kind::Type(_) | Kind::Untyped => None,
        });
        most_first(reasons.collect())
    }

    /// How many were of types that were not told apart.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// With what was seen elsewhere.
    #[must_use]
    pub fn plus(mut self, other: Sight) -> Sight {
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.others += other.others;
        self
    }
}

/// How many messages of which types, the most frequent first, and how many could not be judged, by
/// reason. It is part of a sentence.
impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.types();
        let named = |name: Option<&str>| {
            name.map_or_else(|| "for which the filter is false".to_owned(), quoted)
        };
        let told = types.iter().take(TOLD);
        let mut parts: Vec<String> =
            told.map(|(name, count)| format!("{count} {}", named(*name))).collect();
        let others = self.others + types.iter().skip(TOLD).map(|(_, count)| count).sum::<u64>();
        if others > 0 {
            parts.push(format!("{others} of other types"));
        }
        for (reason, count) in self.indeterminate() {
            parts.push(format!("{count} that cannot be judged ({reason})"));
        }
        f.write_str(&parts.join(", "))
    }
}

fn most_first<T: Ord>(mut counts: Vec<(T, u64)>) -> Vec<(T, u64)> {
    counts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(number: u64) -> Position {
        Position { partition: 0, number }
    }

    #[test]
    fn the_commonest_types_are_told_first() {
        let mut latest = Latest::default();
        for number in 0..6 {
            let event_type = if number % 3 == 0 { "order.made" } else { "order.paid" };
            latest.note(at(number), Ok(Some(event_type)));
        }
        latest.note(at(6), Ok(None));
        latest.note(at(7), Err(Reason::NoHeader));
        let sight = latest.sight(|_| true);
        assert_eq!(sight.messages(), 8);
        assert_eq!(
            sight.to_string(),
            r#"4 "order.paid", 2 "order.made", 1 for which the filter is false, 1 that cannot be judged (it has no such header)"#
        );
        assert_eq!(latest.sight(|at| at.number >= 6).messages(), 2);
        latest.retain(|at| at.number >= 6);
        assert_eq!(latest.sight(|_| true).messages(), 2);
    }

    #[test]
    fn what_anybody_may_call_a_type_stays_short_and_on_one_line() {
        let mut latest = Latest::default();
        for number in 0..40 {
            let name = format!("{number}\n<script>{}", "🦀".repeat(5_000));
            latest.note(at(number), Ok(Some(&name)));
        }
        let told = latest.sight(|_| true).to_string();
        assert!(told.len() < 900 && !told.contains('\n'), "{told}");
        assert!(told.ends_with("30 of other types"), "{told}");
    }

    proptest! {
        /// However many types come: the latest are remembered, each counted once, in bounded room.
        #[test]
        fn the_latest_are_remembered(numbers in proptest::collection::vec(0_u32..40, 0..400)) {
            let mut latest = Latest::default();
            for (place, number) in (0..).zip(&numbers) {
                latest.note(at(place), Ok(Some(&number.to_string())));
            }
            let sight = latest.sight(|_| true);
            prop_assert_eq!(sight.messages(), numbers.len().min(MESSAGES) as u64);
            prop_assert!(latest.kinds.len() <= KINDS);
            let last = &numbers[numbers.len().saturating_sub(MESSAGES)..];
            for (kind, count) in &sight.kinds {
                let Kind::Type(name) = kind else { panic!("all have one") };
                let of = last.iter().filter(|number| number.to_string() == **name).count();
                prop_assert!(*count <= of as u64);
            }
            // Where few types come, each is counted.
            if numbers.iter().all(|number| *number < KINDS as u32) {
                prop_assert_eq!(sight.others, 0);
            }
        }
    }
}
