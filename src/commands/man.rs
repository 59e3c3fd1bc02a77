//! `keda-sift man`: the manual, as pages for man(1).

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;

use super::Cli;

/// Writes the manual into a folder: keda-sift.1, and a page for each command.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  keda-sift man ~/.local/share/man/man1 && man keda-sift-types")]
pub(super) struct Args {
    /// The folder, which is made if it is not there.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes it.
pub(super) fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", args.folder.display());
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &Args) -> io::Result<()> {
    std::fs::create_dir_all(&args.folder)?;
    // The command that lists the commands would have a page for each of them again.
    let cli = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(cli, &args.folder)
}
