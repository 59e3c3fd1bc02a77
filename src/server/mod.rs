//! Who listens where, and how it ends.
//!
//! | file | answers |
//! |---|---|
//! | `listen` | which port, and why not |
//! | `grpc` | what KEDA and grpcurl can call |
//! | `health` | whether we serve, as gRPC asks it |
//! | `http` | whether we serve, as Kubernetes asks it |
//! | `shutdown` | what ends when, and whether all did |

mod grpc;
mod health;
mod http;
mod listen;
mod shutdown;

pub use grpc::routes;
pub use listen::{ListenError, Listener, Listeners};
pub use shutdown::{Ending, Shutdown, serve};

#[cfg(test)]
mod tests;
