//! Where a broker listens: a host and a port, as a trigger names them or a broker advertises them.
//!
//! A name may end in a dot, as Strimzi and Redpanda advertise names of the cluster's DNS. It is
//! part of the name that is looked up, and no part of the one that a certificate has.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::metadata::one_line;

/// Characters of the longest DNS name, its last dot included.
const MAX_HOST: usize = 254;

/// A host and a port; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::kafka) struct Endpoint {
    host: Arc<str>,
    port: u16,
}

impl Endpoint {
    /// The endpoint, if the host can be one: a name, or an address without brackets.
    pub(in crate::kafka) fn new(host: &str, port: u16) -> Option<Self> {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_host = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(name)
            || IpAddr::from_str(host).is_ok();
        (is_host && port > 0).then(|| Self { host: host.to_ascii_lowercase().into(), port })
    }

    /// Reads `host:port`, an IPv6 address in brackets.
    pub(in crate::kafka) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        Self::new(address.unwrap_or(host), port.parse().ok()?)
    }

    /// The name or the address, without brackets.
    pub(in crate::kafka) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(in crate::kafka) fn port(&self) -> u16 {
        self.port
    }

    /// The address, where the host is one and no name.
    pub(in crate::kafka) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        // Enough to know it by: it stands in an error, which is short.
        let host = one_line(host, 100);
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_name_or_an_address_with_a_port() {
        let rows = [
            ("kafka:9092", Some("kafka:9092")),
            ("KAFKA.svc.cluster.local.:1", Some("kafka.svc.cluster.local.:1")),
            ("[::1]:9093", Some("[::1]:9093")),
            ("127.0.0.1:9", Some("127.0.0.1:9")),
            ("kafka:0", None),
            ("kafka:70000", None),
            (":9092", None),
            ("ka fka:9092", None),
            ("ka/fka:9092", None),
        ];
        for (text, expected) in rows {
            let shown = Endpoint::parse(text).map(|endpoint| endpoint.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
        assert!(Endpoint::new(&"a".repeat(255), 1).is_none());
    }
}
