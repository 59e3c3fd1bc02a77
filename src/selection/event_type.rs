//! Which event types count, and where a message keeps its own.
//!
//! A list is normalised when it is read: blanks around an entry do not matter, and an entry that another
//! one covers is dropped, so that no message matches two of its entries.
//!
//! # References
//! - CloudEvents, Kafka protocol binding 1.0.2, sections 3.1 to 3.3: content modes, `ce_type`
//! - CloudEvents, AMQP protocol binding 1.0.2, section 3: the same, `cloudEvents:type`

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use thiserror::Error;

use super::body::{BodyPath, BodyPathError, Found, Step};
use super::framing::{Framed, Schema};
use super::json::Json;
use super::reason::Reason;
use super::record::Record;
use crate::metadata::quoted;

/// What stands in regular expressions and in SQL's patterns, and hardly in types.
const PATTERN: [char; 12] = ['\\', '^', '$', '|', '(', ')', '[', ']', '{', '}', '?', '%'];

/// Types of the longest list: each is counted on its own.
const MAX_ENTRIES: usize = 1_000;

/// What may stand between the types of a header.
const SEPARATORS: [char; 3] = [';', ',', '|'];

/// Where Confluent's serializers name the schema of a value that has none before it.
const SCHEMA_HEADER: &str = "__value_schema_id";

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
    /// Several in a header, with this between them.
    HeaderList(String, char),
    /// Several in the JSON body: at this path from each element of the list at that one.
    BodyList(BodyPath, BodyPath),
    /// The id of the schema that the body was written by.
    Schema,
}

/// The event types of a message: one, or as many as a list has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Types<'m> {
    One(Cow<'m, str>),
    Several(Vec<Cow<'m, str>>),
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
        "{text:?} is not a place for the type; give header:<name>, key, subject, body:<path> or schema:id"
    )]
    UnknownPlace {
        /// The whole text.
        text: String,
    },
    /// Brackets behind a header's name that say nothing.
    #[error(
        "{place:?} has no separator in its brackets; give [;], [,] or [|], and a header that has brackets in its name in a filter: headers[{name:?}]",
        place = format!("header:{name}")
    )]
    Brackets {
        /// The name with its brackets.
        name: String,
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

    /// What an entry may have been meant as that reads like a pattern: a type may have such characters, so it
    /// is taken as one.
    pub(super) fn hint(&self) -> Option<String> {
        let names = self.names.iter().map(|name| (name, ""));
        let mut entries = names.chain(self.prefixes.iter().map(|prefix| (prefix, "*")));
        let (entry, star) = entries.find(|(entry, _)| entry.contains(PATTERN))?;
        let entry = quoted(&format!("{entry}{star}"));
        Some(format!(
            "eventType {entry} is taken letter for letter, not as a pattern; all types that begin \
             with order. are order.*"
        ))
    }

    /// Whether a message of this type counts.
    pub(super) fn contain(&self, event_type: &str) -> bool {
        self.names.binary_search_by(|name| (**name).cmp(event_type)).is_ok()
            || covering(&self.prefixes, event_type).is_some()
    }
}

/// As a trigger writes them.
impl fmt::Display for EventTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.iter().map(|name| (name, ""));
        let entries = names.chain(self.prefixes.iter().map(|prefix| (prefix, "*")));
        for (index, (entry, star)) in entries.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}{star}", entry.replace(',', "\\,"))?;
        }
        Ok(())
    }
}

/// What follows `eventType` in the log; nothing for the default.
impl fmt::Display for EventTypeFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self {
            EventTypeFrom::CloudEvents => return Ok(()),
            EventTypeFrom::Header(name) => format!("header:{name}"),
            EventTypeFrom::HeaderList(name, separator) => format!("header:{name}[{separator}]"),
            EventTypeFrom::Key => "key".to_owned(),
            EventTypeFrom::Subject => "subject".to_owned(),
            EventTypeFrom::Body(path) => format!("body:{path}"),
            EventTypeFrom::BodyList(list, of) => format!("body:{list}[*]{}", of.behind()),
            EventTypeFrom::Schema => "schema:id".to_owned(),
        };
        write!(f, " with eventTypeFrom {}", quoted(&place))
    }
}

