//! Which records are in the bytes that a broker has of one partition?
//!
//! - `batches`: the batches among the bytes, each with a checksum that fits
//! - `walk`: the records of one batch, one after the other
//! - `record`: one record and its headers
//! - `legacy`: the message sets of magic 0 and 1, which Kafka kept before 0.11
//! - `codec`, `decompress`, `lz4`, `snappy`: compressed records, a piece at a time · `window`:
//!   where the pieces wait
//! - `aborted`: records of transactions that were aborted
//! - `cursor`, `error`: what all of these read with, and what can be wrong
//!
//! A broker is not trusted. What is stated is checked against the bytes that are there before
//! memory is taken for it, and no bytes make reading panic. A compressed batch is never held as a
//! whole: see [`Scratch`] for what it takes. Records of a batch that is not compressed are slices
//! of the bytes, and their values are not touched.
//!
//! ```text
//! let mut batches = Batches::new(bytes);
//! for batch in &mut batches {
//!     let batch = batch?;
//!     if !aborted.is_aborted(&batch, scratch)? && !batch.is_control() {
//!         batch.for_each(scratch, |record| …)?;
//!     }
//!     position = batch.last_offset + 1;
//! }
//! ```
//!
//! # References
//! - [Record batch](https://kafka.apache.org/documentation/#recordbatch) · KIP-98, KIP-82: headers
//! - KIP-32: timestamps, magic 1 · KIP-110: zstd

mod aborted;
mod batches;
mod codec;
mod cursor;
mod decompress;
mod error;
mod legacy;
mod lz4;
mod record;
mod snappy;
#[cfg(test)]
mod tests;
mod walk;
mod window;

pub use aborted::{Aborted, Marker};
pub use batches::{Batch, Batches, Heads, HeadsError};
pub use codec::Codec;
pub use decompress::{MAX_BATCH, MAX_WINDOW, Scratch};
pub use error::BatchError;
pub use record::{Headers, MAX_RECORD, Record};
