//! What tests everywhere need, those of other stand-ins and of single modules too: so nothing of
//! the program is in it.

mod ports;
mod prometheus;
mod rows;
mod wait;

pub use ports::free as free_port;
pub use prometheus::{prometheus, promtool_approves};
pub use rows::{Rows, metadata};
pub use wait::{LOOK, PATIENCE, holds_within, until};
