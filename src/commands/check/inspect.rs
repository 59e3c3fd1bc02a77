//! What can be said of a trigger by its manifest alone.

use std::collections::HashMap;

use super::document::{Location, Node};
use super::fields;
use super::finding::{Finding, Mark, SHOWN_BYTES, See};
use super::object::{Kind, Object};
use super::values::Values;
use crate::metadata::{FROM_ENV, Reader, one_line, quoted};
use crate::trigger::Trigger;

/// Keys of ours that KEDA's own scalers of these types do not have.
const OURS: &[&str] = &[
    "scalerAddress",
    "eventType",
    "eventTypeFrom",
    "filter",
    "countBy",
    "countFrom",
    "countLimit",
];

/// KEDA's own scalers of our sources.
const OWN: &[&str] = &["kafka", "apache-kafka", "azure-servicebus"];

/// Parameters that are for nobody else to know.
const SECRETS: &[&str] = &["connection", "key", "keyPassword", "password"];

/// A trigger in an object that KEDA scales by.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    /// Its place among all triggers of the object.
    pub(super) number: usize,
    trigger: &'a Node,
}

impl<'a> Found<'a> {
    pub(super) fn new(of: &Object<'a>, number: usize, trigger: &'a Node) -> Found<'a> {
        Found { kind: of.kind, namespace: of.namespace.clone(), number, trigger }
    }

    fn type_(&self) -> &'a str {
        self.trigger.text("type").unwrap_or_default()
    }

    fn is_external(&self) -> bool {
        matches!(self.type_(), "external" | "external-push")
    }

    /// Whether it is external, or looks as if that was meant.
    pub(super) fn is_ours(&self) -> bool {
        self.is_external() || self.meant_by().is_some()
    }

    /// What tells that a trigger of another type is meant for us: KEDA takes no notice of keys that
    /// its scalers do not know, and would count everything.
    fn meant_by(&self) -> Option<&'static str> {
        let of = |key: &&str| {
            let metadata = self.trigger.get("metadata");
            metadata.is_some_and(|metadata| metadata.get(key).is_some())
                || self.trigger.get(key).is_some()
        };
        let keys = if OWN.contains(&self.type_()) { OURS } else { &OURS[..2] };
        keys.iter().find(|key| of(key)).copied()
    }

    /// The metadata, of which what is no text is left out.
    pub(super) fn metadata(&self) -> HashMap<String, String> {
        let entries = self.trigger.get("metadata").into_iter().flat_map(Node::entries);
        let texts = entries.filter_map(|(key, _, node)| match node {
            Node::Text(text) => Some((key.clone(), text.clone())),
            _ => None,
        });
        texts.collect()
    }

    /// Where a key of the metadata stands; where the trigger begins, if it has none.
    pub(super) fn location(&self, key: &str) -> Option<Location> {
        self.written_at(key)
            .or_else(|| self.trigger.location(key))
            .or_else(|| self.trigger.begins())
    }

    /// Where a key of the metadata stands; `None` if it has none.
    fn written_at(&self, key: &str) -> Option<Location> {
        self.trigger.get("metadata")?.location(key)
    }

    /// A finding about a key.
    pub(super) fn finding(
        &self,
        mark: Mark,
        about: &str,
        words: impl Into<String>,
        see: See,
    ) -> Finding {
        Finding::new(mark, about, words, self.location(about), see)
    }

    /// What is wrong with how it is written, before anything is decoded; no more is said of a
    /// trigger that is not external.
    pub(super) fn written(&self) -> Result<Vec<Finding>, Finding> {
        if let Some(key) = self.meant_by().filter(|_| !self.is_external()) {
            return Err(self.finding(Mark::Error, "type", self.meant(key), See::Spec));
        }
        let mut findings = Vec::new();
        let Some(metadata) = self.trigger.get("metadata") else {
            let words = "is missing; give source and what it needs";
            return Err(self.finding(Mark::Error, "metadata", words, See::Parameters));
        };
        if self.kind == Kind::ScaledJob && self.type_() == "external-push" {
            let words = "KEDA starts no Job for what is pushed, and polls all the same; give \
                         external";
            findings.push(self.finding(Mark::Note, "type", words, See::Spec));
        }
        for (key, location, node) in metadata.entries() {
            let words = match node {
                // It may be a password.
                Node::Other(_) => "is no string; give it in quotes",
                Node::List(_) | Node::Map(_) => "is no string; Kubernetes takes nothing else",
                Node::Text(_) => continue,
            };
            let at = Some(*location);
            findings.push(Finding::new(Mark::Error, key, words, at, See::Parameters));
        }
        for key in SECRETS.iter().filter(|key| metadata.text(key).is_some_and(|it| !it.is_empty()))
        {
            let words = format!(
                "stands in the manifest for all who read it; give {key}FromEnv, or \
                 triggerAuthentication"
            );
            findings.push(self.finding(Mark::Note, key, words, See::Variables));
        }
        findings.extend(self.address(metadata));
        findings.extend(self.authentication(metadata));
        Ok(findings)
    }

    fn meant(&self, key: &str) -> String {
        match self.type_() {
            "" => "is missing; give external".to_owned(),
            own if OWN.contains(&own) => {
                let source = if own == "azure-servicebus" { own } else { "kafka" };
                format!(
                    "{own} is KEDA's own scaler, which leaves out {key}; give external, \
                     scalerAddress and source: {source}"
                )
            }
            other => format!("{} does not go with {key}; give external", quoted(other)),
        }
    }

    fn authentication(&self, metadata: &Node) -> Option<Finding> {
        self.trigger.get("authenticationRef")?;
        let is_set = |key: &str| metadata.get(key).is_some();
        let words = if is_set("enableTLS") || is_set("tlsCertFile") {
            return None;
        } else if is_set("triggerAuthentication") {
            "is for KEDA's TLS to keda-sift alone, and enableTLS is missing; give enableTLS: \
             \"true\", or leave authenticationRef out"
        } else {
            "KEDA keeps its parameters to itself; give triggerAuthentication in the metadata for \
             keda-sift to read them, or, if it is for TLS, enableTLS: \"true\""
        };
        Some(self.finding(Mark::Note, "authenticationRef", words, See::Authentication))
    }

    fn address(&self, metadata: &Node) -> Option<Finding> {
        // What is no text is complained of as such.
        if metadata.get("scalerAddress").is_some_and(|it| !matches!(it, Node::Text(_))) {
            return None;
        }
        let address = metadata.text("scalerAddress").unwrap_or_default();
        let beside = self.trigger.get("scalerAddress").is_some();
        let problem = match address.rsplit_once(':') {
            // Said of the trigger's fields.
            _ if address.trim().is_empty() && beside => return None,
            _ if address.trim().is_empty() => {
                "is missing; give keda-sift.keda-sift:9090, or where else keda-sift is".to_owned()
            }
            _ if address.contains("://") && !address.starts_with("dns:") => {
                let rest = address.split("://").nth(1).unwrap_or_default();
                format!("{} has a scheme; give {}", quoted(address), one_line(rest, SHOWN_BYTES))
            }
            None => format!("{} has no port; give it with :9090", quoted(address)),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                format!("{} does not end in a port; give it with :9090", quoted(address))
            }
            Some(("localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "", _)) => {
                let words = format!(
                    "{} is KEDA's own Pod; give keda-sift.keda-sift:9090, or where else keda-sift \
                     is",
                    quoted(address)
                );
                return Some(self.finding(Mark::Note, "scalerAddress", words, See::Address));
            }
            Some((host, _)) if !host.contains(['.', ':', '/']) => {
                let words = format!(
                    "{} names no namespace, and KEDA looks in its own; give {}.keda-sift:9090, or \
                     where else keda-sift is",
                    quoted(address),
                    one_line(host, SHOWN_BYTES)
                );
                return Some(self.finding(Mark::Note, "scalerAddress", words, See::Address));
            }
            Some(_) => return None,
        };
        Some(self.finding(Mark::Error, "scalerAddress", problem, See::Address))
    }

    /// The trigger that the metadata describes, and what is wrong with it.
    pub(super) fn decode(&self, values: &Values) -> (Option<Trigger>, Vec<Finding>) {
        let reader = Reader::new(&values.metadata).within(&self.namespace);
        let invalid = match Trigger::read(reader.with(values.parameters.as_ref())) {
            Ok(trigger) => return (Some(trigger), Vec::new()),
            Err(invalid) => invalid,
        };
        let mut findings = Vec::new();
        for complaint in invalid.complaints() {
            let (key, words) = complaint.split_once(": ").unwrap_or(("metadata", complaint));
            if values.excuse(key, words) {
                continue;
            }
            let is_given = key.ends_with(FROM_ENV) || key.contains(" of the ");
            let about = key.split(' ').next().unwrap_or(key);
            let finding = match (is_given && words.starts_with("its value"), values.is_live) {
                // A file may have it as a placeholder.
                (true, false) => self.finding(
                    Mark::Note,
                    about,
                    format!("{words}; unless the files have a placeholder"),
                    See::Variables,
                ),
                _ => self.finding(Mark::Error, about, words, see(about)),
            };
            findings.push(finding);
        }
        if findings.is_empty() {
            let words = "what its variables, or its TriggerAuthentication, hold is known in the \
                         cluster alone";
            findings.push(self.finding(Mark::Unknown, "metadata", words, See::Variables));
        }
        (None, findings)
    }

    /// What may not be meant of a trigger that decodes, in an object that starts at most so many
    /// Jobs.
    pub(super) fn doubts(&self, trigger: &Trigger, max_jobs: Option<u64>) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(hint) = trigger.selection().hint() {
            findings.push(self.finding(Mark::Note, "eventType", hint, See::Types));
        }
        if let Trigger::Kafka(_) = trigger
            && self.written_at("offsetResetPolicy").is_none()
        {
            let words = "is missing; a group that has committed nothing begins at the end; give \
                         earliest to count what is there already";
            findings.push(self.finding(Mark::Note, "offsetResetPolicy", words, See::Counts));
        }
        let scaling = trigger.scaling();
        if let (Some(limit), Some(max)) = (scaling.count_limit, max_jobs) {
            let jobs = limit.get().div_ceil(scaling.target);
            if jobs < max {
                let words = format!(
                    "{limit} messages start at most {jobs} Jobs, and maxReplicaCount is {max}; \
                     give {}",
                    max.saturating_mul(scaling.target)
                );
                findings.push(self.finding(Mark::Note, "countLimit", words, See::Counts));
            }
        }
        findings
    }
}

