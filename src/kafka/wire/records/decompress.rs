//! How do the bytes of a compressed batch come out, a piece at a time and no more than they may?
//!
//! - Pieces come into one buffer, which the caller keeps between batches. It holds what is not read
//!   yet, and grows as far as one record needs; beyond 4 MiB only as far as somebody pays for it.
//! - What may come out is bounded by what went in, so that a small batch cannot keep a reader busy.
//! - Checksums of LZ4 and zstd are not compared: the batch's own checksum is of the same bytes.
//!
//! All codecs are in Rust, since a broker chooses what they decode.
//!
//! # References
//! - RFC 1952: gzip · RFC 8878: zstd, and in 3.1.1.1.2 the window that a decoder is to have

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::codec::Codec;
use super::error::BatchError;
use super::lz4::Lz4;
use super::snappy::Snappy;
use super::window::Window;
use crate::ledger::Payers;

/// Bytes that may come out of a batch.
pub const MAX_BATCH: usize = 256 * 1024 * 1024;

/// Bytes that a zstd frame may be looked back in: what RFC 8878 asks of a decoder, and what levels
/// up to 19 take.
pub const MAX_WINDOW: u64 = 8 * 1024 * 1024;

/// Bytes that may come out of any batch, however small.
const FREE_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that may come out for each byte that went in: gzip reaches 1,032.
const PER_BYTE: usize = 1_100;

/// Bytes that are decompressed at a time, where the codec has no blocks of its own.
const PIECE_BYTES: usize = 64 * 1024;

/// The memory that decompressing takes. Keep it between batches.
///
/// It takes at most twice the longest record and 64 KiB, or one block of the codec: 4 MiB for LZ4,
/// 64 MiB for Snappy, each only once bytes are there that it can come out of. Between batches at
/// most 4 MiB of that are kept. zstd takes its window besides, as a frame states it, and keeps it.
#[derive(Default)]
pub struct Scratch {
    window: Window,
    zstd: Option<Box<FrameDecoder>>,
}

/// The rest of a compressed batch.
pub(super) struct Stream<'a, 's> {
    codec: Codec,
    compressed: usize,
    source: Source<'a, 's>,
}

enum Source<'a, 's> {
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(Snappy<'a>),
    Lz4(Lz4<'a>),
    Zstd(Zstd<'a, 's>),
}

/// Frames of zstd, one after the other.
struct Zstd<'a, 's> {
    rest: &'a [u8],
    /// Whether the decoder is within a frame.
    open: bool,
    decoder: &'s mut FrameDecoder,
}

impl Codec {
    /// The codec by a batch's attributes, where 0 is none.
    pub(super) fn of(attributes: i16, magic: i8) -> Result<Option<Self>, BatchError> {
        match attributes & 7 {
            0 => Ok(None),
            1 => Ok(Some(Self::Gzip)),
            2 => Ok(Some(Self::Snappy)),
            3 => Ok(Some(Self::Lz4)),
            4 if magic >= 2 => Ok(Some(Self::Zstd)),
            codec => Err(BatchError::UnknownCodec { codec, magic }),
        }
    }
}

impl Scratch {
    /// Has these pay for what the next batches take.
    pub(in crate::kafka) fn charge_to(&mut self, payers: &Arc<Payers>) {
        self.window.charge_to(payers);
    }

    /// Gives back what a large batch took.
    pub(super) fn shrink(&mut self) {
        self.window.shrink();
    }

    /// Bytes of the buffer.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.window.held()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[scratch of {} bytes]", self.window.held())
    }
}

impl<'a, 's> Stream<'a, 's> {
    /// Over the records of a batch, and the buffer that they come into.
    pub(super) fn open(
        codec: Codec,
        compressed: &'a [u8],
        scratch: &'s mut Scratch,
    ) -> (Self, &'s mut Window) {
        let Scratch { window, zstd } = scratch;
        window.begin(allowed(compressed.len()));
        let source = match codec {
            Codec::Gzip => Source::Gzip(Box::new(MultiGzDecoder::new(compressed))),
            Codec::Snappy => Source::Snappy(Snappy::new(compressed)),
            Codec::Lz4 => Source::Lz4(Lz4::new(compressed)),
            Codec::Zstd => Source::Zstd(Zstd {
                rest: compressed,
                open: false,
                decoder: zstd.get_or_insert_default(),
            }),
        };
        (Self { codec, compressed: compressed.len(), source }, window)
    }

