//! Whether a filter, an expression in CEL, holds for a message.
//!
//! A filter is compiled once. Each thing that it asks of a message becomes one name in the
//! expression, so that `body.a.b[0]` is one look-up of that path and not three steps through a
//! parsed body. A list or an object is built only where the filter takes it as a whole.
//!
//! A filter fails, and the message is indeterminate, where it asks for something that the message
//! lacks or that cannot be read: a field, a body that is no JSON, a key that is not UTF-8. An
//! absent key, subject or event type is empty instead, and a header that is not UTF-8 is as good as
//! absent. JSON numbers without fraction or exponent are ints.
//!
//! Filters are written by tenants, and messages by anyone, so every cost has a bound. A filter has
//! a greatest length and depth. What an evaluation costs is counted while it goes on ([`meter`]);
//! out of its budget, the message is indeterminate. `matches` takes its pattern as a literal,
//! compiled with the filter.
//!
//! Imports go one way: `error`, `meant`, `meter`, `program` ← `kind`, `library`, `pattern` ←
//! `payments` ← `compile` ← `evaluate` ← `compiled`.
//!
//! # References
//! - Common Expression Language, language definition, with optional syntax (`body.?a.orValue(0)`):
//!   <https://github.com/google/cel-spec/blob/master/doc/langdef.md>

mod compile;
mod compiled;
mod error;
mod evaluate;
mod kind;
mod library;
mod meant;
mod meter;
mod pattern;
mod payments;
mod program;

pub use compiled::Filter;
pub use error::{FilterError, SourceLocation};
