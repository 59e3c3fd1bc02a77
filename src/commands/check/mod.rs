//! `keda-sift check`: whether the triggers of manifests are well written, and with `--live` what
//! they count now and how many Jobs KEDA would start.
//!
//! | file | answers |
//! |---|---|
//! | `input` | which texts there are to check |
//! | `document` | what a text of YAML holds, and where |
//! | `object`, `fields` | what is wrong with an object as a whole |
//! | `inspect` | what is wrong with a trigger |
//! | `values` | what its variables and its TriggerAuthentication hold |
//! | `live` | what it counts now |
//! | `finding`, `report` | what is said of it, and how that is printed |

mod document;
mod fields;
mod finding;
mod input;
mod inspect;
mod live;
mod object;
mod report;
mod values;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use self::document::Node;
use self::finding::{Mark, See};
use self::input::Input;
use self::inspect::Found;
use self::object::{Kind, Object};
use self::report::{OfFile, OfObject, OfTrigger, Output, Report};
use self::values::Lookup;
use super::connections::Connections;
use super::duration::parse_positive;
use crate::jobs::Scale;
use crate::metadata::one_line;
use crate::trigger::Trigger;
use crate::wiring::Wired;

/// What could not be measured, as an exit code.
const UNMEASURED: u8 = 2;

/// Says what is wrong with triggers before KEDA does: reads ScaledJobs, ScaledObjects and
/// TriggerAuthentications from files, folders or standard input.
///
/// Exits with 0 if nothing is wrong, 1 if something is, and 2 if something could not be measured.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  keda-sift check invoicing.yaml
  kustomize build overlays/prod | keda-sift check -
  KAFKA_PASSWORD=… keda-sift check manifests/ --live --running 3")]
pub(super) struct Args {
    /// Files or folders of YAML, or - for standard input. Objects of other kinds are passed over,
    /// but for the Secrets, ConfigMaps and workloads that triggers refer to.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Look into the folders of a folder too.
    #[arg(short = 'R', long)]
    recursive: bool,

    /// The namespace of objects that name none.
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,

    /// Also ask the brokers and namespaces that the triggers name what they count now. A key that
    /// ends in FromEnv takes the variable of this environment, or else that of the Job's container
    /// as far as the files have it.
    #[arg(long)]
    live: bool,

    /// How long a count may take, such as 10s.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_positive)]
    timeout: Duration,

    /// Jobs that are running, for the number that KEDA would start.
    #[arg(long, value_name = "NUMBER", requires = "live")]
    running: Option<u64>,

    /// Jobs that are pending, likewise.
    #[arg(long, value_name = "NUMBER", requires = "live")]
    pending: Option<u64>,

    /// How to print what was found.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,

    #[command(flatten)]
    connections: Connections,
}

/// What a look needs beside the files.
struct Checker<'a> {
    args: &'a Args,
    input: Input,
    live: Option<Wired>,
}

/// Checks to the end.
pub(super) fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let live = match args.live {
            true => {
                let kubernetes = args.connections.kubernetes().await?;
                Some(args.connections.wire(args.timeout, kubernetes)?)
            }
            false => None,
        };
        let input = Input::new(&args.files, args.recursive);
        let checker = Checker { args, input, live };
        let report = checker.look().await;
        // Whoever reads it may have gone.
        let _gone = io::stdout().write_all(report.print(args.output).as_bytes());
        checker.shutdown().await;
        Ok::<_, Box<dyn Error>>(match (report.has_errors(), args.live && report.has_unknown()) {
            (true, _) => ExitCode::FAILURE,
            (false, true) => ExitCode::from(UNMEASURED),
            (false, false) => ExitCode::SUCCESS,
        })
    });
    runtime.shutdown_background();
    code
}

impl Checker<'_> {
    /// Everything there is to say, as it is now.
    async fn look(&self) -> Report {
        let mut report = Report::default();
        let mut documents: Vec<(String, Vec<Node>)> = Vec::new();
        for (file, text) in self.input.texts() {
            match text.and_then(|text| document::read(&text)) {
                Ok(objects) => documents.push((file, objects)),
                Err(problem) => report.files.push(OfFile { file, problem }),
            }
        }
        let namespace = self.args.namespace.as_str();
        let lookup = Lookup::new(&documents, namespace, self.live.is_some(), None);
        for (file, objects) in &documents {
            let objects = objects.iter().filter_map(|node| Object::of(file, node, namespace));
            for object in objects.filter(Object::is_ours) {
                let of = self.of_object(&object, &lookup).await;
                // There is nothing to say of a TriggerAuthentication that is well.
                if object.kind.is_scaled() || !of.findings.is_empty() {
                    report.objects.push(of);
                }
            }
        }
        lookup.shutdown().await;
        report
    }

    async fn of_object(&self, object: &Object<'_>, lookup: &Lookup<'_>) -> OfObject {
        let mut of = OfObject {
            file: object.file.to_owned(),
            kind: object.kind.as_str(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            triggers: Vec::new(),
            findings: object.findings(),
            starts: None,
        };
        let scale = (object.kind == Kind::ScaledJob)
            .then(|| Scale::of(&object.spec().map(Node::json).unwrap_or_default()));
        // Beside other triggers the count of one does not say how many Jobs start.
        let triggers = object.spec().and_then(|spec| spec.get("triggers"));
        let is_alone = triggers.is_some_and(|triggers| triggers.items().len() == 1);
        let max_jobs = scale.as_ref().filter(|_| is_alone).map(Scale::max);
        for found in object.triggers() {
            of.triggers.push(self.of_trigger(object, &found, lookup, max_jobs).await);
        }
        if let (Some(scale), true) = (scale, self.live.is_some() && !of.triggers.is_empty()) {
            let (running, pending) = (self.args.running, self.args.pending);
            live::jobs(object, &scale, running.unwrap_or(0), pending.unwrap_or(0), &mut of);
        }
        of
    }

    /// All that can be said of one trigger.
    async fn of_trigger(
        &self,
        object: &Object<'_>,
        found: &Found<'_>,
        lookup: &Lookup<'_>,
        max_jobs: Option<u64>,
    ) -> OfTrigger {
        let mut of =
            OfTrigger { number: found.number, place: None, findings: Vec::new(), count: None };
        match found.written() {
            Ok(findings) => of.findings = findings,
            Err(finding) => {
                of.findings.push(finding);
                return of;
            }
        }
        let values = lookup.values(object, found, &mut of.findings).await;
        let (trigger, complaints) = found.decode(&values);
        of.findings.extend(complaints);
        let Some(trigger) = trigger else { return of };
        of.place = Some(trigger.place());
        let fine = found.finding(Mark::Fine, "metadata", summary(&trigger), See::Parameters);
        of.findings.insert(0, fine);
        of.findings.extend(found.doubts(&trigger, max_jobs));
        if let Some(Wired { sources, .. }) = &self.live
            && values.are_known()
        {
            live::measure(found, &trigger, sources, self.args.timeout, &mut of).await;
        }
        of
    }

    async fn shutdown(self) {
        if let Some(Wired { sources, identities }) = self.live {
            sources.shutdown().await;
            identities.shutdown().await;
        }
    }
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
