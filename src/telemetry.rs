//! How logs are written: as lines for people or as JSON, to standard error.
//!
//! A level is ERROR only where an operator must act. What went wrong with one trigger is told to KEDA,
//! not logged: who can mend it reads it there.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// Writes logs from here on.
///
/// # Errors
/// When the process writes logs already.
pub fn init(filter: Targets, format: LogFormat) -> Result<(), TryInitError> {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(filter).try_init()
}
