//! Which event types count, and where a message keeps its own.
//!
//! A list is normalised when it is read: blanks around an entry do not matter, and an entry that another
//! one covers is dropped, so that no message matches two of its entries.
//!
//! # References
//! - CloudEvents, Kafka protocol binding 1.0.2, sections 3.1 to 3.3: content modes, `ce_type`
//! - CloudEvents, AMQP protocol binding 1.0.2, section 3: the same, `cloudEvents:type`

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use thiserror::Error;

use super::body::{BodyPath, BodyPathError, Step};
use super::judge::Record;

/// Types of the longest list: each is counted on its own.
const MAX_ENTRIES: usize = 1_000;

/// Where a structured CloudEvent keeps its type.
static STRUCTURED_TYPE: LazyLock<BodyPath> =
    LazyLock::new(|| BodyPath::of(vec![Step::Field("type".to_owned())]));

/// The event types that count: whole names and beginnings of names, none of which covers another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventTypes {
    /// Sorted; none begins with one of the prefixes.
    names: Vec<Arc<str>>,
    /// Sorted; none begins with another one.
    prefixes: Vec<Arc<str>>,
}

/// Where a message keeps its event type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum EventTypeFrom {
    /// Where CloudEvents says: an attribute beside the body, or the `type` of a structured event's JSON
    /// body; for what is no CloudEvent, what its source has for one.
    #[default]
    CloudEvents,
    /// The header of this name, the last one if there are several.
    Header(String),
    /// The key.
    Key,
    /// The subject.
    Subject,
    /// A string, number or boolean in the JSON body; a number or boolean counts as it is spelt.
    Body(BodyPath),
}

/// Why a text is not a list of event types.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventTypesError {
    /// An entry holds nothing but blanks.
    #[error("{list:?} has an empty entry; give types with one comma between")]
    EmptyEntry {
        /// The whole list.
        list: String,
    },
    /// More than anyone writes by hand.
    #[error("{count} types are too many; give at most {MAX_ENTRIES}, or a prefix for several")]
    TooMany {
        /// How many entries there are.
        count: usize,
    },
    /// A `*` stands elsewhere than at the end.
    #[error(
        "{entry:?} has a * before its end; give * only at the end, for all types that begin so"
    )]
    StarWithin {
        /// The entry that has it.
        entry: String,
    },
}

/// Why a text does not say where the event type is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventTypeFromError {
    /// None of the places.
    #[error(
        "{text:?} is not a place for the type; give header:<name>, key, subject or body:<path>"
    )]
    UnknownPlace {
        /// The whole text.
        text: String,
    },
    /// A `body:` whose path is none.
    #[error(transparent)]
    Path(#[from] BodyPathError),
}

impl EventTypes {
    /// Reads a list such as `image.uploaded,order.*`, where `\,` is a comma and a `*` at the end stands
    /// for any ending; a lone `*` for any type at all.
    ///
    /// # Errors
    /// For an empty entry, a `*` elsewhere, and more than 1,000 entries.
    pub fn parse(text: &str) -> Result<Self, EventTypesError> {
        let (mut names, mut prefixes) = (Vec::new(), Vec::new());
        let entries = entries(text);
        if entries.len() > MAX_ENTRIES {
            return Err(EventTypesError::TooMany { count: entries.len() });
        }
        for entry in entries {
            let entry = entry.trim();
            if entry.is_empty() {
                return Err(EventTypesError::EmptyEntry { list: text.to_owned() });
            }
            let (kind, name) = match entry.strip_suffix('*') {
                Some(prefix) => (&mut prefixes, prefix),
                None => (&mut names, entry),
            };
            if name.contains('*') {
                return Err(EventTypesError::StarWithin { entry: entry.to_owned() });
            }
            kind.push(Arc::from(name));
        }
        Ok(Self::normalised(names, prefixes))
    }

