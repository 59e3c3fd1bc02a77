//! A Kubernetes API server for tests: the real one, with its etcd, on loopback.
//!
//! [`ApiServer`] is a whole API: objects and their validation, authentication, RBAC, TokenRequest,
//! watches, server-side apply, an audit log. There are no controllers and no nodes, so a Job stays
//! an object, and a namespace that is deleted stays around. KEDA's kinds are there as KEDA defines
//! them; of cert-manager's and the Prometheus Operator's there are the names alone. [`Keda`] is
//! KEDA's operator on it, and [`tools`] are the programs that go with it.
//!
//! ```text
//! server ─┬─ process ─── programs ─── tools
//! (tests) ├─ authority ─── access ─── grants
//!         ├─ objects ─── definitions ─── keda
//!         ├─ tokens
//!         └─ requests
//! ```
//!
//! kube-apiserver and etcd are built from their Go modules, which takes minutes, once a machine:
//! see [`programs`]. A server takes 5 to 10 s to start and 350 MB, so tests share one and use
//! namespaces and users of their own.

mod access;
mod authority;
mod definitions;
mod grants;
mod keda;
mod objects;
mod process;
pub mod programs;
mod requests;
mod server;
mod tokens;
pub mod tools;

pub use access::{ADMIN, ServiceAccount};
pub use definitions::Definitions;
pub use grants::{Grant, Granted};
pub use keda::Keda;
pub use requests::{Request, Requests};
pub use server::ApiServer;
pub use tokens::{Claims, TokenVerifier};
