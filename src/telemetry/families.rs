//! Figures that somebody else keeps, and that are read when a page is asked for.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::catalog::{Kind, Metric};

/// A counter or gauge, and its series.
#[derive(Debug)]
pub struct Family {
    metric: &'static Metric,
    samples: Vec<(Labels, Value)>,
}

/// What tells the series of a family apart, with its values.
pub type Labels = Vec<(&'static str, String)>;

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// Any number.
    Number(f64),
}

/// All figures of a page, encoded once.
#[derive(Debug)]
pub(super) struct Families(pub(super) Vec<Family>);

impl Family {
    /// Without series yet.
    pub fn of(metric: &'static Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    /// With one more series.
    #[must_use]
    pub fn with(mut self, labels: Labels, value: impl Into<Value>) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a series.
    pub fn push(&mut self, labels: Labels, value: impl Into<Value>) {
        self.samples.push((labels, value.into()));
    }

    fn encode(&self, mut metric: MetricEncoder<'_>) -> std::fmt::Result {
        for (labels, value) in &self.samples {
            match labels.is_empty() {
                true => self.encode_value(&mut metric, *value)?,
                false => self.encode_value(&mut metric.encode_family(labels)?, *value)?,
            }
        }
        Ok(())
    }

    fn encode_value(&self, metric: &mut MetricEncoder<'_>, value: Value) -> std::fmt::Result {
        let none: Option<&Exemplar<NoLabelSet, f64>> = None;
        match (self.metric.kind == Kind::Counter, value) {
            (true, Value::Count(count)) => metric.encode_counter(&count, none),
            (true, Value::Number(number)) => metric.encode_counter(&number, none),
            (false, Value::Count(count)) => metric.encode_gauge(&count),
            (false, Value::Number(number)) => metric.encode_gauge(&number),
        }
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        for family in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let Metric { name, kind, unit, help, .. } = family.metric;
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                _ => MetricType::Gauge,
            };
            let unit = unit.map(Into::into);
            family.encode(encoder.encode_descriptor(name, help, unit.as_ref(), kind)?)?;
        }
        Ok(())
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}
