//! What can be said of an object as a whole by its manifest alone: a ScaledJob, a ScaledObject or a
//! TriggerAuthentication.
//!
//! # References
//! - KEDA 2.20 `apis/keda/v1alpha1` and `pkg/scaling/executor/scale_jobs.go`
//! - Kubernetes, "Jobs": a Pod template of a Job has `restartPolicy` `Never` or `OnFailure`

use super::document::{Location, Node};
use super::fields::{self, AUTHENTICATION, SCALED_JOB, SCALED_OBJECT};
use super::finding::{Finding, Mark, SHOWN_BYTES, See};
use super::inspect::Found;
use crate::kubernetes::Name;
use crate::metadata::{one_line, quoted};

/// KEDA's `maxReplicaCount` where there is none.
const DEFAULT_MAX: i64 = 100;

/// The longest value of a label, which KEDA gives each Job with the name of its ScaledJob.
const LABEL_BYTES: usize = 63;

const API_VERSION: &str = "keda.sh/v1alpha1";

/// An object of a file.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    pub(super) file: &'a str,
    pub(super) kind: Kind,
    /// For messages: one line.
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) node: &'a Node,
}

/// The kinds that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ScaledJob,
    ScaledObject,
    TriggerAuthentication,
    ClusterTriggerAuthentication,
}

impl Kind {
    const ALL: [Kind; 4] = [
        Kind::ScaledJob,
        Kind::ScaledObject,
        Kind::TriggerAuthentication,
        Kind::ClusterTriggerAuthentication,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::ScaledJob => "ScaledJob",
            Kind::ScaledObject => "ScaledObject",
            Kind::TriggerAuthentication => "TriggerAuthentication",
            Kind::ClusterTriggerAuthentication => "ClusterTriggerAuthentication",
        }
    }

    pub(super) fn is_scaled(self) -> bool {
        matches!(self, Kind::ScaledJob | Kind::ScaledObject)
    }
}

