//! KEDA's side: what the scaler says to KEDA about a trigger.
//!
//! | file | answers |
//! |---|---|
//! | `proto` | what KEDA and we say to each other, on the wire |
//! | `service` | each call of the contract |
//! | `triggers` | which triggers KEDA asks about, until it no longer does |
//! | `live` | one trigger's value and whether it is active, from one measurement |
//! | `history` | what its polls were answered of late |
//! | `identity` | which trigger it is, for people |
//! | `report` | what is known of triggers, for whoever asks besides KEDA |
//! | `figures` | the same for metrics |
//! | `context` | what of Kubernetes a poll meets |
//! | `warm` | which triggers are measured before anybody polls them |
//! | `key` | whether two requests mean the same trigger |
//! | `status` | how an error reads in `kubectl describe` |
//!
//! # References
//! - KEDA's external scalers: <https://keda.sh/docs/latest/concepts/external-scalers/>

mod context;
mod figures;
mod history;
mod identity;
mod key;
mod live;
pub mod proto;
mod report;
mod service;
mod status;
mod triggers;
mod warm;

#[cfg(test)]
mod tests;

pub use context::KubernetesContext;
pub use history::{Answer, POINT_SPAN, POINTS, Point, Poll, Refusal, State, TYPES};
pub use proto::external_scaler_server::ExternalScalerServer;
pub use report::{Explained, FindError, Overview, Query, id};
pub use service::{Options, Scaler, Stop};
pub use status::Error;
pub use triggers::Entry;
