//! What ends when, and whether all of it did.
//!
//! 1. Serve, until told to end.
//! 2. Drain: health is NOT_SERVING, no connection is taken any more, streams end with UNAVAILABLE so
//!    that KEDA goes elsewhere, and calls under way go on for the grace period.
//! 3. Cancel: what is still there is answered UNAVAILABLE; HTTP ends, which until now said 503.
//! 4. Join: wait a moment for all of it to be gone, then let go of the sources.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::listen::Listeners;
use super::{grpc, http};
use crate::scaler::{Scaler, Stop};

/// What a cancelled call or connection needs to end. A peer that no longer reads could hold it for
/// ever.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// The steps of the ending; cancelling the second does the first as well.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// The root of every token in the process.
    cancelled: CancellationToken,
    draining: CancellationToken,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every call was answered within the grace period.
    Clean,
    /// Some call had to be cancelled when the grace period was over.
    Cancelled,
    /// Something was still there after that, and was dropped.
    Abandoned,
    /// A listener ended before it was told to.
    Broken,
}

impl Shutdown {
    /// Of a server that is not ending yet.
    #[expect(clippy::new_without_default, reason = "a default of it would be another server's")]
    pub fn new() -> Self {
        let cancelled = CancellationToken::new();
        Self { draining: cancelled.child_token(), cancelled }
    }

    /// What this means for calls and streams.
    pub fn stop(&self) -> Stop {
        Stop { streams: self.draining.clone(), calls: self.cancelled.clone() }
    }
}

/// Serves until `told`, then ends as this page says, which takes at most `grace` and two seconds.
///
/// `scaler` must have been made with this `shutdown`'s [`Shutdown::stop`]. To drop the future closes
/// the ports, but not the connections that are open.
pub async fn serve(
    listeners: Listeners,
    scaler: Arc<Scaler>,
    shutdown: Shutdown,
    grace: Duration,
    told: impl Future<Output = ()>,
) -> Ending {
    let Shutdown { cancelled, draining } = shutdown;
    let mut grpc = JoinSet::new();
    grpc.spawn(grpc::serve(listeners.grpc, Arc::clone(&scaler), draining.clone()));
    let mut rest = JoinSet::new();
    rest.spawn(http::serve(listeners.http, draining.clone(), cancelled.clone()));
    rest.spawn(forget_unpolled(Arc::clone(&scaler)));

    // None of them ends before it is told to, but for a fault of ours.
    let fault = tokio::select! {
        () = told => None,
        Some(ended) = grpc.join_next() => Some(format!("{ended:?}")),
        Some(ended) = rest.join_next() => Some(format!("{ended:?}")),
    };
    if let Some(ended) = &fault {
        error!(ended, "a listener ended by itself");
    }

    draining.cancel();
    let drained = tokio::time::timeout(grace, joined(&mut grpc)).await.is_ok();

    cancelled.cancel();
    let gone = tokio::time::timeout(JOIN_WITHIN, async {
        joined(&mut grpc).await;
        joined(&mut rest).await;
        scaler.shutdown().await;
    });
    match (fault, gone.await.is_ok(), drained) {
        (Some(_), ..) => Ending::Broken,
        (None, false, _) => Ending::Abandoned,
        (None, true, false) => Ending::Cancelled,
        (None, true, true) => Ending::Clean,
    }
}

async fn forget_unpolled(scaler: Arc<Scaler>) -> io::Result<()> {
    scaler.forget_unpolled().await;
    Ok(())
}

async fn joined<T: 'static>(tasks: &mut JoinSet<T>) {
    while tasks.join_next().await.is_some() {}
}