impl EventTypeFrom {
    /// Reads `header:<name>`, `header:<name>[;]`, `key`, `subject`, `body:<path>`, of which one step may be `[*]`, or
    /// `schema:id`.
    ///
    /// # Errors
    /// For anything else, an empty name and a path that is none.
    pub fn parse(text: &str) -> Result<Self, EventTypeFromError> {
        let text = text.trim();
        let unknown = || EventTypeFromError::UnknownPlace { text: text.to_owned() };
        match text.split_once(':').map(|(place, rest)| (place.trim(), rest.trim())) {
            None if text == "key" => Ok(EventTypeFrom::Key),
            None if text == "subject" => Ok(EventTypeFrom::Subject),
            Some(("header", name)) if !name.is_empty() => match separated(name) {
                Some((name, separator)) => {
                    Ok(EventTypeFrom::HeaderList(name.to_owned(), separator))
                }
                None if name.ends_with(']') && name.contains('[') => {
                    Err(EventTypeFromError::Brackets { name: name.to_owned() })
                }
                None => Ok(EventTypeFrom::Header(name.to_owned())),
            },
            Some(("body", path)) => Ok(match BodyPath::parse_each(path)? {
                (list, Some(of)) => EventTypeFrom::BodyList(list, of),
                (path, None) => EventTypeFrom::Body(path),
            }),
            Some(("schema", "id")) => Ok(EventTypeFrom::Schema),
            _ => Err(unknown()),
        }
    }

    /// Whether a message can have several types there.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, EventTypeFrom::HeaderList(..) | EventTypeFrom::BodyList(..))
    }

    /// The event types of a message.
    ///
    /// # Errors
    /// Why it has none, or none that can be read.
    pub(super) fn read<'r>(&self, record: &'r Record<'_>) -> Result<Types<'r>, Reason> {
        let message = record.message;
        let one = match self {
            EventTypeFrom::CloudEvents => match message.cloud_event_type() {
                Some(event_type) => utf8(event_type).ok_or(Reason::HeaderNoText),
                None => structured_type(record),
            },
            EventTypeFrom::Header(name) => header(record, name),
            EventTypeFrom::Key => match message.key() {
                Some(key) => utf8(Cow::Borrowed(key)).ok_or(Reason::KeyNoText),
                None => Err(Reason::NoKey),
            },
            EventTypeFrom::Subject => message.subject().ok_or(Reason::NoSubject),
            EventTypeFrom::Body(path) => scalar(record, path),
            EventTypeFrom::Schema => schema(record).ok_or(Reason::NoSchema),
            EventTypeFrom::HeaderList(name, separator) => {
                let types = header(record, name)?;
                return Ok(Types::Several(match types {
                    Cow::Borrowed(types) => entries_of(types, *separator).map(Into::into).collect(),
                    Cow::Owned(types) => {
                        entries_of(&types, *separator).map(|it| it.to_owned().into()).collect()
                    }
                }));
            }
            EventTypeFrom::BodyList(list, of) => return several(record, list, of),
        };
        one.map(Types::One)
    }
}

impl<'m> Types<'m> {
    pub(super) fn as_slice(&self) -> &[Cow<'m, str>] {
        match self {
            Types::One(one) => std::slice::from_ref(one),
            Types::Several(several) => several,
        }
    }
}

fn header<'r>(record: &'r Record<'_>, name: &str) -> Result<Cow<'r, str>, Reason> {
    let value = record.message.header(name).ok_or(Reason::NoHeader)?;
    utf8(value).ok_or(Reason::HeaderNoText)
}

/// The types in a header, without the blanks around them. Nothing between two separators is no type.
fn entries_of(types: &str, separator: char) -> impl Iterator<Item = &str> {
    types.split(separator).map(str::trim).filter(|entry| !entry.is_empty())
}

/// A header's name before a separator in brackets.
fn separated(name: &str) -> Option<(&str, char)> {
    let (name, separator) = name.strip_suffix(']')?.rsplit_once('[')?;
    let separator = SEPARATORS.into_iter().find(|it| separator == it.encode_utf8(&mut [0; 4]))?;
    (!name.is_empty()).then_some((name, separator))
}

fn scalar<'r>(record: &'r Record<'_>, path: &BodyPath) -> Result<Cow<'r, str>, Reason> {
    let found = record.body.find(path);
    let scalar = found.value().and_then(Json::scalar);
    scalar.ok_or_else(|| record.body.reason(found))
}

/// The types in a list of the body. An element that has none is passed over.
fn several<'r>(
    record: &'r Record<'_>,
    list: &BodyPath,
    of: &BodyPath,
) -> Result<Types<'r>, Reason> {
    let found = record.body.find(list);
    let Found::Value(json) = found else { return Err(record.body.reason(found)) };
    let mut elements = json.elements().ok_or(Reason::NoList)?;
    let types = elements.by_ref().map(|element| Some(element?.scalar_at(of)));
    let types: Option<Vec<_>> = types.collect();
    Ok(Types::Several(types.ok_or(Reason::NoJson)?.into_iter().flatten().collect()))
}

