//! Which source a trigger means, and what it asks of that source.

use std::collections::HashMap;

use super::common;
use crate::kubernetes::Name;
use crate::metadata::{Invalid, Reader};
use crate::source::PARAMETERS;
use crate::sources::{KINDS, Kind, Trigger};

/// The metric of a trigger whose metadata cannot be read. KEDA passes over a trigger without one in
/// silence; with one it goes on to ask for the metric, and is told what is wrong.
pub const FALLBACK_METRIC_NAME: &str = "keda-sift-invalid-trigger";
/// The target that goes with it.
pub const FALLBACK_TARGET: u64 = 1;

/// What KEDA is told of a trigger before anything is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Name of its one metric.
    pub metric_name: String,
    /// Messages for one replica or Job, above 0.
    pub target: u64,
}

impl Trigger {
    /// The trigger that `metadata` describes, of a namespace that is not known.
    ///
    /// # Errors
    /// Everything that is wrong with the metadata, at once.
    pub fn decode(metadata: &HashMap<String, String>) -> Result<Self, Invalid> {
        Self::read(Reader::new(metadata))
    }

    /// The trigger that the reader's metadata describes, with the parameters of its
    /// TriggerAuthentication where it names one.
    ///
    /// # Errors
    /// Everything that is wrong with the metadata, at once.
    pub fn read(mut reader: Reader<'_>) -> Result<Self, Invalid> {
        let decoded = read(&mut reader);
        reader.finish(decoded)
    }

    /// The TriggerAuthentication that the metadata names. `None` if it names none, or what cannot
    /// be one, which [`Trigger::read`] complains of.
    pub fn authentication(metadata: &HashMap<String, String>) -> Option<Name> {
        let mut reader = Reader::new(metadata);
        // Looked at by every poll, and rarely there.
        if !reader.has(common::AUTHENTICATION) {
            return None;
        }
        reader.know(&PARAMETERS);
        common::authentication(&mut reader)
    }

    /// What KEDA is told of the trigger.
    pub fn spec(&self) -> Spec {
        let scaling = self.scaling();
        Spec { metric_name: scaling.metric_name.clone(), target: scaling.target }
    }
}

impl Spec {
    /// What can be told of a trigger whose TriggerAuthentication has not been read yet: the
    /// metadata alone says it, however much else is missing.
    pub fn decode(metadata: &HashMap<String, String>) -> Self {
        let reader = &mut Reader::new(metadata);
        reader.know(&PARAMETERS);
        let Some(kind) = kind(reader) else { return Self::default() };
        reader.know(kind.table);
        let scaling = (kind.scaling)(reader);
        let spec = Self { metric_name: scaling.metric_name, target: scaling.target };
        // What it is counted in may be wrong, or be told by the TriggerAuthentication alone.
        match spec.metric_name.is_empty() {
            true => Self { metric_name: FALLBACK_METRIC_NAME.to_owned(), ..spec },
            false => spec,
        }
    }
}

impl Default for Spec {
    /// What goes with metadata that cannot be read.
    fn default() -> Self {
        Self { metric_name: FALLBACK_METRIC_NAME.to_owned(), target: FALLBACK_TARGET }
    }
}

/// Reads all that there is.
fn read(reader: &mut Reader<'_>) -> Option<Trigger> {
    reader.know(&PARAMETERS);
    common::authentication(reader);
    let Some(kind) = kind(reader) else {
        // Which other keys there are depends on the source.
        reader.pass_unknown();
        return None;
    };
    reader.know(kind.table);
    let selection = common::selection(reader, kind.filter_variables);
    (kind.decode)(reader, selection)
}

/// The source that the trigger names, or else the one whose keys it has. `None` after a complaint.
fn kind(reader: &mut Reader<'_>) -> Option<&'static Kind> {
    let words: Vec<_> = KINDS.iter().map(|kind| (kind.name, Some(kind))).collect();
    let named = reader.choice("source", &words);
    if named.is_some() {
        return named;
    }
    // Where a name was given it has been complained of; the other keys may tell what was meant, and
    // what else is wrong.
    let is_told = |kind: &&Kind| kind.told_by.iter().any(|key| reader.has(key));
    let told: Vec<&Kind> = KINDS.iter().filter(is_told).collect();
    if let [kind] = told[..] {
        return Some(kind);
    }
    if !reader.has("source") {
        let names = |kinds: &[&Kind]| kinds.iter().map(|kind| kind.name).collect::<Vec<_>>();
        let problem = if told.is_empty() {
            let keys: Vec<_> = KINDS.iter().flat_map(|kind| kind.told_by).copied().collect();
            let all: Vec<_> = KINDS.iter().collect();
            format!(
                "is missing; give {}, or a key that tells: {}",
                names(&all).join(" or "),
                keys.join(", ")
            )
        } else {
            format!("is missing, and there are keys of {}; give one", names(&told).join(" and of "))
        };
        reader.complain("source", problem);
    }
    None
}

#[cfg(test)]
mod tests;
