//! Whether a filter, an expression in CEL, holds for a message.
//!
//! A filter is compiled once. What it asks of a message is found while compiling and each such question
//! becomes one name in the expression, so that `body.a.b[0]` is a look-up of that path and not three
//! steps through a parsed body; only a list or an object that the filter takes as a whole is built.
//!
//! A filter fails, and the message is unjudged, where it asks for what the message lacks or cannot show: a
//! field, a body that is no JSON, a key that is not UTF-8. An absent key, subject or event type is empty
//! instead, and a header that is not UTF-8 is as good as absent. JSON numbers without fraction or exponent
//! are ints.
//!
//! Filters are written by tenants, and messages by anyone, so every cost has a bound: the length of a
//! filter, its depth, how much one evaluation may look up. A loop (`all`, `exists`, `exists_one`, `map`,
//! `filter`) may not stand in another or work on the result of another, since their costs multiply.
//! `matches` takes its pattern as a literal, compiled with the filter.
//!
//! # References
//! - Common Expression Language, language definition, with optional syntax (`body.?a.orValue(0)`):
//!   <https://github.com/google/cel-spec/blob/master/doc/langdef.md>

mod compile;
mod evaluate;
mod kind;
mod meant;
mod program;

pub use compile::{FilterError, Place};
pub use program::Filter;
