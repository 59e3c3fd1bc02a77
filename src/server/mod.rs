//! Who listens where, and how it ends.
//!
//! | file | answers |
//! |---|---|
//! | `listen` | which port, and why not |
//! | `grpc` | what KEDA and grpcurl can call |
//! | `tls` | who we are there, whom we let in, and how a connection comes to it |
//! | `polls` | how calls end and how long they take |
//! | `phase` | how far the server is: warming, ready, leaving, draining |
//! | `health` | whether we serve, as gRPC asks it |
//! | `http` | what Kubernetes and Prometheus ask |
//! | `shutdown` | what ends when, and whether all did |

mod grpc;
mod health;
mod http;
mod listen;
mod phase;
mod polls;
mod shutdown;
mod tls;

pub use listen::{ListenError, Listener, Listeners};
pub use phase::Ready;
pub use shutdown::{Ending, Options, Shutdown, serve};
pub use tls::{Files, Tls, TlsError};

#[cfg(test)]
mod tests;