/// Where more is said of a parameter.
fn see(key: &str) -> See {
    match key {
        "eventType" | "eventTypeFrom" | "filter" => See::Types,
        "triggerAuthentication" => See::Authentication,
        _ if fields::is_of_metadata(key) && key.ends_with(FROM_ENV) => See::Variables,
        _ => See::Parameters,
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn addresses_that_cannot_be_one_are_told() {
        let object = |address: &str| {
            document::read(&format!(
                "kind: ScaledObject\nspec: {{triggers: [{{type: external, metadata: {{scalerAddress: '{address}'}}}}]}}"
            ))
            .expect("YAML")
        };
        for (address, expected) in [
            ("keda-sift.keda-sift:9090", None),
            ("dns:///keda-sift.keda-sift.svc:9090", None),
            ("", Some("is missing; give keda-sift.keda-sift:9090, or where else keda-sift is")),
            (
                "http://keda-sift:9090",
                Some("\"http://keda-sift:9090\" has a scheme; give keda-sift:9090"),
            ),
            ("keda-sift", Some("\"keda-sift\" has no port; give it with :9090")),
            ("keda-sift:grpc", Some("\"keda-sift:grpc\" does not end in a port; give it with")),
            (
                "keda-sift:9090",
                Some("\"keda-sift:9090\" names no namespace, and KEDA looks in its"),
            ),
            ("localhost:9090", Some("\"localhost:9090\" is KEDA's own Pod; give keda-sift")),
        ] {
            let objects = object(address);
            let object = Object::of("a.yaml", &objects[0], "default").expect("a ScaledObject");
            let told = object.triggers()[0].written().expect("it is external");
            let told: Vec<_> = told.iter().map(|finding| finding.words.as_str()).collect();
            let fits = match expected {
                Some(expected) => told.len() == 1 && told[0].starts_with(expected),
                None => told.is_empty(),
            };
            assert!(fits, "{address}: {told:?}");
        }
    }
}
