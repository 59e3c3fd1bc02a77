//! Whether we serve, as gRPC asks it: for the server as a whole and for the scaler.
//!
//! Both serve from the start to the beginning of the shutdown. A watch then says NOT_SERVING and ends,
//! so that it does not hold up what it announces.
//!
//! # References
//! - <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService as _;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::grpc::Service;

/// Answers `grpc.health.v1`; not serving once the token is cancelled.
pub(super) struct Serving(pub(super) CancellationToken);

#[tonic::async_trait]
impl Health for Serving {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        known(request.get_ref())?;
        Ok(Response::new(response(!self.0.is_cancelled())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        known(request.get_ref())?;
        let end = self.0.clone();
        let now = tokio_stream::once(response(!end.is_cancelled()));
        let then = tokio_stream::once(())
            .then(move |()| end.clone().cancelled_owned())
            .map(|()| response(false));
        Ok(Response::new(Box::pin(now.chain(then).map(Ok))))
    }
}

fn known(asked: &HealthCheckRequest) -> Result<(), Status> {
    if asked.service.is_empty() || asked.service == Service::NAME {
        return Ok(());
    }
    Err(Status::not_found(format!(
        "no such service; there is {:?} for all of it and {:?}",
        "",
        Service::NAME
    )))
}

fn response(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}
