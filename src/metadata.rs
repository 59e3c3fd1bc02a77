//! What a trigger's metadata says: typed values out of a flat map of strings, and every complaint
//! about it at once.
//!
//! A key may be given as `<key>FromEnv` instead: the same parameter, whose value KEDA has read from
//! the environment of the workload. A blank value is an absent key. Reading goes on after a
//! complaint, with the parameter absent or at its default, so that one message tells everything
//! there is to mend.
//!
//! A parameter may also come from the TriggerAuthentication that the trigger names; its value is a
//! secret then, as that of a `FromEnv` key.
//!
//! Metadata is written by tenants and may hold any text of any size. A complaint is one line of
//! printable characters and shows a value only if the key was read as one that may be shown: never
//! that of a `FromEnv` key, of a secret parameter, or of a key nobody knows, which may be a secret
//! whose name was mistyped.
//!
//! # References
//! - Go's `strconv.ParseBool` and `ParseInt`, with which KEDA reads booleans and numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display};
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

use secrecy::SecretString;

use crate::secret::Secret;

/// Ends a key whose value KEDA has taken from the environment of the workload.
const FROM_ENV: &str = "FromEnv";
/// Bytes of the whole message: the Kubernetes event that shows it takes 1,024, the words KEDA puts
/// before it included.
const MESSAGE_BYTES: usize = 900;
/// Bytes of one complaint, so that at least two fit into a message.
const COMPLAINT_BYTES: usize = 400;
/// Bytes of a value or an unknown key that a complaint shows.
const SHOWN_BYTES: usize = 40;
/// Unknown keys that are described one by one; more would not fit into a message.
const UNKNOWN_DESCRIBED: usize = 16;
/// Stands between two complaints of a message.
const SEPARATOR: &str = " | ";

/// Reads one trigger's metadata and collects what is wrong with it.
///
/// Every method that names a key makes it a known one, twin included; [`Reader::finish`] complains
/// of all others.
pub struct Reader<'a> {
    values: &'a HashMap<String, String>,
    namespace: &'a str,
    authentication: Option<&'a BTreeMap<String, Secret>>,
    /// What the authentication may have that is for others.
    accepted: &'static [&'static str],
    known: BTreeMap<&'static str, Show>,
    complaints: BTreeSet<String>,
    /// `None` where it is not known which keys there are.
    keys: Option<Keys>,
    everywhere: ByHeart,
}

/// Keys that are no parameters, by their names, and a predicate that ends in what fits.
pub type ByHeart = &'static [(&'static str, &'static str)];

/// What a user of a source is told about a key that nobody knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys {
    /// Keys that are asked for, and what is meant by them.
    pub by_heart: ByHeart,
    /// The parameters that nearly every trigger has.
    pub usual: &'static str,
}

/// Metadata that cannot be used, with every complaint about it.
///
/// Displayed as one line of at most 900 bytes: complaints about known keys first, both kinds in the
/// order of their keys, and at the end how many did not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.line())]
pub struct Invalid {
    complaints: Vec<String>,
    more: usize,
}

/// Whether a complaint may show what a key held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Show {
    Value,
    Nothing,
}

/// A parameter that is there and not blank, by the key it was given as.
struct Given<'a> {
    key: String,
    text: &'a str,
    secret: bool,
}

