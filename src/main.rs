//! The program: parses the command line, and leaves the rest to [`keda_sift::commands`].

use std::process::ExitCode;

use keda_sift::commands::Cli;
use tikv_jemallocator::Jemalloc;

/// A burst of polls leaves the C library's heap fragmented and resident; this one gives it back.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    Cli::from_args().run()
}
