//! Why a message is indeterminate: it cannot be told whether it matches.

use std::fmt;

/// What a message lacks that a selection asks for, or what cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It has no event type where CloudEvents keeps it, nor what its source has for one.
    NoEventType,
    /// It has no such header, or one that says nothing.
    NoHeader,
    /// The header is not UTF-8.
    HeaderNoText,
    /// It has no key.
    NoKey,
    /// The key is not UTF-8.
    KeyNoText,
    /// It has no subject.
    NoSubject,
    /// It names no schema.
    NoSchema,
    /// It has no body.
    NoBody,
    /// The body has no bytes.
    EmptyBody,
    /// The body is not UTF-8.
    BodyNoText,
    /// The body is gzip, zstd or compressed by AWS Glue's serializer.
    Compressed,
    /// The body is Avro or Protobuf.
    Binary,
    /// The body is what .NET's DataContractSerializer writes.
    DataContract,
    /// The body is XML.
    Xml,
    /// The body is not JSON, or not as far as it is asked for.
    NoJson,
    /// The body has nothing at the path.
    NoField,
    /// The path leads to null, a list or an object.
    NoScalar,
    /// The path leads to something that is not a list.
    NoList,
    /// It has no time, or one outside the years 1 to 9999.
    NoTime,
    /// It has no value for a variable that its source has.
    NoVariable,
    /// The filter costs too much to evaluate.
    TooMuch,
    /// The filter fails: types that do not go together, an index that is not there.
    FilterFails,
    /// The filter gives something else than true or false.
    NoBoolean,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::NoEventType => "it has no event type where CloudEvents keeps it",
            Reason::NoHeader => "it has no such header",
            Reason::HeaderNoText => "the header is not UTF-8",
            Reason::NoKey => "it has no key",
            Reason::KeyNoText => "the key is not UTF-8",
            Reason::NoSubject => "it has no subject",
            Reason::NoSchema => "it names no schema",
            Reason::NoBody => "it has no body",
            Reason::EmptyBody => "the body is empty",
            Reason::BodyNoText => "the body is not UTF-8",
            Reason::Compressed => "the body is compressed, as by gzip",
            Reason::Binary => "the body is Avro or Protobuf, not JSON",
            Reason::DataContract => "the body is of .NET's DataContractSerializer, not JSON",
            Reason::Xml => "the body is XML, not JSON",
            Reason::NoJson => "the body is not JSON as far as the path goes",
            Reason::NoField => "the body has nothing at the path",
            Reason::NoScalar => "at the path is null, a list or an object",
            Reason::NoList => "at the path is no list",
            Reason::NoTime => "it has no time within the years 1 to 9999",
            Reason::NoVariable => "it has no value for a variable of the filter",
            Reason::TooMuch => "the filter costs too much to evaluate for it",
            Reason::FilterFails => "the filter fails: types that do not fit, or a missing element",
            Reason::NoBoolean => "the filter gives neither true nor false",
        })
    }
}
