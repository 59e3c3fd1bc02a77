//! What a cluster's connections last complained of, so that who waits in vain can be told why.
//!
//! A refused login or certificate ends the wait of all at once: KEDA asks again with the secret read
//! anew only after an error. Any other complaint may pass, and is only remembered.

use std::sync::Mutex;

use tokio::sync::watch;

use super::error::Kind;
use super::librdkafka::Fault;
use crate::lock::lock;

/// The complaints of one cluster.
pub(super) struct Trouble {
    last: Mutex<Option<Fault>>,
    refused: watch::Sender<Option<Fault>>,
}

impl Trouble {
    pub(super) fn new() -> Trouble {
        Trouble { last: Mutex::new(None), refused: watch::Sender::new(None) }
    }

    pub(super) fn note(&self, fault: Fault) {
        tracing::debug!(code = ?fault.code, reason = %fault.reason, "kafka connection");
        if fault.kind() == Kind::Refused {
            self.refused.send_replace(Some(fault));
            return;
        }
        // "All brokers down" follows on the complaint that says why.
        let mut last = lock(&self.last);
        if last.is_none() || fault.code != rdkafka::types::RDKafkaErrorCode::AllBrokersDown {
            *last = Some(fault);
        }
    }

    /// Something was answered: what was complained of before is over.
    pub(super) fn clear(&self) {
        *lock(&self.last) = None;
    }

    /// The last complaint that may pass.
    pub(super) fn last(&self) -> Option<Fault> {
        lock(&self.last).clone()
    }

    /// How a broker has refused us, or we it, if it has come to that.
    pub(super) fn refusal(&self) -> Option<Fault> {
        self.refused.borrow().clone()
    }

    /// Resolves when a broker refuses us, or we it.
    pub(super) async fn refused(&self) -> Fault {
        let mut refused = self.refused.subscribe();
        let fault = refused.wait_for(Option::is_some).await;
        match fault.ok().and_then(|fault| fault.clone()) {
            Some(fault) => fault,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// A line of librdkafka's, for who turns debugging on: what matters of it is told in answers.
    pub(super) fn log(level: i32, text: &str) {
        tracing::debug!(level, "{text}");
    }
}
