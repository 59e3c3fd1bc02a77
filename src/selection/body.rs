//! Where in a JSON body a value stands, and what stands there in one body.
//!
//! A path is names and indices: `order.lines[0].sku`. A name that holds a dot, a bracket or a `*`
//! stands in brackets: `["a.b"]`. Elsewhere a `*` stands for any name. A body is read only as far
//! as the furthest value asked for. Its outermost members are read once, however many selections
//! ask.
//!
//! A step that leads into a string continues in the JSON that the string holds, if that is an
//! object or a list. Debezium writes an outbox's payload this way, and Dapr data that it did not
//! take for JSON. A string has no fields of its own, so no other meaning is lost.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use thiserror::Error;

use super::framing::{Framed, Schema};
use super::json::{Json, Kind, Members};
use super::reason::Reason;

/// How many strings of a message are unescaped to step into them.
const MAX_STRINGS: usize = 64;

/// How many times the body's length these strings may take together: strings hold strings.
const MAX_COPIES: usize = 4;

/// Where in a JSON body a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BodyPath(Vec<Step>);

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// To a member of an object.
    Field(String),
    /// To an element of a list, counted from 0.
    Element(usize),
    /// To each element of a list. Only a path that leads to several values has one, and only one.
    Each,
}

/// Why a text is not a [`BodyPath`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{path:?} is not a path into the body; give names with dots between, [0] for an element, [\"a.b\"] for a name with a dot or a * in it"
)]
pub struct BodyPathError {
    path: String,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'m> {
    Value(Json<'m>),
    /// The object that the last step leads into exists, but has no such member.
    Absent,
    /// Something before the last step is missing, or the body is not JSON up to there.
    Nowhere,
}

/// The body of one message, and what has been read of it so far.
#[derive(Debug)]
pub(super) struct Body<'m> {
    bytes: Option<&'m [u8]>,
    /// Locked only because the filters' interpreter wants values that threads can share.
    outermost: Mutex<Outermost<'m>>,
    strings: Strings,
}

/// The strings that were unescaped, each once, one behind the other.
#[derive(Debug, Default)]
struct Strings(OnceLock<Box<Unescaped>>);

#[derive(Debug)]
struct Unescaped {
    /// Where the string's own text lies, and how long that is.
    place: (usize, usize),
    text: String,
    next: Strings,
}

#[derive(Debug)]
enum Outermost<'m> {
    /// Nobody has asked yet.
    Unread,
    NoText,
    /// No object.
    Other(Json<'m>),
    Object {
        json: Json<'m>,
        /// The members read so far.
        read: Vec<(Cow<'m, str>, Json<'m>)>,
        unread: Members<'m>,
        /// Whether what follows the members read is no JSON.
        broken: bool,
    },
}

impl BodyPath {
    /// Reads a path, as `order.lines[0].sku` or `["a.b"]`.
    ///
    /// # Errors
    /// For an empty path or name, an index that is no number, and a bracket that is not closed.
    pub fn parse(text: &str) -> Result<Self, BodyPathError> {
        let path = steps(text).filter(|steps| !steps.contains(&Step::Each));
        path.map(BodyPath).ok_or_else(|| BodyPathError { path: text.to_owned() })
    }

    /// Reads a path in which `[*]` stands once for each element of a list: the path to the list,
    /// and from an element on.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), and where `[*]` stands twice.
    pub(super) fn parse_each(text: &str) -> Result<(Self, Option<Self>), BodyPathError> {
        let mut steps = steps(text).ok_or_else(|| BodyPathError { path: text.to_owned() })?;
        let Some(at) = steps.iter().position(|step| *step == Step::Each) else {
            return Ok((BodyPath(steps), None));
        };
        let of = steps.split_off(at).split_off(1);
        if of.contains(&Step::Each) {
            return Err(BodyPathError { path: text.to_owned() });
        }
        Ok((BodyPath(steps), Some(BodyPath(of))))
    }

    /// The path of the steps given; none is the whole body.
    pub(super) fn of(steps: Vec<Step>) -> Self {
        BodyPath(steps)
    }
}

impl BodyPath {
    /// As it is written behind a `[*]`.
    pub(super) fn behind(&self) -> String {
        match (self.to_string(), self.0.first()) {
            (path, Some(Step::Field(_))) if !path.starts_with('[') => format!(".{path}"),
            (path, _) => path,
        }
    }
}

