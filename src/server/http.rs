//! Whether we serve, as Kubernetes asks it: `GET /healthz` is 200, or 503 once the shutdown has begun.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::listen::Listener;

/// Serves until `end` is cancelled; the answer turns to 503 once `draining` is.
pub(super) async fn serve(
    listener: Listener,
    draining: CancellationToken,
    end: CancellationToken,
) -> io::Result<()> {
    let pages = Router::new().route("/healthz", get(healthz)).with_state(draining);
    axum::serve(listener.tcp, pages).with_graceful_shutdown(end.cancelled_owned()).await
}

async fn healthz(State(draining): State<CancellationToken>) -> (StatusCode, &'static str) {
    if draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else {
        (StatusCode::OK, "serving\n")
    }
}
