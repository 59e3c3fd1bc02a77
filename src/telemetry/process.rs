//! What the kernel says of the process, for metrics: time, memory and open files, under the names
//! that every Prometheus client gives them.
//!
//! # References
//! - <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use procfs::process::{LimitValue, Process as Processes};
use procfs::{ProcResult, WithCurrentSystemInfo as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Asks the kernel at each scrape.
#[derive(Debug)]
pub(super) struct Process;

/// What it said.
struct Figures {
    cpu_seconds: f64,
    started_at: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_files: u64,
    most_files: Option<u64>,
}

impl Collector for Process {
    /// Leaves all of it out where the kernel does not say, as in a sandbox without `/proc`.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Ok(figures) = Figures::now() else { return Ok(()) };
        let mut counter = |name, help, value: f64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("process_cpu_seconds", "CPU time of user and system", figures.cpu_seconds)?;
        let mut gauge = |name, help, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_start_time_seconds", "When it started, since 1970", figures.started_at)?;
        gauge("process_resident_memory_bytes", "Resident memory", figures.resident_bytes as f64)?;
        gauge("process_virtual_memory_bytes", "Virtual memory", figures.virtual_bytes as f64)?;
        gauge("process_open_fds", "Open file descriptors", figures.open_files as f64)?;
        match figures.most_files {
            Some(most) => gauge("process_max_fds", "File descriptors at most", most as f64),
            None => Ok(()),
        }
    }
}

impl Figures {
    fn now() -> ProcResult<Self> {
        let process = Processes::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let most_files = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(most) => Some(most),
            LimitValue::Unlimited => None,
        };
        Ok(Self {
            cpu_seconds: (stat.utime as f64 + stat.stime as f64) / ticks,
            started_at: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            open_files: process.fd_count()? as u64,
            most_files,
        })
    }
}