/// Keys nobody knows: the first of them in order, and how many more there are.
#[derive(Default)]
struct Unknown<'a> {
    first: BTreeSet<&'a str>,
    more: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `values` that knows no key yet.
    pub fn new(values: &'a HashMap<String, String>) -> Self {
        Self {
            values,
            namespace: "",
            authentication: None,
            accepted: &[],
            known: BTreeMap::new(),
            complaints: BTreeSet::new(),
            keys: Some(Keys::default()),
            everywhere: &[],
        }
    }

    /// Of a trigger in this namespace.
    #[must_use]
    pub fn within(self, namespace: &'a str) -> Self {
        Self { namespace, ..self }
    }

    /// With the parameters that the trigger's TriggerAuthentication gives.
    #[must_use]
    pub fn with(self, authentication: Option<&'a BTreeMap<String, Secret>>) -> Self {
        Self { authentication, ..self }
    }

    /// The trigger's namespace; empty if it is not known.
    pub fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// Whether the parameter is there, as itself or from the environment. Does not make the key
    /// known.
    pub fn has(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    /// The text as it stands, blanks at its ends included.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        Some(self.look_up(key, Show::Value)?.text)
    }

    /// A text that no complaint may show, as it stands.
    pub fn secret(&mut self, key: &'static str) -> Option<SecretString> {
        Some(SecretString::from(self.look_up(key, Show::Nothing)?.text))
    }

    /// A boolean as Go reads it; absent is false.
    pub fn boolean(&mut self, key: &'static str) -> bool {
        let Some(given) = self.look_up(key, Show::Value) else {
            return false;
        };
        match given.text.trim() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
            "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
            _ => {
                self.complain(key, "is not a boolean; give true or false");
                false
            }
        }
    }

    /// A decimal integer within `range`, whose end is at most `i64::MAX`: what a reply to KEDA can
    /// carry.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let given = self.look_up(key, Show::Value)?;
        let (start, end) = (*range.start(), *range.end());
        let problem = match given.text.trim().parse::<i64>() {
            Ok(number) => match u64::try_from(number) {
                Ok(number) if range.contains(&number) => return Some(number),
                Ok(number) if number > end => format!("is too large; give at most {end}"),
                _ => format!("is too small; give {start} or more"),
            },
            Err(error) => match error.kind() {
                IntErrorKind::PosOverflow => format!("is too large; give at most {end}"),
                IntErrorKind::NegOverflow => format!("is too small; give {start} or more"),
                _ => format!("is not a whole number; give {start} or more"),
            },
        };
        self.complain(key, problem);
        None
    }

    /// One of `words`. A word without a meaning is one that this version knows but does not
    /// support.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, Option<T>)]) -> Option<T> {
        let given = self.look_up(key, Show::Value)?;
        let problem = match words.iter().find(|(word, _)| *word == given.text.trim()) {
            Some((_, Some(meaning))) => return Some(*meaning),
            Some((_, None)) => "is not supported by this version",
            None => "is not known",
        };
        let fits: Vec<_> =
            words.iter().filter(|(_, meaning)| meaning.is_some()).map(|(word, _)| *word).collect();
        self.complain(key, format_args!("{problem}; give {}", fits.join(" or ")));
        None
    }

    /// What `parse` makes of the text, blanks at its ends left out.
    ///
    /// Its error says what is wrong with which part, and what fits (`"kafka" has no port; give
    /// host:port`). It is left out of a secret value's complaint, since it may quote from it, and
    /// where it is too long to be read; then `fits` has to do (`give host:port`).
    pub fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        fits: &str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let given = self.look_up(key, Show::Value)?;
        match parse(given.text.trim()) {
            Ok(value) => Some(value),
            Err(error) => {
                let told = format!("{key}: {error}");
                if given.secret || told.len() > COMPLAINT_BYTES {
                    self.complain(key, format_args!("does not fit; {fits}"));
                } else {
                    self.add(&told);
                }
                None
            }
        }
    }

    /// Complains if the parameter is absent.
    pub fn require(&mut self, key: &'static str, fits: &str) {
        if !self.has(key) {
            self.complain(key, format_args!("is missing; {fits}"));
        }
    }

    /// Makes keys known whose values nobody needs.
    pub fn accept(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.look_up(key, Show::Nothing);
        }
    }

    /// Makes keys known that a TriggerAuthentication may have beside a trigger's parameters.
    pub fn accept_authenticated(&mut self, keys: &'static [&'static str]) {
        self.accepted = keys;
    }

    /// Adds a complaint: the key as it was given, what it held, and `problem`, a predicate that
    /// ends in what fits.
    ///
    /// The value is shown only if the key has been read as one that may be shown.
    pub fn complain(&mut self, key: &'static str, problem: impl Display) {
        let given = self.given(key);
        // What stands before an @ may be a password, as in a URL.
        let shown = self.known.get(key) == Some(&Show::Value)
            && given.as_ref().is_some_and(|given| !given.secret && !given.text.contains('@'));
        let complaint = match given {
            None => format!("{key}: {problem}"),
            Some(given) if shown => format!("{key}: {} {problem}", quoted(given.text)),
            Some(given) => format!("{}: its value {problem}", given.key),
        };
        self.add(&complaint);
    }

    fn add(&mut self, complaint: &str) {
        self.complaints.insert(one_line(complaint, COMPLAINT_BYTES));
    }

    /// Says what is meant by keys that nobody knows: those of the source, and those of any.
    pub fn explain(&mut self, keys: Keys, everywhere: ByHeart) {
        (self.keys, self.everywhere) = (Some(keys), everywhere);
    }

    /// Leaves keys that nobody knows alone, where it is not known which ones there are.
    pub fn pass_unknown(&mut self) {
        self.keys = None;
    }

    /// `decoded`, if there is nothing to complain of. Whoever decodes to `None` has said why.
    ///
    /// # Errors
    /// All complaints, those about unknown keys included.
    pub fn finish<T>(self, decoded: Option<T>) -> Result<T, Invalid> {
        let keys = self.keys.unwrap_or_default();
        let unknown = if self.keys.is_some() { self.unknown() } else { Unknown::default() };
        match decoded {
            Some(decoded) if self.complaints.is_empty() && unknown.first.is_empty() => Ok(decoded),
            _ => {
                let mut complaints: Vec<_> = self.complaints.iter().cloned().collect();
                complaints
                    .extend(unknown.first.iter().map(|key| self.unknown_complaint(key, keys)));
                Err(Invalid { complaints, more: unknown.more })
            }
        }
    }

    /// The parameter as it was given. Of a parameter given twice, the one that may be shown.
    fn given(&self, key: &str) -> Option<Given<'a>> {
        let value = |key: &str| {
            self.values.get(key).map(String::as_str).filter(|text| !text.trim().is_empty())
        };
        if let Some(text) = value(key) {
            return Some(Given { key: key.to_owned(), text, secret: false });
        }
        let twin = format!("{key}{FROM_ENV}");
        if let Some(text) = value(&twin) {
            return Some(Given { key: twin, text, secret: true });
        }
        let text = self.authenticated(key)?;
        Some(Given { key: format!("{key} of the TriggerAuthentication"), text, secret: true })
    }

    fn authenticated(&self, key: &str) -> Option<&'a str> {
        let text = self.authentication?.get(key)?.expose();
        Some(text).filter(|text| !text.trim().is_empty())
    }

    /// The parameter, checked for what fits no parameter.
    fn look_up(&mut self, key: &'static str, show: Show) -> Option<Given<'a>> {
        // Whoever reads a key as a secret decides, in whatever order it is read.
        self.known.entry(key).and_modify(|known| *known = show.max(*known)).or_insert(show);
        let given = self.given(key)?;
        let twin = format!("{key}{FROM_ENV}");
        if given.key == key && self.values.get(&twin).is_some_and(|text| !text.trim().is_empty()) {
            self.complain(
                key,
                format_args!("is given a second time as {twin}; give one of the two"),
            );
        } else if (given.key == key || given.key == twin) && self.authenticated(key).is_some() {
            self.complain(
                key,
                "is given a second time by the TriggerAuthentication; give one of the two",
            );
        }
        // The client libraries take C strings, which a NUL would end early.
        if given.text.contains('\0') {
            self.complain(key, "has a NUL character; give text without it");
        }
        Some(given)
    }

    /// The keys that no one has asked for, in order, no more than a message can hold.
    fn unknown(&self) -> Unknown<'a> {
        let mut unknown = Unknown::default();
        let given = self.values.iter().map(|(key, text)| (key.as_str(), text.as_str()));
        let authentication = self.authentication.into_iter().flatten();
        let authentication =
            authentication.filter(|(key, _)| !self.accepted.contains(&key.as_str()));
        let given =
            given.chain(authentication.map(|(key, secret)| (key.as_str(), secret.expose())));
        for (key, text) in given {
            let base = key.strip_suffix(FROM_ENV).unwrap_or(key);
            if text.trim().is_empty()
                || self.known.contains_key(key)
                || self.known.contains_key(base)
            {
                continue;
            }
            unknown.first.insert(key);
            if unknown.first.len() > UNKNOWN_DESCRIBED {
                unknown.first.pop_last();
                unknown.more += 1;
            }
        }
        unknown
    }

    fn unknown_complaint(&self, key: &str, keys: Keys) -> String {
        let shown = one_line(key, SHOWN_BYTES);
        let base = key.strip_suffix(FROM_ENV).unwrap_or(key);
        let mut by_heart = keys.by_heart.iter().chain(self.everywhere);
        if let Some((_, told)) = by_heart.find(|(name, _)| *name == base) {
            return format!("{shown}: {told}");
        }
        match nearest(key, self.known.keys()) {
            Some(known) => format!("{shown}: is not a parameter; the nearest is {known}"),
            None if keys.usual.is_empty() => format!("{shown}: is not a parameter"),
            None => format!(
                "{shown}: is not a parameter; there are {} and those of docs/parameters.md",
                keys.usual
            ),
        }
    }
}

