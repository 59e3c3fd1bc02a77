//! A compiled filter, as triggers and parts hold it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::error::FilterError;
use super::program::{Lookup, Program};
use super::{compile, evaluate};
use crate::selection::reason::Reason;
use crate::selection::record::Record;

/// A CEL expression that says which messages count. Cheap to clone; equal to any other of the same
/// text.
#[derive(Clone)]
pub struct Filter(Arc<Compiled>);

struct Compiled {
    text: String,
    program: Program,
}

impl Filter {
    /// Compiles `text`, in which `source_variables` can be used besides those that every message
    /// has: `eventType`, `subject`, `key`, `headers`, `body`, `time` and `size`.
    ///
    /// # Errors
    /// For a text that is no CEL, names a variable or a function that there is not, or goes beyond
    /// the bounds that keep an evaluation cheap; and where the text alone shows that no boolean
    /// comes out.
    pub fn compile(
        text: &str,
        source_variables: &'static [&'static str],
    ) -> Result<Self, FilterError> {
        let program = compile::compile(text, source_variables)?;
        Ok(Filter(Arc::new(Compiled { text: text.to_owned(), program })))
    }

    /// As it was written.
    pub(in crate::selection) fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether what the filter says depends on the event type.
    pub fn asks_event_type(&self) -> bool {
        self.0.program.lookups.contains(&Lookup::EventType)
    }

    /// Whether what the filter says depends on this variable, which one source alone has.
    pub fn asks_source(&self, variable: &str) -> bool {
        let asks = |lookup: &Lookup| matches!(lookup, Lookup::Source(name) if *name == variable);
        self.0.program.lookups.iter().any(asks)
    }

    /// Whether the filter holds for a message of this event type, empty if it has none.
    ///
    /// # Errors
    /// Why the evaluation fails, or that it gives no boolean.
    pub(in crate::selection) fn holds(
        &self,
        record: &Record<'_>,
        event_type: &str,
    ) -> Result<bool, Reason> {
        evaluate::holds(&self.0.program, record, event_type)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Filter {}

impl Hash for Filter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.text).finish()
    }
}

#[cfg(test)]
mod tests;