impl<'a> Object<'a> {
    /// The object, if it is of a kind that is looked at, however that is spelt.
    pub(super) fn of(file: &'a str, node: &'a Node, namespace: &str) -> Option<Object<'a>> {
        let given = node.text("kind")?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(given))?;
        let metadata = node.get("metadata");
        let of = |key: &str| metadata.and_then(|metadata| metadata.text(key));
        let shown = |text: &str| one_line(text, SHOWN_BYTES);
        Some(Object {
            file,
            kind,
            name: shown(of("name").unwrap_or("?")),
            namespace: of("namespace").map_or_else(|| namespace.to_owned(), shown),
            node,
        })
    }

    pub(super) fn spec(&self) -> Option<&'a Node> {
        self.node.get("spec")
    }

    /// Its triggers that are ours to look at.
    pub(super) fn triggers(&self) -> Vec<Found<'a>> {
        let triggers = self.spec().and_then(|spec| spec.get("triggers"));
        let triggers = triggers.filter(|_| self.kind.is_scaled()).map(Node::items);
        let each = triggers.unwrap_or_default().iter().enumerate();
        each.map(|(number, trigger)| Found::new(self, number, trigger))
            .filter(Found::is_ours)
            .collect()
    }

    /// Whether it is of use to us: it has a trigger of ours, or none that can be told.
    pub(super) fn is_ours(&self) -> bool {
        let triggers = self.spec().and_then(|spec| spec.get("triggers"));
        !self.kind.is_scaled()
            || triggers.is_none_or(|triggers| triggers.items().is_empty())
            || !self.triggers().is_empty()
    }

    /// The Pod whose environment a ScaledJob's `FromEnv` reads, and the container that is named for it.
    pub(super) fn job_pod(&self) -> Option<(&'a Node, Option<&'a str>)> {
        let spec = self.spec().filter(|_| self.kind == Kind::ScaledJob)?;
        let pod = spec.get("jobTargetRef")?.get("template")?.get("spec")?;
        Some((pod, spec.text("envSourceContainerName").filter(|name| !name.is_empty())))
    }

    fn at(&self, key: &str) -> Option<Location> {
        let of_spec = self.spec().and_then(|spec| spec.location(key).or_else(|| spec.begins()));
        of_spec.or_else(|| self.node.location("spec")).or_else(|| self.node.begins())
    }

    fn finding(&self, mark: Mark, about: &str, words: impl Into<String>) -> Finding {
        let key = about.split('.').next().unwrap_or(about);
        Finding::new(mark, about, words, self.at(key), See::Spec)
    }

    /// What is wrong with how it is written.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.head();
        let Some(spec) = self.spec() else {
            findings.push(self.finding(Mark::Error, "spec", "is missing"));
            return findings;
        };
        let (fields, path) = match self.kind {
            Kind::ScaledJob => (SCALED_JOB, "scaledjob"),
            Kind::ScaledObject => (SCALED_OBJECT, "scaledobject"),
            Kind::TriggerAuthentication | Kind::ClusterTriggerAuthentication => {
                (AUTHENTICATION, "triggerauthentication")
            }
        };
        if !matches!(spec, Node::Map(_)) {
            findings.push(self.finding(Mark::Error, "spec", "is not a map; give its fields"));
            return findings;
        }
        fields::check(spec, fields, path, &mut findings);
        match self.kind {
            Kind::ScaledJob => self.scaled_job(spec, &mut findings),
            Kind::ScaledObject => self.scaled_object(spec, &mut findings),
            _ => self.authentication(spec, &mut findings),
        }
        if self.kind.is_scaled() {
            self.all_triggers(spec, &mut findings);
            self.annotations(&mut findings);
        }
        findings
    }

    fn head(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let node = self.node;
        let mut add = |mark, about: &str, words: String| {
            let within = node.get("metadata").filter(|_| about.starts_with("metadata."));
            let at = within
                .and_then(|metadata| metadata.location(about.trim_start_matches("metadata.")))
                .or_else(|| node.location(about.split('.').next().unwrap_or(about)))
                .or_else(|| node.begins());
            findings.push(Finding::new(mark, about, words, at, See::Spec));
        };
        match node.text("apiVersion") {
            Some(API_VERSION) => {}
            None => add(Mark::Error, "apiVersion", format!("is missing; give {API_VERSION}")),
            Some("keda.k8s.io/v1alpha1") => {
                add(Mark::Error, "apiVersion", format!("is of KEDA 1; give {API_VERSION}"));
            }
            Some(other) => {
                let words = format!("{} is not known; give {API_VERSION}", quoted(other));
                add(Mark::Error, "apiVersion", words);
            }
        }
        let (given, kind) = (node.text("kind").unwrap_or_default(), self.kind.as_str());
        if given != kind {
            add(Mark::Error, "kind", format!("{} is not known; give {kind}", quoted(given)));
        }
        let name = node.get("metadata").and_then(|metadata| metadata.text("name"));
        match name {
            None => add(Mark::Error, "metadata.name", "is missing".to_owned()),
            Some(name) if self.kind == Kind::ScaledJob && name.len() > LABEL_BYTES => {
                let words = format!(
                    "has {} characters; give at most {LABEL_BYTES}, as each Job has it as a label",
                    name.len()
                );
                add(Mark::Error, "metadata.name", words);
            }
            Some(name) => {
                if let Err(error) = Name::parse(name) {
                    add(Mark::Error, "metadata.name", format!("{} {error}", quoted(name)));
                }
            }
        }
        findings
    }

    fn scaled_job(&self, spec: &Node, findings: &mut Vec<Finding>) {
        let mut add = |mark, about: &str, words: &str| {
            findings.push(self.finding(mark, about, words));
        };
        match spec.get("jobTargetRef") {
            None => add(Mark::Error, "jobTargetRef", "is missing; give it with a Job's template"),
            Some(target) => {
                for field in ["triggers", "pollingInterval", "maxReplicaCount", "scalingStrategy"] {
                    if target.get(field).is_some() {
                        let at = target.location(field);
                        let words = "stands in spec, beside jobTargetRef; indent it less";
                        let about = format!("jobTargetRef.{field}");
                        let finding = self.finding(Mark::Error, &about, words);
                        findings.push(Finding { location: at, ..finding });
                    }
                }
                self.template(target, findings);
            }
        }
        let number = |key: &str| whole(spec.get(key));
        let mut add = |mark, about: &str, words: String| {
            findings.push(self.finding(mark, about, words));
        };
        if let (Some(min), max) =
            (number("minReplicaCount"), number("maxReplicaCount").unwrap_or(DEFAULT_MAX))
            && min > max
        {
            let words = format!("{min} is above maxReplicaCount, {max}; KEDA takes {max}");
            add(Mark::Error, "minReplicaCount", words);
        }
        let rollout = spec.get("rollout").and_then(|rollout| rollout.text("strategy"));
        if rollout.or_else(|| spec.text("rolloutStrategy")).is_none() {
            let words = "is missing; any edit of the spec deletes the Jobs that run; give \
                         strategy: gradual";
            add(Mark::Note, "rollout", words.to_owned());
        }
        self.strategy(spec, findings);
    }

    fn strategy(&self, spec: &Node, findings: &mut Vec<Finding>) {
        let Some(strategy @ Node::Map(_)) = spec.get("scalingStrategy") else { return };
        let name = strategy.text("strategy").unwrap_or("default");
        let mut add = |mark, key: &str, words: String| {
            let about = format!("scalingStrategy.{key}");
            let at = strategy.location(key).or_else(|| self.at("scalingStrategy"));
            findings.push(Finding::new(mark, &about, words, at, See::Jobs));
        };
        let (deduction, percentage) =
            ("customScalingQueueLengthDeduction", "customScalingRunningJobPercentage");
        for key in [deduction, percentage] {
            if name != "custom" && strategy.get(key).is_some() {
                add(Mark::Note, key, format!("is for strategy custom; {name} leaves it out"));
            }
        }
        match (name, strategy.get(percentage)) {
            ("custom", None) => add(
                Mark::Error,
                percentage,
                "is missing; KEDA takes strategy default without it; give \"0.5\" or the like"
                    .to_owned(),
            ),
            ("custom", Some(Node::Text(text))) if text.parse::<f64>().is_err() => add(
                Mark::Error,
                percentage,
                format!("{} is no number; KEDA takes strategy default; give \"0.5\"", quoted(text)),
            ),
            _ => {}
        }
        let conditions = strategy.get("pendingPodConditions").map_or(&[][..], Node::items);
        if !conditions.is_empty() && !matches!(name, "accurate" | "eager") {
            let words = format!("is for strategy accurate or eager; {name} leaves it out");
            add(Mark::Note, "pendingPodConditions", words);
        }
    }

    fn template(&self, target: &Node, findings: &mut Vec<Finding>) {
        let mut add = |at: Option<Location>, about: &str, words: &str| {
            let at = at.or_else(|| self.at("jobTargetRef"));
            findings.push(Finding::new(Mark::Error, about, words, at, See::Spec));
        };
        let Some(pod) = target.get("template").and_then(|template| template.get("spec")) else {
            let words = match target.get("spec") {
                Some(_) => "is missing; leave out the spec above it, and give template here",
                None => "is missing; give it with the Pod's spec",
            };
            return add(None, "jobTargetRef.template", words);
        };
        match pod.text("restartPolicy") {
            Some("Never" | "OnFailure") => {}
            None => add(pod.begins(), "restartPolicy", "is missing; give Never or OnFailure"),
            Some(other) => {
                let words = format!("{} is not for Jobs; give Never or OnFailure", quoted(other));
                add(pod.location("restartPolicy"), "restartPolicy", &words);
            }
        }
        let containers = pod.get("containers").map_or(&[][..], Node::items);
        if containers.is_empty() {
            add(pod.location("containers"), "containers", "is missing; give the Job's container");
        }
        let named = self.job_pod().and_then(|(_, container)| container);
        let all = containers.iter().chain(pod.get("initContainers").map_or(&[][..], Node::items));
        let names: Vec<_> = all.filter_map(|container| container.text("name")).collect();
        if let Some(named) = named.filter(|named| !names.contains(named)) {
            let words = format!(
                "there is no container {}; give {}",
                quoted(named),
                one_line(&names.join(" or "), SHOWN_BYTES)
            );
            add(self.at("envSourceContainerName"), "envSourceContainerName", &words);
        }
    }

    fn scaled_object(&self, spec: &Node, findings: &mut Vec<Finding>) {
        let mut add = |mark, about: &str, words: String| {
            findings.push(self.finding(mark, about, words));
        };
        match spec.get("scaleTargetRef") {
            None => add(
                Mark::Error,
                "scaleTargetRef",
                "is missing; give the name of the workload".to_owned(),
            ),
            Some(target @ Node::Map(_)) if target.get("name").is_none() => {
                add(Mark::Error, "scaleTargetRef.name", "is missing".to_owned());
            }
            Some(_) => {}
        }
        let number = |key: &str| whole(spec.get(key));
        let min = number("minReplicaCount").unwrap_or(0);
        let max = number("maxReplicaCount").unwrap_or(DEFAULT_MAX);
        if min > max {
            let words = format!("{min} is above maxReplicaCount, {max}");
            add(Mark::Error, "minReplicaCount", words);
        }
        if let Some(idle) = number("idleReplicaCount").filter(|idle| *idle >= min) {
            let words =
                format!("{idle} is not below minReplicaCount, {min}; give 0, or leave it out");
            add(Mark::Error, "idleReplicaCount", words);
        }
    }

    fn all_triggers(&self, spec: &Node, findings: &mut Vec<Finding>) {
        let triggers = match spec.get("triggers") {
            None => &[],
            Some(triggers @ Node::List(_)) => triggers.items(),
            Some(_) => return,
        };
        if triggers.is_empty() {
            findings.push(self.finding(Mark::Error, "triggers", "is missing; give one or more"));
        }
        let mut names: Vec<(&str, usize)> = Vec::new();
        for (number, trigger) in triggers.iter().enumerate() {
            let mut add = |mark, about: &str, words: String| {
                let at = trigger.location(about).or_else(|| trigger.begins());
                findings.push(Finding::new(mark, about, words, at, See::Spec));
            };
            let alike = |other: &&Node| {
                ["type", "metadata"].iter().all(|key| {
                    let of = |node: &Node| node.get(key).map(Node::json);
                    of(trigger).is_some() && of(trigger) == of(other)
                })
            };
            if let Some(first) = triggers[..number].iter().position(|other| alike(&other)) {
                let words = format!("trigger {number} is as trigger {first}; leave one out");
                add(Mark::Note, "type", words);
            }
            let Some(name) = trigger.text("name").filter(|name| !name.is_empty()) else {
                continue;
            };
            match names.iter().find(|(known, _)| *known == name) {
                Some((_, first)) => {
                    let words = format!("{} is the name of trigger {first} too", quoted(name));
                    add(Mark::Error, "name", words);
                }
                None => names.push((name, number)),
            }
        }
    }

    /// The annotation that pauses it, if there is one.
    fn pause(&self) -> Option<(&'a str, Location)> {
        let annotations = self.node.get("metadata")?.get("annotations")?;
        let is_pause = |(key, _, value): &&(String, Location, Node)| match key.as_str() {
            "autoscaling.keda.sh/paused" => !matches!(value, Node::Text(text) if text == "false"),
            "autoscaling.keda.sh/paused-replicas" => true,
            _ => false,
        };
        annotations.entries().find(is_pause).map(|(key, at, _)| (key.as_str(), *at))
    }

    /// Whether KEDA is told to leave it alone.
    pub(super) fn is_paused(&self) -> bool {
        self.pause().is_some()
    }

    fn annotations(&self, findings: &mut Vec<Finding>) {
        if let Some((key, at)) = self.pause() {
            let words = "it is paused, and nothing is started; remove it to go on";
            findings.push(Finding::new(Mark::Note, key, words, Some(at), See::Keda));
        }
    }

    fn authentication(&self, spec: &Node, findings: &mut Vec<Finding>) {
        for (list, needed) in [
            ("secretTargetRef", &["parameter", "name", "key"][..]),
            ("configMapTargetRef", &["parameter", "name", "key"]),
            ("env", &["parameter", "name"]),
        ] {
            for item in spec.get(list).map_or(&[][..], Node::items) {
                for key in needed.iter().filter(|key| item.get(key).is_none()) {
                    let at = item.begins();
                    let about = format!("{list}.{key}");
                    let words = "is missing";
                    findings.push(Finding::new(
                        Mark::Error,
                        &about,
                        words,
                        at,
                        See::Authentication,
                    ));
                }
            }
        }
    }
}

/// A whole number that is written as one.
fn whole(node: Option<&Node>) -> Option<i64> {
    match node? {
        Node::Other(number) => number.parse().ok(),
        _ => None,
    }
}
