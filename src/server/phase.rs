//! How far the server is, which is what every way of asking whether we serve is answered from.
//!
//! It only ever goes forwards: warming, ready, leaving, draining.

use std::sync::Arc;

use tokio::sync::watch;

/// How far the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Calls are answered, but a first one may have to wait: better ask another server meanwhile.
    Warming,
    /// Calls are answered as fast as they ever are.
    Ready,
    /// Told to end, and says so; connections are still taken.
    Leaving,
    /// No connection is taken any more.
    Draining,
}

/// The phase of one server; clones are of the same one.
#[derive(Debug, Clone)]
pub(super) struct Phases(Arc<watch::Sender<Phase>>);

/// Says once that the scaler is ready, which it is not before.
#[derive(Debug)]
#[must_use = "the server is not ready before it is set"]
pub struct Ready(Phases);

impl Phase {
    /// Whether the process is as it should be.
    pub(super) fn is_alive(self) -> bool {
        self < Self::Leaving
    }

    /// Whether calls should be sent here.
    pub(super) fn is_ready(self) -> bool {
        self == Self::Ready
    }
}

impl Phases {
    /// Of a server that is ready from the start.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Ready)))
    }

    /// Of the server before it begins to serve: not ready until the handle says so.
    pub(super) fn warming(&self) -> Ready {
        self.0.send_replace(Phase::Warming);
        Ready(self.clone())
    }

    pub(super) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// The phase from now on, to be waited on.
    pub(super) fn watch(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Goes on to a phase, unless it has been passed already.
    pub(super) fn reach(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = *now < phase;
            if later {
                *now = phase;
            }
            later
        });
    }
}

impl Ready {
    /// The scaler is ready; no matter if the server is ending already.
    pub fn set(self) {
        self.0.reach(Phase::Ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_leaves_does_not_become_ready() {
        let phases = Phases::new();
        let ready = phases.warming();
        assert!(phases.now().is_alive() && !phases.now().is_ready());
        phases.reach(Phase::Leaving);
        ready.set();
        assert_eq!(phases.now(), Phase::Leaving);
        assert!(!phases.now().is_alive() && !phases.now().is_ready());
    }
}
