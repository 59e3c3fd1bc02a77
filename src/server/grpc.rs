//! What KEDA and grpcurl can call: the scaler, health, and reflection in both of its versions.
//!
//! KEDA sends all polls over one connection, after a restart thousands at once, and cancels some of
//! them; HTTP/2's usual limits would have it wait, or close the connection on it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server};
use tonic_health::pb::health_server::HealthServer;

use super::health::Serving;
use super::listen::Listener;
use crate::scaler::{ExternalScalerServer, Scaler, proto};

/// The service that KEDA calls.
pub(super) type Service = ExternalScalerServer<Scaler>;

/// Calls under way, and calls cancelled before they were looked at, on one connection.
const MAX_STREAMS: u32 = 100_000;

/// Bytes of requests on one connection that have not been read yet: the polls of a burst. HTTP/2 also
/// takes from it how many small frames may wait.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How often a silent connection is asked whether anyone is there; a stream to a node that vanished
/// would go on for ever.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);

/// All services; the health is NOT_SERVING once `draining` is cancelled.
pub fn routes(scaler: Arc<Scaler>, draining: CancellationToken) -> Routes {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let readable = "the build wrote the descriptors";
    Routes::new(Service::from_arc(scaler))
        .add_service(HealthServer::new(Serving(draining)))
        .add_service(reflection().build_v1().expect(readable))
        .add_service(reflection().build_v1alpha().expect(readable))
}

/// Serves until `draining` is cancelled, then takes no more connections and returns when the calls of
/// the open ones have ended.
pub(super) async fn serve(
    listener: Listener,
    scaler: Arc<Scaler>,
    draining: CancellationToken,
) -> Result<(), Error> {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_STREAMS as usize))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .add_routes(routes(scaler, draining.clone()))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener.tcp).with_nodelay(Some(true)),
            draining.cancelled_owned(),
        )
        .await
}
