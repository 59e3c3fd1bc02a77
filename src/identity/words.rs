//! What a token endpoint says when it gives no token, as far as a user should read it.
//!
//! The same cause must read the same each time, so Entra's trace and correlation IDs and its clock
//! are cut off.

use serde::Deserialize;

/// Words are cut here: the whole line has 900 bytes, and other things to say.
pub(super) const LIMIT: usize = 400;

/// Where what differs with each answer of Entra's begins.
const MARKS: [&str; 3] = ["Trace ID:", "Correlation ID:", "Timestamp:"];

/// The body of a refusal, as RFC 6749 has it.
#[derive(Deserialize)]
pub(super) struct Complaint {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The first line of what is said.
pub(super) fn of(complaint: &Complaint) -> Option<String> {
    let words = match complaint.error_description.as_str() {
        "" => &complaint.error,
        words => words,
    };
    let words = words.lines().next().unwrap_or_default();
    let end = MARKS.iter().filter_map(|mark| words.find(mark)).min().unwrap_or(words.len());
    let words = one_line(&words[..end], LIMIT);
    (!words.is_empty()).then_some(words)
}

pub(super) fn of_status(status: u16) -> String {
    format!("it answers with HTTP status {status}")
}

/// Without control characters, and at most this many characters.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.chars().map(plain).take(limit).collect();
    line.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_without_what_differs_each_time() {
        let rows = [
            (
                "lines",
                "AADSTS700016: Application 'x' was not found.\r\nTrace ID: 1\r\nCorrelation ID: 2\r\nTimestamp: 3Z",
                Some("AADSTS700016: Application 'x' was not found"),
            ),
            (
                "one line",
                "AADSTS700213: No match. https://learn.microsoft.com/entra Trace ID: 1 Correlation ID: 2 Timestamp: 3",
                Some("AADSTS700213: No match. https://learn.microsoft.com/entra"),
            ),
            ("another order", "AADSTS1: No. Timestamp: 3 Trace ID: 1", Some("AADSTS1: No")),
            ("none", "", Some("invalid_client")),
            ("an empty line", "\r\nAADSTS1", None),
        ];
        for (case, description, expected) in rows {
            let complaint = Complaint {
                error: "invalid_client".to_owned(),
                error_description: description.to_owned(),
            };
            assert_eq!(of(&complaint).as_deref(), expected, "{case}");
        }
        let long = Complaint { error: String::new(), error_description: "ä".repeat(5_000) };
        assert_eq!(of(&long).map(|words| words.chars().count()), Some(LIMIT));
    }
}
