//! Each call of the contract with KEDA.
//!
//! - `GetMetricSpec` looks at the metadata only and does not fail: KEDA skips a trigger whose spec
//!   fails without telling anyone. Metadata that cannot be read has a spec too, so that KEDA goes
//!   on to `GetMetrics`, whose error says what is wrong.
//! - One spec and one value, under our own name whatever name was asked for: KEDA adds values up
//!   and averages targets.
//! - Each call ends: at the measure timeout, or when the server does. A caller that cancels drops
//!   its own future, and nothing that others wait for.
//! - The streams outlive what passes. An error that asking again may mend leaves the last state
//!   standing; they end when the server shuts down, so that KEDA goes to another one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Response, Status};
use tracing::{Instrument as _, Span, debug, info_span, warn};

use super::context::KubernetesContext;
use super::history::Answer;
use super::live::{LiveTrigger, NothingMatches};
use super::proto::external_scaler_server::ExternalScaler;
use super::proto::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef,
};
use super::status::{Error, MAX_BYTES};
use super::triggers::{Entry, Triggers};
use crate::backlog::Backlog;
use crate::ledger::{DEFAULT_LIMIT, Ledger};
use crate::metadata::one_line;
use crate::source::Explanation;
use crate::sources::Sources;
use crate::telemetry::{Metrics, POLL};
use crate::trigger::Spec;

/// How often an open `StreamIsActive` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a source gets beyond the deadline to say in its own words why there is no count.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The service that KEDA calls.
pub struct Scaler {
    pub(super) triggers: Triggers,
    pub(super) sources: Sources,
    pub(super) cluster: KubernetesContext,
    pub(super) options: Options,
    pub(super) stop: Stop,
    pub(super) metrics: Metrics,
}

/// What a measurement that only warms has found.
pub(super) struct Warmth {
    pub(super) backlog: Backlog,
    /// Whether it stopped because it need not count further.
    pub(super) is_limit: bool,
}

/// How long things last.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long one measurement may take.
    pub measure_timeout: Duration,
    /// How long a trigger is followed without a poll.
    pub forget_after: Duration,
    /// Bytes that triggers of all namespaces may make the process hold.
    pub memory_limit: usize,
    /// Whether metrics have series for each trigger.
    pub trigger_metrics: bool,
    /// Whether somebody may ask how triggers were, so that it is remembered.
    pub is_told: bool,
    /// How long nobody polls a trigger that warm-up follows before that is told on its object.
    pub unpolled_after: Duration,
}

impl Default for Options {
    /// Those of `keda-sift serve`.
    fn default() -> Self {
        Self {
            measure_timeout: Duration::from_secs(10),
            forget_after: Duration::from_secs(900),
            memory_limit: DEFAULT_LIMIT,
            trigger_metrics: false,
            is_told: false,
            unpolled_after: Duration::from_secs(300),
        }
    }
}

/// When calls and streams end, decided by whoever ends the server.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Ends the open streams, which would never end by themselves.
    pub streams: CancellationToken,
    /// Ends the calls that are still under way.
    pub calls: CancellationToken,
}

/// The header of a reply that says why its value is 0; `grpcurl -v` shows it.
const NOTE: &str = "keda-sift-note";

