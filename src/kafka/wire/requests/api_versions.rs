//! What does this broker speak?
//!
//! The first question on every connection. A broker that does not know the version asked for
//! answers UNSUPPORTED_VERSION in the form of version 0, since Kafka 2.4 with the versions it has.
//!
//! # References
//! - `ApiVersionsRequest.json`, `ApiVersionsResponse.json` · KIP-511

use std::ops::RangeInclusive;

use super::{Request, error};
use crate::kafka::wire::error_code::ErrorCode;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::{ApiKey, BrokerVersions};
use crate::kafka::wire::writer::Writer;

/// How we call ourselves to brokers.
const SOFTWARE_NAME: &str = "keda-sift";

const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Asks which requests the broker speaks, in which versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersions;

/// What a broker speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersionsReply {
    /// Such as that it does not know the version asked for; then there are no versions.
    pub error: Option<ErrorCode>,
    /// The versions it has of the requests that we speak.
    pub versions: BrokerVersions,
}

impl Request for ApiVersions {
    const KEY: ApiKey = ApiKey::ApiVersions;

    type Reply = ApiVersionsReply;

    fn encode(&self, version: i16, to: &mut Writer) {
        if version >= 3 {
            to.string(SOFTWARE_NAME);
            to.string(SOFTWARE_VERSION);
        }
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        let error = error(from)?;
        if version > 0 && error == Some(ErrorCode::UNSUPPORTED_VERSION) {
            // In the form of version 0, or in what a broker takes for it: version 0 has to be
            // asked.
            from.skip_rest();
            return Ok(ApiVersionsReply { error, versions: BrokerVersions::default() });
        }
        let mut offered: Vec<(ApiKey, RangeInclusive<i16>)> = Vec::new();
        for _ in 0..from.count("api keys", 6)? {
            let number = from.i16("api key")?;
            let versions = from.i16("lowest version")?..=from.i16("highest version")?;
            from.tags()?;
            let Some(key) = ApiKey::from_number(number) else { continue };
            if offered.iter().any(|(known, _)| *known == key) {
                return Err(DecodeError::duplicate("api key", key.name()));
            }
            offered.push((key, versions));
        }
        if version >= 1 {
            from.throttle()?;
        }
        from.tags()?;
        Ok(ApiVersionsReply { error, versions: offered.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_takes_our_name_and_version() {
        for text in [SOFTWARE_NAME, SOFTWARE_VERSION] {
            let end = |c: char| c.is_ascii_alphanumeric();
            assert!(text.starts_with(end) && text.ends_with(end), "{text}");
            assert!(text.chars().all(|c| end(c) || c == '-' || c == '.'), "{text}");
        }
    }
}
