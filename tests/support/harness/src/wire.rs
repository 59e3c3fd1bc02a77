//! Kafka's protocol as far as librdkafka is too slow for it: a connection, requests and answers of
//! the plain (not "flexible") versions.
//!
//! # References
//! - "Kafka protocol guide" in Kafka's documentation

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use test_basics::PATIENCE;

/// What a request asks for, in the oldest version that Kafka 4 knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Api {
    /// Version 2.
    OffsetCommit,
    /// Version 0.
    FindCoordinator,
    /// Version 0; the request is nothing but its header.
    Versions,
    /// Version 1.
    CreateAcls,
    /// Version 0, which is "flexible".
    AlterPartitionReassignments,
}

/// A connection to a broker; requests go one after another.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    client: String,
}

/// The body of a request, written field by field.
#[derive(Debug, Default)]
pub(crate) struct Body(Vec<u8>);

/// The body of an answer, read field by field; each read fails at its end.
#[derive(Debug)]
pub(crate) struct Answer(io::Cursor<Vec<u8>>);

impl Api {
    fn key_and_version(self) -> (i16, i16) {
        match self {
            Self::OffsetCommit => (8, 2),
            Self::FindCoordinator => (10, 0),
            Self::Versions => (18, 0),
            Self::CreateAcls => (30, 1),
            Self::AlterPartitionReassignments => (45, 0),
        }
    }

    /// Whether headers end with tagged fields.
    fn is_flexible(self) -> bool {
        matches!(self, Self::AlterPartitionReassignments)
    }
}

impl Connection {
    /// Connects to `host:port` under a `client.id`.
    pub(crate) fn open(broker: &str, client: &str) -> io::Result<Self> {
        Self::open_for(broker, client, PATIENCE)
    }

    /// The same, on which an answer is waited for no longer than this.
    pub(crate) fn open_for(broker: &str, client: &str, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        Ok(Self { stream, client: client.into() })
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, api: Api, body: &Body) -> io::Result<Answer> {
        const CORRELATION: i32 = 1;
        let (key, version) = api.key_and_version();
        let mut request =
            Body::default().int16(key).int16(version).int32(CORRELATION).string(&self.client);
        if api.is_flexible() {
            request = request.no_tags();
        }
        let mut request = request.0;
        request.extend_from_slice(&body.0);
        self.stream.write_all(&Body::default().int32(length(&request)).bytes(&request).0)?;

        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("a length")];
        self.stream.read_exact(&mut answer)?;
        let mut answer = Answer(io::Cursor::new(answer));
        answer.int32()?; // the correlation
        if api.is_flexible() {
            answer.bytes::<1>()?; // no tagged fields
        }
        Ok(answer)
    }
}

impl Body {
    pub(crate) fn int8(self, value: i8) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn int16(self, value: i16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn int32(self, value: i32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn int64(self, value: i64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn string(self, value: &str) -> Self {
        self.int16(i16::try_from(value.len()).expect("a short text")).bytes(value.as_bytes())
    }

    pub(crate) fn array<T>(self, items: &[T], write: impl FnMut(Self, &T) -> Self) -> Self {
        items.iter().fold(self.int32(length(items)), write)
    }

    /// A text of a "flexible" version.
    pub(crate) fn compact_string(self, value: &str) -> Self {
        self.compact_length(value.len()).bytes(value.as_bytes())
    }

    /// An array of a "flexible" version.
    pub(crate) fn compact_array<T>(self, items: &[T], write: impl FnMut(Self, &T) -> Self) -> Self {
        items.iter().fold(self.compact_length(items.len()), write)
    }

    /// The end of what a "flexible" version has fields for.
    pub(crate) fn no_tags(self) -> Self {
        self.int8(0)
    }

    fn compact_length(self, length: usize) -> Self {
        const ONE_BYTE: i8 = i8::MAX;
        let length = i8::try_from(length + 1).ok().filter(|length| *length < ONE_BYTE);
        self.int8(length.expect("a short array or text"))
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

impl Answer {
    pub(crate) fn int16(&mut self) -> io::Result<i16> {
        self.bytes().map(i16::from_be_bytes)
    }

    pub(crate) fn int32(&mut self) -> io::Result<i32> {
        self.bytes().map(i32::from_be_bytes)
    }

    pub(crate) fn string(&mut self) -> io::Result<String> {
        let mut text = vec![0; usize::try_from(self.int16()?).map_err(io::Error::other)?];
        self.0.read_exact(&mut text)?;
        String::from_utf8(text).map_err(io::Error::other)
    }

    /// Reads an array and keeps its items.
    pub(crate) fn array<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        (0..self.int32()?).map(|_| read(self)).collect()
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn length<T>(items: &[T]) -> i32 {
    i32::try_from(items.len()).expect("a short request")
}
