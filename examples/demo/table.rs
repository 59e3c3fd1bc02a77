//! How it looks: what has happened, what waits, and how to ask for it oneself.

use std::net::SocketAddr;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use tonic::Status;

use super::script::Trigger;

const MAX_REPLICA_COUNT: i64 = 10;

/// One line of the table.
pub(crate) struct Row<'a> {
    pub(crate) trigger: &'a Trigger,
    pub(crate) backlog: Result<i64, Status>,
}

/// All that is shown, for a scaler at this address.
pub(crate) fn text(
    scenes: &[String],
    rows: &[Row<'_>],
    examples: &[&Trigger],
    address: SocketAddr,
) -> String {
    let examples: Vec<String> = examples.iter().map(|trigger| grpcurl(trigger, address)).collect();
    format!(
        "keda-sift demo: Kafka and a stand-in for Azure Service Bus, both inside this process\n\
         {}\n\n{}\n\nAsk it yourself:\n{}\n",
        scenes.join("\n"),
        table(rows),
        examples.join("\n"),
    )
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "ScaledJob",
        "counts in",
        "event types",
        "backlog",
        "messages a Job",
        "Jobs KEDA would start",
    ]);
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for Row { trigger, backlog } in rows {
        let target = i64::from(trigger.job.target);
        let (backlog, jobs) = match backlog {
            Ok(backlog) => (backlog.to_string(), jobs(*backlog, target)),
            Err(status) => (status.message().to_owned(), "none".to_owned()),
        };
        let target = target.to_string();
        let job = trigger.job;
        table.add_row([job.name, trigger.place, job.types, &backlog, &target, &jobs]);
    }
    table
}

/// What KEDA makes of a backlog with `maxReplicaCount` 10 and nothing running.
fn jobs(backlog: i64, target: i64) -> String {
    let wanted = (backlog + target - 1).div_euclid(target);
    if wanted > MAX_REPLICA_COUNT {
        format!("{MAX_REPLICA_COUNT} of {wanted} (maxReplicaCount)")
    } else {
        wanted.to_string()
    }
}

fn grpcurl(trigger: &Trigger, address: SocketAddr) -> String {
    let metadata = trigger.metadata.iter();
    let mut metadata: Vec<_> =
        metadata.map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
    metadata.sort();
    format!(
        "  grpcurl -plaintext -d '{{\"scaledObjectRef\":{{\"scalerMetadata\":{{{}}}}}}}' \\\n    \
         {address} externalscaler.ExternalScaler/GetMetrics",
        metadata.join(","),
    )
}
