//! What must hold for the records of a partition.
//!
//! - `agreement`: batches of another implementation, and of bytes that are known
//! - `faults`: each error, by a batch that has it
//! - `hostile`: any bytes, changed batches, and batches from which too much comes out
//! - `transactions`: which records were aborted

mod agreement;
mod faults;
mod hostile;
mod speed;
mod transactions;

use std::io::Write;
use std::ops::ControlFlow;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// A record that is kept beyond its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    offset: u64,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A batch of magic 2 as it is put together by hand.
#[derive(Debug, Clone)]
struct Made {
    base: i64,
    magic: i8,
    attributes: i16,
    last_delta: i32,
    timestamps: (i64, i64),
    producer: i64,
    count: i32,
    body: Vec<u8>,
}

impl Made {
    /// With these records, not compressed.
    fn of(records: &[Vec<u8>]) -> Self {
        let count = i32::try_from(records.len()).unwrap();
        Self {
            base: 100,
            magic: 2,
            attributes: 0,
            last_delta: (count - 1).max(0),
            timestamps: (1_000, 2_000),
            producer: -1,
            count,
            body: records.concat(),
        }
    }

    /// With these records, compressed.
    fn packed(codec: Codec, records: &[Vec<u8>]) -> Self {
        let made = Self::of(records);
        let body = pack(codec, &made.body);
        Self { body, attributes: number(codec), ..made }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut covered = Vec::new();
        covered.extend(self.attributes.to_be_bytes());
        covered.extend(self.last_delta.to_be_bytes());
        covered.extend(self.timestamps.0.to_be_bytes());
        covered.extend(self.timestamps.1.to_be_bytes());
        covered.extend(self.producer.to_be_bytes());
        covered.extend(7_i16.to_be_bytes());
        covered.extend(3_i32.to_be_bytes());
        covered.extend(self.count.to_be_bytes());
        covered.extend(&self.body);
        let mut bytes = self.base.to_be_bytes().to_vec();
        bytes.extend(i32::try_from(covered.len() + 9).unwrap().to_be_bytes());
        bytes.extend(5_i32.to_be_bytes());
        bytes.extend(self.magic.to_be_bytes());
        bytes.extend(crc32c::crc32c(&covered).to_be_bytes());
        bytes.extend(covered);
        bytes
    }
}

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// A codec's number among the attributes.
fn number(codec: Codec) -> i16 {
    match codec {
        Codec::Gzip => 1,
        Codec::Snappy => 2,
        Codec::Lz4 => 3,
        Codec::Zstd => 4,
    }
}

fn pack(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Gzip => {
            let mut to = GzEncoder::new(Vec::new(), Compression::default());
            to.write_all(bytes).unwrap();
            to.finish().unwrap()
        }
        Codec::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
        Codec::Lz4 => lz4_frame(0x60, 4, bytes.chunks(64 * 1024)),
        Codec::Zstd => {
            use ruzstd::encoding::{CompressionLevel, compress_to_vec};
            compress_to_vec(bytes, CompressionLevel::Fastest)
        }
    }
}

/// A frame of blocks that are independent of each other.
fn lz4_frame<'a>(flags: u8, size: u8, blocks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    // No one compares the checksum of the head.
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18, flags, size << 4, 0];
    for block in blocks {
        let packed = lz4_flex::block::compress(block);
        frame.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        frame.extend(packed);
    }
    frame.extend([0; 4]);
    frame
}

/// The frame of Java's library.
fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut frame = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        let packed = pack(Codec::Snappy, block);
        frame.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
        frame.extend(packed);
    }
    frame
}

fn varint(value: i64) -> Vec<u8> {
    let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn sized(bytes: Option<&[u8]>) -> Vec<u8> {
    match bytes {
        Some(bytes) => [&varint(i64::try_from(bytes.len()).unwrap()), bytes].concat(),
        None => varint(-1),
    }
}

/// A record at this offset from the base, whose time is as much after that of the batch.
fn record(delta: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    with_headers(delta, key, value, &[0])
}

/// A record whose headers, their number included, are these bytes.
fn with_headers(delta: i32, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]) -> Vec<u8> {
    let delta = varint(delta.into());
    framed(&[&[0], &delta[..], &delta, &sized(key), &sized(value), headers].concat())
}

/// A record of these bytes, after their length.
fn framed(record: &[u8]) -> Vec<u8> {
    sized(Some(record))
}

fn keep(record: &Record<'_>) -> Result<Kept, BatchError> {
    let headers = record
        .headers
        .iter()
        .map(|header| header.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))));
    Ok(Kept {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: headers.collect::<Result<_, _>>()?,
    })
}

fn kept_of(batch: &Batch<'_>, scratch: &mut Scratch) -> Result<Vec<Kept>, BatchError> {
    let mut all = Vec::new();
    batch.for_each(scratch, |record| {
        all.push(keep(record));
        ControlFlow::Continue(())
    })?;
    all.into_iter().collect()
}

/// All records of all batches, or the first error.
fn read(bytes: &[u8]) -> Result<Vec<Kept>, BatchError> {
    let mut scratch = Scratch::default();
    let mut all = Vec::new();
    for batch in Batches::new(bytes) {
        all.extend(kept_of(&batch?, &mut scratch)?);
    }
    Ok(all)
}

/// A message of magic 0 or 1, after its offset and length. A time is that of magic 1.
fn message(
    offset: i64,
    attributes: i8,
    time: Option<i64>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let field = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => [&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat(),
        None => (-1_i32).to_be_bytes().to_vec(),
    };
    let mut covered = vec![u8::from(time.is_some()), attributes.cast_unsigned()];
    covered.extend(time.iter().flat_map(|millis| millis.to_be_bytes()));
    covered.extend(field(key));
    covered.extend(field(value));
    let mut bytes = offset.to_be_bytes().to_vec();
    bytes.extend(i32::try_from(covered.len() + 4).unwrap().to_be_bytes());
    bytes.extend(crc32fast::hash(&covered).to_be_bytes());
    bytes.extend(covered);
    bytes
}
