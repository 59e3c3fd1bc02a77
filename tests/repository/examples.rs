//! The examples under manifests/examples and the pages that go with them: each is complete, its
//! triggers decode as KEDA would send them, and what the comments and tables say of them is so.
//!
//! - `# Counted as <metric>, target <n>.` stands above every external trigger.
//! - What a `FromEnv` key or a TriggerAuthentication names is looked up in the objects of the same
//!   file, as KEDA and keda-sift look it up in the cluster; what is not there fails.
//! - In docs/moving.md, what stands in backticks in the second column as `filter: …`, `eventType:
//!   …` or `eventTypeFrom: …` is a row of a trigger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use keda_sift::kafka::CountBy;
use keda_sift::metadata::Reader;
use keda_sift::secret::Secret;
use keda_sift::trigger::Trigger;
use serde_json::Value;

const EXAMPLES: &str = include_str!("../../docs/examples.md");
const MOVING: &str = include_str!("../../docs/moving.md");

const CERTIFICATE: &str = include_str!("../../src/kafka/wire/tls/testdata/ec.crt");

/// The ways people start Jobs, by the file that stands for each.
const FILES: [&str; 11] = [
    "http-request/scaled-job.yaml",
    "kafka-three-jobs.yaml",
    "moving-from-argo-events.yaml",
    "moving-from-keda-azure-servicebus.yaml",
    "moving-from-keda-kafka.yaml",
    "mtls.yaml",
    "nightly-window.yaml",
    "resource-quota.yaml",
    "service-bus-queue.yaml",
    "service-bus-sessions.yaml",
    "service-bus-subscription.yaml",
];

/// What a ScaledJob says of how its Jobs run, so that nothing is left to a default that surprises.
const SAID: [&str; 13] = [
    "/metadata/labels/app.kubernetes.io~1name",
    "/spec/pollingInterval",
    "/spec/maxReplicaCount",
    "/spec/successfulJobsHistoryLimit",
    "/spec/failedJobsHistoryLimit",
    "/spec/scalingStrategy/strategy",
    "/spec/jobTargetRef/parallelism",
    "/spec/jobTargetRef/completions",
    "/spec/jobTargetRef/activeDeadlineSeconds",
    "/spec/jobTargetRef/backoffLimit",
    "/spec/jobTargetRef/ttlSecondsAfterFinished",
    "/spec/jobTargetRef/template/metadata/labels/app.kubernetes.io~1name",
    "/spec/jobTargetRef/template/spec/restartPolicy",
];

/// Where they are applied.
const NAMESPACE: &str = "shop";

type Metadata = HashMap<String, String>;

/// A file of examples.
struct Example {
    file: String,
    text: String,
    objects: Vec<Value>,
}

/// An external trigger: its ScaledJob, what is written, and what keda-sift makes of what it is
/// sent.
struct Shown<'a> {
    job: &'a Value,
    written: &'a Value,
    metadata: Metadata,
    trigger: Trigger,
}

impl Example {
    fn read(file: &str) -> Example {
        let text = fs::read_to_string(folder().join(file)).expect(file);
        let objects = serde_saphyr::from_multiple(&text);
        let objects = objects.unwrap_or_else(|error| panic!("{file}: {error}"));
        Example { file: file.to_owned(), text, objects }
    }

    fn all() -> Vec<Example> {
        FILES.iter().map(|file| Example::read(file)).collect()
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    fn named(&self, kind: &str, name: &str) -> &Value {
        let found = self.of_kind(kind).find(|object| object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{}: no {kind} {name}", self.file))
    }

    fn external(&self) -> Vec<Shown<'_>> {
        let mut shown = Vec::new();
        for job in self.of_kind("ScaledJob") {
            let triggers = array(&job["spec"]["triggers"]);
            for written in triggers.iter().filter(|trigger| trigger["type"] == "external") {
                let metadata = self.sent(job, written);
                let authentication = self.authentication(&metadata);
                let reader = Reader::new(&metadata).within(NAMESPACE).with(authentication.as_ref());
                let trigger = Trigger::read(reader);
                let trigger = trigger.unwrap_or_else(|invalid| {
                    panic!("{}: {}: {invalid}", self.file, job["metadata"]["name"])
                });
                shown.push(Shown { job, written, metadata, trigger });
            }
        }
        shown
    }

    /// The only trigger there is.
    fn only(&self) -> Shown<'_> {
        let mut shown = self.external();
        assert_eq!(shown.len(), 1, "{}", self.file);
        shown.remove(0)
    }

