//! The benchmarks: each prints a ratio to a yardstick that is measured beside it in the same run,
//! so that a slow or busy machine slows both.
//!
//! `make bench` runs all, `make bench ARGS='-- poll rpc'` some. The last lines say of each figure
//! whether its goal is met.

mod bare_link;
mod flood;
mod ingest;
mod keda;
mod memory;
mod namespace;
mod peek;
mod poll;
mod report;
mod rpc;
mod service_bus_poll;
mod watched;

use report::Report;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if wanted == [namespace::ARGUMENT] {
        return runtime.block_on(namespace::serve());
    }
    let mut report = Report::default();
    if runs("memory") {
        memory::run(&mut report);
    }
    if runs("ingest") {
        runtime.block_on(ingest::run(&mut report));
    }
    if runs("flood") {
        runtime.block_on(flood::run(&mut report));
    }
    if runs("poll") {
        runtime.block_on(poll::run(&mut report));
    }
    if runs("keda") {
        runtime.block_on(keda::run(&mut report));
    }
    if runs("rpc") {
        runtime.block_on(rpc::run(&mut report));
    }
    if runs("peek") {
        runtime.block_on(peek::run(&mut report));
    }
    if runs("service_bus_poll") {
        runtime.block_on(service_bus_poll::run(&mut report));
    }
    report.print();
}
