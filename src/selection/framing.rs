//! What may stand before a body's own bytes, and what a body is that is not JSON.
//!
//! Serializers that use a schema registry put the schema's id before the body. JSON never begins
//! with one of their first bytes, so the id is told from the body without knowing who wrote it:
//!
//! | bytes | whose | id |
//! |---|---|---|
//! | `00`, four bytes that are not all 0 | Confluent's | a number |
//! | `00`, eight bytes of which the first four are 0 | Apicurio's; ids of Confluent's begin at 1 | a number |
//! | `01`, sixteen bytes | Confluent's, by the schema's GUID | a UUID |
//! | `03`, `00` or for a compressed body `05`, sixteen bytes | AWS Glue's | a UUID |
//! | `00 00 00 00`, 32 hexadecimal digits | Azure's, for Event Hubs | those digits |
//!
//! # References
//! - Confluent Platform, "Formats, Serializers, and Deserializers": wire format
//! - Apicurio Registry, `io.apicurio.registry.serde.DefaultIdHandler`
//! - AWS Glue Schema Registry, `AWSSchemaRegistryConstants`: header version 3, compression 0 or 5
//! - Azure Schema Registry: content type `avro/binary+<id>`

use std::borrow::Cow;

use super::reason::Reason;

/// How far into a body to look for what .NET's serializer begins with.
const BEGINNING: usize = 256;

/// A body, and the id of the schema that stood before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framed<'m> {
    pub(super) schema: Option<Schema<'m>>,
    pub(super) body: &'m [u8],
    /// Whether the body is compressed.
    is_compressed: bool,
}

/// The id of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema<'m> {
    Number(u64),
    Uuid([u8; 16]),
    Digits(&'m str),
}

impl<'m> Framed<'m> {
    pub(super) fn of(bytes: &'m [u8]) -> Self {
        match bytes {
            [0x00 | 0x01 | 0x03, ..] => Self::behind(bytes).unwrap_or(Self::plain(bytes)),
            _ => Self::plain(bytes),
        }
    }

    /// The schema that a header names as Confluent's serializers write it: the frame alone.
    pub(super) fn of_header(bytes: &'m [u8]) -> Option<Schema<'m>> {
        Self::behind(bytes).filter(|framed| framed.body.is_empty())?.schema
    }

    fn plain(body: &'m [u8]) -> Self {
        Self { schema: None, body, is_compressed: false }
    }

    fn behind(bytes: &'m [u8]) -> Option<Self> {
        let framed = |schema, body| Some(Self { schema: Some(schema), body, is_compressed: false });
        let (version, after) = bytes.split_first()?;
        if *version == 0x01 {
            let (id, body) = after.split_first_chunk()?;
            return framed(Schema::Uuid(*id), body);
        }
        if *version == 0x03 {
            let (compression, after) = after.split_first()?;
            let (id, body) = after.split_first_chunk()?;
            let is_compressed = match compression {
                0x00 => false,
                0x05 => true,
                _ => return None,
            };
            return Some(Self { schema: Some(Schema::Uuid(*id)), body, is_compressed });
        }
        if let Some(digits) = bytes.get(4..36).filter(|_| bytes.starts_with(&[0; 4]))
            && digits.iter().all(u8::is_ascii_hexdigit)
        {
            return framed(Schema::Digits(str::from_utf8(digits).ok()?), &bytes[36..]);
        }
        let (id, body) = after.split_first_chunk()?;
        match u32::from_be_bytes(*id) {
            0 => {
                let (id, body) = after.split_first_chunk()?;
                let id = u64::from_be_bytes(*id);
                (id != 0).then_some(())?;
                framed(Schema::Number(id), body)
            }
            id => framed(Schema::Number(id.into()), body),
        }
    }

    /// Why this body cannot be read as JSON.
    pub(super) fn reason(&self) -> Reason {
        let beginning = &self.body[..self.body.len().min(BEGINNING)];
        let holds = |text: &[u8]| beginning.windows(text.len()).any(|window| window == text);
        match beginning {
            _ if self.is_compressed => Reason::Compressed,
            [] => Reason::EmptyBody,
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Reason::Compressed,
            [b'@', ..] if holds(b"http://schemas.") => Reason::DataContract,
            // An Avro file, and one Avro object.
            [b'O', b'b', b'j', 0x01, ..] | [0xc3, 0x01, ..] => Reason::Binary,
            _ if self.schema.is_some() => Reason::Binary,
            [b'<', ..] => Reason::Xml,
            _ if str::from_utf8(self.body).is_err() => Reason::BodyNoText,
            _ => Reason::NoJson,
        }
    }
}

impl<'m> Schema<'m> {
    /// The id as a trigger names it: a UUID in lower case with hyphens.
    pub(super) fn text(self) -> Cow<'m, str> {
        match self {
            Schema::Number(id) => id.to_string().into(),
            Schema::Uuid(id) => crate::amqp::hyphenated(id).into(),
            Schema::Digits(digits) => digits.into(),
        }
    }

