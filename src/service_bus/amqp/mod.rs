//! Peeking over AMQP 1.0.
//!
//! - `stream`: how bytes get there · `connection`: one for all entities of a namespace, with their
//!   claims · `connection_slot`: which connection that is
//! - `link`: peeks of one entity · `raw`, `peeked`: what comes back
//! - `fault`: what can go wrong on the way
//!
//! # References
//! - "AMQP 1.0 in Azure Service Bus: request-response-based operations", Azure documentation
//! - OASIS AMQP claims-based security 1.0, working draft 1

mod connection;
mod connection_slot;
mod fault;
mod link;
mod peeked;
mod raw;
mod stream;

pub(super) use connection::Connection;
pub(super) use connection_slot::ConnectionSlot;
pub(super) use fault::Fault;
pub(super) use link::{Ask, Link, Reply};
pub(super) use peeked::{Peeked, QueuePosition, State};
