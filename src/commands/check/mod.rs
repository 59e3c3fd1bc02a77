//! `keda-sift check`: whether the triggers of manifests are well written, and with `--live` what
//! they count now and how many Jobs KEDA would start.

mod document;
mod inspect;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use self::document::Node;
use self::inspect::{Finding, Found, Mark};
pub(super) use self::report::Output;
use self::report::{OfFile, OfTrigger, Report};
use super::connections::Connections;
use super::duration::parse_positive;
use super::environment;
use crate::backlog::{Backlog, Measured, Purpose, Scope};
use crate::jobs::{Counted, Present, Scale};
use crate::ledger::{DEFAULT_LIMIT, Ledger};
use crate::metadata::one_line;
use crate::sources::Sources;
use crate::trigger::Trigger;
use crate::wiring::Wired;

/// The largest file that is read: what an API server takes, and more.
const FILE_BYTES: u64 = 16 << 20;

/// What could not be measured, as an exit code.
const UNMEASURED: u8 = 2;

/// Says what is wrong with triggers before KEDA does: reads ScaledJobs and ScaledObjects from
/// files, folders or standard input.
///
/// Exits with 0 if nothing is wrong, 1 if something is, and 2 if something could not be measured.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  keda-sift check invoicing.yaml
  kustomize build overlays/prod | keda-sift check -
  KAFKA_PASSWORD=… keda-sift check manifests/ --live --running 3")]
pub(super) struct Args {
    /// Files or folders of YAML, or - for standard input. Objects of other kinds are passed over.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The namespace of objects that name none.
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,

    /// Also ask the brokers and namespaces that the triggers name what they count now. A key that
    /// ends in FromEnv takes the variable of this environment.
    #[arg(long)]
    live: bool,

    /// How long a count may take, such as 10s.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_positive)]
    timeout: Duration,

    /// Jobs that are running, for the number that KEDA would start.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "live")]
    running: u64,

    /// Jobs that are pending, likewise.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "live")]
    pending: u64,

    /// How to print what was found.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,

    #[command(flatten)]
    connections: Connections,
}

