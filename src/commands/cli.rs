//! Which commands there are; each says what it needs in its own file.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{check, completions, man, serve, types};
use crate::version::VERSION;

/// A KEDA external scaler that counts the messages that matter: in a Kafka topic, only those of the
/// types a Job handles.
#[derive(Debug, Parser)]
#[command(name = "keda-sift", version = VERSION, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Check(Box<check::Args>),
    Types(Box<types::Args>),
    Completions(completions::Args),
    Man(man::Args),
}

impl Cli {
    /// Runs the command to its end. What went wrong is on standard error by then.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(*args),
            Command::Check(args) => check::run(&args),
            Command::Types(args) => types::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    }
}
