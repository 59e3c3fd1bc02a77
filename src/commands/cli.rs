//! Which commands there are; each says what it needs in its own file.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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

/// How the program is called as a plugin of kubectl, which has `_` for a dash of its name.
const PLUGIN: &str = "kubectl-keda_sift";

impl Cli {
    /// What the command line says. Ends the process where that is no command, or asks for help.
    ///
    /// As a plugin of kubectl it calls itself `kubectl keda-sift`.
    pub fn from_args() -> Cli {
        let called = std::env::args_os().next().unwrap_or_default();
        let command = match Path::new(&called).file_stem() == Some(OsStr::new(PLUGIN)) {
            true => Cli::command().bin_name("kubectl keda-sift"),
            false => Cli::command(),
        };
        let matches = command.get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

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
