//! How the calls of KEDA's end and how long they take, for the metrics.
//!
//! A call has ended when the last of its answer was handed over, or when its caller went away,
//! which counts as CANCELLED.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::scaler::Scaler;
use crate::scaler::proto::external_scaler_server::SERVICE_NAME;
use crate::telemetry::{POLL, RPCS, continue_trace};

/// A call under way; counted when dropped.
struct Poll {
    scaler: Arc<Scaler>,
    rpc: &'static str,
    span: Span,
    began: Instant,
    code: Code,
}

/// Counts one call to the scaler, if there is such an rpc: whoever calls must not make up a series.
pub(super) async fn count(
    State(scaler): State<Arc<Scaler>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(rpc) = rpc(request.uri().path()) else { return next.run(request).await };
    let span = info_span!(
        target: POLL, "poll", otel.name = rpc, otel.kind = "server", otel.status_code = Empty,
        rpc.system = "grpc", rpc.service = SERVICE_NAME, rpc.method = rpc,
        rpc.grpc.status_code = Empty, k8s.namespace.name = Empty, keda.object = Empty
    );
    continue_trace(&span, request.headers());
    let (began, code) = (Instant::now(), Code::Cancelled);
    let mut poll = Poll { scaler, rpc, span: span.clone(), began, code };
    let response = next.run(request).instrument(span).await;
    // An error has its status in the headers, and no body; what succeeds has it in the trailers.
    poll.note(response.headers());
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(trailers) = frame.trailers_ref() {
                poll.note(trailers);
            }
            frame
        }))
    })
}

fn rpc(path: &str) -> Option<&'static str> {
    let (_, method) = path.rsplit_once('/')?;
    RPCS.into_iter().find(|rpc| *rpc == method)
}

impl Poll {
    fn note(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(Status::GRPC_STATUS) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.span.record("rpc.grpc.status_code", i32::from(self.code));
        if self.code != Code::Ok {
            self.span.record("otel.status_code", "ERROR");
        }
        self.scaler.metrics().poll_ended(self.rpc, self.code, self.began.elapsed());
    }
}
