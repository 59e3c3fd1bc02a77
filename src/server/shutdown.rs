//! What ends when, and whether all of it did.
//!
//! 1. Serve, until told to end.
//! 2. Leave: health is NOT_SERVING and HTTP says 503, but connections and calls are still taken for
//!    the drain delay, because whoever sends them here needs a moment to learn of it.
//! 3. Drain: no connection is taken any more, streams end with UNAVAILABLE so that KEDA goes
//!    elsewhere, and calls under way go on for the grace period.
//! 4. Cancel: what is still there is answered UNAVAILABLE; HTTP ends.
//! 5. Join: wait a moment for all of it to be gone, then let go of the sources.
//!
//! To be told again changes nothing: each step has its limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::listen::{Listener, Listeners};
use super::phase::{Phase, Phases, Ready};
use super::tls::Tls;
use super::{grpc, http};
use crate::diagnostics::Access;
use crate::page;
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
    phases: Phases,
}

/// What an operator decides about serving.
#[derive(Default)]
pub struct Options {
    /// TLS for gRPC; without it gRPC is plain.
    pub tls: Option<Tls>,
    /// Who may ask what is known of triggers; without it nobody.
    pub diagnostics: Option<Access>,
    /// Where the page for people is, and for whom; without it there is none.
    pub page: Option<(Listener, page::Options)>,
    /// How long connections are still taken once health says NOT_SERVING.
    pub drain_delay: Duration,
    /// How long calls under way may go on after that.
    pub grace: Duration,
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
    /// Of a server that is not ending yet, and ready once it serves.
    #[expect(clippy::new_without_default, reason = "a default of it would be another server's")]
    pub fn new() -> Self {
        let cancelled = CancellationToken::new();
        Self { draining: cancelled.child_token(), cancelled, phases: Phases::new() }
    }

    /// Has the server not be ready until [`Ready::set`]; to be called before it serves. Calls are
    /// answered all the same.
    pub fn warming(&self) -> Ready {
        self.phases.warming()
    }

    /// What this means for calls and streams.
    pub fn stop(&self) -> Stop {
        Stop { streams: self.draining.clone(), calls: self.cancelled.clone() }
    }
}

/// Serves until `told`, then ends as this page says, which takes at most the drain delay, the grace
/// period and two seconds.
///
/// `scaler` must have been made with this `shutdown`'s [`Shutdown::stop`]. To drop the future
/// closes the ports, but not the connections that are open.
pub async fn serve(
    listeners: Listeners,
    scaler: Arc<Scaler>,
    shutdown: Shutdown,
    options: Options,
    told: impl Future<Output = ()>,
) -> Ending {
    let Shutdown { cancelled, draining, phases } = shutdown;
    let tls = options.tls.map(Arc::new);
    let mut grpc = JoinSet::new();
    grpc.spawn(grpc::serve(
        listeners.grpc,
        tls.clone(),
        Arc::clone(&scaler),
        phases.clone(),
        options.diagnostics,
        draining.clone(),
    ));
    let mut rest = JoinSet::new();
    let http = http::serve(listeners.http, Arc::clone(&scaler), phases.clone(), cancelled.clone());
    rest.spawn(http);
    if let Some((listener, page)) = options.page {
        rest.spawn(http::serve_page(listener, Arc::clone(&scaler), page, cancelled.clone()));
    }
    rest.spawn(forget_unpolled(Arc::clone(&scaler)));
    if let Some(tls) = tls {
        let read = Arc::clone(&tls);
        scaler.metrics().also(move || vec![read.figures()]);
        rest.spawn(follow_files(tls, cancelled.clone()));
    }

    // None of them ends before it is told to, but for a fault of ours.
    let fault = tokio::select! {
        () = told => None,
        Some(ended) = grpc.join_next() => Some(format!("{ended:?}")),
        Some(ended) = rest.join_next() => Some(format!("{ended:?}")),
    };
    if let Some(ended) = &fault {
        error!(ended, "a listener ended by itself");
    }

    phases.reach(Phase::Leaving);
    if fault.is_none() {
        tokio::time::sleep(options.drain_delay).await;
    }

    phases.reach(Phase::Draining);
    draining.cancel();
    let drained = tokio::time::timeout(options.grace, joined(&mut grpc)).await.is_ok();

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

async fn follow_files(tls: Arc<Tls>, end: CancellationToken) -> io::Result<()> {
    end.run_until_cancelled(tls.follow_files()).await;
    Ok(())
}

async fn joined<T: 'static>(tasks: &mut JoinSet<T>) {
    while tasks.join_next().await.is_some() {}
}
