//! What a trigger asks for: its metadata decoded, or everything that is wrong with it.
//!
//! No I/O. The rows that every source has are read here; each source's folder reads its own. A
//! further source is one word and one arm in [`decode`](Trigger::decode) and one variant of
//! [`Source`].
//!
//! # References
//! - KEDA 2.20 `pkg/scalers/external_scaler.go`: the keys of its link to an external scaler.

mod common;
mod decode;
mod foreign;
mod keys;

pub use decode::{FALLBACK_METRIC_NAME, FALLBACK_TARGET, Source, Spec, Trigger};

pub use crate::metadata::Invalid;
