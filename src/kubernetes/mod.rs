//! Kubernetes: what we ask its API for, each with the right it takes.
//!
//! - `client`: the one connection to the API server, and how a call of it ends · `names`: what an
//!   object may be called
//! - `service_accounts`: a token of a Job's service account, and which Azure identity it is for
//! - `authentication`: the parameters that a TriggerAuthentication gives, kept for a while ·
//!   `environment`: those of them that stand in a container's environment
//! - `scaled`: ScaledJobs and ScaledObjects, cut down to their triggers · `watch`: which there are,
//!   and what changes
//! - `sight`: what else there is, as a person looks at it
//! - `held`: objects that stand in files, read as if they were in the cluster
//! - `events`: what is told where `kubectl describe` shows it
//! - `error`: what can go wrong, with the component that grants the right that is missing
//!
//! Everything is read in the namespace of the trigger that asks for it, and in no other: the
//! functions here take that namespace, and names are checked before they become part of a path.

mod authentication;
mod client;
mod environment;
mod error;
mod events;
mod held;
mod names;
mod scaled;
mod service_accounts;
mod sight;
mod watch;

pub use authentication::{Authentication, Authentications};
pub use client::{ConnectError, Kubernetes};
pub use error::Error;
pub use events::{Events, Notice, Reason};
pub use names::{Name, NameError, ServiceAccount};
pub use scaled::{Addresses, ExternalTrigger, Kind, Scaled, ScaledRef, Version};
pub use service_accounts::AzureIdentity;
pub use sight::WorkloadKind;
pub use watch::{Change, Changes, Watch};
