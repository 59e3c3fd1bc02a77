//! `keda-sift check`: whether the triggers of manifests are well written, with `--live` what they
//! count now and how many Jobs KEDA would start, with `--cluster` what KEDA made of them, and with
//! `--server` what a running keda-sift knows of them.
//!
//! | file | answers |
//! |---|---|
//! | `input` | which texts there are to check |
//! | `document` | what a text of YAML holds, and where |
//! | `object`, `fields` | what is wrong with an object as a whole |
//! | `inspect` | what is wrong with a trigger |
//! | `values` | what its variables and its TriggerAuthentication hold |
//! | `live` | what it counts now, and which Jobs follow |
//! | `cluster` | what a cluster says of it |
//! | `server` | what a running keda-sift says of it |
//! | `watch` | when to look again |
//! | `finding`, `report` | what is said of it, and how that is printed |

mod cluster;
mod document;
mod fields;
mod finding;
mod input;
mod inspect;
mod live;
mod object;
mod report;
mod server;
mod values;
mod watch;

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use self::cluster::Cluster;
use self::document::Node;
use self::finding::{Finding, Mark, See};
use self::input::Input;
use self::inspect::Found;
use self::object::{Kind, Object};
pub(super) use self::report::Output;
use self::report::{OfFile, OfObject, OfTrigger, Report};
use self::server::Server;
use self::values::Lookup;
use self::watch::Watch;
use super::connections::{Connections, is_in_pod};
use super::duration::parse_positive;
use crate::jobs::{Present, Scale};
use crate::kubernetes::Kubernetes;
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
  kubectl keda-sift check invoicing.yaml -n shop --live --cluster
  keda-sift check invoicing.yaml --server http://localhost:9090 --server-token-file token
  KAFKA_PASSWORD=… keda-sift check manifests/ --live --running 3")]
pub(super) struct Args {
    /// Files or folders of YAML, or - for standard input. Objects of other kinds are passed over,
    /// but for the Secrets, ConfigMaps and workloads that triggers refer to.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Look into the folders of a folder too.
    #[arg(short = 'R', long)]
    recursive: bool,

    /// The namespace of objects that name none: by default that of the kubeconfig's context with
    /// --cluster, and else default.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Also ask the brokers and namespaces that the triggers name what they count now. A key that
    /// ends in FromEnv takes the variable of this environment, or else that of the Job's container
    /// as far as the files have it.
    #[arg(long)]
    live: bool,

    /// How long a count may take, such as 10s.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_positive)]
    timeout: Duration,

    /// Also look into the cluster: whether KEDA finds keda-sift, what it last made of the triggers,
    /// and which Jobs there are. With --live, Secrets and ConfigMaps are read there too. The API
    /// server is found as kubectl finds it.
    #[arg(long)]
    cluster: bool,

    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    context: Option<String>,

    /// The namespace in which KEDA runs, where it looks for a scalerAddress that names none.
    #[arg(long, value_name = "NAMESPACE", default_value = "keda")]
    keda_namespace: String,

    /// Jobs that are running, for the number that KEDA would start; by default those of the cluster
    /// with --cluster, and else none.
    #[arg(long, value_name = "NUMBER", requires = "live")]
    running: Option<u64>,

    /// Jobs that are pending, likewise.
    #[arg(long, value_name = "NUMBER", requires = "live")]
    pending: Option<u64>,

    /// Look again after this time, such as 10s, until Ctrl-C.
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5s",
        value_parser = parse_positive
    )]
    watch: Option<Duration>,

    /// How to print what was found.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,

    #[command(flatten)]
    server: server::Options,

    #[command(flatten)]
    connections: Connections,
}

/// What a look needs beside the files.
struct Checker<'a> {
    args: &'a Args,
    input: Input,
    namespace: String,
    live: Option<Wired>,
    cluster: Option<Cluster>,
    server: Option<Server>,
}

/// Checks to the end.
pub(super) fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let mut watch = Watch::new(args.watch, args.output)?;
        let checker = Checker::new(args).await?;
        let code = loop {
            let Some(report) = watch.until_told(checker.look()).await else { break None };
            watch.show(&report.print(args.output));
            let asked = args.live || args.cluster || checker.server.is_some();
            let code = match (report.has_errors(), asked && report.has_unknown()) {
                (true, _) => ExitCode::FAILURE,
                (false, true) => ExitCode::from(UNMEASURED),
                (false, false) => ExitCode::SUCCESS,
            };
            if !watch.goes_on(code).await {
                break Some(code);
            }
        };
        checker.shutdown().await;
        // Told to end before it had looked once, it does not know.
        Ok::<_, Box<dyn Error>>(code.or(watch.last()).unwrap_or(ExitCode::from(UNMEASURED)))
    });
    runtime.shutdown_background();
    code
}

fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_line = cause.to_string();
        if !line.contains(&cause_line) {
            line = format!("{line}: {cause_line}");
        }
        source = cause.source();
    }
    one_line(&line, 900)
}

impl<'a> Checker<'a> {
    async fn new(args: &'a Args) -> Result<Checker<'a>, Box<dyn Error>> {
        let connections = &args.connections;
        let (kubernetes, context_namespace) = match (args.cluster, args.live) {
            (true, _) => {
                let context = args.context.as_deref();
                let (kubernetes, namespace) = connections.kubernetes_of_user(context).await?;
                (kubernetes, Some(namespace))
            }
            (false, true) => (connections.kubernetes().await?, None),
            (false, false) => (Kubernetes::none(), None),
        };
        let cluster = args.cluster.then(|| Cluster {
            kubernetes: kubernetes.clone(),
            keda_namespace: args.keda_namespace.clone(),
            is_within: is_in_pod(),
        });
        let live = args.live.then(|| connections.wire(args.timeout, kubernetes)).transpose()?;
        let namespace = args.namespace.clone().or(context_namespace);
        Ok(Checker {
            args,
            input: Input::new(&args.files, args.recursive),
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            live,
            cluster,
            server: args.server.server(args.timeout)?,
        })
    }
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
        let namespace = self.namespace.as_str();
        // Nobody's Secret is read in vain.
        let cluster = self.cluster.as_ref().filter(|_| self.live.is_some());
        let cluster = cluster.map(|cluster| &cluster.kubernetes);
        let lookup = Lookup::new(&documents, namespace, self.live.is_some(), cluster);
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
        let mut is_paused = object.is_paused();
        if let Some(cluster) = &self.cluster {
            let known = cluster.object(object, &mut of).await;
            is_paused = known.as_ref().map_or(is_paused, |known| known.is_paused);
            for (found, of) in object.triggers().iter().zip(&mut of.triggers) {
                of.findings.extend(known.as_ref().and_then(|known| known.trigger(found)));
            }
        }
        if let (Some(scale), false) = (scale, of.triggers.is_empty()) {
            let present = self.present(object).await;
            if self.live.is_some() || self.cluster.is_some() {
                let how = (self.live.is_some(), is_paused);
                live::jobs(object, &scale, present, how, &mut of);
            }
        }
        of
    }

    /// The Jobs that there are: as the user says, or else as the cluster has them.
    async fn present(&self, object: &Object<'_>) -> Result<Present, String> {
        let Args { running, pending, .. } = *self.args;
        let present = match (&self.cluster, running, pending) {
            (Some(cluster), None, _) | (Some(cluster), _, None) => cluster.present(object).await?,
            _ => Present::default(),
        };
        Ok(Present {
            running: running.unwrap_or(present.running),
            pending: pending.unwrap_or(present.pending),
        })
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
        if let Some(cluster) = &self.cluster {
            let is_wrong = |it: &Finding| it.about == "scalerAddress" && it.mark == Mark::Error;
            if !of.findings.iter().any(is_wrong) {
                of.findings.extend(cluster.address(found).await);
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
        if let Some(server) = &self.server {
            of.findings.push(server.look(object, found).await);
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
    let messages = if scaling.target == 1 { "message" } else { "messages" };
    format!("{types}{filter}; {} {messages} per Job", scaling.target)
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
    let mut all = Vec::new();
    for (file, text) in Input::new(&[file.to_owned()], false).texts() {
        for node in &document::read(&text?)? {
            let Some(object) = Object::of(&file, node, namespace) else { continue };
            for found in object.triggers() {
                let kind = object.kind.as_str().to_lowercase();
                let name = format!("{kind} {}/{}", object.namespace, object.name);
                let (namespace, metadata) = (object.namespace.clone(), found.metadata());
                all.push(Written { object: name, namespace, metadata });
            }
        }
    }
    Ok(all)
}
