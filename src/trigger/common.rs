//! The parameters that every trigger has, whatever its source: the TriggerAuthentication that gives
//! more, and which messages count.

use super::foreign;
use crate::kubernetes::Name;
use crate::metadata::{Reader, quoted};
use crate::selection::{Filter, Selection};

/// Names the TriggerAuthentication that we read, because KEDA does not pass on what it reads
/// itself.
pub(super) const AUTHENTICATION: &str = "triggerAuthentication";

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
    // A filter that asks for the type makes use of it too. One that is wrong has been complained
    // of.
    let asks_type = filter.as_ref().map_or(reader.has("filter"), Filter::asks_event_type);
    if from.is_some() && !reader.has("eventType") && !asks_type {
        reader.complain(
            "eventTypeFrom",
            "says where a type is, but none is selected; give eventType, or a filter that uses it",
        );
    }
    Selection { types, from: from.unwrap_or_default(), filter }
}
