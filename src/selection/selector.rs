//! What one trigger selects, and the selectors of it that are counted on their own.

use std::fmt;
use std::sync::Arc;

use super::event_type::{EventTypeFrom, EventTypes};
use super::filter::Filter;
use crate::metadata::{one_line, quoted};

/// Bytes of a label.
const LABEL_BYTES: usize = 253;

/// Which messages count for one trigger. The default selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The event types that count; `None`: any, and also a message without a type.
    pub types: Option<EventTypes>,
    /// Where a message keeps its event type.
    pub from: EventTypeFrom,
    /// What must hold besides; `None`: nothing.
    pub filter: Option<Filter>,
}

/// One thing selected. It gets an index of its own.
///
/// Equal selectors select the same messages, whichever selection they come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Every message.
    All,
    /// The messages of one event type.
    Type {
        /// Where a message keeps its event type.
        from: EventTypeFrom,
        /// The whole type.
        name: Arc<str>,
    },
    /// The messages whose event type begins so.
    Prefix {
        /// Where a message keeps its event type.
        from: EventTypeFrom,
        /// The beginning; empty for any message that has a type.
        prefix: Arc<str>,
    },
    /// The messages for which a filter holds.
    Filtered {
        /// Where a message keeps its event type.
        from: EventTypeFrom,
        /// The event types that count; `None`: any, and also a message without a type.
        types: Option<EventTypes>,
        /// What must hold besides.
        filter: Filter,
    },
    /// The messages that have at least one of these types, where a message can have several.
    AnyOf {
        /// Where a message keeps its event types.
        from: EventTypeFrom,
        /// The event types that count.
        types: EventTypes,
    },
}

/// What selects, for the log: the parameters and the beginning of their values.
/// In a few words, which may be long: whoever shows them cuts them.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.types {
            Some(types) => write!(f, "types {types}")?,
            None => f.write_str("any type")?,
        }
        match &self.filter {
            Some(_) => f.write_str(", a filter"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::All => f.write_str("every message"),
            Selector::Type { from, name } => write!(f, "eventType {}{from}", quoted(name)),
            Selector::Prefix { from, prefix } => {
                write!(f, "eventType {}{from}", quoted(&format!("{prefix}*")))
            }
            Selector::AnyOf { from, types } => {
                write!(f, "eventType {}{from}", quoted(&types.to_string()))
            }
            Selector::Filtered { types: None, filter, .. } => {
                write!(f, "filter {}", quoted(filter.text()))
            }
            Selector::Filtered { from, types: Some(types), filter } => {
                let types = quoted(&types.to_string());
                write!(f, "eventType {types}{from} with filter {}", quoted(filter.text()))
            }
        }
    }
}

impl Selector {
    /// Its name in a list of those of one trigger, on one line.
    pub fn label(&self) -> String {
        let label = match self {
            Selector::All => "every message".to_owned(),
            Selector::Type { name, .. } => name.to_string(),
            Selector::Prefix { prefix, .. } => format!("{prefix}*"),
            Selector::AnyOf { types, .. } => types.to_string(),
            Selector::Filtered { types: None, .. } => "the filter".to_owned(),
            Selector::Filtered { types: Some(types), .. } => format!("{types} and the filter"),
        };
        one_line(&label, LABEL_BYTES)
    }
}

impl Selection {
    /// Whether every message counts, so that none need be looked at.
    pub fn is_all(&self) -> bool {
        self.types.is_none() && self.filter.is_none()
    }

    /// Whether there are several selectors, which are counted one by one.
    pub fn are_several(&self) -> bool {
        let count = |types: &EventTypes| types.names().len() + types.prefixes().len();
        self.filter.is_none()
            && !self.from.is_list()
            && self.types.as_ref().is_some_and(|types| count(types) > 1)
    }

    /// What its types may have been meant as, where they read like something else than types. It is
    /// shown to a user when nothing matches.
    pub fn hint(&self) -> Option<String> {
        self.types.as_ref().and_then(EventTypes::hint)
    }

