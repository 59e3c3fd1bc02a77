//! What a user can run: one file a command.
//!
//! | file | answers |
//! |---|---|
//! | `cli` | which commands there are |
//! | `serve` | `keda-sift serve`: answers KEDA |
//! | `check` | `keda-sift check`: what is wrong with manifests, and what they count now |
//! | `types` | `keda-sift types`: which types of messages there are, and how many of each |
//! | `completions`, `man` | what shells complete, and the manual |
//! | `connections` | what a command may connect to, and as whom |
//! | `environment` | what variables it takes for those of a workload |
//! | `signals` | what tells a running command to end |
//! | `duration`, `memory` | how a length of time and an amount of memory are written there |

mod check;
mod cli;
mod completions;
mod connections;
mod duration;
mod environment;
mod man;
mod memory;
mod serve;
mod signals;
mod types;

pub use cli::Cli;
