//! The trigger to paste: what was given, with the place that was found and its commonest type.

use std::fmt::Write as _;

use super::given::{Given, NO_GROUP, kind};
use crate::metadata::{FROM_ENV, Parameter, Table, Use};
use crate::selection::{EventTypes, Place};
use crate::source::PARAMETERS;

/// Where keda-sift is, unless the trigger says so.
const ADDRESS: &str = "keda-sift.keda-sift:9090";

/// Types that are tried, the commonest first: one may be no text that a trigger can have.
const TRIED: usize = 20;

/// A trigger's metadata, in the order in which it is printed. Nothing in it is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) metadata: Vec<(String, String)>,
    /// The type that it counts; `None` for all messages.
    pub(super) event_type: Option<String>,
}

impl Proposal {
    /// The trigger that counts the commonest of these types, which are in order; one that counts
    /// every message where none of them can be written.
    pub(super) fn of(given: &Given, place: Option<&Place>, types: &[&str]) -> Proposal {
        let from = place.and_then(|place| place.from.written());
        for event_type in types.iter().take(TRIED) {
            let Some(text) = EventTypes::only(event_type) else { continue };
            let from = from.as_deref().map(|from| ("eventTypeFrom", from));
            let selecting: Vec<_> = from.into_iter().chain([("eventType", &*text)]).collect();
            if is_trigger(given, &selecting, event_type) {
                let metadata = metadata(given, &selecting);
                return Proposal { metadata, event_type: Some((*event_type).to_owned()) };
            }
        }
        Proposal { metadata: metadata(given, &[]), event_type: None }
    }

    /// As it stands in a ScaledJob.
    pub(super) fn yaml(&self) -> String {
        let mut yaml = "- type: external\n  metadata:\n".to_owned();
        for (key, value) in &self.metadata {
            writeln!(yaml, "    {key}: {}", scalar(value)).expect("a String takes everything");
        }
        yaml
    }
}

/// Whether what was given, with these keys, decodes to a trigger that selects this type alone.
fn is_trigger(given: &Given, selecting: &[(&str, &str)], event_type: &str) -> bool {
    // A printable line, so that YAML has it as it is.
    let is_plain = |value: &str| !value.contains(char::is_control) && value.trim() == value;
    if !selecting.iter().all(|(_, value)| is_plain(value)) {
        return false;
    }
    let selected = given.with(selecting).ok().and_then(|trigger| trigger.selection().types.clone());
    selected.is_some_and(|types| types.are_only(event_type))
}

fn metadata(given: &Given, selecting: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let kind = kind(&given.metadata);
    let address = given.metadata.get("scalerAddress").map_or(ADDRESS, String::as_str);
    all.push(("scalerAddress".to_owned(), address.to_owned()));
    all.push(("source".to_owned(), given.trigger.source().to_owned()));
    let tables = [kind.map(|kind| kind.table), Some(&PARAMETERS)];
    for parameter in tables.into_iter().flatten().flat_map(|table: &Table| table.parameters) {
        let Parameter { key, is_secret, use_, .. } = *parameter;
        if matches!(key, "scalerAddress" | "source" | "eventType" | "eventTypeFrom") {
            continue;
        }
        let from_env = format!("{key}{FROM_ENV}");
        if let Some(variable) = given.metadata.get(&from_env) {
            all.push((from_env, variable.clone()));
        } else if let Some(value) = given.metadata.get(key) {
            match (use_, is_secret) {
                // What KEDA alone makes use of is a switch, or may be anything.
                (Use::Ignored, _) if !matches!(value.as_str(), "true" | "false") => {}
                // Shown to nobody, as it is a secret.
                (Use::Read, true) => all.push((from_env, NO_GROUP.to_owned())),
                _ => all.push((key.to_owned(), value.clone())),
            }
        } else if kind.is_some_and(|kind| kind.group == Some(key)) {
            all.push((key.to_owned(), NO_GROUP.to_owned()));
        }
    }
    all.extend(selecting.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    all
}

/// A string as YAML has it: bare where nothing else can be read into it, and as JSON otherwise.
fn scalar(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "._/-,:".contains(c);
    let reads_as_other = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(word)
        && !text.ends_with(':')
        && !reads_as_other.contains(&&*text.to_ascii_lowercase());
    match is_bare {
        true => text.to_owned(),
        false => serde_json::to_string(text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a YAML reader takes a value for.
    fn read(value: &str) -> Option<String> {
        let yaml = format!("key: {}\n", scalar(value));
        let read: std::collections::BTreeMap<String, serde_json::Value> =
            serde_saphyr::from_str(&yaml).ok()?;
        read["key"].as_str().map(str::to_owned)
    }

    #[test]
    fn what_reads_as_something_else_stands_in_quotes() {
        for (value, expected) in [
            ("uploads", "uploads"),
            ("kafka:9092,b:9092", "kafka:9092,b:9092"),
            ("body:event.type", "body:event.type"),
            ("true", "\"true\""),
            ("No", "\"No\""),
            ("10", "\"10\""),
            ("1:20", "\"1:20\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("header:", "\"header:\""),
            ("*", "\"*\""),
            ("body:[*].type", "\"body:[*].type\""),
            (r#"say "a""#, r#""say \"a\"""#),
        ] {
            assert_eq!(scalar(value), expected);
            assert_eq!(read(value).as_deref(), Some(value));
        }
    }

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(value in "[^\\p{C}\u{85}\u{2028}\u{2029}]{0,30}") {
            let told = read(&value);
            prop_assert_eq!(told.as_deref(), Some(&*value));
        }
    }
}
