//! The Azure Service Bus source: how many selected messages wait in a queue or subscription.
//!
//! - `source`: what the scaler holds · `trigger`, `connection_string`, `access`, `entity`: what a
//!   trigger says
//! - `poller`: the way of a poll · `namespaces`: all that is connected to, each once · `gate`:
//!   quiet for a namespace that asks for it
//! - `counts`, `atom`, `sas`: what the management endpoint counts
//! - `peek`, `browse`: what we count, message by message · `amqp`: how they come
//! - `error`: what can go wrong
//!
//! A message is one that a receiver could get, or holds locked: neither scheduled nor deferred nor
//! expired.

mod access;
mod amqp;
mod atom;
mod browse;
mod connection_string;
mod counts;
mod entity;
mod error;
mod gate;
mod namespaces;
mod parameters;
mod peek;
mod poller;
mod sas;
mod source;
pub mod trigger;

pub use error::Error;
pub use source::{Options, ServiceBus};
pub use trigger::ServiceBusTrigger;
