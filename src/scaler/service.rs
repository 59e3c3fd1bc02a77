//! Each call of the contract with KEDA.
//!
//! - `GetMetricSpec` looks at the metadata only and does not fail: KEDA skips a trigger whose spec
//!   fails without telling anyone. Metadata that cannot be read has a spec too, so that KEDA goes on
//!   to `GetMetrics`, whose error says what is wrong.
//! - One spec and one value, under our own name whatever name was asked for: KEDA adds values up and
//!   averages targets.
//! - Each call ends: at the measure timeout, or when the server does. A caller that cancels drops its
//!   own future, and nothing that others wait for.
//! - The streams outlive what passes. An error that asking again may mend leaves the last state
//!   standing; they end when the server shuts down, so that KEDA goes to another one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tracing::debug;

use super::proto::external_scaler_server::ExternalScaler;
use super::proto::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef,
};
use super::sources::Sources;
use super::status::Error;
use super::triggers::{Entry, Triggers};
use crate::backlog::Backlog;
use crate::trigger::{FALLBACK_METRIC_NAME, FALLBACK_TARGET, Trigger};

/// How often an open `StreamIsActive` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a source gets beyond the deadline to say in its own words why there is no count.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The service that KEDA calls.
pub struct Scaler {
    triggers: Triggers,
    sources: Sources,
    options: Options,
    stop: Stop,
}

/// How long things last.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long one measurement may take.
    pub measure_timeout: Duration,
    /// How long a trigger is followed without a poll.
    pub forget_after: Duration,
}

/// When calls and streams end, decided by whoever ends the server.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Ends the open streams, which would never end by themselves.
    pub streams: CancellationToken,
    /// Ends the calls that are still under way.
    pub calls: CancellationToken,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Scaler {
    /// A scaler that follows no trigger yet.
    pub fn new(sources: Sources, options: Options, stop: Stop) -> Self {
        Self { triggers: Triggers::new(), sources, options, stop }
    }

    /// Forgets triggers that are no longer polled, until [`Stop::calls`].
    pub async fn forget_unpolled(&self) {
        let after = self.options.forget_after;
        let often = (after / 10).clamp(Duration::from_millis(100), Duration::from_secs(60));
        let mut ticks = tokio::time::interval(often);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let forget = async {
            loop {
                ticks.tick().await;
                let count = self.triggers.forget(after);
                if count > 0 {
                    debug!(count, "triggers forgotten");
                }
            }
        };
        self.stop.calls.run_until_cancelled(forget).await;
    }

    /// Lets go of every source.
    pub async fn shutdown(&self) {
        self.sources.shutdown().await;
    }

    fn spec(&self, asked: &ScaledObjectRef) -> GetMetricSpecResponse {
        let spec = match self.triggers.find(asked) {
            Ok(entry) => entry.live().ok().map(|live| spec(live.trigger())),
            // Too many to keep this one, which GetMetrics will say.
            Err(_) => Trigger::decode(&asked.scaler_metadata).ok().as_ref().map(spec),
        };
        let spec = spec.unwrap_or_else(|| metric_spec(FALLBACK_METRIC_NAME, FALLBACK_TARGET));
        GetMetricSpecResponse { metric_specs: vec![spec] }
    }

    async fn metric(&self, asked: &ScaledObjectRef) -> Result<MetricValue, Error> {
        let entry = self.triggers.find(asked)?;
        let live = entry.live()?;
        let backlog = self.in_time(|deadline| live.metric(&self.sources, deadline)).await?;
        Ok(metric_value(&live.trigger().metric_name, backlog))
    }

    async fn active(&self, entry: &Entry) -> Result<bool, Error> {
        let live = entry.live()?;
        self.in_time(|deadline| live.is_active(&self.sources, deadline)).await
    }

    /// Waits for a measurement, but not for ever, whatever the source does.
    async fn in_time<T, F>(&self, measure: impl FnOnce(Instant) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let timeout = self.options.measure_timeout;
        let deadline = Instant::now() + timeout;
        let measured = tokio::time::timeout_at(deadline + LAST_WORDS, measure(deadline));
        tokio::select! {
            // What needs no wait must not cost a place in the token's queue.
            biased;
            measured = measured => measured.unwrap_or(Err(Error::Overdue { timeout })),
            () = self.stop.calls.cancelled() => Err(Error::ShuttingDown),
        }
    }

    /// Whether the trigger is active: at once, then whenever that has changed.
    fn changes(
        self: Arc<Self>,
        entry: Arc<Entry>,
    ) -> impl Stream<Item = Result<IsActiveResponse, Status>> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looks = IntervalStream::new(ticks).then(move |_| {
            let (scaler, entry) = (Arc::clone(&self), Arc::clone(&entry));
            async move { scaler.active(&entry).await }
        });
        let mut last = None;
        looks.filter_map(move |look| match look {
            Ok(result) if last == Some(result) => None,
            Ok(result) => {
                last = Some(result);
                Some(Ok(IsActiveResponse { result }))
            }
            Err(error) if error.code() == Code::InvalidArgument => Some(Err(error.into())),
            Err(_) => None,
        })
    }
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(
        self: Arc<Self>,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        let entry = self.triggers.find(request.get_ref())?;
        let result = self.active(&entry).await?;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = Answers<IsActiveResponse>;

    async fn stream_is_active(
        self: Arc<Self>,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let entry = self.triggers.find(request.get_ref())?;
        entry.live()?;
        let stop = self.stop.streams.clone();
        Ok(until(stop, self.changes(entry)))
    }

    async fn get_metric_spec(
        self: Arc<Self>,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        Ok(Response::new(self.spec(request.get_ref())))
    }

    async fn get_metrics(
        self: Arc<Self>,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let asked = request.into_inner().scaled_object_ref.unwrap_or_default();
        let value = self.metric(&asked).await?;
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }

    type StreamMetricSpecStream = Answers<GetMetricSpecResponse>;

    async fn stream_metric_spec(
        self: Arc<Self>,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let spec = self.spec(request.get_ref());
        Ok(until(self.stop.streams.clone(), tokio_stream::once(Ok(spec))))
    }
}

/// The answers as they come, until the server shuts down.
fn until<T: Send + 'static>(
    stop: CancellationToken,
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Response<Answers<T>> {
    let end = tokio_stream::once(())
        .then(move |()| stop.clone().cancelled_owned())
        .map(|()| Err(Error::ShuttingDown.into()));
    Response::new(Box::pin(answers.merge(end)))
}

fn spec(trigger: &Trigger) -> MetricSpec {
    metric_spec(&trigger.metric_name, trigger.target)
}

fn metric_spec(name: &str, target: u64) -> MetricSpec {
    MetricSpec {
        metric_name: name.to_owned(),
        target_size: int64(target),
        target_size_float: target as f64,
    }
}

/// A lower bound is served as its value: it is above 0, and the true count only starts more.
fn metric_value(name: &str, backlog: Backlog) -> MetricValue {
    MetricValue {
        metric_name: name.to_owned(),
        metric_value: int64(backlog.count()),
        metric_value_float: backlog.count() as f64,
    }
}

fn int64(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
