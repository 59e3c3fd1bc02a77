//! What a trigger asks for: its metadata decoded, or everything that is wrong with it.
//!
//! No I/O. The rows that every source has are read here and in [`source`](crate::source); each
//! source's folder reads its own.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers/external_scaler.go`: the keys of its link to an external scaler.

mod common;
mod decode;
mod foreign;
mod shown;

pub use decode::{FALLBACK_METRIC_NAME, FALLBACK_TARGET, Spec};
pub use shown::{HIDDEN, shown};

pub use crate::metadata::Invalid;
pub use crate::sources::Trigger;