    /// Decompresses a piece, which may be empty. `false` is the end.
    pub(super) fn fill(&mut self, window: &mut Window) -> Result<bool, BatchError> {
        let before = window.allowed();
        let more = match &mut self.source {
            // An empty body is what some writers make of no records.
            Source::Gzip(_) if self.compressed == 0 => false,
            Source::Gzip(from) => gzip(from, window)?,
            Source::Snappy(from) => from.fill(window)?,
            Source::Lz4(from) => from.fill(window)?,
            Source::Zstd(from) => from.fill(window)?,
        };
        if window.allowed() > before {
            return Err(self.bomb());
        }
        Ok(more)
    }

    fn bomb(&self) -> BatchError {
        let bytes = self.compressed;
        BatchError::Bomb { codec: self.codec, bytes, max: allowed(bytes) }
    }
}

impl Zstd<'_, '_> {
    fn fill(&mut self, window: &mut Window) -> Result<bool, BatchError> {
        const CUT: &str = "a block is damaged or cut";
        let fault = |what| Codec::Zstd.fault(what);
        if !self.open && !self.next_frame()? {
            return Ok(false);
        }
        if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
            let one = BlockDecodingStrategy::UptoBlocks(1);
            self.decoder.decode_blocks(&mut self.rest, one).map_err(|_| fault(CUT))?;
        }
        let piece = self.decoder.can_collect().min(PIECE_BYTES);
        let read = self.decoder.read(window.room(piece)?).map_err(|_| fault(CUT))?;
        window.fill(read);
        self.open = !self.decoder.is_finished() || self.decoder.can_collect() > 0;
        Ok(true)
    }

    /// Begins the next frame, unless there is none.
    fn next_frame(&mut self) -> Result<bool, BatchError> {
        const HEAD: &str = "the head of a frame is damaged, or needs a dictionary";
        let fault = |what| Codec::Zstd.fault(what);
        loop {
            if self.rest.is_empty() {
                return Ok(false);
            }
            match zstd_frame(self.rest).ok_or_else(|| fault("there is no frame"))? {
                ZstdFrame::Skip(bytes) => {
                    let (_, rest) = self
                        .rest
                        .split_at_checked(bytes)
                        .ok_or_else(|| fault("a frame to skip is cut"))?;
                    self.rest = rest;
                }
                ZstdFrame::Window(bytes) if bytes > MAX_WINDOW => {
                    return Err(BatchError::Window { bytes, max: MAX_WINDOW });
                }
                // The decoder takes memory for the window at once.
                ZstdFrame::Window(_) => {
                    let begun = self.decoder.reset(&mut self.rest);
                    begun.map_err(|_| fault(HEAD))?;
                    self.open = true;
                    return Ok(true);
                }
            }
        }
    }
}

/// What begins with these bytes.
enum ZstdFrame {
    /// A frame of other data, with its length.
    Skip(usize),
    /// A frame that has to be looked back in as far.
    Window(u64),
}

fn zstd_frame(bytes: &[u8]) -> Option<ZstdFrame> {
    let (magic, rest) = bytes.split_first_chunk()?;
    match u32::from_le_bytes(*magic) {
        0xfd2f_b528 => {}
        0x184d_2a50..=0x184d_2a5f => {
            let length = u32::from_le_bytes(*rest.first_chunk()?);
            return Some(ZstdFrame::Skip(usize::try_from(length).ok()?.checked_add(8)?));
        }
        _ => return None,
    }
    let (descriptor, rest) = rest.split_first()?;
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(ZstdFrame::Window(base + base / 8 * u64::from(window & 7)));
    }
    // A single segment: the window is as large as what comes out.
    let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied()?;
    let size = rest.get(dictionary..)?;
    let window = match descriptor >> 6 {
        0 => u64::from(*size.first()?),
        1 => u64::from(u16::from_le_bytes(*size.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*size.first_chunk()?)),
        _ => u64::from_le_bytes(*size.first_chunk()?),
    };
    Some(ZstdFrame::Window(window))
}

fn gzip(from: &mut MultiGzDecoder<&[u8]>, window: &mut Window) -> Result<bool, BatchError> {
    let damaged = |_| Codec::Gzip.fault("they are damaged or cut");
    let read = from.read(window.room(PIECE_BYTES)?).map_err(damaged)?;
    window.fill(read);
    Ok(read > 0)
}

/// Bytes that may come out of as many.
fn allowed(compressed: usize) -> usize {
    compressed.saturating_mul(PER_BYTE).saturating_add(FREE_BYTES).min(MAX_BATCH)
}
