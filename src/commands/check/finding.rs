//! What is said of one thing that was looked at.

use super::document::Location;
use crate::metadata::one_line;

/// Bytes of a name that a finding shows.
pub(super) const SHOWN_BYTES: usize = 80;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// The key, or what else it is about.
    pub(super) about: String,
    pub(super) words: String,
    #[serde(flatten)]
    pub(super) location: Option<Location>,
    /// Where docs/troubleshooting.md says more.
    #[serde(serialize_with = "See::url")]
    pub(super) see: See,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    Fine,
    /// It may be meant, and may not.
    Note,
    Error,
    /// It could not be looked at.
    Unknown,
}

/// A part of docs/troubleshooting.md. A test looks whether each is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum See {
    Files,
    Spec,
    Parameters,
    Types,
    Address,
    Variables,
    Authentication,
    Counts,
    Keda,
    Jobs,
}

/// Where the page is.
pub(super) const PAGE: &str =
    "https://github.com/keda-sift/keda-sift/blob/main/docs/troubleshooting.md";

impl Finding {
    pub(super) fn new(
        mark: Mark,
        about: &str,
        words: impl Into<String>,
        location: Option<Location>,
        see: See,
    ) -> Finding {
        Finding { mark, about: one_line(about, SHOWN_BYTES), words: words.into(), location, see }
    }
}

impl See {
    /// The anchor of the part: its heading as GitHub makes one of it.
    pub(super) fn anchor(self) -> &'static str {
        match self {
            See::Files => "files",
            See::Spec => "spec",
            See::Parameters => "parameters",
            See::Types => "types",
            See::Address => "address",
            See::Variables => "variables",
            See::Authentication => "authentication",
            See::Counts => "counts",
            See::Keda => "keda",
            See::Jobs => "jobs",
        }
    }

    fn url<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{PAGE}#{}", self.anchor()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_on_the_page() {
        const PAGE: &str = include_str!("../../../docs/troubleshooting.md");
        let all = [
            See::Files,
            See::Spec,
            See::Parameters,
            See::Types,
            See::Address,
            See::Variables,
            See::Authentication,
            See::Counts,
            See::Keda,
            See::Jobs,
        ];
        let headings: Vec<_> = PAGE
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
            .collect();
        for see in all {
            let found = headings.iter().filter(|heading| *heading == see.anchor()).count();
            assert_eq!(found, 1, "{} is no anchor, or that of two parts", see.anchor());
        }
    }
}