    /// What arrives of a trigger: rows by `FromEnv` with what the container has.
    fn sent(&self, job: &Value, written: &Value) -> Metadata {
        let environment = self.environment(job);
        let mut sent = Metadata::new();
        for (key, value) in object(&written["metadata"]) {
            let value = value.as_str();
            let value = value.unwrap_or_else(|| panic!("{}: {key}: put it in quotes", self.file));
            let value = if key.ends_with("FromEnv") {
                let variable = environment.get(value).filter(|value| !value.is_empty());
                variable.unwrap_or_else(|| panic!("{}: no variable {value}", self.file))
            } else {
                value
            };
            sent.insert(key.clone(), value.to_owned());
        }
        sent
    }

    /// The parameters that keda-sift reads from the TriggerAuthentication that a trigger names.
    fn authentication(&self, metadata: &Metadata) -> Option<BTreeMap<String, Secret>> {
        let name = Trigger::authentication(metadata)?;
        let spec = &self.named("TriggerAuthentication", name.as_str())["spec"];
        assert_eq!(object(spec).len(), 1, "{}: secretTargetRef alone is understood", self.file);
        let targets = array(&spec["secretTargetRef"]).iter();
        let parameters =
            targets.map(|of| (string(&of["parameter"]).to_owned(), Secret::from(self.secret(of))));
        Some(parameters.collect())
    }

    /// The environment of the container that KEDA looks into.
    fn environment(&self, job: &Value) -> Metadata {
        let containers = array(&job["spec"]["jobTargetRef"]["template"]["spec"]["containers"]);
        let container = match job["spec"].get("envSourceContainerName") {
            Some(name) => containers.iter().find(|container| container["name"] == *name),
            None => containers.first(),
        };
        let container = container.unwrap_or_else(|| panic!("{}: no such container", self.file));
        let mut environment = Metadata::new();
        for source in container.get("envFrom").map_or(&[][..], array) {
            let secret = self.named("Secret", string(&source["secretRef"]["name"]));
            for (key, value) in object(&secret["stringData"]) {
                environment.insert(key.clone(), given(string(value)).to_owned());
            }
        }
        for variable in container.get("env").map_or(&[][..], array) {
            let value = match variable.get("valueFrom") {
                Some(from) => self.secret(&from["secretKeyRef"]),
                None => string(&variable["value"]),
            };
            environment.insert(string(&variable["name"]).to_owned(), value.to_owned());
        }
        environment
    }

    fn secret(&self, of: &Value) -> &str {
        given(string(&self.named("Secret", string(&of["name"]))["stringData"][string(&of["key"])]))
    }

    /// The trigger that the head of the file shows as it was, as far as it is KEDA's.
    fn before(&self) -> Value {
        let head = self.text.lines().take_while(|line| line.starts_with('#'));
        let shown = head.skip_while(|line| !line.ends_with(" Before:")).skip(2);
        let shown = shown.map_while(|line| line.strip_prefix("#   "));
        let shown = shown.collect::<Vec<_>>().join("\n");
        serde_saphyr::from_str(&shown).unwrap_or_else(|error| panic!("{}: {error}", self.file))
    }
}

/// What a user gives in place of a value: a certificate where the examples have a block that is
/// none.
fn given(value: &str) -> &str {
    if value.starts_with("-----BEGIN CERTIFICATE-----\n") { CERTIFICATE } else { value }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples")
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is not a mapping"))
}

fn count_limit(trigger: &Trigger) -> Option<u64> {
    trigger.scaling().count_limit.map(u64::from)
}

/// A quantity in thousandths.
fn quantity(value: &Value) -> u64 {
    let text = string(value);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "m" => 1,
        "" => 1_000,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        unit => panic!("{text}: {unit} is not understood"),
    };
    digits.parse::<u64>().expect(text) * unit
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of a page's tables, with their cells; a bar in a cell is escaped.
fn table_rows(page: &str) -> impl Iterator<Item = Vec<String>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| {
        let row = row.replace("\\|", "\0");
        row.split(" | ").map(|cell| cell.replace('\0', "|")).collect()
    })
}

