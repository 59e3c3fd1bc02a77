//! What docs/operating.md says of metrics, and which of them others may name.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use keda_sift::telemetry::{ALWAYS, BY_TRIGGER, Kind, Metric};

const OPERATING: &str = include_str!("../../docs/operating.md");

/// The names in a query that begin like ours and are those of no series.
pub(super) fn unknown_names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let known: BTreeSet<_> = ALWAYS.into_iter().chain(BY_TRIGGER).flat_map(series).collect();
    words.filter(|word| word.starts_with("keda_sift") && !known.contains(*word)).collect()
}

fn series(metric: &'static Metric) -> Vec<String> {
    let name = metric.in_queries();
    match metric.kind {
        Kind::Histogram => {
            ["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}")).into()
        }
        _ => vec![name],
    }
}

/// A table as the page has it.
fn table(metrics: &[&'static Metric], with_labels: bool) -> String {
    let mut table = match with_labels {
        true => "| metric | labels | what it is |\n|---|---|---|\n".to_owned(),
        false => "| metric | what it is |\n|---|---|\n".to_owned(),
    };
    for metric in metrics {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = match with_labels {
            true => format!("{} | ", labels.join(", ")),
            false => String::new(),
        };
        writeln!(table, "| `{}` | {labels}{} |", metric.in_queries(), metric.help)
            .expect("a string");
    }
    table.replace("|  | ", "| | ")
}

#[test]
fn the_page_has_the_metrics_that_there_are() {
    for table in [table(&ALWAYS, true), table(&BY_TRIGGER, false)] {
        assert!(OPERATING.contains(&table), "docs/operating.md lacks this table:\n{table}");
    }
}
