//! Which selectors a message belongs to: each message is judged once for all selectors wanted of
//! one topic.
//!
//! Selectors that keep the event type in the same place share one reading of it, one hash look-up
//! for all whole types, and one for each length that their prefixes have. A filter is evaluated
//! only if the types beside it match.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::event_type::{EventTypeFrom, EventTypes, Types};
use super::filter::Filter;
use super::message::Message;
use super::reason::Reason;
use super::record::Record;
use super::selector::Selector;
use super::sight::{Latest, Position, Sight};
use crate::lock::lock;

/// Where the caller keeps what a selector selects. The caller gives the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// All selectors wanted of one topic or queue, compiled together.
#[derive(Debug, Default)]
pub struct Judge {
    /// The slots of the selectors that every message belongs to.
    all: Vec<Slot>,
    groups: Vec<Group>,
    /// What the latest messages were, by [`view`].
    seen: HashMap<Selector, Seen>,
}

/// Shared with the judges that replace this one.
type Seen = Arc<Mutex<Latest>>;

/// What was found for one message. The buffer is used again for the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// The slots of the selectors that the message belongs to, in no particular order.
    pub selected: Vec<Slot>,
    /// The slots of the selectors for which the message is indeterminate, and why: it lacks the
    /// type or the field asked for, or is not of the form expected. It does not count for them.
    pub indeterminate: Vec<(Slot, Reason)>,
}

/// The selectors that keep the event type in the same place.
#[derive(Debug)]
struct Group {
    from: EventTypeFrom,
    names: HashMap<Box<[u8]>, Vec<Slot>>,
    prefixes: HashMap<Box<[u8]>, Vec<Slot>>,
    /// The lengths in bytes that the prefixes have, each once.
    prefix_lengths: Vec<usize>,
    /// The slots of all names and prefixes. A message without a type is indeterminate for them.
    typed: Vec<Slot>,
    filtered: Vec<Filtered>,
    /// Whether any filter asks for the event type, or has types beside it.
    filters_ask: bool,
    /// The types that messages have there; absent where only filters want any.
    seen: Option<Seen>,
}

/// A filter and types, of which both must match; one of the two may be absent.
#[derive(Debug)]
struct Filtered {
    slot: Slot,
    types: Option<EventTypes>,
    filter: Option<Filter>,
    seen: Seen,
}

impl Judge {
    /// A judge for these selectors. Selectors that share a slot are judged each on their own, so a
    /// message in two of them gets the slot twice.
    pub fn new(selectors: impl IntoIterator<Item = (Slot, Selector)>) -> Self {
        Judge::default().for_others(selectors)
    }

    /// A judge for other selectors. It keeps what was seen for those that stay.
    pub fn for_others(&self, selectors: impl IntoIterator<Item = (Slot, Selector)>) -> Self {
        let mut judge = Judge::default();
        for (slot, selector) in selectors {
            let Some(view) = view(&selector) else {
                judge.all.push(slot);
                continue;
            };
            let known = judge.seen.get(&view).or_else(|| self.seen.get(&view));
            let seen = known.map(Arc::clone).unwrap_or_default();
            judge.seen.insert(view, Arc::clone(&seen));
            match selector {
                Selector::All => {}
                Selector::Type { from, name } => {
                    judge.group(from).seeing(seen).add_name(&name, slot);
                }
                Selector::Prefix { from, prefix } => {
                    judge.group(from).seeing(seen).add_prefix(&prefix, slot);
                }
                Selector::Filtered { from, types, filter } => {
                    let filter = Some(filter);
                    judge.group(from).add_filter(Filtered { slot, types, filter, seen });
                }
                Selector::AnyOf { from, types } => {
                    let (types, filter) = (Some(types), None);
                    judge.group(from).add_filter(Filtered { slot, types, filter, seen });
                }
            }
        }
        judge
    }

    /// What the latest messages were for a selector: those that `is_meant` and that were judged
    /// with a position. `None` for a selector that every message belongs to.
    pub fn sight(&self, selector: &Selector, is_meant: impl Fn(Position) -> bool) -> Option<Sight> {
        Some(lock(self.seen.get(&view(selector)?)?).sight(is_meant))
    }

    /// Forgets what was seen of messages that are not meant.
    pub fn forget(&self, is_meant: impl Fn(Position) -> bool) {
        self.seen.values().for_each(|seen| lock(seen).retain(&is_meant));
    }

    /// Judges one message for all selectors; what `verdicts` held before is dropped. A message with
    /// a position is also noted for [`Judge::sight`].
    pub fn judge(
        &self,
        message: &impl Message,
        position: Option<Position>,
        verdicts: &mut Verdicts,
    ) {
        verdicts.selected.clear();
        verdicts.indeterminate.clear();
        verdicts.selected.extend_from_slice(&self.all);
        if self.groups.is_empty() {
            return;
        }
        let record = Record::new(message);
        for group in &self.groups {
            group.judge(&record, position, verdicts);
        }
    }