/// The id of the schema that a body was written by, wherever its serializer put it.
fn schema<'r>(record: &'r Record<'_>) -> Option<Cow<'r, str>> {
    let named = record.message.header(SCHEMA_HEADER);
    if let Some(schema) = named.as_deref().and_then(Framed::of_header) {
        return Some(schema.text().into_owned().into());
    }
    if let Some(schema) = record.body.schema() {
        return Some(schema.text());
    }
    let content_type = record.message.content_type().and_then(utf8)?;
    let schema = Schema::of_content_type(&content_type)?;
    Some(schema.text().into_owned().into())
}

/// The type of a CloudEvent that is whole in the JSON body, or else of what is no CloudEvent.
fn structured_type<'r>(record: &'r Record<'_>) -> Result<Cow<'r, str>, Reason> {
    let structured = match is_structured(record.message.content_type()) {
        true => scalar(record, &STRUCTURED_TYPE),
        false => Err(Reason::NoEventType),
    };
    structured.or_else(|reason| record.message.plain_event_type().map(Cow::Borrowed).ok_or(reason))
}

/// Text out of bytes, copied only if they were.
pub(crate) fn utf8(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
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
        let record = Record::new(message);
        let types = from.read(&record).ok()?;
        let types: Vec<&str> = types.as_slice().iter().map(|it| &**it).collect();
        Some(types.join(" and "))
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
        assert_eq!(EventTypeFrom::parse("schema: id"), Ok(EventTypeFrom::Schema));
        for (text, name, separator) in [
            ("header:types[;]", "types", ';'),
            ("header: a b [,]", "a b ", ','),
            ("header:x[1][|]", "x[1]", '|'),
        ] {
            let expected = EventTypeFrom::HeaderList(name.to_owned(), separator);
            assert_eq!(EventTypeFrom::parse(text), Ok(expected), "{text}");
        }
        for text in ["header:x[;", "header:x[0].y", "header:x]"] {
            let name = text.trim_start_matches("header:").to_owned();
            assert_eq!(EventTypeFrom::parse(text), Ok(EventTypeFrom::Header(name)), "{text}");
        }
        for text in [
            "schema",
            "schema:",
            "schema:name",
            "body:a[*].b[*]",
            "",
            "Key",
            "header",
            "header:",
            "body",
            "body:",
            "key:x",
            "body:a..b",
            "body:a.*.b",
            "header:x[0]",
            "header:x[a]",
            "header:x[]",
            "header:[;]",
            "x:y",
        ] {
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
            (
                "a string's JSON",
                "body:a.b",
                Sample::default().body(r#"{"a":"{\"b\":\"made\"}"}"#),
                Some("made"),
            ),
            (
                "each of a header",
                "header:types[;]",
                Sample::default().header("types", "a; b;;c "),
                Some("a and b and c"),
            ),
            (
                "none of a header",
                "header:types[;]",
                Sample::default().header("types", ";"),
                Some(""),
            ),
            ("no such header", "header:types[;]", Sample::default(), None),
            (
                "each of a list",
                "body:types[*]",
                Sample::default().body(r#"{"types":["urn:a",1,null,["x"],"b\u0063"]}"#),
                Some("urn:a and 1 and bc"),
            ),
            (
                "from each of a list",
                "body:[*].data.type",
                Sample::default()
                    .body(r#"[{"data":{"type":"a"}},{"data":"{\"type\":\"b\"}"},{"type":"c"}]"#),
                Some("a and b"),
            ),
            ("no list", "body:types[*]", Sample::default().body(r#"{"types":"a"}"#), None),
            ("a list cut short", "body:types[*]", Sample::default().body(r#"{"types":["a""#), None),
            ("an empty list", "body:types[*]", Sample::default().body(r#"{"types":[]}"#), Some("")),
            ("schema", "schema:id", Sample::default().body(b"\0\0\0\0\x2a{}"), Some("42")),
            (
                "schema by header",
                "schema:id",
                Sample::default()
                    .header(
                        "__value_schema_id",
                        b"\x01\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef",
                    )
                    .body(b"\0\0\0\0\x2a"),
                Some("01234567-89ab-cdef-0123-456789abcdef"),
            ),
            (
                "schema by content type",
                "schema:id",
                Sample::default()
                    .header("content-type", "avro/binary+64fc737160fc4c8ba4b1b0f4ef3a0b4b")
                    .body("x"),
                Some("64fc737160fc4c8ba4b1b0f4ef3a0b4b"),
            ),
            ("no schema", "schema:id", Sample::default().body("{}"), None),
            (
                "behind a schema's id",
                "body:a",
                Sample::default().body(b"\0\0\0\0\x2a{\"a\":\"made\"}"),
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
