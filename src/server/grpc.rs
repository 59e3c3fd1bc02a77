//! What KEDA and grpcurl can call: the scaler, health, reflection in both of its versions, and
//! diagnostics where somebody may ask for them.
//!
//! KEDA sends all polls over one connection, after a restart thousands at once, and cancels some of
//! them; HTTP/2's usual limits would have it wait, or close the connection on it.

use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server};
use tonic_health::pb::health_server::HealthServer;

use super::health::Serving;
use super::listen::Listener;
use super::phase::Phases;
use super::polls;
use super::tls::{self, Tls};
use crate::diagnostics::proto::diagnostics_server::DiagnosticsServer;
use crate::diagnostics::{Access, Diagnostics};
use crate::scaler::{ExternalScalerServer, Scaler, proto};

/// Calls under way, and calls cancelled before they were looked at, on one connection.
const MAX_STREAMS: u32 = 100_000;

/// Bytes of requests on one connection that have not been read yet: the polls of a burst. HTTP/2
/// also takes from it how many small frames may wait.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Bytes of a request: a trigger's metadata. An object in Kubernetes has no more than 1.5 MiB.
const MAX_REQUEST: usize = 2 << 20;

/// Bytes of a question about triggers: names.
const MAX_QUESTION: usize = 16 << 10;

/// How often a silent connection is asked whether anyone is there; a stream to a node that vanished
/// would go on for ever.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);

/// All services; calls of the scaler are counted.
fn routes(scaler: &Arc<Scaler>, phases: Phases, diagnostics: Option<Access>) -> Routes {
    let reflection = || {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        match diagnostics {
            None => reflection,
            Some(_) => reflection
                .register_encoded_file_descriptor_set(crate::diagnostics::proto::DESCRIPTORS),
        }
    };
    let readable = "the build wrote the descriptors";
    let count = middleware::from_fn_with_state(Arc::clone(scaler), polls::count);
    let service = ExternalScalerServer::from_arc(Arc::clone(scaler));
    let calls = Routes::new(service.max_decoding_message_size(MAX_REQUEST));
    let routes = Routes::from(calls.into_axum_router().route_layer(count))
        .add_service(HealthServer::new(Serving(phases)))
        .add_service(reflection().build_v1().expect(readable))
        .add_service(reflection().build_v1alpha().expect(readable));
    match diagnostics {
        None => routes,
        Some(access) => {
            let service = Diagnostics::new(Arc::clone(scaler), access);
            let service = DiagnosticsServer::new(service);
            routes.add_service(service.max_decoding_message_size(MAX_QUESTION))
        }
    }
}

/// Serves until `draining` is cancelled, then takes no more connections and returns when the calls
/// of the open ones have ended.
pub(super) async fn serve(
    listener: Listener,
    tls: Option<Arc<Tls>>,
    scaler: Arc<Scaler>,
    phases: Phases,
    diagnostics: Option<Access>,
    draining: CancellationToken,
) -> Result<(), Error> {
    let server = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_STREAMS as usize))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .add_routes(routes(&scaler, phases, diagnostics));
    let connections = TcpIncoming::from(listener.tcp).with_nodelay(Some(true));
    let end = draining.cancelled_owned();
    match tls {
        None => server.serve_with_incoming_shutdown(connections, end).await,
        Some(tls) => {
            server.serve_with_incoming_shutdown(tls::incoming(connections, tls), end).await
        }
    }
}
