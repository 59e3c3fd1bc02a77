//! Which event types count, and where a message keeps its own.
//!
//! A list is normalised when it is read: blanks around an entry are removed, and so is an entry
//! that another one covers. No message then matches two entries.
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

/// What regular expressions and SQL's patterns hold, and types hardly ever do.
const PATTERN: [char; 12] = ['\\', '^', '$', '|', '(', ')', '[', ']', '{', '}', '?', '%'];

/// How many types a list may have: each is counted on its own.
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
    /// Where CloudEvents says: an attribute beside the body, or the `type` of a structured event's
    /// JSON body. A message that is no CloudEvent has what its source uses as a type.
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

/// What of a message has its type, of those that [`EventTypeFrom::CloudEvents`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// The attribute beside the body, in binary mode.
    Attribute,
    /// The body, in structured mode.
    Body,
    /// What its source has for a type; it is no CloudEvent.
    Plain,
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
    /// A `*` stands anywhere but at the end.
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
    /// Reads a list such as `image.uploaded,order.*`, where `\,` is a comma and a `*` at the end
    /// stands for any ending; a lone `*` for any type at all.
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

    /// The text of a list that has this one type alone; `None` where no list can.
    pub fn only(event_type: &str) -> Option<String> {
        let text = event_type.replace(',', "\\,");
        EventTypes::parse(&text).ok()?.are_only(event_type).then_some(text)
    }

    /// Whether this one type counts, and no other.
    pub fn are_only(&self, event_type: &str) -> bool {
        self.prefixes.is_empty() && matches!(&self.names[..], [name] if **name == *event_type)
    }

    /// The whole names, sorted.
    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The beginnings, sorted; an empty one stands for any type.
    pub(super) fn prefixes(&self) -> &[Arc<str>] {
        &self.prefixes
    }

    /// What an entry that reads like a pattern may have been meant as. It is taken as a type,
    /// because a type may have such characters.
    pub(super) fn hint(&self) -> Option<String> {
        let names = self.names.iter().map(|name| (name, ""));
        let mut entries = names.chain(self.prefixes.iter().map(|prefix| (prefix, "*")));
        let (entry, star) = entries.find(|(entry, _)| entry.contains(PATTERN))?;
        let entry = quoted(&format!("{entry}{star}"));
        Some(format!(
            "{entry} is taken letter for letter, not as a pattern; all types that begin \
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
        match self.written() {
            Some(place) => write!(f, " with eventTypeFrom {}", quoted(&place)),
            None => Ok(()),
        }
    }
}

impl EventTypeFrom {
    /// As a trigger writes it; `None` for the default, which needs no words.
    pub fn written(&self) -> Option<String> {
        Some(match self {
            EventTypeFrom::CloudEvents => return None,
            EventTypeFrom::Header(name) => format!("header:{name}"),
            EventTypeFrom::HeaderList(name, separator) => format!("header:{name}[{separator}]"),
            EventTypeFrom::Key => "key".to_owned(),
            EventTypeFrom::Subject => "subject".to_owned(),
            EventTypeFrom::Body(path) => format!("body:{path}"),
            EventTypeFrom::BodyList(list, of) => format!("body:{list}[*]{}", of.behind()),
            EventTypeFrom::Schema => "schema:id".to_owned(),
        })
    }

    /// Reads `header:<name>`, `header:<name>[;]`, `key`, `subject`, `body:<path>`, of which one
    /// step may be `[*]`, or `schema:id`.
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

/// The types in a header, without the blanks around them. Two separators with nothing between them
/// give no type.
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

/// What of [`EventTypeFrom::CloudEvents`] has the type of a message that has one there.
pub(super) fn carrier(record: &Record<'_>) -> Carrier {
    if record.message.cloud_event_type().is_some() {
        Carrier::Attribute
    } else if is_structured(record.message.content_type())
        && scalar(record, &STRUCTURED_TYPE).is_ok()
    {
        Carrier::Body
    } else {
        Carrier::Plain
    }
}

/// The type of a structured CloudEvent, or of a message that is no CloudEvent.
fn structured_type<'r>(record: &'r Record<'_>) -> Result<Cow<'r, str>, Reason> {
    let structured = match is_structured(record.message.content_type()) {
        true => scalar(record, &STRUCTURED_TYPE),
        false => Err(Reason::NoEventType),
    };
    structured.or_else(|reason| record.message.plain_event_type().map(Cow::Borrowed).ok_or(reason))
}

/// The text that bytes hold; borrowed if the bytes are.
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
    // Among sorted prefixes that do not cover each other, only the last one at or before the name
    // can.
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
mod tests;
