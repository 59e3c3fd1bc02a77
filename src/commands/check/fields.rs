//! Which fields KEDA's objects have, and what fits each: what the API server refuses, or drops
//! without a word.
//!
//! Job templates are left to the API server.
//!
//! # References
//! - KEDA 2.20 `apis/keda/v1alpha1`: `ScaledJobSpec`, `ScaledObjectSpec`, `ScaleTriggers`,
//!   `TriggerAuthenticationSpec`; KEDA 1.5 for `scaleType` and `deploymentName`

use super::document::{Location, Node};
use super::finding::{Finding, Mark, SHOWN_BYTES, See};
use crate::metadata::{one_line, quoted};

/// A field, and what fits it.
pub(super) struct Field(&'static str, Fits);

enum Fits {
    Text,
    /// This or more.
    Number(i64),
    Boolean,
    OneOf(&'static [&'static str]),
    Texts,
    Fields(&'static [Field]),
    Each(&'static [Field]),
    /// Looked at elsewhere, or by the API server alone.
    Anything,
}

use Fits::{Anything, Boolean, Each, Fields, Number, OneOf, Text, Texts};

pub(super) const SCALED_JOB: &[Field] = &[
    Field("jobTargetRef", Anything),
    Field("pollingInterval", Number(1)),
    Field("successfulJobsHistoryLimit", Number(0)),
    Field("failedJobsHistoryLimit", Number(0)),
    Field("envSourceContainerName", Text),
    Field("minReplicaCount", Number(0)),
    Field("maxReplicaCount", Number(1)),
    Field("rolloutStrategy", OneOf(ROLLOUTS)),
    Field(
        "rollout",
        Fields(&[
            Field("strategy", OneOf(ROLLOUTS)),
            Field("propagationPolicy", OneOf(&["background", "foreground"])),
        ]),
    ),
    Field(
        "scalingStrategy",
        Fields(&[
            Field("strategy", OneOf(&["default", "custom", "accurate", "eager"])),
            Field("customScalingQueueLengthDeduction", Number(i32::MIN as i64)),
            Field("customScalingRunningJobPercentage", Text),
            Field("pendingPodConditions", Texts),
            Field("multipleScalersCalculation", OneOf(&["max", "min", "avg", "sum"])),
        ]),
    ),
    Field("triggers", Each(TRIGGER)),
];

const ROLLOUTS: &[&str] = &["gradual", "immediate"];

pub(super) const SCALED_OBJECT: &[Field] = &[
    Field(
        "scaleTargetRef",
        Fields(&[
            Field("apiVersion", Text),
            Field("kind", Text),
            Field("name", Text),
            Field("envSourceContainerName", Text),
        ]),
    ),
    Field("pollingInterval", Number(1)),
    Field("cooldownPeriod", Number(0)),
    Field("initialCooldownPeriod", Number(0)),
    Field("idleReplicaCount", Number(0)),
    Field("minReplicaCount", Number(0)),
    Field("maxReplicaCount", Number(1)),
    Field(
        "fallback",
        Fields(&[
            Field("failureThreshold", Number(0)),
            Field("replicas", Number(0)),
            Field("behavior", Text),
        ]),
    ),
    Field("advanced", Anything),
    Field("triggers", Each(TRIGGER)),
];

const TRIGGER: &[Field] = &[
    Field("type", Text),
    Field("name", Text),
    Field("metricType", OneOf(&["AverageValue", "Value", "Utilization"])),
    Field("useCachedMetrics", Boolean),
    Field("metadata", Anything),
    Field(
        "authenticationRef",
        Fields(&[
            Field("name", Text),
            Field("kind", OneOf(&["TriggerAuthentication", "ClusterTriggerAuthentication"])),
        ]),
    ),
];

pub(super) const AUTHENTICATION: &[Field] = &[
    Field(
        "podIdentity",
        Fields(&[
            Field("provider", OneOf(&["azure-workload", "gcp", "aws", "aws-eks", "none"])),
            Field("identityId", Text),
            Field("identityTenantId", Text),
            Field("identityAuthorityHost", Text),
            Field("identityOwner", OneOf(&["keda", "workload"])),
            Field("roleArn", Text),
            Field("externalID", Text),
        ]),
    ),
    Field("secretTargetRef", Each(KEY)),
    Field("configMapTargetRef", Each(KEY)),
    Field(
        "env",
        Each(&[Field("parameter", Text), Field("name", Text), Field("containerName", Text)]),
    ),
    // Of these keda-sift reads nothing.
    Field("hashiCorpVault", Anything),
    Field("azureKeyVault", Anything),
    Field("gcpSecretManager", Anything),
    Field("awsSecretManager", Anything),
    Field("boundServiceAccountToken", Anything),
    Field("filePath", Text),
    Field("oauth2", Anything),
];

const KEY: &[Field] = &[Field("parameter", Text), Field("name", Text), Field("key", Text)];

/// Fields that stand elsewhere or are of another time, by the beginning or the end of the path where
/// they are found.
const BY_HEART: &[(&str, &str, &str)] = &[
    ("scaledjob", "cooldownPeriod", "is of a ScaledObject; a Job ends by itself"),
    ("scaledjob", "idleReplicaCount", "is of a ScaledObject; leave it out"),
    ("scaledjob", "fallback", "is of a ScaledObject; leave it out"),
    ("scaledjob", "advanced", "is of a ScaledObject; leave it out"),
    (
        "scaledjob",
        "scaleTargetRef",
        "is of a ScaledObject; give jobTargetRef with a Job's template",
    ),
    ("scaledjob", "template", "stands in jobTargetRef; indent it"),
    ("scaledjob", "parallelism", "stands in jobTargetRef; indent it"),
    ("scaledjob", "completions", "stands in jobTargetRef; indent it"),
    ("scaledjob", "backoffLimit", "stands in jobTargetRef; indent it"),
    ("scaledjob", "activeDeadlineSeconds", "stands in jobTargetRef; indent it"),
    ("scaledjob", "ttlSecondsAfterFinished", "stands in jobTargetRef; indent it"),
    ("scaledobject", "jobTargetRef", "is of a ScaledJob; give kind ScaledJob"),
    ("scaledobject", "scaleType", "is of KEDA 1; give kind ScaledJob for Jobs, and leave it out"),
    ("scaledobject", "scalingStrategy", "is of a ScaledJob; leave it out"),
    ("scaledobject", "successfulJobsHistoryLimit", "is of a ScaledJob; leave it out"),
    ("scaledobject", "failedJobsHistoryLimit", "is of a ScaledJob; leave it out"),
    ("scaledobject", "deploymentName", "is of KEDA 1; give name"),
    ("scaledobject", "containerName", "is of KEDA 1; give envSourceContainerName"),
    ("triggers", "authenticationRefs", "is no field; give authenticationRef"),
    ("triggers", "podIdentity", "stands in a TriggerAuthentication"),
];

/// What does not fit in the fields of a map. `path` is where it stands, from its kind in lower case
/// on.
pub(super) fn check(node: &Node, fields: &[Field], path: &str, findings: &mut Vec<Finding>) {
    for (key, at, value) in node.entries() {
        let about = match path.split_once('.') {
            Some((_, within)) => format!("{within}.{key}"),
            None => key.clone(),
        };
        let Some(Field(_, fits)) = fields.iter().find(|Field(name, _)| name == key) else {
            findings.push(error(&about, unknown(key, fields, path), *at));
            continue;
        };
        check_value(value, fits, (&about, *at), &format!("{path}.{key}"), findings);
    }
}

fn check_value(
    value: &Node,
    fits: &Fits,
    (about, at): (&str, Location),
    path: &str,
    findings: &mut Vec<Finding>,
) {
    let words = match (fits, value) {
        (Anything, _) => return,
        // As if it were not there.
        (_, Node::Other(other)) if other == "null" => return,
        (Text, Node::Text(_)) => return,
        (Text, _) => "is no text; give it in quotes".to_owned(),
        (Boolean, Node::Other(other)) if other == "true" || other == "false" => return,
        (Boolean, _) => "is neither true nor false; give one of them without quotes".to_owned(),
        (Number(least), Node::Other(other)) => match other.parse::<i64>() {
            Ok(number) if number >= *least => return,
            Ok(number) => format!("{number} is too low; give {least} or more"),
            Err(_) => "is no whole number; give one".to_owned(),
        },
        (Number(_), Node::Text(text)) if text.parse::<i64>().is_ok() => {
            format!("{} is text; give the number without quotes", quoted(text))
        }
        (Number(_), _) => "is no number; give one".to_owned(),
        (OneOf(words), Node::Text(text)) if words.contains(&text.as_str()) => return,
        (OneOf(words), Node::Text(text)) => {
            format!("{} is not known; give {}", quoted(text), words.join(" or "))
        }
        (OneOf(words), _) => format!("is no text; give {}", words.join(" or ")),
        (Texts, Node::List(items)) if items.iter().all(|it| matches!(it, Node::Text(_))) => return,
        (Texts, _) => "is no list of texts; give one".to_owned(),
        (Fields(fields), Node::Map(_)) => return check(value, fields, path, findings),
        (Fields(fields), _) => {
            let names: Vec<_> = fields.iter().map(|Field(name, _)| *name).collect();
            format!("is not a map; give it with {}", names.join(", "))
        }
        (Each(fields), Node::List(items)) => {
            for item in items {
                match item {
                    Node::Map(_) => check(item, fields, path, findings),
                    _ => findings.push(error(about, "has an element that is no map".into(), at)),
                }
            }
            return;
        }
        (Each(_), _) => "is not a list; give one, each element with a dash".to_owned(),
    };
    findings.push(error(about, words, at));
}

fn unknown(key: &str, fields: &[Field], path: &str) -> String {
    let is_it = |(within, name, _): &&(&str, &str, &str)| {
        *name == key && (path.starts_with(within) || path.ends_with(within))
    };
    let by_heart = BY_HEART.iter().find(is_it);
    if let Some((.., words)) = by_heart {
        return (*words).to_owned();
    }
    if path.ends_with("triggers") && is_of_metadata(key) {
        return "stands in metadata; indent it".to_owned();
    }
    let names = || fields.iter().map(|Field(name, _)| *name);
    let nearest = names()
        .map(|name| (strsim::osa_distance(&name.to_lowercase(), &key.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len() / 4).max(1))
        .min();
    match nearest {
        Some((_, name)) => format!("is no field; the nearest is {name}"),
        None => format!("is no field; there are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

/// Whether a key is a parameter of ours, so that it is meant to stand in the metadata.
pub(super) fn is_of_metadata(key: &str) -> bool {
    let base = key.strip_suffix(crate::metadata::FROM_ENV).unwrap_or(key);
    let tables = crate::sources::Sources::tables().map(|(_, table)| table);
    tables.chain([&crate::source::PARAMETERS]).any(|table| table.get(base).is_some())
}

fn error(about: &str, words: String, at: Location) -> Finding {
    Finding::new(Mark::Error, about, one_line(&words, 4 * SHOWN_BYTES), Some(at), See::Spec)
}
