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

mod table;
mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display};
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

use secrecy::SecretString;

pub use self::table::{ByHeart, Parameter, Table, Use};
use self::text::SHOWN_BYTES;
pub use self::text::{cut, list, one_line, quoted};
use crate::secret::Secret;

/// Ends a key whose value KEDA has taken from the environment of the workload.
pub(crate) const FROM_ENV: &str = "FromEnv";
/// Bytes of the whole message: the Kubernetes event that shows it takes 1,024, the words KEDA puts
/// before it included.
const MESSAGE_BYTES: usize = 900;
/// Bytes of one complaint, so that at least two fit into a message.
const COMPLAINT_BYTES: usize = 400;
/// Unknown keys that are described one by one; more would not fit into a message.
const UNKNOWN_DESCRIBED: usize = 16;
/// Stands between two complaints of a message.
const SEPARATOR: &str = " | ";

/// Reads one trigger's metadata and collects what is wrong with it.
///
/// Which parameters there are is said by [`Reader::know`], and [`Reader::finish`] complains of all
/// other keys. Whether a value may be shown is the table's to say, whoever reads it first.
pub struct Reader<'a> {
    values: &'a HashMap<String, String>,
    namespace: &'a str,
    authentication: Option<&'a BTreeMap<String, Secret>>,
    tables: Vec<&'static Table>,
    /// Whether the tables have all keys that there are.
    is_complete: bool,
    asked: BTreeSet<&'static str>,
    complaints: BTreeSet<String>,
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
    /// A reader of `values` that knows no parameter yet.
    pub fn new(values: &'a HashMap<String, String>) -> Self {
        Self {
            values,
            namespace: "",
            authentication: None,
            tables: Vec::new(),
            is_complete: true,
            asked: BTreeSet::new(),
            complaints: BTreeSet::new(),
        }
    }

    /// Makes the parameters of a table known.
    pub fn know(&mut self, table: &'static Table) {
        self.tables.push(table);
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

    /// Whether the parameter is there, as itself, from the environment or of the
    /// TriggerAuthentication.
    pub fn has(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    /// The text as it stands, blanks at its ends included.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        Some(self.look_up(key)?.text)
    }

    /// A text that the table calls a secret, as it stands.
    pub fn secret(&mut self, key: &'static str) -> Option<SecretString> {
        Some(SecretString::from(self.look_up(key)?.text))
    }

    /// A boolean as Go reads it; absent is false.
    pub fn boolean(&mut self, key: &'static str) -> bool {
        let Some(given) = self.look_up(key) else {
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
        let given = self.look_up(key)?;
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
        let given = self.look_up(key)?;
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
        let given = self.look_up(key)?;
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

    /// Adds a complaint: the key as it was given, what it held, and `problem`, a predicate that
    /// ends in what fits.
    ///
    /// The value is shown unless it is a secret.
    pub fn complain(&mut self, key: &'static str, problem: impl Display) {
        let is_secret = self.parameter(key).is_none_or(|parameter| parameter.is_secret);
        // What stands before an @ may be a password, as in a URL.
        let given = self.given(key).filter(|given| !is_secret && !given.secret);
        match given.filter(|given| !given.text.contains('@')) {
            Some(given) => self.add(&format!("{key}: {} {problem}", quoted(given.text))),
            None => self.complain_blindly(key, problem),
        }
    }

    /// The same without the value, where that holds more than its key should.
    pub fn complain_blindly(&mut self, key: &'static str, problem: impl Display) {
        let complaint = match self.given(key) {
            None => format!("{key}: {problem}"),
            Some(given) => format!("{}: its value {problem}", given.key),
        };
        self.add(&complaint);
    }

    fn add(&mut self, complaint: &str) {
        self.complaints.insert(one_line(complaint, COMPLAINT_BYTES));
    }

    /// Leaves keys that nobody knows alone, where it is not known which ones there are.
    pub fn pass_unknown(&mut self) {
        self.is_complete = false;
    }

    /// `decoded`, if there is nothing to complain of. Whoever decodes to `None` has said why.
    ///
    /// # Errors
    /// All complaints, those about unknown keys included.
    pub fn finish<T>(self, decoded: Option<T>) -> Result<T, Invalid> {
        let unknown = if self.is_complete { self.unknown() } else { Unknown::default() };
        match decoded {
            Some(decoded) if self.complaints.is_empty() && unknown.first.is_empty() => Ok(decoded),
            _ => {
                let mut complaints: Vec<_> = self.complaints.iter().cloned().collect();
                complaints.extend(unknown.first.iter().map(|key| self.unknown_complaint(key)));
                Err(Invalid { complaints, more: unknown.more })
            }
        }
    }

    /// The keys that were read so far.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> &BTreeSet<&'static str> {
        &self.asked
    }

    fn parameter(&self, key: &str) -> Option<&'static Parameter> {
        self.tables.iter().find_map(|table| table.get(key))
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
    fn look_up(&mut self, key: &'static str) -> Option<Given<'a>> {
        debug_assert!(self.parameter(key).is_some(), "{key} is read and in no table");
        self.asked.insert(key);
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

    /// The keys that are in no table, in order, no more than a message can hold.
    fn unknown(&self) -> Unknown<'a> {
        let mut unknown = Unknown::default();
        let given = self.values.iter().map(|(key, text)| (key.as_str(), text.as_str(), false));
        let authentication = self.authentication.into_iter().flatten();
        let authentication =
            authentication.map(|(key, secret)| (key.as_str(), secret.expose(), true));
        for (key, text, is_of_authentication) in given.chain(authentication) {
            let base = key.strip_suffix(FROM_ENV).unwrap_or(key);
            let known = self.parameter(key).or_else(|| self.parameter(base));
            let fits = |parameter: &Parameter| match parameter.use_ {
                Use::Read | Use::Ignored => true,
                Use::OfAuthentication => is_of_authentication,
            };
            if text.trim().is_empty() || known.is_some_and(fits) {
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

    fn unknown_complaint(&self, key: &str) -> String {
        let shown = one_line(key, SHOWN_BYTES);
        let base = key.strip_suffix(FROM_ENV).unwrap_or(key);
        let mut by_heart = self.tables.iter().rev().flat_map(|table| table.by_heart);
        if let Some((_, told)) = by_heart.find(|(name, _)| *name == base) {
            return format!("{shown}: {told}");
        }
        if self.parameter(base).is_some() {
            return format!("{shown}: is for KEDA alone, in a TriggerAuthentication");
        }
        let parameters = self.tables.iter().flat_map(|table| table.parameters);
        if let Some(known) = nearest(key, parameters.map(|parameter| parameter.key)) {
            return format!("{shown}: is not a parameter; the nearest is {known}");
        }
        match self.tables.iter().rev().map(|table| table.usual).find(|usual| !usual.is_empty()) {
            Some(usual) => format!(
                "{shown}: is not a parameter; there are {usual} and those of docs/parameters.md"
            ),
            None => format!("{shown}: is not a parameter"),
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
    /// Shows which keys were read, and no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("asked", &self.asked)
            .field("complaints", &self.complaints)
            .finish_non_exhaustive()
    }
}

/// The known key that `key` was most likely meant to be, as a `FromEnv` key if it is one; `None` if
/// it is like none of them.
///
/// Case does not count. A word with one or two typing errors comes before a part of one (`group`
/// for `consumerGroup`). In a short word, a third of it may be wrong.
fn nearest(key: &str, known: impl Iterator<Item = &'static str>) -> Option<String> {
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
pub(crate) mod tests;
