//! Azure as far as tests need it, on loopback.
//!
//! [`ServiceBus`] is a namespace that Microsoft's own SDKs cannot tell from the emulator: AMQP 1.0,
//! plain, over TLS and over WebSocket, and the Atom management endpoint, all on one port. Tests
//! create entities in it, put messages in, and make it fail. [`entra`] is where identities get
//! their tokens. [`judges`] run the SDKs against a namespace.
//!
//! ```text
//! bus ──── listener ─┬─ connection ─── node ─┬─ namespace ─── entity ─── message ─── codec
//! (a test)           └─ atom ────────────────┘
//! ```
//!
//! What the SDKs insist on and no specification says:
//! - Python's puts a shared access signature under the type `jwt`, and JavaScript's signs a whole
//!   URL, query included, for the management endpoint.
//! - A receiver's disposition comes back settled with the same outcome, without the error in a
//!   rejection: an error says that the settlement failed. Errors have all three fields.
//! - The delivery tag is the lock token: 16 bytes, a GUID with its first three groups
//!   little-endian. In a request for a settlement the token is a `uuid`, as it reads.
//! - A session that is accepted is named in the attach reply in the form that was asked in: Go's
//!   describes the filter and wants it described, Java's has it bare.
//! - Go's takes the lock token of a deferred message from the delivery annotation
//!   `x-opt-lock-token`, Java's and Python's from beside the message in the reply.
//! - Go's ends a session while an attach on it still waits; a reply to that would end its
//!   connection.
//! - A message without an id is given one; JavaScript's settles none without.
//! - Over WebSocket Python's and JavaScript's ask for the subprotocol `AMQPWSB10`, others for
//!   `amqp`.
//! - The administration clients speak HTTPS alone, even with `UseDevelopmentEmulator=true`, on the
//!   port of the endpoint.

mod access;
mod atom;
mod bus;
mod codec;
mod connection;
mod entity;
pub mod entra;
mod faults;
pub mod judges;
mod jwt;
mod listener;
mod message;
mod namespace;
mod node;
#[cfg(test)]
mod peer;

pub use access::Rights;
pub use bus::{Builder, Connections, EntityBuilder, Handling, ServiceBus, TopicBuilder};
pub use entity::{Counters, Depth};
pub use faults::{Busy, Empty, Management};
pub use message::{Message, Property};
