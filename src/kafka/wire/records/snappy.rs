//! Which blocks of Snappy are in a batch?
//!
//! librdkafka and most others send one raw block. Java's library sends a head and blocks of 32 KiB,
//! each after its length. A raw block may look back to its beginning, so it comes out as a whole:
//! what it states is held against what can come out of its bytes, before memory is taken for it.
//!
//! # References
//! - [Snappy format](https://github.com/google/snappy/blob/main/format_description.txt)
//! - `SnappyOutputStream` of xerial/snappy-java

use super::codec::Codec;
use super::cursor::Cursor;
use super::error::BatchError;
use super::window::Window;

/// What the frame of Java's library begins with; two numbers of its version follow.
const MAGIC: &[u8] = b"\x82SNAPPY\0";
const VERSION_BYTES: usize = 8;

/// The most bytes that come out for one that goes in: three bytes copy 64.
const PER_BYTE: usize = 22;

/// The most bytes that come out of a block.
const MAX_BLOCK: usize = 64 * 1024 * 1024;

/// Blocks of Snappy, one after the other.
pub(super) struct Snappy<'a> {
    rest: Cursor<'a>,
    framed: bool,
}

impl<'a> Snappy<'a> {
    pub(super) fn new(compressed: &'a [u8]) -> Self {
        Self { rest: Cursor(compressed), framed: compressed.starts_with(MAGIC) }
    }

    /// Decompresses one block. `false` is the end.
    pub(super) fn fill(&mut self, window: &mut Window) -> Result<bool, BatchError> {
        if self.rest.0.is_empty() {
            return Ok(false);
        }
        let block = if self.framed { self.framed()? } else { std::mem::take(&mut self.rest.0) };
        if block.is_empty() {
            return Ok(true);
        }
        let damaged = |_| fault("a block is damaged");
        let stated = snap::raw::decompress_len(block).map_err(damaged)?;
        if stated > block.len().saturating_mul(PER_BYTE) {
            return Err(fault("a block states more than can come out of it"));
        }
        if stated > MAX_BLOCK {
            return Err(fault("a block has more than 64 MiB"));
        }
        let room = window.room(stated)?;
        let bytes = snap::raw::Decoder::new().decompress(block, room).map_err(damaged)?;
        window.fill(bytes);
        Ok(true)
    }

    /// The next block in a frame; the head of one is no block.
    fn framed(&mut self) -> Result<&'a [u8], BatchError> {
        let cut = || fault("a block is cut");
        // Streams may be written one after the other.
        if let Some(rest) = self.rest.0.strip_prefix(MAGIC) {
            self.rest = Cursor(rest);
            self.rest.take(VERSION_BYTES).ok_or_else(cut)?;
            return Ok(&[]);
        }
        let length = self.rest.array().map(u32::from_be_bytes).ok_or_else(cut)?;
        self.rest.take(usize::try_from(length).unwrap_or(usize::MAX)).ok_or_else(cut)
    }
}

fn fault(what: &'static str) -> BatchError {
    Codec::Snappy.fault(what)
}