    fn normalised(mut names: Vec<Arc<str>>, mut prefixes: Vec<Arc<str>>) -> Self {
        prefixes.sort();
        // Sorted, a prefix stands before all that begin with it.
        prefixes.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        names.sort();
        names.dedup();
        names.retain(|name| covering(&prefixes, name).is_none());
        EventTypes { names, prefixes }
    }

    /// The whole names, sorted.
    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The beginnings, sorted; an empty one stands for any type.
    pub(super) fn prefixes(&self) -> &[Arc<str>] {
        &self.prefixes
    }

    /// Whether a message of this type counts.
    pub(super) fn contain(&self, event_type: &str) -> bool {
        self.names.binary_search_by(|name| (**name).cmp(event_type)).is_ok()
            || covering(&self.prefixes, event_type).is_some()
    }
}

impl EventTypeFrom {
    /// Reads `header:<name>`, `key`, `subject` or `body:<path>`.
    ///
    /// # Errors
    /// For anything else, an empty name and a path that is none.
    pub fn parse(text: &str) -> Result<Self, EventTypeFromError> {
        let text = text.trim();
        let unknown = || EventTypeFromError::UnknownPlace { text: text.to_owned() };
        match text.split_once(':').map(|(place, rest)| (place.trim(), rest.trim())) {
            None if text == "key" => Ok(EventTypeFrom::Key),
            None if text == "subject" => Ok(EventTypeFrom::Subject),
            Some(("header", name)) if !name.is_empty() => {
                Ok(EventTypeFrom::Header(name.to_owned()))
            }
            Some(("body", path)) => Ok(EventTypeFrom::Body(BodyPath::parse(path)?)),
            _ => Err(unknown()),
        }
    }

    /// The event type of a message; `None` where it has none, or one that is not UTF-8.
    pub(super) fn read<'m>(&self, record: &Record<'m>) -> Option<Cow<'m, str>> {
        let message = record.message;
        match self {
            EventTypeFrom::CloudEvents => match message.cloud_event_type() {
                Some(event_type) => utf8(event_type),
                None => structured_type(record)
                    .or_else(|| message.plain_event_type().map(Cow::Borrowed)),
            },
            EventTypeFrom::Header(name) => utf8(message.header(name)?),
            EventTypeFrom::Key => utf8(Cow::Borrowed(message.key()?)),
            EventTypeFrom::Subject => message.subject().map(Cow::Borrowed),
            EventTypeFrom::Body(path) => record.body.find(path).value()?.scalar(),
        }
    }
}

/// The type of a CloudEvent that is whole in the JSON body.
fn structured_type<'m>(record: &Record<'m>) -> Option<Cow<'m, str>> {
    if !is_structured(record.message.content_type()) {
        return None;
    }
    record.body.find(&STRUCTURED_TYPE).value()?.scalar()
}

/// Text out of bytes, copied only if they were.
pub(super) fn utf8(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// The entries of a list, commas escaped by `\` taken as part of one.
fn entries(list: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        let last = entries.last_mut().expect("there is one from the start");
        match character {
            '\\' if characters.next_if_eq(&',').is_some() => last.push(','),
            ',' => entries.push(String::new()),
            _ => last.push(character),
        }
    }
    entries
}

/// The one of `prefixes` that `name` begins with.
fn covering<'p>(prefixes: &'p [Arc<str>], name: &str) -> Option<&'p Arc<str>> {
    // Among sorted prefixes that do not cover each other, only the last one at or before the name can.
    let after = prefixes.partition_point(|prefix| **prefix <= *name);
    prefixes[..after].last().filter(|prefix| name.starts_with(&***prefix))
}

