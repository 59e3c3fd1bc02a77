//! Record batches as a broker that lies makes them: each field is what it is told to be.
//!
//! # References
//! - [Record batch](https://kafka.apache.org/documentation/#recordbatch)

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};

/// Where the checksum of a batch stands; it is of all that follows it.
pub const CHECKSUM: usize = 17;

/// Where what it covers begins: the attributes.
pub const ATTRIBUTES: usize = 21;

/// Where the offset of the last record stands, from the first one on.
pub const LAST_DELTA: usize = 23;

/// Where the producer's id stands.
pub const PRODUCER: usize = 43;

/// Where the number of records stands.
pub const COUNT: usize = 57;

/// Where the records begin.
pub const RECORDS: usize = 61;

/// A batch of magic 2, before it is bytes. All of it may be a lie but the checksum.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The offset of its first record.
    pub base: i64,
    /// The offset of its last record, from the first one on.
    pub last_delta: i32,
    /// Codec, and what kind of batch it is.
    pub attributes: i16,
    /// Who wrote it.
    pub producer: i64,
    /// How many records it has.
    pub count: i32,
    /// The records, compressed or not.
    pub body: Bytes,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// gzip.
    Gzip,
    /// Snappy, one block.
    Snappy,
    /// Snappy, in the frame of Java's library.
    SnappyFramed,
    /// LZ4.
    Lz4,
    /// zstd.
    Zstd,
}

impl Batch {
    /// Records of these types, each with an offset of its own from this one on.
    pub fn of_types<'a>(base: i64, types: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut body, mut count) = (BytesMut::new(), 0);
        for of in types {
            body.extend_from_slice(&record(count, of, &[]));
            count += 1;
        }
        Self::of_records(base, count, body.freeze())
    }

    /// So many records, encoded already.
    pub fn of_records(base: i64, count: i32, body: Bytes) -> Self {
        Self { base, last_delta: count - 1, attributes: 0, producer: -1, count, body }
    }

    /// Compresses what it holds.
    pub fn packed(mut self, by: Packed) -> Self {
        self.body = by.pack(&self.body);
        self.attributes |= by.attribute();
        self
    }

    /// With a checksum that fits.
    pub fn bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(RECORDS + self.body.len());
        bytes.put_i64(self.base);
        let length = RECORDS - 12 + self.body.len();
        bytes.put_i32(i32::try_from(length).expect("a length"));
        bytes.put_i32(0); // The leader's epoch.
        bytes.put_i8(2);
        bytes.put_u32(0); // The checksum.
        bytes.put_i16(self.attributes);
        bytes.put_i32(self.last_delta);
        bytes.put_i64(TIME);
        bytes.put_i64(TIME);
        bytes.put_i64(self.producer);
        bytes.put_i16(if self.producer < 0 { -1 } else { 0 });
        bytes.put_i32(-1);
        bytes.put_i32(self.count);
        bytes.extend_from_slice(&self.body);
        checked(bytes.to_vec())
    }
}

impl Packed {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Gzip, Self::Snappy, Self::SnappyFramed, Self::Lz4, Self::Zstd];

    /// What the attributes of a batch say.
    pub fn attribute(self) -> i16 {
        match self {
            Self::Gzip => 1,
            Self::Snappy | Self::SnappyFramed => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Compresses bytes.
    pub fn pack(self, bytes: &[u8]) -> Bytes {
        match self {
            Self::Gzip => pack::<Gzip>(bytes),
            Self::Snappy => {
                let packed = snap::raw::Encoder::new().compress_vec(bytes);
                packed.expect("bytes can be compressed").into()
            }
            Self::SnappyFramed => pack::<Snappy>(bytes),
            Self::Lz4 => pack::<Lz4>(bytes),
            Self::Zstd => pack::<Zstd>(bytes),
        }
    }
}

/// When all records are from.
const TIME: i64 = 1_700_000_000_000;

/// A record with a type where CloudEvents has it, and a value.
pub fn record(delta: i32, of: &str, value: &[u8]) -> Bytes {
    let name = b"ce_type";
    let mut body = BytesMut::new();
    body.put_u8(0);
    varint(&mut body, 0);
    varint(&mut body, delta.into());
    varint(&mut body, -1);
    varint(&mut body, as_i64(value.len()));
    body.extend_from_slice(value);
    varint(&mut body, 1);
    varint(&mut body, as_i64(name.len()));
    body.extend_from_slice(name);
    varint(&mut body, as_i64(of.len()));
    body.extend_from_slice(of.as_bytes());
    let mut record = BytesMut::with_capacity(body.len() + 5);
    varint(&mut record, as_i64(body.len()));
    record.extend_from_slice(&body);
    record.freeze()
}

/// The bytes of a batch with a checksum that fits, as far as there is room for one.
pub fn checked(mut bytes: Vec<u8>) -> Bytes {
    if let Some(covered) = bytes.get(ATTRIBUTES..) {
        let checksum = crc32c::crc32c(covered);
        bytes[CHECKSUM..ATTRIBUTES].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes.into()
}

/// A number as records hold it: zigzag, seven bits a byte.
pub fn varint(to: &mut BytesMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        to.put_u8((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    to.put_u8(left as u8);
}

fn pack<C: Compressor<BytesMut, BufMut = BytesMut>>(bytes: &[u8]) -> Bytes {
    let mut packed = BytesMut::new();
    let written = C::compress(&mut packed, |to| {
        to.extend_from_slice(bytes);
        Ok(())
    });
    written.expect("bytes can be compressed");
    packed.freeze()
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).expect("a length")
}
