//! What can be said of a trigger by its manifest alone.

use std::collections::HashMap;

use super::document::{Location, Node};
use crate::metadata::{FROM_ENV, Reader, one_line, quoted};
use crate::trigger::Trigger;

/// Bytes of a name that a finding shows.
const SHOWN_BYTES: usize = 80;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// The key, or what else it is about.
    pub(super) about: String,
    pub(super) words: String,
    #[serde(flatten)]
    pub(super) location: Option<Location>,
    /// The part of docs/troubleshooting.md that says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) see: Option<&'static str>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    Fine,
    /// It may be meant, and may not.
    Note,
    Error,
    /// It could not be looked at.
    Unknown,
}

/// A trigger of type external in an object that KEDA scales by.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    pub(super) kind: &'a str,
    pub(super) name: String,
    pub(super) namespace: String,
    /// Its place among all triggers of the object.
    pub(super) number: usize,
    trigger: &'a Node,
}

/// The triggers in a document that are ours to look at.
pub(super) fn triggers<'a>(object: &'a Node, namespace: &str) -> Vec<Found<'a>> {
    let kind = object.text("kind").unwrap_or_default();
    if !matches!(kind, "ScaledJob" | "ScaledObject") {
        return Vec::new();
    }
    let metadata = object.get("metadata");
    let of = |key: &str| metadata.and_then(|metadata| metadata.text(key));
    let shown = |name: &str| one_line(name, SHOWN_BYTES);
    let triggers = object.get("spec").and_then(|spec| spec.get("triggers"));
    let each = triggers.map(Node::items).unwrap_or_default().iter().enumerate();
    let external = each
        .filter(|(_, trigger)| matches!(trigger.text("type"), Some("external" | "external-push")));
    external
        .map(|(number, trigger)| Found {
            kind,
            name: shown(of("name").unwrap_or("?")),
            namespace: of("namespace").map_or_else(|| namespace.to_owned(), shown),
            number,
            trigger,
        })
        .collect()
}