/// Bytes of a name that the log shows.
const SHOWN_BYTES: usize = 200;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Scaler {
    /// A scaler that follows no trigger yet.
    pub fn new(sources: Sources, options: Options, stop: Stop) -> Self {
        Self::in_cluster(sources, KubernetesContext::default(), options, stop)
    }

    /// The same in a cluster whose objects triggers may name.
    pub fn in_cluster(
        sources: Sources,
        cluster: KubernetesContext,
        options: Options,
        stop: Stop,
    ) -> Self {
        Self {
            triggers: Triggers::new(Ledger::new(options.memory_limit), options.is_told),
            sources,
            cluster,
            options,
            stop,
            metrics: Metrics::new(Sources::names()),
        }
    }

    /// What is counted, for whoever has something to count.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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
        tokio::join!(self.sources.shutdown(), self.cluster.shutdown());
    }

    fn spec(&self, asked: &ScaledObjectRef) -> GetMetricSpecResponse {
        let spec = match self.triggers.find(asked) {
            Ok(entry) => entry.spec(asked),
            // Too many to keep this one, which GetMetrics will say.
            Err(_) => Spec::decode(&asked.scaler_metadata),
        };
        GetMetricSpecResponse { metric_specs: vec![metric_spec(&spec)] }
    }

    /// The value, and why it is 0 where there is something to say.
    async fn metric(
        &self,
        asked: &ScaledObjectRef,
    ) -> Result<(MetricValue, Option<NothingMatches>), Error> {
        let _held = self.triggers.hold(asked)?;
        let entry = self.triggers.find(asked)?;
        let measured = self.in_time(&entry, asked, async |live, deadline| {
            let scope = entry.scope(live.trigger());
            let backlog = live.metric(&self.sources, deadline, scope).await?;
            let is_limit = live.trigger().stops_at(backlog, scope.enough);
            let is_none = backlog == Backlog::Exact(0);
            let why = is_none.then(|| live.nothing_matches()).flatten();
            let value = metric_value(&live.trigger().scaling().metric_name, backlog);
            Ok((value, Answer { backlog, is_limit }, why))
        });
        let began = Instant::now();
        let measured = measured.await;
        let answer = measured.as_ref().map(|(_, answer, _)| *answer);
        entry.history().note(SystemTime::now(), began.elapsed(), answer);
        match &measured {
            Err(error) => self.cluster.tell(asked, error),
            Ok((_, _, Some(NothingMatches { words, is_new: true }))) => {
                let ScaledObjectRef { namespace, name, .. } = asked;
                let shown = |name| one_line(name, SHOWN_BYTES);
                let (namespace, name) = (shown(namespace), shown(name));
                warn!(%namespace, %name, why = words, "a trigger counts 0 while other messages wait");
                self.cluster.tell_nothing_matches(asked, words);
            }
            Ok(_) => {}
        }
        measured.map(|(value, _, why)| (value, why))
    }

    async fn active(&self, entry: &Entry, asked: &ScaledObjectRef) -> Result<bool, Error> {
        self.in_time(entry, asked, async |live, deadline| {
            live.is_active(&self.sources, deadline, entry.scope(live.trigger())).await
        })
        .await
    }

    /// Measures a trigger as it is now, so that a first poll need not wait.
    pub(super) async fn warm(
        &self,
        entry: &Entry,
        asked: &ScaledObjectRef,
    ) -> Result<Warmth, Error> {
        self.in_time(entry, asked, async |live, deadline| {
            let scope = entry.scope(live.trigger());
            let backlog = live.warm(&self.sources, deadline, scope).await?;
            Ok(Warmth { backlog, is_limit: live.trigger().stops_at(backlog, scope.enough) })
        })
        .await
    }

    /// Waits for a measurement, but not for ever, whatever the source does.
    async fn in_time<T>(
        &self,
        entry: &Entry,
        asked: &ScaledObjectRef,
        measure: impl AsyncFnOnce(&LiveTrigger, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut source = None;
        name_poll(asked);
        let measured = self.until_deadline(async |deadline| {
            let authentication = self.cluster.authentication(asked);
            let authentication = authentication
                .instrument(info_span!(target: POLL, "read the TriggerAuthentication"))
                .await?;
            let live = entry.live(asked, authentication)?;
            source = Some(live.trigger().source());
            measure(&live, deadline).await
        });
        let measured = measured.await;
        if let Err(error) = &measured {
            self.cluster.refused(asked, error);
            if let Some(source) = source {
                self.metrics.measurement_failed(source, error.code());
            }
        }
        measured
    }

    /// A measurement whose number nobody is told, and what it is made of.
    pub(super) async fn explanation(
        &self,
        entry: &Entry,
        live: &LiveTrigger,
    ) -> Result<Explanation, Error> {
        let scope = entry.scope(live.trigger());
        self.until_deadline(async |deadline| live.explain(&self.sources, deadline, scope).await)
            .await
    }

    async fn until_deadline<T>(
        &self,
        measure: impl AsyncFnOnce(Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
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

    /// How long a trigger without a poll is followed.
    pub fn forget_after(&self) -> Duration {
        self.options.forget_after
    }

    /// When what reads of this ends, decided by whoever ends the server.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Whether the trigger is active: at once, then whenever that has changed.
    fn changes(
        self: Arc<Self>,
        entry: Arc<Entry>,
        asked: Arc<ScaledObjectRef>,
    ) -> impl Stream<Item = Result<IsActiveResponse, Status>> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looks = IntervalStream::new(ticks).then(move |_| {
            let (scaler, entry, asked) =
                (Arc::clone(&self), Arc::clone(&entry), Arc::clone(&asked));
            async move { scaler.active(&entry, &asked).await }
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
        let _held = self.triggers.hold(request.get_ref())?;
        let entry = self.triggers.find(request.get_ref())?;
        let result = self.active(&entry, request.get_ref()).await?;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = Answers<IsActiveResponse>;

    async fn stream_is_active(
        self: Arc<Self>,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let asked = Arc::new(request.into_inner());
        let held = self.triggers.hold(&asked)?;
        let entry = self.triggers.find(&asked)?;
        let authentication = self.cluster.authentication(&asked).await?;
        entry.live(&asked, authentication)?;
        let stop = self.stop.streams.clone();
        // For as long as the stream is open.
        let changes = self.changes(entry, asked).map(move |change| (change, &held).0);
        Ok(until(stop, changes))
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
        let (value, why) = self.metric(&asked).await?;
        let mut response = Response::new(GetMetricsResponse { metric_values: vec![value] });
        if let Some(why) = why.and_then(|why| ascii(&why.words)) {
            response.metadata_mut().insert(NOTE, why);
        }
        Ok(response)
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

/// Says in the poll's span which object it is of.
fn name_poll(asked: &ScaledObjectRef) {
    let span = Span::current();
    if !span.is_disabled() {
        span.record("k8s.namespace.name", one_line(&asked.namespace, SHOWN_BYTES));
        span.record("keda.object", one_line(&asked.name, SHOWN_BYTES));
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

fn metric_spec(spec: &Spec) -> MetricSpec {
    MetricSpec {
        metric_name: spec.metric_name.clone(),
        target_size: int64(spec.target),
        target_size_float: spec.target as f64,
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

/// A text as a header can hold it: what is not ASCII is escaped.
fn ascii(text: &str) -> Option<AsciiMetadataValue> {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            c => ascii.extend(c.escape_unicode()),
        }
    }
    ascii.truncate(MAX_BYTES);
    ascii.try_into().ok()
}

fn int64(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
