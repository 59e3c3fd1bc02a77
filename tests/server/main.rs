//! The program and its ports: what it takes, tells and keeps to itself, whatever it counts.

#[path = "../support/mod.rs"]
mod support;

mod bad_metadata;
mod identity;
mod metrics;
mod secrets;
mod serve;
mod streams;
mod tls;
mod unreachable;