    fn group(&mut self, from: EventTypeFrom) -> &mut Group {
        let known = self.groups.iter().position(|group| group.from == from);
        let index = known.unwrap_or_else(|| {
            self.groups.push(Group::new(from));
            self.groups.len() - 1
        });
        &mut self.groups[index]
    }
}

/// The selector under which is kept what was seen for this one. All types in one place share the
/// prefix that any type has.
fn view(selector: &Selector) -> Option<Selector> {
    match selector {
        Selector::All => None,
        Selector::Type { from, .. } | Selector::Prefix { from, .. } => {
            Some(Selector::Prefix { from: from.clone(), prefix: "".into() })
        }
        Selector::Filtered { .. } | Selector::AnyOf { .. } => Some(selector.clone()),
    }
}

impl Group {
    fn new(from: EventTypeFrom) -> Self {
        Group {
            from,
            names: HashMap::new(),
            prefixes: HashMap::new(),
            prefix_lengths: Vec::new(),
            typed: Vec::new(),
            filtered: Vec::new(),
            filters_ask: false,
            seen: None,
        }
    }

    /// Notes the types there.
    fn seeing(&mut self, seen: Seen) -> &mut Self {
        self.seen = Some(seen);
        self
    }

    fn add_name(&mut self, name: &str, slot: Slot) {
        self.names.entry(name.as_bytes().into()).or_default().push(slot);
        self.typed.push(slot);
    }

    fn add_prefix(&mut self, prefix: &str, slot: Slot) {
        self.prefixes.entry(prefix.as_bytes().into()).or_default().push(slot);
        if !self.prefix_lengths.contains(&prefix.len()) {
            self.prefix_lengths.push(prefix.len());
        }
        self.typed.push(slot);
    }

    fn add_filter(&mut self, filtered: Filtered) {
        self.filters_ask |= filtered.asks_type();
        self.filtered.push(filtered);
    }

    fn judge(&self, record: &Record<'_>, position: Option<Position>, verdicts: &mut Verdicts) {
        let asked = self.filters_ask || !self.typed.is_empty();
        let types = if asked { self.from.read(record) } else { Err(Reason::NoEventType) };
        if let (Some(position), Some(seen)) = (position, &self.seen) {
            lock(seen).note(position, first(&types).map(Some));
        }
        match &types {
            Ok(types) => {
                for event_type in types.as_slice() {
                    self.match_type(event_type.as_bytes(), &mut verdicts.selected);
                }
            }
            Err(reason) => {
                let typed = self.typed.iter().map(|slot| (*slot, *reason));
                verdicts.indeterminate.extend(typed);
            }
        }
        for filtered in &self.filtered {
            let judged = filtered.judge(record, &types);
            if let Some(position) = position {
                let of_type = |_| filtered.asks_type().then(|| first(&types)).transpose();
                lock(&filtered.seen).note(position, judged.and_then(of_type));
            }
            match judged {
                Ok(true) => verdicts.selected.push(filtered.slot),
                Ok(false) => {}
                Err(reason) => verdicts.indeterminate.push((filtered.slot, reason)),
            }
        }
    }

    fn match_type(&self, event_type: &[u8], selected: &mut Vec<Slot>) {
        selected.extend(self.names.get(event_type).into_iter().flatten());
        for length in &self.prefix_lengths {
            let slots = event_type.get(..*length).and_then(|prefix| self.prefixes.get(prefix));
            selected.extend(slots.into_iter().flatten());
        }
    }
}

/// The first type of a message, which it is noted under.
fn first<'t>(types: &'t Result<Types<'_>, Reason>) -> Result<&'t str, Reason> {
    let types = types.as_ref().map_err(|reason| *reason)?;
    Ok(types.as_slice().first().map_or("", |event_type| event_type))
}

impl Filtered {
    fn asks_type(&self) -> bool {
        self.types.is_some() || self.filter.as_ref().is_some_and(Filter::asks_event_type)
    }

    /// Whether the message is in this selector.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn judge(
        &self,
        record: &Record<'_>,
        found: &Result<Types<'_>, Reason>,
    ) -> Result<bool, Reason> {
        if let Some(types) = &self.types {
            let found = found.as_ref().map_err(|reason| *reason)?;
            if !found.as_slice().iter().any(|event_type| types.contain(event_type)) {
                return Ok(false);
            }
        }
        let Some(filter) = &self.filter else { return Ok(true) };
        let first = found.as_ref().ok().and_then(|types| types.as_slice().first());
        filter.holds(record, first.map_or("", |event_type| event_type))
    }
}

#[cfg(test)]
mod tests;