#[test]
fn there_is_an_example_for_each_way_and_the_index_names_them() {
    let mut folders = vec![folder()];
    let mut found = BTreeSet::new();
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).expect("a folder of examples") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let file = path.strip_prefix(folder()).expect("within it");
                found.insert(file.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    assert_eq!(found, FILES.map(str::to_owned).into());

    let links: BTreeSet<_> = [EXAMPLES, MOVING]
        .iter()
        .flat_map(|page| page.split("/blob/main/manifests/examples/").skip(1))
        .filter_map(|link| link.split(')').next())
        .collect();
    let missing: Vec<_> = FILES.iter().filter(|file| !links.contains(*file)).collect();
    assert!(missing.is_empty(), "docs/examples.md does not link {missing:?}");
}

#[test]
fn every_object_can_be_applied_anywhere_and_beside_the_others() {
    let mut names = BTreeSet::new();
    for Example { file, objects, .. } in Example::all() {
        assert!(!objects.is_empty(), "{file}");
        for object in objects {
            let [kind, name] = [&object["kind"], &object["metadata"]["name"]]
                .map(|value| string(value).to_owned());
            string(&object["apiVersion"]);
            assert!(object["metadata"].get("namespace").is_none(), "{file}: {kind} {name}");
            assert!(names.insert((kind.clone(), name.clone())), "{file}: a second {kind} {name}");
        }
    }
}

#[test]
fn every_job_says_how_it_runs() {
    for example in Example::all() {
        assert!(example.of_kind("ScaledJob").count() > 0, "{}", example.file);
        for job in example.of_kind("ScaledJob") {
            let name = format!("{}: {}", example.file, job["metadata"]["name"]);
            for said in SAID {
                assert!(job.pointer(said).is_some(), "{name}: no {said}");
            }
            assert_eq!(job["spec"]["rollout"]["strategy"], "gradual", "{name}");
            assert!(job["spec"].get("rolloutStrategy").is_none(), "{name}: deprecated");
            let pod = &job["spec"]["jobTargetRef"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            for container in array(&pod["containers"]) {
                let resources = &container["resources"];
                for amount in [&resources["requests"]["cpu"], &resources["requests"]["memory"]] {
                    assert!(quantity(amount) > 0, "{name}");
                }
                assert_eq!(
                    resources["requests"]["memory"], resources["limits"]["memory"],
                    "{name}"
                );
            }
            if let Some(account) = pod.get("serviceAccountName") {
                let account = example.named("ServiceAccount", string(account));
                let annotations = object(&account["metadata"]["annotations"]);
                assert!(annotations.contains_key("azure.workload.identity/client-id"), "{name}");
                let labels = &job["spec"]["jobTargetRef"]["template"]["metadata"]["labels"];
                assert_eq!(labels["azure.workload.identity/use"], "true", "{name}");
            }
        }
    }
}

#[test]
fn every_trigger_counts_what_its_comment_says() {
    let mut triggers = 0;
    for example in Example::all() {
        let said: Vec<_> = example
            .text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("# Counted as "))
            .map(ToOwned::to_owned)
            .collect();
        let shown = example.external();
        triggers += shown.len();
        let counted = shown.iter().map(|Shown { trigger, .. }| {
            format!("{}, target {}.", trigger.scaling().metric_name, trigger.scaling().target)
        });
        assert_eq!(counted.collect::<Vec<_>>(), said, "{}", example.file);
        for Shown { metadata, .. } in &shown {
            assert_eq!(metadata["scalerAddress"], "keda-sift.keda-sift:9090", "{}", example.file);
        }
    }
    assert!(triggers >= FILES.len(), "{triggers} triggers");
}

#[test]
fn nothing_is_counted_that_no_job_could_be_made_for() {
    for example in Example::all() {
        for Shown { job, trigger, metadata, .. } in example.external() {
            let name = format!("{}: {}", example.file, job["metadata"]["name"]);
            let jobs = number(&job["spec"]["maxReplicaCount"]);
            let deduction = job.pointer("/spec/scalingStrategy/customScalingQueueLengthDeduction");
            let jobs = jobs - deduction.map_or(0, number);
            match count_limit(&trigger) {
                Some(limit) => assert_eq!(limit, jobs * trigger.scaling().target, "{name}"),
                // Peeking transfers the matches again with each poll.
                None => assert_eq!(metadata["source"], "kafka", "{name}: give a countLimit"),
            }
        }
    }
}

