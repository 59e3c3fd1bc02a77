//! What `check` prints: lines for people, or JSON or YAML for programs.

use std::fmt::Write as _;

use super::inspect::{Finding, Mark};
use crate::jobs::Counted;

/// Where a finding's `see` is.
const PAGE: &str = "https://github.com/keda-sift/keda-sift/blob/main/docs/troubleshooting.md";

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::commands) enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// All that was found.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Report {
    pub(super) triggers: Vec<OfTrigger>,
    /// What could not be read at all.
    pub(super) files: Vec<OfFile>,
}

#[derive(Debug, serde::Serialize)]
pub(super) struct OfTrigger {
    pub(super) file: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) trigger: usize,
    /// Where its messages wait; absent if that cannot be told.
    pub(super) place: Option<String>,
    pub(super) findings: Vec<Finding>,
    /// Messages that count; absent where nobody asked, or none could be had.
    pub(super) count: Option<u64>,
    /// Whether there may be more.
    pub(super) is_lower_bound: bool,
    /// What KEDA makes of it.
    #[serde(skip)]
    pub(super) counted: Option<Counted>,
}

#[derive(Debug, serde::Serialize)]
pub(super) struct OfFile {
    pub(super) file: String,
    pub(super) problem: String,
}

impl Report {
    /// Whether anything is wrong.
    pub(super) fn has_errors(&self) -> bool {
        !self.files.is_empty() || self.has(Mark::Error)
    }

    /// Whether anything could not be looked at that was asked for.
    pub(super) fn has_unknown(&self) -> bool {
        self.has(Mark::Unknown)
    }

    fn has(&self, mark: Mark) -> bool {
        let mut findings = self.triggers.iter().flat_map(|of| &of.findings);
        findings.any(|finding| finding.mark == mark)
    }

    pub(super) fn print(&self, output: Output) -> String {
        match output {
            Output::Text => self.text(),
            Output::Json => serde_json::to_string_pretty(self).expect("it is plain data") + "\n",
            Output::Yaml => serde_saphyr::to_string(self).expect("it is plain data"),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for OfFile { file, problem } in &self.files {
            writeln!(text, "× {file}: {problem}").expect("a String takes everything");
        }
        for of in &self.triggers {
            let place = of.place.as_deref().unwrap_or("");
            let kind = of.kind.to_lowercase();
            let (namespace, name, number) = (&of.namespace, &of.name, of.trigger);
            if !text.is_empty() {
                text.push('\n');
            }
            let head = format!("{kind} {namespace}/{name}  trigger {number}  {place}");
            writeln!(text, "{}", head.trim_end()).expect("a String takes everything");
            let width = of.findings.iter().map(|finding| finding.about.chars().count()).max();
            for finding in &of.findings {
                text.push_str(&line(finding, &of.file, width.unwrap_or(0)));
            }
        }
        text
    }
}

fn line(finding: &Finding, file: &str, width: usize) -> String {
    let Finding { mark, about, words, location, see } = finding;
    let sign = match mark {
        Mark::Fine => '√',
        Mark::Note => '!',
        Mark::Error => '×',
        Mark::Unknown => '?',
    };
    let mut line = format!("{sign} {about:width$}  {words}");
    if let (Some(location), false) = (location, *mark == Mark::Fine) {
        write!(line, "  ({file}:{}:{})", location.line, location.column)
            .expect("a String takes everything");
    }
    if let Some(see) = see {
        write!(line, "\n  {:width$}  {PAGE}#{see}", "").expect("a String takes everything");
    }
    line + "\n"
}
