//! What `check` prints: lines for people, or JSON or YAML for programs.

use std::fmt::Write as _;

use super::finding::{Finding, Mark, PAGE, See};
use crate::jobs::Counted;

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
    pub(super) objects: Vec<OfObject>,
    /// What could not be read at all.
    pub(super) files: Vec<OfFile>,
}

#[derive(Debug, serde::Serialize)]
pub(super) struct OfObject {
    pub(super) file: String,
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) triggers: Vec<OfTrigger>,
    /// Of the object as a whole.
    pub(super) findings: Vec<Finding>,
    /// How many Jobs KEDA would start; absent where that was not asked for, or is not known.
    pub(super) starts: Option<u64>,
}

#[derive(Debug, serde::Serialize)]
pub(super) struct OfTrigger {
    /// Its place among all triggers of the object.
    pub(super) number: usize,
    /// Where its messages wait; absent if that cannot be told.
    pub(super) place: Option<String>,
    pub(super) findings: Vec<Finding>,
    /// What counts; absent where nobody asked, or none could be had.
    pub(super) count: Option<Count>,
}

#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(super) struct Count {
    #[serde(flatten)]
    pub(super) counted: Counted,
    /// Whether there may be more.
    pub(super) is_lower_bound: bool,
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
        let all = |of: &OfObject| {
            let of_triggers = of.triggers.iter().flat_map(|of| &of.findings);
            of_triggers.chain(&of.findings).any(|finding| finding.mark == mark)
        };
        self.objects.iter().any(all)
    }

    pub(super) fn print(&self, output: Output) -> String {
        match output {
            Output::Text => self.text(),
            Output::Json => serde_json::to_string_pretty(self).expect("it is plain data") + "\n",
            Output::Yaml => serde_saphyr::to_string(self).expect("it is plain data"),
        }
    }

    fn text(&self) -> String {
        let mut blocks: Vec<String> = Vec::new();
        for OfFile { file, problem } in &self.files {
            blocks.push(format!("× {file}: {problem}  …#{}\n", See::Files.anchor()));
        }
        for of in &self.objects {
            of.blocks(&mut blocks);
        }
        if blocks.is_empty() {
            return "there is nothing to check: no ScaledJob or ScaledObject with a trigger of \
                    type external\n"
                .to_owned();
        }
        if blocks.iter().any(|block| block.contains("  …#")) {
            blocks.push(format!("… is {PAGE}\n"));
        }
        blocks.join("\n")
    }
}

impl OfObject {
    /// A block for each trigger, and one for the object. That of a single trigger is for both.
    fn blocks(&self, blocks: &mut Vec<String>) {
        let head = format!("{} {}/{}", self.kind.to_lowercase(), self.namespace, self.name);
        for of in &self.triggers {
            let place = of.place.as_deref().unwrap_or("");
            let head = format!("{head}  trigger {}  {place}", of.number);
            let mut findings: Vec<&Finding> = of.findings.iter().collect();
            if self.triggers.len() == 1 {
                findings.extend(&self.findings);
            }
            blocks.push(block(&head, &findings, &self.file));
        }
        if self.triggers.len() != 1 && !self.findings.is_empty() {
            blocks.push(block(&head, &self.findings.iter().collect::<Vec<_>>(), &self.file));
        }
    }
}

fn block(head: &str, findings: &[&Finding], file: &str) -> String {
    let mut text = format!("{}\n", head.trim_end());
    let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
    for finding in findings {
        text.push_str(&line(finding, file, width));
    }
    text
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
    if *mark != Mark::Fine {
        if let Some(location) = location {
            write!(line, "  ({file}:{}:{})", location.line, location.column)
                .expect("a String takes everything");
        }
        write!(line, "  …#{}", see.anchor()).expect("a String takes everything");
    }
    line + "\n"
}