impl Invalid {
    /// Each complaint as a line of its own, in the order of the message.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn line(&self) -> String {
        // Enough for the separator and the words with the largest number.
        const REST_BYTES: usize = 32;
        let mut line = String::new();
        let mut told = 0;
        for complaint in &self.complaints {
            let separator = if told == 0 { "" } else { SEPARATOR };
            if line.len() + separator.len() + complaint.len() > MESSAGE_BYTES - REST_BYTES {
                break;
            }
            line.push_str(separator);
            line.push_str(complaint);
            told += 1;
        }
        let rest = self.complaints.len() - told + self.more;
        if rest > 0 {
            line.push_str(&format!("{SEPARATOR}and {rest} more"));
        }
        line
    }
}

impl fmt::Debug for Reader<'_> {
    /// Shows which keys are known, and no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("known", &self.known)
            .field("complaints", &self.complaints)
            .finish_non_exhaustive()
    }
}

/// The elements of a list by comma, blanks trimmed; what is empty is no element.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// A value for a message: in quotes, escaped to one line, at most 40 bytes of it.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, SHOWN_BYTES, |c| (c == '\'').then_some(c)))
}

/// A text for a message: one line of printable characters, at most `bytes` of them and the sign of
/// a cut.
pub fn one_line(text: &str, bytes: usize) -> String {
    escaped(text, bytes, |c| match c {
        '"' | '\'' | '\\' => Some(c),
        c if c.is_whitespace() => Some(' '),
        _ => None,
    })
}