/// Checks to the end.
pub(super) fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(report) => {
            // Whoever reads it may have gone.
            let _gone = io::stdout().write_all(report.print(args.output).as_bytes());
            match (report.has_errors(), args.live && report.has_unknown()) {
                (true, _) => ExitCode::FAILURE,
                (false, true) => ExitCode::from(UNMEASURED),
                (false, false) => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &Args) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    let mut documents: Vec<(String, Vec<Node>)> = Vec::new();
    for (file, text) in texts(&args.files)? {
        match text.and_then(|text| document::read(&text)) {
            Ok(objects) => documents.push((file, objects)),
            Err(problem) => report.files.push(OfFile { file, problem }),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let live = match args.live {
        true => Some(runtime.block_on(async {
            let kubernetes = args.connections.kubernetes().await?;
            args.connections.wire(args.timeout, kubernetes)
        })?),
        false => None,
    };
    for (file, objects) in &documents {
        for object in objects {
            let found = inspect::triggers(object, &args.namespace);
            let look = |found| runtime.block_on(look(found, file, args, live.as_ref()));
            let mut all: Vec<OfTrigger> = found.iter().map(look).collect();
            if live.is_some() && object.text("kind") == Some("ScaledJob") {
                tell_jobs(object, &found, &mut all, args);
            }
            report.triggers.extend(all);
        }
    }
    if let Some(Wired { sources, identities }) = live {
        runtime.block_on(async {
            sources.shutdown().await;
            identities.shutdown().await;
        });
    }
    runtime.shutdown_background();
    Ok(report)
}

/// The texts of all files, by their names; those of a folder in the order of their names.
fn texts(files: &[PathBuf]) -> io::Result<BTreeMap<String, Result<String, String>>> {
    let mut texts = BTreeMap::new();
    for file in files {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().take(FILE_BYTES).read_to_string(&mut text)?;
            texts.insert("-".to_owned(), Ok(text));
        } else if file.is_dir() {
            for entry in fs::read_dir(file)? {
                let path = entry?.path();
                let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
                if is_yaml && path.is_file() {
                    texts.insert(path.display().to_string(), text(&path));
                }
            }
        } else {
            texts.insert(file.display().to_string(), text(file));
        }
    }
    Ok(texts)
}

fn text(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES {
        return Err(format!("has {size} bytes; at most {FILE_BYTES} are read"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// All that can be said of one trigger.
async fn look(found: &Found<'_>, file: &str, args: &Args, live: Option<&Wired>) -> OfTrigger {
    let mut findings = found.written();
    let mut metadata = found.metadata();
    if live.is_some() {
        findings.extend(resolve(found, &mut metadata));
    }
    let (trigger, complaints) = found.decode(&metadata, live.is_some());
    findings.extend(complaints);
    let mut of = OfTrigger {
        file: file.to_owned(),
        kind: found.kind.to_owned(),
        namespace: found.namespace.clone(),
        name: found.name.clone(),
        trigger: found.number,
        place: trigger.as_ref().map(Trigger::place),
        findings,
        count: None,
        is_lower_bound: false,
        counted: None,
    };
    if let Some(trigger) = &trigger {
        of.findings.insert(0, found.finding(Mark::Fine, "metadata", summary(trigger)));
        of.findings.extend(found.doubts(trigger));
        if let Some(Wired { sources, .. }) = live {
            measure(found, trigger, sources, args.timeout, &mut of).await;
        }
    }
    of
}

/// Takes the values of this environment for keys that name a variable; tells which are not there.
fn resolve(found: &Found<'_>, metadata: &mut HashMap<String, String>) -> Vec<Finding> {
    let unset = environment::resolve(metadata).into_iter();
    unset
        .map(|(key, variable)| {
            let words = format!("the variable {variable} is not set here; set it for --live");
            found.finding(Mark::Unknown, &key, words)
        })
        .collect()
}

/// What of the messages counts, in a few words.
fn summary(trigger: &Trigger) -> String {
    let (selection, scaling) = (trigger.selection(), trigger.scaling());
    let types = match &selection.types {
        Some(types) => format!("types {}", one_line(&types.to_string(), 60)),
        None => "any type".to_owned(),
    };
    let filter = if selection.filter.is_some() { ", a filter" } else { "" };
    format!("{types}{filter}; {} messages a Job", scaling.target)
}

async fn measure(
    found: &Found<'_>,
    trigger: &Trigger,
    sources: &Sources,
    timeout: Duration,
    of: &mut OfTrigger,
) {
    let account = Ledger::new(DEFAULT_LIMIT).account(&found.namespace);
    let poller = sources.follow(trigger, &account);
    let measured =
        poller.measure(Instant::now() + timeout, Purpose::Metric, Scope::default()).await;
    match measured {
        Ok(Measured { metric, activity }) => {
            let scaling = trigger.scaling();
            of.counted = Some(Counted {
                value: metric.count(),
                target: scaling.target,
                is_active: activity.exceeds(scaling.activation).unwrap_or(false),
            });
            of.count = Some(metric.count());
            of.is_lower_bound = matches!(metric, Backlog::AtLeast(_));
            let or_more = if of.is_lower_bound { " or more" } else { "" };
            let sight = poller.sight().filter(|sight| sight.messages() > 0);
            let finding = match sight {
                Some(sight) if metric.count() == 0 => {
                    let words = format!("0; among the messages looked at last: {sight}");
                    let finding = found.finding(Mark::Note, "count", words);
                    Finding { see: Some("it-is-always-0"), ..finding }
                }
                _ => found.finding(Mark::Fine, "count", format!("{}{or_more}", metric.count())),
            };
            of.findings.push(finding);
        }
        Err(failure) => {
            let words = one_line(&failure.to_string(), 900);
            of.findings.push(found.finding(Mark::Unknown, "count", words));
        }
    }
}

/// Adds to the last trigger of a ScaledJob how many Jobs KEDA would start, where each has a count.
fn tell_jobs(object: &Node, found: &[Found<'_>], all: &mut [OfTrigger], args: &Args) {
    let Some(spec) = object.get("spec") else { return };
    let triggers = spec.get("triggers").map_or(0, |triggers| triggers.items().len());
    let scale = Scale::of(&spec.json());
    let counted: Vec<Counted> = all.iter().filter_map(|of| of.counted).collect();
    let Some((last, found)) = all.last_mut().zip(found.last()) else { return };
    if counted.len() < triggers {
        let words = "not every trigger of it has a count".to_owned();
        last.findings.push(found.finding(Mark::Unknown, "jobs", words));
        return;
    }
    let present = Present { running: args.running, pending: args.pending };
    let (starts, max) = (scale.starts(&counted, present), scale.max());
    let words = format!(
        "{} running, {} pending, at most {max}: {starts} would start",
        args.running, args.pending
    );
    last.findings.push(found.finding(Mark::Fine, "jobs", words));
}

/// One trigger of a file, by its object and metadata.
pub(super) struct Written {
    /// As `scaledjob media/thumbnails`.
    pub(super) object: String,
    pub(super) namespace: String,
    pub(super) metadata: HashMap<String, String>,
}

/// The triggers of type external in a file, or in what comes by standard input for `-`, in their
/// order; for other commands than this one.
///
/// # Errors
/// It cannot be read, or is no YAML.
pub(super) fn written(file: &Path, namespace: &str) -> Result<Vec<Written>, String> {
    let texts = texts(&[file.to_owned()]).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for text in texts.into_values() {
        for object in &document::read(&text?)? {
            for found in inspect::triggers(object, namespace) {
                let kind = found.kind.to_lowercase();
                let object = format!("{kind} {}/{}", found.namespace, found.name);
                let metadata = found.metadata();
                all.push(Written { object, namespace: found.namespace, metadata });
            }
        }
    }
    Ok(all)
}
