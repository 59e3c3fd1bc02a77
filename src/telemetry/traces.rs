//! Traces of polls, for whoever collects them by OTLP.
//!
//! A poll is a span, and each step of its source is one below it. Where the caller has sent W3C's
//! `traceparent`, the poll is part of that trace. Without a collector no span is made.
//!
//! What the standard calls `OTEL_*` (headers, sampling, time-outs, sizes of batches) is heard of.
//! What cannot be sent in time is dropped; a collector that does not answer holds up no poll.
//!
//! # References
//! - <https://www.w3.org/TR/trace-context/>
//! - <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// The target of every span. Log lines show none of them.
pub const POLL: &str = "poll";

/// What the service is called where `OTEL_SERVICE_NAME` does not say.
const SERVICE: &str = "keda-sift";

/// How long what has not been sent yet may take at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

/// The headers of a request.
struct Headers<'a>(&'a HeaderMap);

impl Traces {
    /// To the collector at this URL, by gRPC. To be called within a runtime; connects when there is
    /// something to send.
    ///
    /// # Errors
    /// It is no URL.
    pub fn to(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self(provider))
    }

    /// Makes spans of polls what is sent.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_location(false)
            .with_threads(false);
        layer.with_filter(Targets::new().with_target(POLL, LevelFilter::INFO))
    }

    /// Sends what is left.
    pub async fn end(self) {
        let flush = move || self.0.shutdown_with_timeout(FLUSH_WITHIN);
        // What is not sent by now is lost.
        let _lost = tokio::task::spawn_blocking(flush).await;
    }
}

/// Makes a span part of the trace that a request's headers name, if they do.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled() {
        // A span that is not sampled needs no parent.
        let _unsampled = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