/// As it is written, with names in quotes where they must be.
impl fmt::Display for BodyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Element(index) => write!(f, "[{index}]")?,
                Step::Each => f.write_str("[*]")?,
                Step::Field(name)
                    if name.is_empty() || name.contains(['.', '[', ']', '"', '*']) =>
                {
                    write!(f, "[{}]", serde_json::to_string(name).unwrap_or_default())?;
                }
                Step::Field(name) => write!(f, "{}{name}", if index == 0 { "" } else { "." })?,
            }
        }
        Ok(())
    }
}

impl<'m> Found<'m> {
    pub(super) fn value(self) -> Option<Json<'m>> {
        match self {
            Found::Value(json) => Some(json),
            Found::Absent | Found::Nowhere => None,
        }
    }
}

impl<'m> Body<'m> {
    /// A body of which nothing has been read yet.
    pub(super) fn new(bytes: Option<&'m [u8]>) -> Self {
        let outermost = Mutex::new(Outermost::Unread);
        Body { bytes, outermost, strings: Strings::default() }
    }

    /// What stands at a path.
    pub(super) fn find(&self, path: &BodyPath) -> Found<'_> {
        self.find_counting(path).0
    }

    /// What stands at a path, and about how many bytes it took to find it once the outermost
    /// members have been read, which happens once for all.
    pub(super) fn find_counting<'b>(&'b self, path: &BodyPath) -> (Found<'b>, usize) {
        let mut outermost = self.outermost.lock().unwrap_or_else(PoisonError::into_inner);
        if let Outermost::Unread = *outermost {
            *outermost = Outermost::of(self.bytes);
        }
        let Some((first, others)) = path.0.split_first() else { return (outermost.whole(), 0) };
        let mut found: Found<'b> = match *outermost {
            Outermost::Other(json) => self.inner(json).step(first),
            _ => outermost.step(first),
        };
        let mut passed = outermost.members_read();
        for step in others {
            let Found::Value(json) = found else { return (Found::Nowhere, passed) };
            passed += json.text().len();
            found = self.inner(json).step(step);
        }
        (found, passed)
    }

    /// The schema that the body begins with.
    pub(super) fn schema(&self) -> Option<Schema<'m>> {
        self.bytes.and_then(|bytes| Framed::of(bytes).schema)
    }

    /// Why a path that led here has no text, number or boolean.
    pub(super) fn reason(&self, found: Found<'_>) -> Reason {
        let Some(bytes) = self.bytes else { return Reason::NoBody };
        let outermost = self.outermost.lock().unwrap_or_else(PoisonError::into_inner);
        match (found, &*outermost) {
            (Found::Value(_), _) => Reason::NoScalar,
            (_, Outermost::Object { broken: false, .. }) => Reason::NoField,
            (_, Outermost::Other(json)) if json.kind().is_some() => Reason::NoField,
            _ => Framed::of(bytes).reason(),
        }
    }

    /// What a string holds, if that is an object or a list; else the value itself.
    fn inner<'b>(&'b self, json: Json<'b>) -> Json<'b> {
        if json.kind() != Some(Kind::String) {
            return json;
        }
        let held = match json.plain_string() {
            Some(text) => Some(text),
            None => self.strings.of(json, MAX_COPIES * self.bytes.map_or(0, <[u8]>::len)),
        };
        held.and_then(container).unwrap_or(json)
    }
}

impl Strings {
    /// What a string with escapes says, unless all that is kept then takes more than `most` bytes.
    fn of(&self, json: Json<'_>, most: usize) -> Option<&str> {
        let place = (json.text().as_ptr() as usize, json.text().len());
        let (mut at, mut left) = (self, most.checked_sub(place.1)?);
        for _ in 0..MAX_STRINGS {
            let kept = at.0.get_or_init(|| {
                let text = json.string().map(Cow::into_owned).unwrap_or_default();
                Box::new(Unescaped { place, text, next: Strings::default() })
            });
            if kept.place == place {
                return Some(&kept.text);
            }
            left = left.checked_sub(kept.text.len())?;
            at = &kept.next;
        }
        None
    }
}

/// The object or list that a text holds.
fn container(text: &str) -> Option<Json<'_>> {
    let json = Json::of(text);
    matches!(json.kind(), Some(Kind::Object | Kind::List)).then_some(json)
}

impl<'m> Outermost<'m> {
    fn of(bytes: Option<&'m [u8]>) -> Self {
        let text = bytes.and_then(|bytes| std::str::from_utf8(Framed::of(bytes).body).ok());
        let Some(text) = text else { return Outermost::NoText };
        let json = Json::of(text);
        match json.members() {
            Some(unread) => Outermost::Object { json, read: Vec::new(), unread, broken: false },
            None => Outermost::Other(json),
        }
    }

