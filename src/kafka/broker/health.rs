//! What a cluster's connections last complained of, so that a call that times out can report the
//! cause.
//!
//! A refused login or certificate ends the wait of every call at once: KEDA asks again with the
//! secret read anew only after an error. Any other complaint may pass, and is only remembered.

use std::sync::Mutex;

use tokio::sync::watch;

use crate::kafka::fault::{Fault, Kind};
use crate::lock::lock;

/// The complaints of one cluster.
pub(in crate::kafka) struct ConnectionHealth {
    last: Mutex<Option<Fault>>,
    refused: watch::Sender<Option<Fault>>,
}

impl ConnectionHealth {
    pub(in crate::kafka) fn new() -> ConnectionHealth {
        ConnectionHealth { last: Mutex::new(None), refused: watch::Sender::new(None) }
    }

    pub(in crate::kafka) fn note(&self, fault: Fault) {
        tracing::debug!(kind = ?fault.kind, reason = %fault.reason, "kafka connection");
        if fault.kind == Kind::Refused {
            self.refused.send_replace(Some(fault));
            return;
        }
        // That nothing came in time follows on the complaint that says why.
        let mut last = lock(&self.last);
        if last.is_none() || fault.kind != Kind::Silent {
            *last = Some(fault);
        }
    }

    /// Something was answered: what was complained of before is over.
    pub(in crate::kafka) fn clear(&self) {
        *lock(&self.last) = None;
    }

    /// The last complaint that may pass.
    pub(in crate::kafka) fn last(&self) -> Option<Fault> {
        lock(&self.last).clone()
    }

    /// How a broker has refused us, or we it, if it has come to that.
    pub(in crate::kafka) fn refusal(&self) -> Option<Fault> {
        self.refused.borrow().clone()
    }

    /// Resolves when a broker refuses us, or we it.
    pub(in crate::kafka) async fn refused(&self) -> Fault {
        let mut refused = self.refused.subscribe();
        let fault = refused.wait_for(Option::is_some).await;
        match fault.ok().and_then(|fault| fault.clone()) {
            Some(fault) => fault,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }
}
