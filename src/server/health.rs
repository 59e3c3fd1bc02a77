//! Whether we serve, as gRPC asks it: of the server as a whole, whose service is "", and of the
//! scaler.
//!
//! The server serves from its start to the beginning of the shutdown, the scaler from when it is
//! ready. A watch says each change, and ends when the server drains, so that it does not hold up
//! what it announces.
//!
//! # References
//! - <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use std::pin::Pin;

use futures_util::stream;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::phase::{Phase, Phases};
use crate::scaler::proto::external_scaler_server::SERVICE_NAME;

/// Answers `grpc.health.v1`.
pub(super) struct Serving(pub(super) Phases);

/// Whether something serves, by the phase.
type Serves = fn(Phase) -> bool;

#[tonic::async_trait]
impl Health for Serving {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let serves = asked(request.get_ref())?;
        Ok(Response::new(response(serves(self.0.now()))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let serves = asked(request.get_ref())?;
        Ok(Response::new(Box::pin(changes(&self.0, serves))))
    }
}

/// What is said at once and then whenever it has changed, to the end of the server.
fn changes(
    phases: &Phases,
    serves: Serves,
) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + use<> {
    stream::unfold((phases.watch(), None), move |(mut phases, said)| async move {
        loop {
            let phase = *phases.borrow_and_update();
            let serving = serves(phase);
            if said != Some(serving) {
                return Some((Ok(response(serving)), (phases, Some(serving))));
            }
            if phase == Phase::Draining {
                return None;
            }
            phases.changed().await.ok()?;
        }
    })
}

fn asked(request: &HealthCheckRequest) -> Result<Serves, Status> {
    match request.service.as_str() {
        "" => Ok(Phase::is_alive),
        SERVICE_NAME => Ok(Phase::is_ready),
        _ => Err(Status::not_found(format!(
            "no such service; there is {:?} for all of it and {:?}",
            "", SERVICE_NAME
        ))),
    }
}

fn response(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}