    fn whole(&self) -> Found<'m> {
        match self {
            Outermost::Unread | Outermost::NoText => Found::Nowhere,
            Outermost::Other(json) | Outermost::Object { json, .. } => Found::Value(*json),
        }
    }

    fn members_read(&self) -> usize {
        match self {
            Outermost::Object { read, .. } => read.len(),
            Outermost::Other(json) => json.text().len(),
            Outermost::Unread | Outermost::NoText => 0,
        }
    }

    /// What one step leads to, reading on until it is found.
    fn step(&mut self, step: &Step) -> Found<'m> {
        match (self, step) {
            (Outermost::Object { read, unread, broken, .. }, Step::Field(wanted)) => {
                if let Some((_, json)) = read.iter().find(|(name, _)| name == wanted) {
                    return Found::Value(*json);
                }
                for member in unread {
                    let Some((name, json)) = member else {
                        *broken = true;
                        break;
                    };
                    let found = name == *wanted;
                    read.push((name, json));
                    if found {
                        return Found::Value(json);
                    }
                }
                if *broken { Found::Nowhere } else { Found::Absent }
            }
            (Outermost::Other(json), step) => json.step(step),
            _ => Found::Nowhere,
        }
    }
}

impl<'m> Json<'m> {
    /// What one step leads to.
    fn step(self, step: &Step) -> Found<'m> {
        match step {
            Step::Field(wanted) => {
                let Some(members) = self.members() else { return Found::Nowhere };
                for member in members {
                    match member {
                        Some((name, json)) if name == *wanted => return Found::Value(json),
                        Some(_) => {}
                        None => return Found::Nowhere,
                    }
                }
                Found::Absent
            }
            Step::Element(index) => {
                let element =
                    self.elements().and_then(|mut elements| elements.nth(*index)).flatten();
                element.map_or(Found::Nowhere, Found::Value)
            }
            Step::Each => Found::Nowhere,
        }
    }

    /// The text, number or boolean at a path from here on.
    pub(super) fn scalar_at(self, path: &BodyPath) -> Option<Cow<'m, str>> {
        let mut json = self;
        for (index, step) in path.0.iter().enumerate() {
            if json.kind()? == Kind::String {
                match json.string()? {
                    Cow::Borrowed(text) => json = container(text)?,
                    Cow::Owned(text) => {
                        let rest = BodyPath(path.0[index..].to_vec());
                        let held = container(&text)?.scalar_at(&rest);
                        return held.map(|found| Cow::Owned(found.into_owned()));
                    }
                }
            }
            json = json.step(step).value()?;
        }
        json.scalar()
    }

    /// The text of a string, or a number or boolean as it is spelt; `None` for anything else.
    pub(super) fn scalar(self) -> Option<Cow<'m, str>> {
        match self.kind()? {
            Kind::String => self.string(),
            Kind::Number => self.number().map(Cow::Borrowed),
            Kind::Boolean => {
                matches!(self.text(), "true" | "false").then_some(Cow::Borrowed(self.text()))
            }
            Kind::Null | Kind::List | Kind::Object => None,
        }
    }
}

/// The steps of a path; `None` if the text is none.
fn steps(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(bracket) => bracketed(bracket),
            None if steps.is_empty() => named(rest),
            None => rest.strip_prefix('.').and_then(named),
        }?;
        steps.push(step);
        rest = after;
    }
    (!steps.is_empty()).then_some(steps)
}

/// A name up to the next dot or bracket, and what follows it.
fn named(text: &str) -> Option<(Step, &str)> {
    let end = text.find(['.', '[', ']']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_name = !name.is_empty() && !name.contains('*');
    is_name.then(|| (Step::Field(name.to_owned()), rest))
}

/// `0]`, `*]` or `"a.b"]`, and what follows it.
fn bracketed(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix("*]") {
        return Some((Step::Each, rest));
    }
    if !text.starts_with('"') {
        let (index, rest) = text.split_once(']')?;
        let digits = index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse().ok().filter(|_| digits)?;
        return Some((Step::Element(index), rest));
    }
    let mut escaped = false;
    let end = text[1..].find(|character| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes
    })?;
    let (quoted, rest) = text.split_at(end + 2);
    let name = Json::of(quoted).string()?.into_owned();
    Some((Step::Field(name), rest.strip_prefix(']')?))
}

#[cfg(test)]
mod tests;
