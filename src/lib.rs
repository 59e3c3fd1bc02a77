//! A KEDA external scaler that counts the messages that matter.
//!
//! The floors of the house, top down; calls run downwards only, and a lower floor knows nothing of
//! a higher one:
//!
//! | floor | answers |
//! |---|---|
//! | [`commands`] | what a user can run |
//! | [`server`] | who listens where, and how it ends |
//! | [`diagnostics`] | what people may ask of it |
//! | [`wiring`] | how the sources are put together |
//! | [`scaler`] | what KEDA is told |
//! | [`trigger`] | what a user wrote |
//! | [`sources`] | which sources there are |
//! | [`kafka`], [`service_bus`] | what waits there |
//! | [`source`] | what a source is |
//! | [`identity`] | as whom Azure is asked |
//! | [`kubernetes`] | what the API server is asked for |
//! | [`selection`] | which messages count |
//! | [`metadata`], [`backlog`], [`failure`], [`jobs`], [`secret`], [`web`], [`ledger`], [`version`], `amqp`, `re2`, `coalescer`, `lock` | the plain things that all of them share |
//!
//! [`telemetry`] stands beside them: any floor may log, none is told how logs are written.

pub mod commands;
pub mod diagnostics;
pub mod server;

pub mod wiring;

pub mod scaler;

pub mod trigger;

pub mod sources;

pub mod kafka;
#[cfg(test)]
mod memory;
pub mod service_bus;

pub mod source;

pub mod identity;

pub mod kubernetes;

pub mod selection;

mod amqp;
pub mod backlog;
mod coalescer;
pub mod failure;
pub mod jobs;
pub mod ledger;
mod lock;
pub mod metadata;
mod re2;
pub mod secret;
pub mod version;
pub mod web;

pub mod telemetry;