#[test]
fn the_strategy_fits_what_running_jobs_hold() {
    for example in Example::all() {
        for job in example.of_kind("ScaledJob") {
            let strategy = string(&job["spec"]["scalingStrategy"]["strategy"]);
            let expected = match example.file.as_str() {
                // Takes its message away and then works.
                "http-request/scaled-job.yaml" => "accurate",
                "nightly-window.yaml" => "custom",
                _ => "default",
            };
            assert_eq!(strategy, expected, "{}", example.file);
        }
    }
}

#[test]
fn one_topic_has_three_jobs_each_with_its_own_types_and_group() {
    let example = Example::read("kafka-three-jobs.yaml");
    let shown = example.external();
    let mut topics = BTreeSet::new();
    let mut groups = BTreeSet::new();
    let mut types = BTreeSet::new();
    for Shown { trigger, metadata, .. } in &shown {
        let Trigger::Kafka(kafka) = trigger else { panic!("another source") };
        topics.extend(kafka.topics.iter().map(|topic| topic.as_str().to_owned()));
        groups.insert(kafka.group.as_str().to_owned());
        types.extend(metadata["eventType"].split(',').map(str::to_owned));
    }
    assert_eq!((topics.len(), groups.len(), types.len()), (1, 3, 4), "{topics:?} {types:?}");
    let by_partition = shown.iter().filter(|shown| {
        matches!(&shown.trigger, Trigger::Kafka(kafka) if kafka.count_by == CountBy::Partitions)
    });
    assert_eq!(by_partition.count(), 1);
}

#[test]
fn each_example_shows_what_it_stands_for() {
    let rows = [
        ("service-bus-queue.yaml", "queueName", "invoices"),
        ("service-bus-queue.yaml", "namespace", "shop"),
        ("service-bus-subscription.yaml", "subscriptionName", "shipping"),
        ("service-bus-subscription.yaml", "eventType", "order.paid,order.reshipped"),
        ("service-bus-subscription.yaml", "serviceAccountName", "shipping"),
        ("service-bus-sessions.yaml", "countBy", "sessions"),
        ("moving-from-keda-kafka.yaml", "triggerAuthentication", "kafka-invoices"),
        ("moving-from-argo-events.yaml", "eventTypeFrom", "body:type"),
        ("mtls.yaml", "enableTLS", "true"),
    ];
    for (file, key, value) in rows {
        let example = Example::read(file);
        let Shown { metadata, job, .. } = example.only();
        assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{file}: {key}");
        if key == "serviceAccountName" {
            let pod = &job["spec"]["jobTargetRef"]["template"]["spec"];
            assert_eq!(pod[key], value, "{file}: the Job's own");
        }
    }
}

#[test]
fn keda_gets_its_certificates_with_tls_and_nothing_else_without() {
    for example in Example::all() {
        for Shown { written, metadata, .. } in example.external() {
            let Some(reference) = written.get("authenticationRef") else {
                assert!(!metadata.contains_key("enableTLS"), "{}", example.file);
                continue;
            };
            assert_eq!(
                metadata.get("enableTLS").map(String::as_str),
                Some("true"),
                "{}",
                example.file
            );
            let spec =
                &example.named(string(&reference["kind"]), string(&reference["name"]))["spec"];
            let given: Vec<_> = array(&spec["secretTargetRef"])
                .iter()
                .map(|target| string(&target["parameter"]))
                .collect();
            assert_eq!(given, ["caCert", "tlsClientCert", "tlsClientKey"], "{}", example.file);
        }
    }
    assert!(Example::read("mtls.yaml").only().written.get("authenticationRef").is_some());
}

/// Jobs that KEDA 2.20 makes in one poll of a ScaledJob whose strategy is `custom` and whose
/// triggers are added up: of each trigger that is active its value and its target.
fn jobs_made(spec: &Value, active: &[(u64, u64)], running: u64) -> u64 {
    let strategy = &spec["scalingStrategy"];
    assert_eq!(strategy["strategy"], "custom");
    assert_eq!(strategy["multipleScalersCalculation"], "sum");
    let most = number(&spec["maxReplicaCount"]);
    let wanted =
        active.iter().map(|(value, target)| (*value as f64 / *target as f64).min(most as f64));
    let wanted = wanted.sum::<f64>().min(most as f64).ceil() as i64;
    let queue = active.iter().map(|(value, _)| value).sum::<u64>();
    let percentage: f64 =
        string(&strategy["customScalingRunningJobPercentage"]).parse().expect("a number");
    let deduction = number(&strategy["customScalingQueueLengthDeduction"]) as i64;
    let made = wanted - deduction - (running as f64 * percentage) as i64;
    u64::try_from(made).unwrap_or(0).min(most).min(queue)
}