impl Found<'_> {
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
        self.written_at(key).or_else(|| self.trigger.begins())
    }

    /// Where a key of the metadata stands; `None` if it has none.
    fn written_at(&self, key: &str) -> Option<Location> {
        self.trigger.get("metadata")?.location(key)
    }

    /// A finding about a key.
    pub(super) fn finding(&self, mark: Mark, about: &str, words: String) -> Finding {
        let location = self.location(about);
        Finding { mark, about: one_line(about, SHOWN_BYTES), words, location, see: None }
    }

    /// What is wrong with how it is written, before anything is decoded.
    pub(super) fn written(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Some(metadata) = self.trigger.get("metadata") else {
            let words = "is missing; give source and what it needs".to_owned();
            return vec![self.finding(Mark::Error, "metadata", words)];
        };
        for (key, location, node) in metadata.entries() {
            let words = match node {
                // It may be a password.
                Node::Other(_) => "is no string; give it in quotes".to_owned(),
                Node::List(_) | Node::Map(_) => {
                    "is no string; Kubernetes takes nothing else".to_owned()
                }
                Node::Text(_) => continue,
            };
            let finding = self.finding(Mark::Error, key, words);
            findings.push(Finding { location: Some(*location), ..finding });
        }
        findings.extend(self.address(metadata.text("scalerAddress")));
        let wants_tls =
            metadata.get("enableTLS").is_some() || metadata.get("tlsCertFile").is_some();
        if self.trigger.get("authenticationRef").is_some()
            && metadata.get("triggerAuthentication").is_none()
            && !wants_tls
        {
            let words = "KEDA keeps its parameters to itself; give triggerAuthentication in the \
                         metadata for keda-sift to read them";
            findings.push(self.finding(Mark::Note, "authenticationRef", words.to_owned()));
        }
        findings
    }

    fn address(&self, address: Option<&str>) -> Option<Finding> {
        let problem = match address {
            None => {
                "is missing; give keda-sift.keda-sift:9090, or where else keda-sift is".to_owned()
            }
            Some(address) if address.contains("://") => {
                let rest = address.split("://").nth(1).unwrap_or_default();
                format!("{} has a scheme; give {}", quoted(address), one_line(rest, SHOWN_BYTES))
            }
            Some(address) if !address.contains(':') => {
                format!("{} has no port; give it with :9090", quoted(address))
            }
            Some(_) => return None,
        };
        let finding = self.finding(Mark::Error, "scalerAddress", problem);
        Some(Finding { see: Some("no-job-starts"), ..finding })
    }

    /// The trigger that the metadata describes, and what is wrong with it. What a `FromEnv` key
    /// holds is not complained of where only its variable is known.
    pub(super) fn decode(
        &self,
        metadata: &HashMap<String, String>,
        is_resolved: bool,
    ) -> (Option<Trigger>, Vec<Finding>) {
        let invalid = match Trigger::read(Reader::new(metadata).within(&self.namespace)) {
            Ok(trigger) => return (Some(trigger), Vec::new()),
            Err(invalid) => invalid,
        };
        let named = Trigger::authentication(metadata).is_some();
        let mut findings = Vec::new();
        let mut is_unknown = false;
        for complaint in invalid.complaints() {
            let (key, words) = complaint.split_once(": ").unwrap_or(("metadata", complaint));
            let of_variable = key.ends_with(FROM_ENV) && words.starts_with("its value");
            // The TriggerAuthentication may give it.
            let of_authentication = named && words.starts_with("is missing");
            if (of_variable && !is_resolved && !words.contains("a second time"))
                || of_authentication
            {
                is_unknown = true;
                continue;
            }
            findings.push(self.finding(Mark::Error, key, words.to_owned()));
        }
        if is_unknown && findings.is_empty() {
            let words = "what its variables, or its TriggerAuthentication, hold is known in the \
                         cluster alone";
            findings.push(self.finding(Mark::Unknown, "metadata", words.to_owned()));
        }
        (None, findings)
    }

    /// What may not be meant of a trigger that decodes.
    pub(super) fn doubts(&self, trigger: &Trigger) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(hint) = trigger.selection().hint() {
            let finding = self.finding(Mark::Note, "eventType", hint);
            findings.push(Finding { see: Some("it-is-always-0"), ..finding });
        }
        if let Trigger::Kafka(_) = trigger
            && self.written_at("offsetResetPolicy").is_none()
        {
            let words = "a group that has committed nothing begins at the end; give earliest to \
                         count what is there already";
            let finding = self.finding(Mark::Note, "offsetResetPolicy", words.to_owned());
            findings.push(Finding { see: Some("it-is-always-0"), ..finding });
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    /// What is found in the first trigger of a manifest with this metadata, as `mark about: words`.
    fn found(metadata: &str, beside: &str) -> Vec<String> {
        let text = format!(
            "kind: ScaledJob\nmetadata: {{name: thumbnails}}\nspec:\n  triggers:\n    - type: external\n      {beside}metadata:\n        scalerAddress: a:9090\n{metadata}"
        );
        let objects = document::read(&text).expect("YAML");
        let found = &triggers(&objects[0], "default")[0];
        let mut findings = found.written();
        let (trigger, complaints) = found.decode(&found.metadata(), false);
        findings.extend(complaints);
        findings.extend(trigger.iter().flat_map(|trigger| found.doubts(trigger)));
        let told = |finding: &Finding| {
            let line = finding.location.map_or(0, |location| location.line);
            format!("{:?} {} {}: {}", finding.mark, line, finding.about, finding.words)
        };
        findings.iter().map(told).collect()
    }

    #[test]
    fn mistakes_are_found_by_the_manifest_alone() {
        let kafka = "        source: kafka\n        bootstrapServers: a:1\n        consumerGroup: g\n        offsetResetPolicy: earliest\n";
        let rows: &[(&str, &str, &[&str])] = &[
            ("", "", &[]),
            (
                "        lagThreshold: 10\n",
                "",
                &["Error 12 lagThreshold: is no string; give it in quotes"],
            ),
            (
                "        lagThreshold: ten\n",
                "",
                &["Error 12 lagThreshold: \"ten\" is not a whole number; give 1 or more"],
            ),
            (
                "        lagTreshold: '5'\n",
                "",
                &["Error 12 lagTreshold: is not a parameter; the nearest is lagThreshold"],
            ),
            (
                "        eventType: order\\..*\n",
                "",
                &["Note 12 eventType: \"order\\\\..*\" is taken letter for letter"],
            ),
            (
                "        topic: a\n        topicFromEnv: B\n",
                "",
                &["Error 12 topic: \"a\" is given a second time"],
            ),
            (
                "        tls: enable\n        caFromEnv: CA\n",
                "",
                &["Unknown 5 metadata: what its variables"],
            ),
            ("", "authenticationRef: {name: a}\n      ", &["Note 5 authenticationRef: KEDA keeps"]),
        ];
        for (metadata, beside, expected) in rows {
            let told = found(&format!("{kafka}{metadata}"), beside);
            let fits =
                told.iter().zip(*expected).all(|(told, expected)| told.starts_with(expected));
            assert!(told.len() == expected.len() && fits, "{metadata}: {told:#?}");
        }
    }

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
            (
                "http://keda-sift:9090",
                Some("\"http://keda-sift:9090\" has a scheme; give keda-sift:9090"),
            ),
            ("keda-sift", Some("\"keda-sift\" has no port; give it with :9090")),
        ] {
            let objects = object(address);
            let told = triggers(&objects[0], "default")[0].written();
            let told: Vec<_> = told.iter().map(|finding| finding.words.as_str()).collect();
            assert_eq!(told, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
