//! Which requests do we speak, in which versions, and which version does a broker share?
//!
//! The highest version that both speak is used. A flexible version has compact lengths and tagged
//! fields.
//!
//! # References
//! - `validVersions` and `flexibleVersions` of Kafka's message definitions
//! - KIP-896: Kafka 4.0 no longer speaks the oldest versions

use std::fmt;
use std::ops::RangeInclusive;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiKey {
    /// The records of partitions.
    Fetch,
    /// The offset of a point in time, or of either end of a partition.
    ListOffsets,
    /// Brokers, topics and the leaders of partitions.
    Metadata,
    /// The committed offsets of groups.
    OffsetFetch,
    /// Which broker answers for a group.
    FindCoordinator,
    /// Which SASL mechanism will be used.
    SaslHandshake,
    /// What the broker speaks.
    ApiVersions,
    /// Settings of topics.
    DescribeConfigs,
    /// One step of a SASL login.
    SaslAuthenticate,
    /// What share groups are like.
    ShareGroupDescribe,
}

/// The versions a broker offers, of the requests that we speak.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerVersions(Vec<(ApiKey, RangeInclusive<i16>)>);

/// What there is to know of a request.
struct Facts {
    name: &'static str,
    number: i16,
    /// The versions we speak.
    versions: RangeInclusive<i16>,
    first_flexible: i16,
}

impl ApiKey {
    /// All requests that we speak.
    pub const ALL: [Self; 10] = [
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::OffsetFetch,
        Self::FindCoordinator,
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::DescribeConfigs,
        Self::SaslAuthenticate,
        Self::ShareGroupDescribe,
    ];

    const fn facts(self) -> Facts {
        let (name, number, versions, first_flexible) = match self {
            // Before version 4 there are no transactions, and every version from 2.1 on has it.
            Self::Fetch => ("Fetch", 1, 4..=17, 12),
            Self::ListOffsets => ("ListOffsets", 2, 1..=10, 6),
            // Before version 4 asking for a topic may make it.
            Self::Metadata => ("Metadata", 3, 4..=13, 9),
            Self::OffsetFetch => ("OffsetFetch", 9, 1..=9, 6),
            Self::FindCoordinator => ("FindCoordinator", 10, 0..=6, 3),
            Self::SaslHandshake => ("SaslHandshake", 17, 1..=1, i16::MAX),
            Self::ApiVersions => ("ApiVersions", 18, 0..=4, 3),
            Self::DescribeConfigs => ("DescribeConfigs", 32, 0..=4, 4),
            Self::SaslAuthenticate => ("SaslAuthenticate", 36, 0..=2, 2),
            Self::ShareGroupDescribe => ("ShareGroupDescribe", 77, 1..=1, 1),
        };
        Facts { name, number, versions, first_flexible }
    }

    /// Its name in Kafka's documentation.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Its number on the wire.
    pub const fn number(self) -> i16 {
        self.facts().number
    }

    /// The versions we speak.
    pub const fn versions(self) -> RangeInclusive<i16> {
        self.facts().versions
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.facts().first_flexible
    }

    /// The request of this number, if we speak it.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.number() == number)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl BrokerVersions {
    /// The highest version of this request that the broker and we speak.
    pub fn choose(&self, key: ApiKey) -> Option<i16> {
        self.choose_up_to(key, i16::MAX)
    }

    /// The highest version of this request, up to `most`, that the broker and we speak.
    pub fn choose_up_to(&self, key: ApiKey, most: i16) -> Option<i16> {
        let offered = self.offered(key)?;
        let ours = key.versions();
        let highest = most.min(*ours.end()).min(*offered.end());
        (highest >= *ours.start().max(offered.start())).then_some(highest)
    }

    /// The versions of this request that the broker speaks.
    pub fn offered(&self, key: ApiKey) -> Option<&RangeInclusive<i16>> {
        self.0.iter().find(|(offered, _)| *offered == key).map(|(_, versions)| versions)
    }
}

impl FromIterator<(ApiKey, RangeInclusive<i16>)> for BrokerVersions {
    /// Of a request that comes twice the first versions count.
    fn from_iter<I: IntoIterator<Item = (ApiKey, RangeInclusive<i16>)>>(offers: I) -> Self {
        let mut versions = Self::default();
        for (key, range) in offers {
            if versions.offered(key).is_none() {
                versions.0.push((key, range));
            }
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_that_both_speak_is_chosen() {
        let rows = [
            ("a broker of today", 0..=13, Some(13)),
            ("a broker of tomorrow", 5..=20, Some(13)),
            ("Event Hubs", 0..=5, Some(5)),
            ("a broker that is too old", 0..=0, None),
            ("a broker that is too new", 14..=20, None),
            ("no versions", RangeInclusive::new(7, 4), None),
            ("versions below zero", -5..=-1, None),
            ("all that there are", i16::MIN..=i16::MAX, Some(13)),
        ];
        for (name, offered, expected) in rows {
            let versions = BrokerVersions::from_iter([(ApiKey::Metadata, offered)]);
            assert_eq!(versions.choose(ApiKey::Metadata), expected, "{name}");
            assert_eq!(versions.choose(ApiKey::OffsetFetch), None, "{name}");
        }
    }

    #[test]
    fn a_question_may_take_no_more_than_a_version() {
        let versions = BrokerVersions::from_iter([(ApiKey::Fetch, 4..=17)]);
        assert_eq!(versions.choose_up_to(ApiKey::Fetch, 12), Some(12));
        assert_eq!(versions.choose_up_to(ApiKey::Fetch, i16::MAX), Some(17));
        assert_eq!(versions.choose_up_to(ApiKey::Fetch, 3), None);
    }

    #[test]
    fn a_request_is_known_by_its_number() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::from_number(key.number()), Some(key));
        }
        assert_eq!(ApiKey::from_number(0), None);
    }
}
