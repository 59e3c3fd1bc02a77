//! What Kubernetes and Prometheus ask, each one page; and the page for people, on a port of its own.
//!
//! | page | answers |
//! |---|---|
//! | `/healthz` | whether the process is as it should be: 200, or 503 once the shutdown has begun |
//! | `/readyz` | whether calls should be sent here: 200, or 503 while it warms up and once it shuts down |
//! | `/metrics` | what has been counted, as OpenMetrics where `Accept` names it, or else as Prometheus' older text |

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::listen::Listener;
use super::phase::{Phase, Phases};
use crate::page;
use crate::scaler::Scaler;
use crate::telemetry::PageFormat;

type Page = (StatusCode, &'static str);

/// Serves until `end` is cancelled.
pub(super) async fn serve(
    listener: Listener,
    scaler: Arc<Scaler>,
    phases: Phases,
    end: CancellationToken,
) -> io::Result<()> {
    let pages = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(phases)
        .route("/metrics", get(metrics).with_state(scaler));
    axum::serve(listener.tcp, pages).with_graceful_shutdown(end.cancelled_owned()).await
}

/// Serves the page for people, likewise.
pub(super) async fn serve_page(
    listener: Listener,
    scaler: Arc<Scaler>,
    options: page::Options,
    end: CancellationToken,
) -> io::Result<()> {
    let pages = page::routes(scaler, options);
    axum::serve(listener.tcp, pages).with_graceful_shutdown(end.cancelled_owned()).await
}

async fn healthz(State(phases): State<Phases>) -> Page {
    match phases.now() {
        Phase::Warming | Phase::Ready => (StatusCode::OK, "serving\n"),
        Phase::Leaving | Phase::Draining => SHUTTING_DOWN,
    }
}

async fn readyz(State(phases): State<Phases>) -> Page {
    match phases.now() {
        Phase::Warming => (StatusCode::SERVICE_UNAVAILABLE, "warming up\n"),
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Leaving | Phase::Draining => SHUTTING_DOWN,
    }
}

const SHUTTING_DOWN: Page = (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");

async fn metrics(
    State(scaler): State<Arc<Scaler>>,
    headers: HeaderMap,
) -> ([(HeaderName, &'static str); 1], String) {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = PageFormat::accepted(accept);
    ([(CONTENT_TYPE, format.content_type())], scaler.metrics_page(format))
}
