//! The parameters that every source has: KEDA's link to us, which messages count, how far to count,
//! the metric's name.

use std::num::NonZeroU64;

use super::foreign;
use crate::kubernetes::Name;
use crate::metadata::{Reader, quoted};
use crate::selection::{Filter, Selection};

/// Bytes of the longest metric name: what Kubernetes takes as the name of anything.
const METRIC_NAME_BYTES: usize = 253;

/// Names the TriggerAuthentication that we read, because KEDA does not pass on what it reads itself.
pub(super) const AUTHENTICATION: &str = "triggerAuthentication";

/// Makes known the keys that KEDA itself reads to reach us, those of a TriggerAuthentication included.
pub(super) fn accept_link(reader: &mut Reader<'_>) {
    reader.accept(&["scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile"]);
    reader.accept_authenticated(&["caCert", "tlsClientCert", "tlsClientKey"]);
}

/// The TriggerAuthentication that gives more parameters.
pub(super) fn authentication(reader: &mut Reader<'_>) -> Option<Name> {
    reader.parsed(AUTHENTICATION, "give the name of a TriggerAuthentication", |text| {
        Name::parse(text).map_err(|error| format!("{} {error}", quoted(text)))
    })
}

/// Which messages count. `variables` are those that a filter has of the source alone.
pub(super) fn selection(reader: &mut Reader<'_>, variables: &'static [&'static str]) -> Selection {
    let types =
        reader.parsed("eventType", "give types by comma, a prefix as order.*", foreign::types);
    let from = reader.parsed(
        "eventTypeFrom",
        "give header:<name>, key, subject or body:<path>",
        foreign::place,
    );
    let filter = reader.parsed("filter", "give a CEL expression that is true or false", |text| {
        Filter::compile(text, variables).map_err(|error| format!("{}: {error}", quoted(text)))
    });
    // A filter that asks for the type makes use of it too. One that is wrong has been complained of.
    let asks_type = filter.as_ref().map_or(reader.has("filter"), Filter::asks_event_type);
    if from.is_some() && !reader.has("eventType") && !asks_type {
        reader.complain(
            "eventTypeFrom",
            "says where a type is, but none is selected; give eventType, or a filter that uses it",
        );
    }
    Selection { types, from: from.unwrap_or_default(), filter }
}

/// Where counting may stop.
pub(super) fn count_limit(reader: &mut Reader<'_>) -> Option<NonZeroU64> {
    NonZeroU64::new(reader.number("countLimit", 1..=i64::MAX as u64)?)
}

/// The metric's name: the user's, or else `default`, in the form KEDA gives its own.
pub(super) fn metric_name(reader: &mut Reader<'_>, default: &str) -> String {
    let name = reader.parsed("metricName", "give a short name", |text| {
        let fits = text.len() <= METRIC_NAME_BYTES && !text.chars().any(char::is_control);
        if fits {
            Ok(text)
        } else {
            Err(format!(
                "{} is too long or has control characters; give a short name",
                quoted(text)
            ))
        }
    });
    let name = name.unwrap_or(default);
    let name = &name[..name.floor_char_boundary(METRIC_NAME_BYTES)];
    name.replace(|c: char| matches!(c, '/' | '.' | ':' | '%' | '(' | ')') || c.is_control(), "-")
}
