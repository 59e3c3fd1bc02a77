//! What a broker offers that speaks less of Kafka's protocol than Apache's: the replies to
//! ApiVersions, rewritten.
//!
//! # References
//! - `ApiVersionsResponse.json` in Kafka's source: a count and three numbers an entry; from version
//!   3 on the count is a varint of one more, and each entry ends with its tagged fields

/// Kafka's number of ApiVersions.
pub(crate) const API_VERSIONS: i16 = 18;

/// The error of a version that is not offered.
const UNSUPPORTED_VERSION: i16 = 35;

/// The requests of an offer, by number, each with its oldest and newest version. What is not there
/// is not offered.
type Rows = &'static [(i16, i16, i16)];

/// Which versions of which requests are offered.
#[derive(Clone, Copy, Debug)]
pub struct Offer(Rows);

/// What became of a request.
#[derive(Debug)]
pub enum Judged {
    /// It is passed on as it is.
    Offered,
    /// It asks for the offer in a version that is not offered, so what is passed on asks in the
    /// oldest.
    Older(Vec<u8>),
    /// It must not be sent.
    Refused(String),
}

impl Offer {
    /// What Azure Event Hubs offers, as traces of it show.
    pub const EVENT_HUBS: Self = Self(&[
        (0, 3, 7),  // Produce
        (1, 4, 6),  // Fetch
        (2, 1, 8),  // ListOffsets
        (3, 0, 5),  // Metadata: no topic ids, no leader epochs
        (8, 2, 8),  // OffsetCommit
        (9, 1, 8),  // OffsetFetch
        (10, 0, 4), // FindCoordinator
        (11, 2, 7), // JoinGroup
        (12, 0, 4), // Heartbeat
        (13, 0, 4), // LeaveGroup
        (14, 0, 5), // SyncGroup
        (15, 0, 5), // DescribeGroups
        (16, 0, 4), // ListGroups
        (17, 0, 1), // SaslHandshake
        (18, 0, 3), // ApiVersions
        (32, 1, 2), // DescribeConfigs
        (36, 0, 1), // SaslAuthenticate
        (42, 0, 2), // DeleteGroups
    ]);

    fn offers(self, api: i16, version: i16) -> bool {
        self.0.iter().any(|(known, min, max)| *known == api && (*min..=*max).contains(&version))
    }

    /// What is to be done with a request, whose length comes first.
    pub fn judge(self, request: &[u8]) -> Judged {
        let (api, version) = (int16(request, 4), int16(request, 6));
        match (api, self.offers(api, version)) {
            (_, true) => Judged::Offered,
            (API_VERSIONS, false) => {
                // Number, version 0, the correlation as it was, and no client.
                let mut older = vec![0, 0, 0, 10];
                older.extend(API_VERSIONS.to_be_bytes());
                older.extend([0, 0]);
                older.extend(&request[8..12]);
                older.extend((-1_i16).to_be_bytes());
                Judged::Older(older)
            }
            (_, false) => Judged::Refused(format!("request {api} in version {version}")),
        }
    }

    /// A reply to ApiVersions, in which the broker offers no more than this; its length comes
    /// first.
    ///
    /// # Panics
    /// If the broker does not offer something of it at all, or the reply is none.
    pub fn narrow(self, reply: &[u8], version: i16, older: bool) -> Vec<u8> {
        let flexible = version >= 3;
        let (mut at, count) = if flexible {
            let (count, length) = varint(&reply[10..]);
            (10 + length, count - 1)
        } else {
            (14, usize::try_from(int32(reply, 10)).expect("a count"))
        };
        let mut rows = Vec::new();
        for _ in 0..count {
            let (api, min, max) = (int16(reply, at), int16(reply, at + 2), int16(reply, at + 4));
            at += 6;
            if flexible {
                assert_eq!(reply[at], 0, "an entry without tagged fields");
                at += 1;
            }
            if let Some((_, lowest, highest)) = self.0.iter().find(|(known, ..)| *known == api) {
                let (min, max) = (min.max(*lowest), max.min(*highest));
                assert!(min <= max, "request {api}: the broker does not know the versions offered");
                rows.push((api, min, max));
            }
        }
        assert_eq!(rows.len(), self.0.len(), "the broker has it all");
        let error = if older { UNSUPPORTED_VERSION } else { int16(reply, 8) };
        let mut narrowed = [&reply[..8], &error.to_be_bytes()[..]].concat();
        if flexible {
            narrowed.push(u8::try_from(rows.len() + 1).expect("a varint of one byte"));
        } else {
            narrowed.extend(i32::try_from(rows.len()).expect("a count").to_be_bytes());
        }
        for (api, min, max) in rows {
            for number in [api, min, max] {
                narrowed.extend(number.to_be_bytes());
            }
            narrowed.extend(flexible.then_some(0));
        }
        narrowed.extend(&reply[at..]);
        let length = u32::try_from(narrowed.len() - 4).expect("a length");
        narrowed[..4].copy_from_slice(&length.to_be_bytes());
        narrowed
    }
}

/// The version of a request, whose length comes first.
pub(crate) fn version_of(request: &[u8]) -> i16 {
    int16(request, 6)
}

fn int16(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn int32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// An unsigned varint and its length.
fn varint(bytes: &[u8]) -> (usize, usize) {
    let length = 1 + bytes.iter().take_while(|byte| **byte >= 0x80).count();
    let value =
        bytes[..length].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, length)
}