    /// The schema that a content type names: `avro/binary+<32 hexadecimal digits>`.
    pub(super) fn of_content_type(text: &'m str) -> Option<Self> {
        let digits = text.trim().strip_prefix("avro/binary+")?;
        let is_id = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_id.then_some(Schema::Digits(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
    const GUID_TEXT: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const DIGITS: &str = "64fc737160fc4c8ba4b1b0f4ef3a0b4b";

    #[test]
    fn each_registry_s_frame_is_told_from_the_body() {
        let azure = [&[0; 4], DIGITS.as_bytes(), b"x"].concat();
        type Row<'a> = (&'a str, &'a [u8], Option<&'a str>, &'a [u8]);
        let rows: [Row<'_>; 15] = [
            ("none", b"{}", None, b"{}"),
            ("empty", b"", None, b""),
            ("Confluent", b"\0\0\0\0\x2a{}", Some("42"), b"{}"),
            ("Confluent, Protobuf", b"\0\0\0\x01\0\0\x0a", Some("256"), b"\0\x0a"),
            ("Confluent by GUID", &[&[1], &GUID[..], b"{}"].concat(), Some(GUID_TEXT), b"{}"),
            ("Apicurio", b"\0\0\0\0\0\0\0\0\x07{}", Some("7"), b"{}"),
            ("Glue", &[&[3, 0], &GUID[..], b"{}"].concat(), Some(GUID_TEXT), b"{}"),
            ("Glue, compressed", &[&[3, 5], &GUID[..], b"x"].concat(), Some(GUID_TEXT), b"x"),
            ("Azure", &azure, Some(DIGITS), b"x"),
            (
                "Glue of another kind",
                &[&[3, 1], &GUID[..]].concat(),
                None,
                &[&[3, 1], &GUID[..]].concat(),
            ),
            ("no id", b"\0\0\0\0\0\0\0\0\0{}", None, b"\0\0\0\0\0\0\0\0\0{}"),
            ("cut", b"\0\0\0\0", None, b"\0\0\0\0"),
            ("cut id of eight", b"\0\0\0\0\0\0\0\0", None, b"\0\0\0\0\0\0\0\0"),
            ("cut UUID", b"\x03\0abc", None, b"\x03\0abc"),
            ("nothing after it", b"\0\0\0\0\x2a", Some("42"), b""),
        ];
        for (name, bytes, id, body) in rows {
            let framed = Framed::of(bytes);
            assert_eq!(framed.schema.map(Schema::text).as_deref(), id, "{name}");
            assert_eq!(framed.body, body, "{name}");
        }
        let by_guid = [&[1], &GUID[..]].concat();
        let of_header = |bytes| Framed::of_header(bytes).map(Schema::text);
        assert_eq!(of_header(&by_guid).as_deref(), Some(GUID_TEXT));
        assert_eq!(of_header(b"\0\0\0\0\x2a").as_deref(), Some("42"));
        assert_eq!(of_header(b"\0\0\0\0\x2ax"), None);
        let named = format!("avro/binary+{DIGITS}");
        let of_type = |text| Schema::of_content_type(text).map(Schema::text);
        assert_eq!(of_type(&named).as_deref(), Some(DIGITS));
        assert_eq!(of_type("avro/binary+12"), None);
        assert_eq!(of_type("application/json"), None);
    }

    #[test]
    fn what_is_no_json_is_named() {
        let contract =
            b"@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/\x9a\x05hello";
        let rows: [(&[u8], Reason); 10] = [
            (b"", Reason::EmptyBody),
            (b"made", Reason::NoJson),
            (b"\xff", Reason::BodyNoText),
            (b"\x1f\x8b\x08", Reason::Compressed),
            (b"\x28\xb5\x2f\xfd", Reason::Compressed),
            (contract, Reason::DataContract),
            (b"<a/>", Reason::Xml),
            (b"Obj\x01", Reason::Binary),
            (b"\0\0\0\0\x2a\x06abc", Reason::Binary),
            (&[&[3, 5], &GUID[..], b"{}"].concat(), Reason::Compressed),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Framed::of(bytes).reason(), expected, "{}", bytes.escape_ascii());
        }
    }
}
