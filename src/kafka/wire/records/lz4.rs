//! Which blocks are in a frame of LZ4?
//!
//! Frames are read here and blocks by `lz4_flex`: blocks then come straight into the buffer, and no
//! memory is taken by what a frame states. The checksums of a frame are passed over, because the
//! batch's own covers them. For messages of magic 0 they are wrong anyway (KAFKA-3160).
//!
//! # References
//! - [LZ4 frame format](https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md)
//! - KIP-57

use super::codec::Codec;
use super::cursor::Cursor;
use super::error::BatchError;
use super::window::Window;

const MAGIC: u32 = 0x184d_2204;

/// Bytes that a block may look back in the blocks before it.
const HISTORY_BYTES: usize = 64 * 1024;

/// The most bytes that come out for one that goes in.
const PER_BYTE: usize = 255;

/// Frames of LZ4, one after the other.
pub(super) struct Lz4<'a> {
    rest: Cursor<'a>,
    frame: Option<Frame>,
    /// The end of the blocks before, where a block may look back.
    history: Vec<u8>,
}

/// What the head of a frame says.
#[derive(Clone, Copy)]
struct Frame {
    max_block: usize,
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
}

impl<'a> Lz4<'a> {
    pub(super) fn new(compressed: &'a [u8]) -> Self {
        Self { rest: Cursor(compressed), frame: None, history: Vec::new() }
    }

    /// Decompresses one block. `false` is the end.
    pub(super) fn fill(&mut self, window: &mut Window) -> Result<bool, BatchError> {
        let Some(frame) = self.frame else {
            if self.rest.0.is_empty() {
                return Ok(false);
            }
            self.frame = head(&mut self.rest)?;
            self.history.clear();
            return Ok(true);
        };
        let size = self.number("a block is missing")?;
        if size == 0 {
            if frame.content_checksum {
                self.number("the checksum is missing")?;
            }
            self.frame = None;
            return Ok(true);
        }
        let plain = size & 0x8000_0000 != 0;
        let size = usize::try_from(size & 0x7fff_ffff).unwrap_or(usize::MAX);
        if size > frame.max_block {
            return Err(fault("a block is longer than its frame allows"));
        }
        let block = self.rest.take(size).ok_or_else(|| fault("a block is cut"))?;
        if frame.block_checksums {
            self.number("the checksum of a block is missing")?;
        }
        let out = if plain {
            let out = window.room(size)?;
            out.copy_from_slice(block);
            out
        } else {
            let room = window.room(frame.max_block.min(size.saturating_mul(PER_BYTE)))?;
            let bytes = if frame.linked {
                lz4_flex::block::decompress_into_with_dict(block, room, &self.history)
            } else {
                lz4_flex::block::decompress_into(block, room)
            };
            let bytes = bytes.map_err(|_| fault("a block is damaged"))?;
            room.get_mut(..bytes).unwrap_or_default()
        };
        if frame.linked {
            let excess = self.history.len().saturating_add(out.len()).saturating_sub(HISTORY_BYTES);
            self.history.drain(..excess.min(self.history.len()));
            let from = out.len().saturating_sub(HISTORY_BYTES);
            self.history.extend_from_slice(out.get(from..).unwrap_or_default());
        }
        let bytes = out.len();
        window.fill(bytes);
        Ok(true)
    }

    fn number(&mut self, what: &'static str) -> Result<u32, BatchError> {
        self.rest.array().map(u32::from_le_bytes).ok_or_else(|| fault(what))
    }
}

/// The head of a frame; of a frame of other data nothing, which is passed over.
fn head(from: &mut Cursor<'_>) -> Result<Option<Frame>, BatchError> {
    let cut = || fault("the head of a frame is cut");
    let magic = u32::from_le_bytes(from.array().ok_or_else(cut)?);
    if (0x184d_2a50..=0x184d_2a5f).contains(&magic) {
        let length = u32::from_le_bytes(from.array().ok_or_else(cut)?);
        from.take(usize::try_from(length).unwrap_or(usize::MAX)).ok_or_else(cut)?;
        return Ok(None);
    }
    if magic != MAGIC {
        return Err(fault("there is no frame"));
    }
    let [flags, block] = from.array().ok_or_else(cut)?;
    if flags >> 6 != 1 {
        return Err(fault("the frame is of another version"));
    }
    if flags & 1 != 0 {
        return Err(fault("the frame needs a dictionary"));
    }
    let max_block = match block >> 4 & 7 {
        4 => 64 * 1024,
        5 => 256 * 1024,
        6 => 1024 * 1024,
        7 => 4 * 1024 * 1024,
        _ => return Err(fault("the frame's blocks are of no known size")),
    };
    if flags & 8 != 0 {
        from.take(8).ok_or_else(cut)?; // The content's size.
    }
    from.take(1).ok_or_else(cut)?; // The head's checksum.
    Ok(Some(Frame {
        max_block,
        linked: flags & 0x20 == 0,
        block_checksums: flags & 0x10 != 0,
        content_checksum: flags & 4 != 0,
    }))
}

fn fault(what: &'static str) -> BatchError {
    Codec::Lz4.fault(what)
}

#[cfg(test)]
mod tests {
    use super::super::decompress::{Scratch, Stream};
    use super::*;

    #[test]
    fn no_more_is_kept_than_a_block_may_look_back_in() {
        let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0];
        for _ in 0..9 {
            frame.extend((0x8000_0000 | 20_000_u32).to_le_bytes());
            frame.extend([7; 20_000]);
        }
        let mut scratch = Scratch::default();
        let (_, window) = Stream::open(Codec::Lz4, &frame, &mut scratch);
        let mut from = Lz4::new(&frame);
        for blocks in 0..10_usize {
            assert_eq!(from.fill(window), Ok(true));
            assert_eq!(from.history.len(), HISTORY_BYTES.min(blocks * 20_000));
        }
        assert_eq!(window.filled(), [7; 180_000]);
    }
}
