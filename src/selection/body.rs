//! Where in a JSON body a value stands, and what stands there in one body.
//!
//! A path is names and indices: `order.lines[0].sku`, or `["a.b"]` for a name that holds a dot or a
//! bracket. A body is read only as far as the furthest value asked for, and its outermost members once,
//! however many selections ask.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use super::json::{Json, Kind, Members};

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
}

/// Why a text is not a [`BodyPath`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{path:?} is not a path into the body; give names with dots between, [0] for an element, [\"a.b\"] for a name with a dot in it"
)]
pub struct BodyPathError {
    path: String,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'m> {
    Value(Json<'m>),
    /// The object that the last step leads into is there, and has no such member.
    Absent,
    /// Something before the last step is missing, or the body is no JSON as far as there.
    Nowhere,
}

/// The body of one message, and what has been read of it so far.
#[derive(Debug)]
pub(super) struct Body<'m> {
    bytes: Option<&'m [u8]>,
    /// Locked only because filters are evaluated over what can be shared.
    outermost: Mutex<Outermost<'m>>,
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
        let error = || BodyPathError { path: text.to_owned() };
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = match rest.strip_prefix('[') {
                Some(bracket) => bracketed(bracket),
                None if steps.is_empty() => named(rest),
                None => rest.strip_prefix('.').and_then(named),
            }
            .ok_or_else(error)?;
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() { Err(error()) } else { Ok(BodyPath(steps)) }
    }

    /// The path of the steps given; none is the whole body.
    pub(super) fn of(steps: Vec<Step>) -> Self {
        BodyPath(steps)
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
        Body { bytes, outermost: Mutex::new(Outermost::Unread) }
    }

    /// What stands at a path.
    pub(super) fn find(&self, path: &BodyPath) -> Found<'m> {
        self.find_counting(path).0
    }

    /// What stands at a path, and about how many bytes it took to find it once the outermost members
    /// have been read, which happens once for all.
    pub(super) fn find_counting(&self, path: &BodyPath) -> (Found<'m>, usize) {
        let mut outermost = self.outermost.lock().unwrap_or_else(PoisonError::into_inner);
        if let Outermost::Unread = *outermost {
            *outermost = Outermost::of(self.bytes);
        }
        let Some((first, others)) = path.0.split_first() else { return (outermost.whole(), 0) };
        let mut found = outermost.step(first);
        let mut passed = outermost.members_read();
        for step in others {
            let Found::Value(json) = found else { return (Found::Nowhere, passed) };
            passed += json.text().len();
            found = json.step(step);
        }
        (found, passed)
    }
}

impl<'m> Outermost<'m> {
    fn of(bytes: Option<&'m [u8]>) -> Self {
        let Some(text) = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return Outermost::NoText;
        };
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
        }
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

/// A name up to the next dot or bracket, and what follows it.
fn named(text: &str) -> Option<(Step, &str)> {
    let end = text.find(['.', '[', ']']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (Step::Field(name.to_owned()), rest))
}

/// `0]` or `"a.b"]`, and what follows it.
fn bracketed(text: &str) -> Option<(Step, &str)> {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> BodyPath {
        BodyPath::parse(text).expect("the path is well formed")
    }

    #[test]
    fn a_path_finds_its_value() {
        let body = br#" {"a":{"b":[{"c":1},{"c":"x"}]},"a.b":2,"q\"]":3,"a":9,"t":[[5]]} trailing"#;
        let body = Body::new(Some(body));
        for (text, expected) in [
            ("t[0][0]", Some("5")),
            ("a.b[0].c", Some("1")),
            ("a.b[1].c", Some("\"x\"")),
            ("a.b[2].c", None),
            ("a.b.c", None),
            ("a.b", Some(r#"[{"c":1},{"c":"x"}]"#)),
            (r#"["a.b"]"#, Some("2")),
            (r#"["q\"]"]"#, Some("3")),
            (r#"["a"].b[0]["c"]"#, Some("1")),
            ("[0]", None),
            ("nothing", None),
        ] {
            assert_eq!(body.find(&path(text)).value().map(Json::text), expected, "{text}");
        }
        let list = Body::new(Some(b"[1,2]"));
        assert_eq!(list.find(&path("[1]")).value().map(Json::text), Some("2"));
    }

    #[test]
    fn a_path_that_is_not_one_is_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a[",
            "a[]",
            "a[x]",
            "a[-1]",
            "a[+1]",
            "a[0",
            "a]",
            "a[0]b",
            "[\"a]",
            "[\"a\"",
            "[\"a\"x]",
            "[\"\\q\"]",
            "a[99999999999999999999999]",
        ] {
            assert!(BodyPath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn absent_is_told_from_nowhere() {
        for (body, expected) in [
            (&br#"{"a":{}}"#[..], Found::Absent),
            (br#"{"a":{"c":1}}"#, Found::Absent),
            (br#"{"a":{"c":1"#, Found::Nowhere),
            (br#"{"a":1}"#, Found::Nowhere),
            (br#"{"a":[]}"#, Found::Nowhere),
            (br#"{}"#, Found::Nowhere),
            (b"", Found::Nowhere),
            (b"\xff", Found::Nowhere),
        ] {
            assert_eq!(
                Body::new(Some(body)).find(&path("a.b")),
                expected,
                "{}",
                body.escape_ascii()
            );
        }
        let broken = Body::new(Some(br#"{"a":1,"#));
        assert_eq!(broken.find(&path("b")), Found::Nowhere);
        assert_eq!(broken.find(&path("c")), Found::Nowhere, "asked again");
        assert_eq!(broken.find(&path("a")).value().map(Json::text), Some("1"));
    }

    proptest! {
        #[test]
        fn a_path_of_any_text_is_read_or_refused(text in "[a\"\\[\\].\\\\0 é]{0,12}") {
            let _read_or_refused = BodyPath::parse(&text);
        }

        #[test]
        fn a_name_in_quotes_is_any_name(name in ".{0,8}") {
            let quoted = serde_json::to_string(&name).expect("a string has a text");
            let body = format!("{{{quoted}:1}}");
            let found = Body::new(Some(body.as_bytes())).find(&path(&format!("[{quoted}]")));
            prop_assert_eq!(found.value().map(Json::text), Some("1"));
        }

        #[test]
        fn what_is_found_does_not_depend_on_what_was_asked_before(
            members in proptest::collection::vec(("[a-d]", 0..9u8), 0..6), asked in proptest::collection::vec("[a-d]", 1..6),
        ) {
            let members: Vec<_> = members.iter().map(|(name, number)| format!("\"{name}\":{number}")).collect();
            let text = format!("{{{}}}", members.join(","));
            let body = Body::new(Some(text.as_bytes()));
            for name in &asked {
                let alone = Body::new(Some(text.as_bytes())).find(&path(name));
                prop_assert_eq!(body.find(&path(name)), alone);
            }
        }
    }
}
