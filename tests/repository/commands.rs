//! The commands against each other and the decoder: `--help`, the manual, what shells complete, the
//! pages for users and the chart have the same keys and options.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::{Arg, CommandFactory as _};
use keda_sift::commands::Cli;
use keda_sift::metadata::Use;
use keda_sift::source::PARAMETERS;
use keda_sift::sources::Sources;
use keda_sift::trigger::Trigger;
use keda_sift::version::{COMMIT, VERSION};
use regex::Regex;
use tempfile::TempDir;
use test_basics::metadata;

const COMMANDS: &str = include_str!("../../docs/commands.md");
const DEPLOYMENT: &str = include_str!("../../charts/keda-sift/templates/deployment.yaml");
const PROGRAM: &str = env!("CARGO_BIN_EXE_keda-sift");
const VALUES: &str = include_str!("../../charts/keda-sift/values.yaml");

type Names = BTreeSet<String>;

/// What the program prints, whatever else the environment says.
fn said(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A page of the manual, without the backslashes of its markup.
fn page(folder: &Path, command: &str) -> String {
    let page = std::fs::read_to_string(folder.join(format!("keda-sift-{command}.1"))).unwrap();
    page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
}

/// All that the first group of a pattern matches.
fn matches(text: &str, pattern: &str) -> Names {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The options of a command, with two dashes.
fn options(command: &clap::Command) -> Vec<&Arg> {
    command.get_arguments().filter(|option| option.get_long().is_some()).collect()
}

/// `Cli`, with what every command has.
fn cli() -> clap::Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

fn commands(cli: &clap::Command) -> Vec<&clap::Command> {
    cli.get_subcommands().filter(|command| command.get_name() != "help").collect()
}

#[test]
fn every_key_of_the_decoder_is_in_help_the_manual_and_the_completions() {
    let tables = Sources::tables().map(|(_, table)| table).chain([&PARAMETERS]);
    let parameters = tables.flat_map(|table| table.parameters);
    let read = parameters.filter(|parameter| parameter.use_ == Use::Read);
    let expected: Names = read.map(|parameter| parameter.key.to_owned()).collect();
    assert!(expected.contains("bootstrapServers") && expected.contains("queueName"));

    let folder = TempDir::new().unwrap();
    said(&["man", folder.path().to_str().unwrap()]);
    let after_keys = |text: &str| text.split_once("Keys:").unwrap().1.to_owned();
    let of_keys = r"(?m)^ *([a-z]\w+)(?: \([a-z, -]+\))?\n {5,}\S";
    let help = matches(&after_keys(&said(&["types", "--help"])), of_keys);
    assert_eq!(help, expected, "--help");
    let manual = matches(&after_keys(&page(folder.path(), "types")), of_keys);
    assert_eq!(manual, expected, "the manual");
    for shell in ["bash", "zsh"] {
        let script = said(&["completions", shell]);
        // One line has them all; others assign variables of the script.
        let line = script.lines().find(|line| line.contains("bootstrapServers=")).unwrap();
        let words = line.split([' ', '(', ')', '"']).filter_map(|word| word.strip_suffix('='));
        let words = words.filter(|key| !key.is_empty() && *key != "opts");
        let completed: Names = words.map(str::to_owned).collect();
        assert_eq!(completed, expected, "what {shell} completes");
    }
}

#[test]
fn every_option_is_in_help_the_manual_and_the_completions() {
    let folder = TempDir::new().unwrap();
    said(&["man", folder.path().to_str().unwrap()]);
    let shells = ["bash", "zsh", "fish", "elvish", "powershell"];
    let completions = shells.map(|shell| (shell, said(&["completions", shell])));
    let cli = cli();
    for command in commands(&cli) {
        let name = command.get_name();
        let expected: Names =
            options(command).iter().filter_map(|of| Some(of.get_long()?.to_owned())).collect();
        assert!(expected.contains("help"), "{name}");
        let help = matches(&said(&[name, "--help"]), r"(?m)^ +(?:-\w, )?--([a-z-]+)");
        // The examples name options as well.
        assert!(help.is_superset(&expected), "{name} --help: {help:?}");
        let manual = matches(&page(folder.path(), name), r"--([a-z][a-z-]+)");
        assert!(manual.is_superset(&expected), "the page of {name}: {manual:?}");
        for (shell, text) in &completions {
            for option in &expected {
                let dashed = format!("--{option}");
                let fish = format!("-l {option}");
                let has = text.contains(&dashed) || text.contains(&fish);
                assert!(has, "{shell} completes no --{option} of {name}");
            }
        }
    }
}

/// The cells of the rows of a table that begins with this one.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let lines = lines.take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    lines.map(cells).collect()
}

#[test]
fn every_option_of_serve_is_in_the_docs_and_its_value_in_the_chart() {
    let cli = cli();
    let serve = cli.find_subcommand("serve").unwrap();
    let documented = rows(COMMANDS, "| option | variable |");
    let told: Vec<&str> = documented.iter().map(|row| row[0].as_str()).collect();
    let options: Vec<&Arg> =
        options(serve).into_iter().filter(|of| of.get_env().is_some()).collect();
    let named: Vec<String> =
        options.iter().map(|of| format!("--{}", of.get_long().unwrap())).collect();
    assert_eq!(told, named, "docs/commands.md lists the options of serve in their order");
    for (option, row) in options.iter().zip(&documented) {
        let [name, variable, default, value, _] = &row[..] else { panic!("{row:?}") };
        assert_eq!(option.get_env().unwrap(), variable.as_str(), "{name}");
        let defaults = option.get_default_values();
        if let Some(real) = defaults.first() {
            assert_eq!(default, real.to_str().unwrap(), "{name}");
        }
        let is_set = DEPLOYMENT.contains(&format!("- name: {variable}\n"));
        assert_eq!(is_set, !value.is_empty(), "{name}: whether the chart sets it");
        if !value.is_empty() {
            let (first, rest) = value.split_once('.').unwrap_or((value, ""));
            let top = VALUES.split_once(&format!("\n{first}:"));
            let (_, below) = top.unwrap_or_else(|| panic!("{name}: values.yaml has no {value}"));
            let block: Vec<&str> = below
                .lines()
                .skip(1)
                .take_while(|line| line.is_empty() || line.starts_with([' ', '#']))
                .collect();
            let is_there = rest.is_empty()
                || block.iter().any(|line| line.trim_start().starts_with(&format!("{rest}:")));
            assert!(is_there, "{name}: values.yaml has no {value}");
        }
    }
    for variable in matches(DEPLOYMENT, r"- name: (SIFT_\w+)") {
        assert!(documented.iter().any(|row| row[1] == variable), "{variable} is no option's");
    }
}

#[test]
fn the_version_names_the_commit_where_it_is_known() {
    assert_eq!(said(&["--version"]), format!("keda-sift {VERSION}\n"));
    assert_eq!(said(&["types", "--version"]), format!("keda-sift-types {VERSION}\n"));
    let expected = match COMMIT {
        "unknown" => env!("CARGO_PKG_VERSION").to_owned(),
        commit => format!("{} ({})", env!("CARGO_PKG_VERSION"), &commit[..7]),
    };
    assert_eq!(VERSION, expected);
}

#[test]
fn the_trigger_that_the_page_shows_is_one() {
    let (_, shown) = COMMANDS.split_once("A trigger to paste:\n\n").unwrap();
    let rows: Vec<(&str, &str)> = shown
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("    "))
        .filter_map(|line| line.trim().split_once(": "))
        .collect();
    assert!(rows.len() > 5, "{rows:?}");
    Trigger::decode(&metadata(&rows)).expect("a trigger");
}