    /// The selectors of this selection. No message is in two of them, so its backlog is their sum.
    pub fn selectors(&self) -> Vec<Selector> {
        match (&self.types, &self.filter) {
            (None, None) => vec![Selector::All],
            // A message with two of the types would be in two selectors.
            (Some(types), None) if self.from.is_list() => {
                vec![Selector::AnyOf { from: self.from.clone(), types: types.clone() }]
            }
            (Some(types), None) => {
                let from = || self.from.clone();
                let names = types.names().iter().cloned();
                let prefixes = types.prefixes().iter().cloned();
                names
                    .map(|name| Selector::Type { from: from(), name })
                    .chain(prefixes.map(|prefix| Selector::Prefix { from: from(), prefix }))
                    .collect()
            }
            (types, Some(filter)) => {
                // Where the type is kept makes no difference to a filter that does not ask for it.
                let from = match types {
                    None if !filter.asks_event_type() => EventTypeFrom::default(),
                    _ => self.from.clone(),
                };
                vec![Selector::Filtered { from, types: types.clone(), filter: filter.clone() }]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(list: &str) -> Option<EventTypes> {
        Some(EventTypes::parse(list).expect("the list is well formed"))
    }

    fn filter(text: &str) -> Option<Filter> {
        Some(Filter::compile(text, &[]).expect("the filter is well formed"))
    }

    #[test]
    fn a_selection_of_nothing_selects_all() {
        let all = Selection { from: EventTypeFrom::Key, ..Selection::default() };
        assert!(all.is_all());
        assert_eq!(all.selectors(), [Selector::All]);
    }

    #[test]
    fn overlapping_lists_share_parts() {
        let one = Selection { types: types("a,b,order.*"), ..Selection::default() };
        let other = Selection { types: types("order.*,order.made,b"), ..Selection::default() };
        assert!(one.are_several() && other.are_several());
        let (one, other) = (one.selectors(), other.selectors());
        assert_eq!((one.len(), other.len()), (3, 2));
        assert!(other.iter().all(|selector| one.contains(selector)));
    }

    #[test]
    fn a_part_is_told_by_its_parameter() {
        let told = |list: Option<&str>, text: Option<&str>| {
            let (types, filter) = (list.and_then(types), text.and_then(filter));
            let selection = Selection { types, filter, ..Selection::default() };
            selection.selectors().iter().map(Selector::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(None, None), ["every message"]);
        assert_eq!(told(Some("a,b.*"), None), [r#"eventType "a""#, r#"eventType "b.*""#]);
        assert_eq!(told(None, Some("size >\n 1")), [r#"filter "size >\n 1""#]);
        assert_eq!(
            told(Some("a,b*"), Some("size > 1")),
            [r#"eventType "a,b*" with filter "size > 1""#]
        );
        for (place, expected) in [
            ("header:kind", r#"eventType "a" with eventTypeFrom "header:kind""#),
            ("header:kinds[;]", r#"eventType "a" with eventTypeFrom "header:kinds[;]""#),
            (r#"body:a[0]["b.c"]"#, r#"eventType "a" with eventTypeFrom "body:a[0][\"b.c\"]""#),
            ("body:a.b[*].c", r#"eventType "a" with eventTypeFrom "body:a.b[*].c""#),
            ("body:[*]", r#"eventType "a" with eventTypeFrom "body:[*]""#),
            ("schema:id", r#"eventType "a" with eventTypeFrom "schema:id""#),
            ("key", r#"eventType "a" with eventTypeFrom "key""#),
            ("subject", r#"eventType "a" with eventTypeFrom "subject""#),
        ] {
            let from = EventTypeFrom::parse(place).expect("the place is well formed");
            let selection = Selection { types: types("a"), from, filter: None };
            assert_eq!(selection.selectors()[0].to_string(), expected);
        }
    }

    #[test]
    fn types_of_a_list_are_one_part() {
        let from = EventTypeFrom::parse("body:types[*]").expect("the place is well formed");
        let listed = Selection { types: types("a,b.*"), from, filter: None };
        assert!(!listed.are_several());
        assert_eq!(listed.selectors().len(), 1);
    }

    #[test]
    fn types_and_filter_are_one_part() {
        let both =
            Selection { types: types("a,b"), filter: filter("size > 1"), ..Selection::default() };
        assert!(!both.is_all() && !both.are_several());
        assert_eq!(both.selectors().len(), 1);
    }

    #[test]
    fn equal_filters_are_one_part_wherever_the_type_is_kept() {
        let selectors = |text: &str, from: EventTypeFrom| {
            Selection { types: None, from, filter: filter(text) }.selectors()
        };
        assert_eq!(
            selectors("size > 1", EventTypeFrom::Key),
            selectors("size > 1", EventTypeFrom::Subject)
        );
        assert_ne!(
            selectors("eventType != ''", EventTypeFrom::Key),
            selectors("eventType != ''", EventTypeFrom::Subject)
        );
    }
}
