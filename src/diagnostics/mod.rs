//! What people and their tools may ask of a running scaler, over gRPC: `sift.v1.Diagnostics`.
//!
//! | file | answers |
//! |---|---|
//! | `proto` | what is asked and answered, on the wire |
//! | `service` | each call |
//! | `access` | who may ask, and about which namespaces |
//!
//! It says what [`scaler`](crate::scaler) knows, and knows nothing by itself.

mod access;
pub mod proto;
mod service;

pub use access::{Access, AccessError, Denied};
pub use service::Diagnostics;
