//! The program: parses the command line, and leaves the rest to [`keda_sift::commands`].

use std::process::ExitCode;

use clap::Parser as _;
use keda_sift::commands::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
