//! What tells a running command to end: SIGTERM, as Kubernetes says it, or Ctrl-C.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// What tells the program to end. Caught from the start: a signal before that would end it rudely.
pub(super) struct Signals([Signal; 2]);

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    pub(super) async fn told(self) {
        let Self([mut terminate, mut interrupt]) = self;
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal, "shutting down");
    }
}