#[test]
fn the_window_starts_by_night_what_waits_and_by_day_nothing() {
    let example = Example::read("nightly-window.yaml");
    let Shown { job, trigger, .. } = example.only();
    let spec = &job["spec"];
    let limit = count_limit(&trigger).expect("a limit keeps the day closed");
    let cron = array(&spec["triggers"]).iter().find(|trigger| trigger["type"] == "cron");
    let cron = object(&cron.expect("a window")["metadata"]);
    assert_eq!(cron.len(), 4, "all that KEDA's cron takes");
    let replicas = string(&cron["desiredReplicas"]).parse().expect("a number");
    assert!(replicas > 0, "KEDA refuses 0");

    for waiting in 0..3 * limit {
        // keda-sift stops at the limit. A trigger is active above 0.
        let ours = (waiting.min(limit), trigger.scaling().target);
        let ours: Vec<_> = Some(ours).filter(|(value, _)| *value > 0).into_iter().collect();
        let night = [&ours[..], &[(replicas, 1)]].concat();
        for running in 0..=replicas {
            assert_eq!(jobs_made(spec, &ours, running), 0, "by day {waiting} wait, {running} run");
            let wanted = waiting.div_ceil(trigger.scaling().target).min(replicas);
            let made = jobs_made(spec, &night, running);
            assert_eq!(
                made,
                wanted.saturating_sub(running),
                "by night {waiting} wait, {running} run"
            );
        }
    }
    assert_eq!(jobs_made(spec, &[(replicas, 1)], 0), 0, "ours fails");
}

#[test]
fn the_jobs_fit_into_the_quota() {
    let example = Example::read("resource-quota.yaml");
    let hard = &example.named("ResourceQuota", "jobs")["spec"]["hard"];
    let spec = &example.only().job["spec"];
    let jobs = number(&spec["maxReplicaCount"]);
    let container = &spec["jobTargetRef"]["template"]["spec"]["containers"][0]["resources"];
    for (of_quota, of_container) in [
        ("requests.cpu", &container["requests"]["cpu"]),
        ("requests.memory", &container["requests"]["memory"]),
        ("limits.memory", &container["limits"]["memory"]),
    ] {
        assert!(jobs * quantity(of_container) < quantity(&hard[of_quota]), "{of_quota}");
    }
    let parallel = number(&spec["jobTargetRef"]["parallelism"]);
    assert!(jobs * parallel * 1_000 < quantity(&hard["pods"]), "pods");
    let kept =
        ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"].map(|key| number(&spec[key]));
    let there = jobs + kept.iter().sum::<u64>();
    assert!(there * 1_000 < quantity(&hard["count/jobs.batch"]), "{there} Jobs");
    assert_eq!(object(hard).len(), 5, "another bound that nothing is compared with");
}

#[test]
fn a_trigger_that_moves_keeps_its_rows() {
    for (file, scaler, least) in [
        ("moving-from-keda-kafka.yaml", "kafka", 8),
        ("moving-from-keda-azure-servicebus.yaml", "azure-servicebus", 4),
    ] {
        let example = Example::read(file);
        let before = &example.before()["triggers"][0];
        assert_eq!(before["type"], scaler, "{file}");
        let rows = object(&before["metadata"]);
        assert!(rows.len() >= least, "{file}: {rows:?}");
        let Shown { metadata, written, .. } = example.only();
        for (key, value) in rows {
            let key = if key == "unsafeSsl" { "brokerUnsafeSsl" } else { key };
            assert_eq!(metadata.get(key).map(String::as_str), value.as_str(), "{file}: {key}");
        }
        assert_eq!(metadata["source"], scaler, "{file}");
        assert!(
            before.get("authenticationRef").is_some() && written.get("authenticationRef").is_none(),
            "{file}"
        );
    }
}

