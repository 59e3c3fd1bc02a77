//! What can be wrong with the records of a partition?
//!
//! An error has numbers and names of ours alone, nothing that a broker wrote.

use super::codec::Codec;
use crate::ledger::Exhausted;

/// Why bytes are no record batches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A length below that of the shortest batch of its format.
    #[error("a batch states a length of {length} bytes, which its header alone exceeds")]
    Length {
        /// The length.
        length: i32,
    },
    /// A format that Kafka did not have when this was written.
    #[error("a batch is of format {magic}, which is not known")]
    Magic {
        /// The format.
        magic: i8,
    },
    /// An offset that no log has.
    #[error("a batch begins at offset {offset}, which no log has")]
    Offset {
        /// The offset.
        offset: i64,
    },
    /// A count or a length below zero.
    #[error("a batch's {what} is negative: {value}")]
    Negative {
        /// What is counted.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// Bytes that are not those that were written.
    #[error("the batch at offset {offset} is damaged: its checksum does not fit")]
    Checksum {
        /// The batch's first offset, or its last one before Kafka 0.11.
        offset: u64,
    },
    /// A codec that the format does not have.
    #[error("a batch is compressed by codec {codec}, which format {magic} does not have")]
    UnknownCodec {
        /// Its number.
        codec: i16,
        /// The batch's format.
        magic: i8,
    },
    /// Compressed bytes that the codec does not produce.
    #[error("a batch's {codec} bytes cannot be decompressed: {what}")]
    Compressed {
        /// The codec.
        codec: Codec,
        /// What is wrong with them.
        what: &'static str,
    },
    /// Far more comes out of a batch than went in.
    #[error("{bytes} bytes of {codec} decompress to more than {max}, which is not allowed")]
    Bomb {
        /// The codec.
        codec: Codec,
        /// The compressed bytes.
        bytes: usize,
        /// The most that may come out of them.
        max: usize,
    },
    /// A zstd frame that has to be looked back in further than is allowed.
    #[error(
        "zstd data needs a window of {bytes} bytes; at most {max} are allowed, as level 19 has"
    )]
    Window {
        /// The stated window.
        bytes: u64,
        /// The largest window.
        max: u64,
    },
    /// What comes out takes more memory than those may have who read it.
    #[error("there is no memory for what comes out of a batch: {0}")]
    Memory(Exhausted),
    /// A record that is longer than is allowed.
    #[error("a record of {bytes} bytes is too long; at most {max} are read")]
    RecordTooLong {
        /// Its length.
        bytes: usize,
        /// The longest length.
        max: usize,
    },
    /// A part of a record that does not fit into it.
    #[error("a record's {what} does not fit into it")]
    Record {
        /// The part.
        what: &'static str,
    },
    /// A batch with fewer records than it states, or whose last record is cut.
    #[error("a batch ends within its records")]
    Cut,
    /// Bytes after the last record.
    #[error("a batch has {bytes} or more bytes after its last record")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A record whose offset is not above that of the record before.
    #[error("a batch has offset {offset} after the same or a higher one")]
    OffsetOrder {
        /// The offset.
        offset: i64,
    },
    /// A record outside of its batch.
    #[error("a batch that ends at offset {last} has a record at offset {offset}")]
    OffsetOutside {
        /// The record's offset.
        offset: i64,
        /// The batch's last offset.
        last: u64,
    },
    /// A compressed message among compressed ones.
    #[error("a compressed message is within another one")]
    Nested,
    /// A message of another format than the one that it is compressed in.
    #[error("a message of format {inner} is within one of format {outer}")]
    InnerMagic {
        /// The message's format.
        inner: i8,
        /// The format it is in.
        outer: i8,
    },
    /// A control record that does not say what it is.
    #[error("a control record has a key that says nothing")]
    Control,
}

impl Codec {
    /// The error for compressed bytes that are not what they should be.
    pub(super) fn fault(self, what: &'static str) -> BatchError {
        BatchError::Compressed { codec: self, what }
    }
}
