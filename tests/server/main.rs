//! The program and its ports: what it takes, tells and keeps to itself, whatever it counts.

mod bad_metadata;
mod check;
mod diagnostics;
mod identity;
mod metrics;
mod page;
mod prometheus;
mod secrets;
mod serve;
mod streams;
mod tls;
mod traces;
mod unreachable;
