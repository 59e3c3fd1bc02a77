//! Which messages count: event types and filters, compiled once and judged for each message.
//!
//! A [`Selection`] is what one trigger asks for. It splits into disjoint [`Selector`]s, each of
//! which gets an index of its own, so that triggers with overlapping lists share them and the
//! backlog of a selection is the sum over its selectors. A [`Judge`] holds all selectors wanted of
//! one topic or queue and judges a [`Message`] once for all of them. Nothing here does I/O or knows
//! a source.
//!
//! Imports go one way: `reason` ← `framing`, `json`, `message` ← `body` ← `record` ← `event_type` ←
//! `filter` ← `selector`, `sight` ← `judge`, `census`.
//!
//! # References
//! - CloudEvents, Kafka protocol binding 1.0.2: where a message keeps its type by default
//! - Common Expression Language, language definition: <https://github.com/google/cel-spec>

mod body;
mod census;
mod event_type;
mod filter;
mod framing;
mod json;
mod judge;
mod message;
mod reason;
mod record;
mod selector;
mod sight;

pub use body::BodyPath;
pub use census::{Census, Place, TypeCount};
pub(crate) use event_type::utf8;
pub use event_type::{Carrier, EventTypeFrom, EventTypeFromError, EventTypes, EventTypesError};
pub use filter::{Filter, FilterError, SourceLocation};
pub use judge::{Judge, Slot, Verdicts};
#[cfg(test)]
pub(crate) use message::tests::Sample;
pub use message::{Message, Variable};
pub use reason::Reason;
pub use selector::{Selection, Selector};
pub use sight::{Position, Sight};
