//! `keda-sift completions`: what a shell needs to complete a command line.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// Prints what a shell needs to complete the commands, their options, and in bash and zsh the keys
/// of `types`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  source <(keda-sift completions bash)
  keda-sift completions fish > ~/.config/fish/completions/keda-sift.fish")]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints it.
pub(super) fn run(args: &Args) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keda-sift", &mut text);
    // Whoever reads it may have gone.
    let _gone = io::stdout().write_all(&text);
    ExitCode::SUCCESS
}