#[test]
fn what_the_sensor_let_through_is_what_counts() {
    let example = Example::read("moving-from-argo-events.yaml");
    let before = example.before();
    assert_eq!(before["kind"], "Sensor");
    let filters = array(&before["spec"]["dependencies"][0]["filters"]["data"]);
    let Shown { metadata, .. } = example.only();
    for filter in filters {
        let path = string(&filter["path"]);
        let here = metadata["filter"].contains(path)
            || metadata["eventTypeFrom"] == path.replacen('.', ":", 1);
        assert!(here, "{path} is filtered by no more");
    }
    let types: BTreeSet<_> = array(&filters[0]["value"])
        .iter()
        .map(|value| {
            string(value).trim_start_matches('^').trim_end_matches('$').replace("[.]", ".")
        })
        .collect();
    assert_eq!(types, metadata["eventType"].split(',').map(str::to_owned).collect());
}

#[test]
fn what_is_sent_on_request_is_what_counts() {
    let example = Example::read("http-request/scaled-job.yaml");
    let Shown { metadata, .. } = example.only();
    let address = format!(
        "https://{}.servicebus.windows.net/{}/messages",
        metadata["namespace"], metadata["queueName"]
    );
    // The subject of a message, which is its type unless it is a CloudEvent.
    let label = format!(r#"{{"Label":"{}"}}"#, metadata["eventType"]);
    assert!(!metadata.contains_key("eventTypeFrom"));

    let script = fs::read_to_string(folder().join("http-request/send.sh")).expect("the script");
    assert!(script.starts_with("#!/bin/sh\n") && script.contains("\nset -eu\n"), "{script}");
    assert!(script.contains(&format!("'BrokerProperties: {label}'")), "{script}");
    assert!(script.trim_end().ends_with(&address), "{script}");

    let workflow = fs::read_to_string(folder().join("http-request/logic-app/workflow.json"))
        .expect("the workflow");
    let workflow: Value = serde_json::from_str(&workflow).expect("JSON");
    let send = &workflow["definition"]["actions"]["send"]["inputs"];
    assert_eq!(send["uri"], address);
    assert_eq!(send["headers"]["BrokerProperties"], label);
    assert_eq!(send["authentication"]["type"], "ManagedServiceIdentity");
}

#[test]
fn every_filter_of_theirs_has_one_here_that_decodes() {
    let complete = [
        &[("bootstrapServers", "kafka:9092"), ("consumerGroup", "jobs"), ("topic", "orders")][..],
        &[("namespace", "shop"), ("queueName", "orders")][..],
    ];
    let mut decoded = 0;
    let cells: Vec<_> = table_rows(MOVING).filter_map(|cells| cells.into_iter().nth(1)).collect();
    let rows = cells.iter().flat_map(|cell| quoted(cell));
    let is_row = |row: &&str| {
        ["eventType: ", "eventTypeFrom: ", "filter: "].iter().any(|key| row.starts_with(key))
    };
    for row in rows.filter(is_row) {
        // As it would be copied.
        let mut yaml: Metadata =
            serde_saphyr::from_str(row).unwrap_or_else(|error| panic!("{row}: {error}"));
        // Where a type is says nothing without one, which stands in a row of its own.
        if yaml.contains_key("eventTypeFrom") {
            yaml.insert("eventType".to_owned(), "order".to_owned());
        }
        let told = complete.map(|complete| {
            let complete = test_basics::metadata(complete).into_iter();
            Trigger::decode(&complete.chain(yaml.clone()).collect()).err()
        });
        assert!(told.iter().any(Option::is_none), "{row}: {told:?}");
        decoded += 1;
    }
    assert!(decoded > 30, "{decoded} rows");
}

#[test]
fn every_key_of_keda_s_scalers_is_in_the_guide() {
    // Those of KEDA 2.20.2 that stand in `metadata`.
    let keys = [
        "bootstrapServers consumerGroup topic partitionLimitation lagThreshold activationLagThreshold offsetResetPolicy",
        "allowIdleConsumers excludePersistentLag scaleToZeroOnInvalidOffset limitToPartitionsWithLag version tls unsafeSsl",
        "ensureEvenDistributionOfPartitions sasl saslTokenProvider awsRegion",
        "queueName topicName subscriptionName messageCount activationMessageCount namespace cloud endpointSuffix useRegex operation",
    ];
    let named: BTreeSet<_> = table_rows(MOVING)
        .filter_map(|cells| cells.into_iter().next())
        .flat_map(|cell| quoted(&cell).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let missing: Vec<_> =
        keys.iter().flat_map(|keys| keys.split(' ')).filter(|key| !named.contains(*key)).collect();
    assert!(missing.is_empty(), "docs/moving.md does not name {missing:?}");
}
