//! Kafka, on real brokers: what a trigger counts there, and what it costs.
//!
//! One broker serves all of these tests, which use topics and groups of their own; `broker` shows
//! that the harness is what it says.

mod agreement;
mod backfill;
mod broker;
mod bursts;
mod check;
mod diagnostics;
mod failures;
mod groups;
mod hostile;
mod keda_rows;
mod log;
mod memory;
mod motion;
mod oauth;
mod reading;
mod replicas;
mod security;
mod selection;
mod sharing;
mod stopped;
mod transactions;
mod types;
mod versions;
