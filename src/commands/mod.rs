//! What a user can run: one file a command.
//!
//! | file | answers |
//! |---|---|
//! | `cli` | which commands there are |
//! | `serve` | `keda-sift serve`: answers KEDA |
//! | `check` | `keda-sift check`: what is wrong with manifests, and what they count now |
//! | `connections` | what a command may connect to, and as whom |
//! | `signals` | what tells a running command to end |
//! | `duration`, `memory` | how a length of time and an amount of memory are written there |

mod check;
mod cli;
mod connections;
mod duration;
mod memory;
mod serve;
mod signals;

pub use cli::Cli;
