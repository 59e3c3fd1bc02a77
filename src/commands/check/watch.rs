//! When to look again: once, or until a user has seen enough.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::report::Output;

/// Goes to the top of a terminal, and clears it from there.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// A look after another, if any.
pub(super) struct Watch {
    /// Between two looks; there is one where this is not said.
    every: Option<(Duration, [Signal; 2])>,
    output: Output,
    last: Option<ExitCode>,
}

impl Watch {
    /// From now on a signal ends it in good order, if it would look again.
    pub(super) fn new(every: Option<Duration>, output: Output) -> io::Result<Watch> {
        let signals = || {
            let caught = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
            Ok::<_, io::Error>(caught)
        };
        let every = every.map(|every| Ok::<_, io::Error>((every, signals()?))).transpose()?;
        Ok(Watch { every, output, last: None })
    }

    /// What a look comes to; `None` if it is told to end before.
    pub(super) async fn until_told<T>(&mut self, look: impl Future<Output = T>) -> Option<T> {
        match &mut self.every {
            None => Some(look.await),
            Some((_, [interrupt, terminate])) => tokio::select! {
                _ = interrupt.recv() => None,
                _ = terminate.recv() => None,
                report = look => Some(report),
            },
        }
    }

    /// Prints a report: in place of the one before on a terminal, and else apart from it.
    pub(super) fn show(&self, report: &str) {
        let mut stdout = io::stdout();
        let before = match (&self.every, self.output) {
            (None, _) => "",
            (_, Output::Text) if stdout.is_terminal() => CLEAR,
            _ if self.last.is_none() => "",
            (_, Output::Yaml) => "---\n",
            _ => "\n",
        };
        // Whoever reads it may have gone.
        let _gone = stdout
            .write_all(before.as_bytes())
            .and_then(|()| stdout.write_all(report.as_bytes()))
            .and_then(|()| stdout.flush());
    }

    /// Whether there is another look, and waits until it is time for it.
    pub(super) async fn goes_on(&mut self, code: ExitCode) -> bool {
        self.last = Some(code);
        let Some(every) = self.every.as_ref().map(|(every, _)| *every) else { return false };
        self.until_told(sleep(every)).await.is_some()
    }

    /// What the last look has come to.
    pub(super) fn last(&self) -> Option<ExitCode> {
        self.last
    }
}