/// Whether a content type says that the body is a whole CloudEvent in JSON.
fn is_structured(content_type: Option<Cow<'_, [u8]>>) -> bool {
    let media_type = content_type.and_then(utf8);
    media_type.is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/cloudevents+json")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selection::message::tests::Sample;

    fn read(from: &str, message: &Sample) -> Option<String> {
        let from = match from {
            "" => EventTypeFrom::CloudEvents,
            from => EventTypeFrom::parse(from).expect("the place is well formed"),
        };
        from.read(&Record::new(message)).map(Cow::into_owned)
    }

    #[test]
    fn a_list_is_normalised() {
        for (list, names, prefixes) in [
            ("a", &["a"][..], &[][..]),
            (" a , b ", &["a", "b"], &[]),
            ("b,a,b", &["a", "b"], &[]),
            ("order.*,order.made", &[], &["order."]),
            ("order.*,order", &["order"], &["order."]),
            ("order.*,order.item.*,o.*", &[], &["o.", "order."]),
            ("*,a,b.*", &[], &[""]),
            (r"a\,b,c", &["a,b", "c"], &[]),
            (r"App\Events\Made,App\Events\*", &[], &[r"App\Events\"]),
            ("a b", &["a b"], &[]),
        ] {
            let types = EventTypes::parse(list).expect("the list is well formed");
            let arcs = |texts: &[&str]| texts.iter().copied().map(Arc::from).collect();
            assert_eq!(
                types,
                EventTypes { names: arcs(names), prefixes: arcs(prefixes) },
                "{list}"
            );
        }
    }

    #[test]
    fn a_list_that_is_not_one_is_refused() {
        for (list, expected) in [
            ("", r#""" has an empty entry; give types with one comma between"#),
            ("a,,b", r#""a,,b" has an empty entry; give types with one comma between"#),
            ("a, ", r#""a, " has an empty entry; give types with one comma between"#),
            (
                "a,b*c",
                r#""b*c" has a * before its end; give * only at the end, for all types that begin so"#,
            ),
            (
                "a**",
                r#""a**" has a * before its end; give * only at the end, for all types that begin so"#,
            ),
        ] {
            let error = EventTypes::parse(list).expect_err(list);
            assert_eq!(error.to_string(), expected, "{list}");
        }
        let types = |count: u32| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(EventTypes::parse(&types(1_000)).is_ok());
        let error = EventTypes::parse(&types(1_001)).expect_err("too many");
        assert_eq!(
            error.to_string(),
            "1001 types are too many; give at most 1000, or a prefix for several"
        );
    }

    #[test]
    fn a_place_is_read_or_refused() {
        let path = BodyPath::parse("a.b[0]").expect("the path is well formed");
        assert_eq!(EventTypeFrom::parse("body:a.b[0]"), Ok(EventTypeFrom::Body(path)));
        assert_eq!(
            EventTypeFrom::parse(" header: x-type "),
            Ok(EventTypeFrom::Header("x-type".into()))
        );
        assert_eq!(EventTypeFrom::parse("key"), Ok(EventTypeFrom::Key));
        assert_eq!(EventTypeFrom::parse("subject"), Ok(EventTypeFrom::Subject));
        for text in ["", "Key", "header", "header:", "body", "body:", "key:x", "body:a..b", "x:y"] {
            assert!(EventTypeFrom::parse(text).is_err(), "{text}");
        }
    }

    /// Of a source that has something for the type of a message that is no CloudEvent.
    fn plain(sample: Sample) -> Sample {
        Sample { plain_event_type: Some("plain".to_owned()), ..sample }
    }

    #[test]
    fn the_type_is_read_where_it_is_kept() {
        let structured = |content_type: &str| {
            Sample::default()
                .header("content-type", content_type)
                .body(r#"{"specversion":"1.0","type":"made"}"#)
        };
        let rows = [
            ("binary event", "", Sample::default().header("ce_type", "made"), Some("made")),
            (
                "last header wins",
                "",
                Sample::default().header("ce_type", "a").header("ce_type", "b"),
                Some("b"),
            ),
            ("structured event", "", structured("application/cloudevents+json"), Some("made")),
            (
                "with parameters",
                "",
                structured("Application/CloudEvents+JSON ; charset=utf-8"),
                Some("made"),
            ),
            ("a batch", "", structured("application/cloudevents-batch+json"), None),
            ("plain JSON", "", structured("application/json"), None),
            (
                "header before body",
                "",
                structured("application/cloudevents+json").header("ce_type", "sent"),
                Some("sent"),
            ),
            ("no type at all", "", Sample::default(), None),
            ("no CloudEvent", "", plain(Sample::default()), Some("plain")),
            ("a CloudEvent", "", plain(Sample::default().header("ce_type", "made")), Some("made")),
            ("no CloudEvent but a place", "key", plain(Sample::default()), None),
            (
                "header not UTF-8",
                "",
                structured("application/cloudevents+json").header("ce_type", b"\xff"),
                None,
            ),
            ("named header", "header:x", Sample::default().header("x", "made"), Some("made")),
            ("header's case counts", "header:X", Sample::default().header("x", "made"), None),
            ("key", "key", Sample::default().key("made"), Some("made")),
            ("key not UTF-8", "key", Sample::default().key(b"\xff"), None),
            ("no key", "key", Sample::default(), None),
            ("subject", "subject", Sample::default().subject("made"), Some("made")),
            (
                "body",
                "body:a.b",
                Sample::default().body(r#"{"a":{"b":"ma\u0064e"}}"#),
                Some("made"),
            ),
            ("number", "body:a", Sample::default().body(r#"{"a":1.50}"#), Some("1.50")),
            ("boolean", "body:a", Sample::default().body(r#"{"a":true}"#), Some("true")),
            ("no number", "body:a", Sample::default().body(r#"{"a":1x}"#), None),
            (
                "behind NaN",
                "body:a",
                Sample::default().body(r#"{"n":NaN,"i":[Infinity,-Infinity],"a":"made"}"#),
                Some("made"),
            ),
            (
                "before NaN",
                "body:a",
                Sample::default().body(r#"{"a":"made","n":NaN}"#),
                Some("made"),
            ),
            ("NaN", "body:a", Sample::default().body(r#"{"a":NaN}"#), Some("NaN")),
            (
                "behind a byte order mark",
                "body:a",
                Sample::default().body("\u{feff}{\"a\":\"made\"}"),
                Some("made"),
            ),
            (
                "a structured event behind a byte order mark",
                "",
                Sample::default()
                    .header("content-type", "application/cloudevents+json")
                    .body("\u{feff}{\"type\":\"made\"}"),
                Some("made"),
            ),
            ("null", "body:a", Sample::default().body(r#"{"a":null}"#), None),
            ("list", "body:a", Sample::default().body(r#"{"a":["made"]}"#), None),
            ("lone surrogate", "body:a", Sample::default().body(r#"{"a":"\ud800"}"#), None),
            ("no JSON", "body:a", Sample::default().body("made"), None),
            ("no body", "body:a", Sample::default(), None),
        ];
        for (name, from, message, expected) in rows {
            assert_eq!(read(from, &message).as_deref(), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_list_matches_what_its_entries_match(
            entries in proptest::collection::vec("[ab.]{1,3}\\*?|\\*", 1..6), event_type in "[ab.]{0,4}",
        ) {
            let types = EventTypes::parse(&entries.join(",")).expect("the list is well formed");
            let matched = entries.iter().any(|entry| match entry.strip_suffix('*') {
                Some(prefix) => event_type.starts_with(prefix),
                None => event_type == *entry,
            });
            prop_assert_eq!(types.contain(&event_type), matched);
            let names = types.names().iter().filter(|name| ***name == *event_type).count();
            let prefixes = types.prefixes().iter().filter(|prefix| event_type.starts_with(&***prefix)).count();
            prop_assert_eq!(names + prefixes, usize::from(matched));
        }
    }
}