fn escaped(text: &str, bytes: usize, as_is: impl Fn(char) -> Option<char>) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let fits = line.len();
        match as_is(c) {
            Some(c) => line.push(c),
            None => line.extend(c.escape_debug()),
        }
        if line.len() > bytes {
            line.truncate(fits);
            line.push('…');
            break;
        }
    }
    line
}

/// The known key that `key` was most likely meant to be, as a `FromEnv` key if it is one; `None` if
/// it is like none of them.
///
/// Case does not count. A word with one or two typing errors comes before a part of one (`group`
/// for `consumerGroup`). In a short word, a third of it may be wrong.
fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k &'static str>) -> Option<String> {
    // No key is as long; the distance takes time with the product of both lengths.
    let key: String = key.chars().take(64).flat_map(char::to_lowercase).collect();
    let suffix = FROM_ENV.to_lowercase();
    let (base, ending) = match key.strip_suffix(&suffix) {
        Some(base) => (base, FROM_ENV),
        None => (key.as_str(), ""),
    };
    let near = known.filter_map(|known| {
        let name = known.to_lowercase();
        let distance = strsim::osa_distance(base, &name);
        let (short, long) =
            if base.len() < name.len() { (base, name.as_str()) } else { (name.as_str(), base) };
        let is_misspelt = distance <= (long.len() / 3).clamp(1, 2);
        let is_part = short.len() >= 4 && long.contains(short);
        (is_misspelt || is_part).then_some((!is_misspelt, !is_part, distance, known))
    });
    let (.., nearest) = near.min()?;
    Some(format!("{nearest}{ending}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use test_basics::{Rows, metadata};

    /// What rows decode to.
    pub(crate) fn decode<'a, T>(
        rows: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Result<T, Invalid> {
        let metadata = metadata(rows);
        let mut reader = Reader::new(&metadata);
        let decoded = read(&mut reader);
        reader.finish(decoded)
    }

    fn message(rows: Rows<'_>, read: impl Fn(&mut Reader<'_>)) -> String {
        let read = |reader: &mut Reader<'_>| {
            read(reader);
            Some(())
        };
        decode(rows, read).expect_err("a complaint").to_string()
    }

    #[test]
    fn booleans_are_what_go_takes_for_one() {
        for (word, expected) in
            [("1", true), ("t", true), ("T", true), ("TRUE", true), ("true", true), ("True", true)]
                .into_iter()
                .chain(
                    ["0", "f", "F", "FALSE", "false", "False", "", "  "].map(|word| (word, false)),
                )
        {
            let map = metadata(&[("a", word)]);
            let mut reader = Reader::new(&map);
            assert_eq!(reader.boolean("a"), expected, "{word}");
            assert!(reader.finish(Some(())).is_ok(), "{word}");
        }
        for word in ["yes", "on", "tRUE", "2"] {
            message(&[("a", word)], |reader| assert!(!reader.boolean("a"), "{word}"));
        }
    }

    #[test]
    fn a_blank_value_is_absent() {
        let map = metadata(&[("a", " \t\n"), ("b", ""), ("bFromEnv", "x"), ("unknown", "")]);
        let mut reader = Reader::new(&map);
        assert!(!reader.has("a"));
        assert_eq!(reader.text("a"), None);
        assert_eq!(reader.text("b"), Some("x"));
        assert!(reader.finish(Some(())).is_ok());
    }

    #[test]
    fn a_secret_is_handed_out_as_it_stands() {
        let map = metadata(&[("passwordFromEnv", " hunter2\n")]);
        let mut reader = Reader::new(&map);
        let secret = reader.secret("password").expect("given");
        assert_eq!(secret.expose_secret(), " hunter2\n");
        assert!(!format!("{secret:?} {reader:?}").contains("hunter2"));
    }

    #[test]
    fn a_list_has_its_elements_trimmed() {
        assert_eq!(list(" a,b ,, c d,").collect::<Vec<_>>(), ["a", "b", "c d"]);
        assert_eq!(list(" , ").count(), 0);
    }

    #[test]
    fn a_value_is_shown_only_where_it_may_be() {
        let withheld = "its value is odd";
        type Read = fn(&mut Reader<'_>);
        let rows: &[(&str, &str, Read, &str)] = &[
            (
                "a plain one",
                "key",
                |r| {
                    r.text("key");
                },
                "\"hunter2\" is odd",
            ),
            (
                "from the environment",
                "keyFromEnv",
                |r| {
                    r.text("key");
                },
                withheld,
            ),
            (
                "a secret",
                "key",
                |r| {
                    r.secret("key");
                },
                withheld,
            ),
            ("not read", "key", |_| (), withheld),
            ("accepted", "key", |r| r.accept(&["key"]), withheld),
            (
                "first plain, then secret",
                "key",
                |r| {
                    r.text("key");
                    r.secret("key");
                },
                withheld,
            ),
            (
                "first secret, then plain",
                "key",
                |r| {
                    r.secret("key");
                    r.text("key");
                },
                withheld,
            ),
        ];
        for (name, key, read, expected) in rows {
            let told = message(&[(key, "hunter2")], |reader| {
                read(reader);
                reader.complain("key", "is odd");
            });
            assert!(told.starts_with(&format!("{key}: {expected}")), "{name}: {told}");
        }
        let url = message(&[("key", "kafka://me:hunter2@host")], |r| {
            r.text("key");
            r.complain("key", "is odd");
        });
        assert_eq!(url, "key: its value is odd");
    }

    #[test]
    fn an_error_is_told_unless_it_is_secret_or_too_long() {
        let quote = |reader: &mut Reader<'_>| {
            let parsed: Option<()> = reader.parsed("filter", "give another", |text| {
                Err(format!("\"{text}\" is bad; give a good one"))
            });
            assert_eq!(parsed, None);
        };
        let long = "a".repeat(1_000);
        let rows = [
            ("plain", "filter", " a ", "filter: \"a\" is bad; give a good one".to_owned()),
            (
                "secret",
                "filterFromEnv",
                "a",
                "filterFromEnv: its value does not fit; give another".to_owned(),
            ),
            (
                "long",
                "filter",
                &long,
                format!("filter: \"{}…\" does not fit; give another", &long[..40]),
            ),
        ];
        for (name, key, value, expected) in rows {
            assert_eq!(message(&[(key, value)], quote), expected, "{name}");
        }
    }

    #[test]
    fn a_trigger_authentication_gives_parameters_that_are_secret() {
        let given = |rows: &[(&str, &str)]| -> BTreeMap<String, Secret> {
            rows.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value))).collect()
        };
        let values = metadata(&[("topic", "a")]);
        let authentication = given(&[
            ("password", "hunter2"),
            ("sasl", "plaintext"),
            ("caCert", "pem"),
            ("blank", " "),
        ]);
        let mut reader = Reader::new(&values).with(Some(&authentication));
        reader.accept_authenticated(&["caCert"]);
        assert_eq!(reader.text("topic"), Some("a"));
        assert_eq!(reader.secret("password").expect("given").expose_secret(), "hunter2");
        assert!(reader.has("sasl") && !reader.has("blank"));
        reader.text("sasl");
        reader.complain("sasl", "is odd");
        let told = reader.finish(Some(())).expect_err("a complaint").to_string();
        assert_eq!(told, "sasl of the TriggerAuthentication: its value is odd");

        let twice = given(&[("topic", "b"), ("user", "c"), ("pasword", "hunter2")]);
        let values = metadata(&[("topic", "a"), ("userFromEnv", "b")]);
        let mut reader = Reader::new(&values).with(Some(&twice));
        for key in ["topic", "user", "password"] {
            reader.text(key);
        }
        let told = reader.finish(Some(())).expect_err("complaints");
        assert_eq!(
            told.complaints(),
            [
                "topic: \"a\" is given a second time by the TriggerAuthentication; give one of the two",
                "userFromEnv: its value is given a second time by the TriggerAuthentication; give one of the two",
                "pasword: is not a parameter; the nearest is password",
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_known_one() {
        let known = [
            "topic",
            "consumerGroup",
            "bootstrapServers",
            "password",
            "keyPassword",
            "key",
            "lagThreshold",
            "sasl",
        ];
        let rows = [
            ("a letter too few", "pasword", "password"),
            ("two letters changed", "lagTreshhold", "lagThreshold"),
            ("letters swapped", "tpoic", "topic"),
            ("the wrong case", "LAGTHRESHOLD", "lagThreshold"),
            ("one of many", "topics", "topic"),
            ("a part of a word", "group", "consumerGroup"),
            ("a word too many", "saslPassword", "password"),
            ("a near word before a part", "keyPasword", "keyPassword"),
            ("from the environment", "paswordFromEnv", "passwordFromEnv"),
            ("from the environment in the wrong case", "passwordFromENV", "passwordFromEnv"),
        ];
        for (name, key, expected) in rows {
            let told = message(&[(key, "hunter2")], |reader| reader.accept(&known));
            assert_eq!(
                told,
                format!("{key}: is not a parameter; the nearest is {expected}"),
                "{name}"
            );
        }
        for key in ["nonsense", "xyz", "a"] {
            let told = message(&[(key, "hunter2")], |reader| reader.accept(&known));
            assert_eq!(told, format!("{key}: is not a parameter"));
        }
        let told = message(&[(&format!("a\n{}", "b".repeat(100_000)), "hunter2")], |reader| {
            reader.accept(&known);
        });
        assert!(
            told.starts_with("a bbbb")
                && told.contains("…: is not a parameter")
                && told.len() < 120,
            "{told}"
        );
    }

    #[test]
    fn a_nul_fits_no_parameter() {
        let told = message(&[("group", "a\0b"), ("password", "c\0d")], |reader| {
            reader.text("group");
            reader.secret("password");
        });
        assert_eq!(
            told,
            "group: \"a\\0b\" has a NUL character; give text without it | \
             password: its value has a NUL character; give text without it"
        );
    }

    #[test]
    fn complaints_come_in_the_order_of_their_keys_and_unknown_keys_last() {
        let told = message(&[("b", "x"), ("a", "y"), ("A", "z"), ("0", "z")], |reader| {
            reader.boolean("b");
            reader.boolean("a");
        });
        let keys: Vec<_> = told.split(SEPARATOR).map(|complaint| &complaint[..1]).collect();
        assert_eq!(keys, ["a", "b", "0", "A"]);
    }

    #[test]
    fn a_message_says_how_much_it_leaves_out() {
        let rows: Vec<_> =
            (0..5_000).map(|n| (format!("unknown{n:04}"), "hunter2".to_owned())).collect();
        let map: HashMap<_, _> = rows.into_iter().collect();
        let mut reader = Reader::new(&map);
        reader.require("consumerGroup", "give one");
        reader.accept(&["consumerGroup"]);
        let invalid = reader.finish(Some(())).expect_err("unknown keys");
        let told = invalid.to_string();
        assert!(
            told.starts_with(
                "consumerGroup: is missing; give one | unknown0000: is not a parameter"
            ),
            "{told}"
        );
        let shown = told.split(SEPARATOR).count() - 1;
        assert!(told.ends_with(&format!(" | and {} more", 5_001 - shown)), "{told}");
        assert!(told.len() <= MESSAGE_BYTES, "{}", told.len());
        assert_eq!(invalid.complaints().len(), 1 + UNKNOWN_DESCRIBED);
    }

    #[test]
    fn hostile_text_is_shown_on_one_line() {
        assert_eq!(quoted("a\"b\\c'd\ne\u{202e}f"), r#""a\"b\\c'd\ne\u{202e}f""#);
        assert_eq!(one_line("a\r\nb \"c\" \\ \u{2028}d\u{7}", 100), "a  b \"c\" \\  d\\u{7}");
        assert_eq!(quoted(&"ä".repeat(30)), format!("\"{}…\"", "ä".repeat(20)));
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_bounded_line(text in any::<String>(), bytes in 0..200_usize) {
            for line in [quoted(&text), one_line(&text, bytes)] {
                let printable = |c: char| !c.is_control() && (c == ' ' || !c.is_whitespace());
                prop_assert!(line.chars().all(printable), "{line:?}");
            }
            prop_assert!(one_line(&text, bytes).len() <= bytes + '…'.len_utf8());
            prop_assert!(quoted(&text).len() <= SHOWN_BYTES + '…'.len_utf8() + 2);
        }
    }
}
