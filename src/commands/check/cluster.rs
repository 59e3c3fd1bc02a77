//! What a cluster says of an object: whether KEDA finds keda-sift, what it last made of the
//! object's triggers, and which Jobs there are.
//!
//! # References
//! - KEDA 2.20 `pkg/scaling/executor/scale_executor.go`: `triggersActivity` has a trigger, as
//!   `s<number>-<metric>`, from the first answer on
//! - Kubernetes, "DNS for Services and Pods"

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Service};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::core::DynamicObject;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::document::Node;
use super::finding::{Finding, Mark, See};
use super::inspect::Found;
use super::object::Object;
use super::report::OfObject;
use super::values::forbidden;
use crate::jobs::Present;
use crate::kubernetes::{Error, Kind, Kubernetes, Name};
use crate::metadata::one_line;

/// How long a scaler may take to say how it is.
const CALL: Duration = Duration::from_secs(3);

/// What the scaler's health is asked of: whether it is ready, and not only alive.
const SERVICE: &str = "externalscaler.ExternalScaler";

/// An Event that is older says nothing of how things are now.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// How long KEDA has for its first poll, beside the interval between two.
const START: SignedDuration = SignedDuration::from_secs(30);

/// KEDA's `pollingInterval` where there is none.
const INTERVAL: i64 = 30;

/// Bytes of another's words that are shown.
const WORDS: usize = 400;

/// A cluster to look at.
pub(super) struct Cluster {
    pub(super) kubernetes: Kubernetes,
    /// Where KEDA runs, and looks for a Service that is named without its namespace.
    pub(super) keda_namespace: String,
    /// Whether this runs in the cluster, where names of Services lead somewhere.
    pub(super) is_within: bool,
}

/// An object as the cluster has it.
pub(super) struct Known {
    object: DynamicObject,
    age: Option<SignedDuration>,
    pub(super) is_paused: bool,
}

/// What `scalerAddress` means.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    Service { name: Name, namespace: Name },
    Elsewhere,
}

impl Cluster {
    /// Whether KEDA finds a scaler at the trigger's address.
    pub(super) async fn address(&self, found: &Found<'_>) -> Option<Finding> {
        let metadata = found.metadata();
        let address = metadata.get("scalerAddress")?.trim();
        let bare = address.trim_start_matches("dns:").trim_start_matches('/');
        let (host, port) = bare.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let finding = |mark, words| found.finding(mark, "scalerAddress", words, See::Address);
        let mut words = format!("{} ", one_line(address, 80));
        let is_callable = match self.host(host) {
            Host::Service { name, namespace } => {
                match self.service(&name, &namespace, port).await {
                    Ok(of_service) => words.push_str(&of_service),
                    Err((mark, told)) => return Some(finding(mark, words + &told)),
                }
                self.is_within
            }
            Host::Elsewhere => {
                words.push_str("is no Service of this cluster");
                true
            }
        };
        if !is_callable {
            words.push_str("; it cannot be called from outside of the cluster");
            return Some(finding(Mark::Fine, words));
        }
        let is_tls = ["enableTLS", "tlsCertFile"].iter().any(|key| metadata.contains_key(*key));
        Some(match call(host, port, is_tls).await {
            Ok(told) => finding(Mark::Fine, format!("{words}; {told}")),
            Err(told) => finding(Mark::Note, format!("{words}; {told}")),
        })
    }

    fn host(&self, host: &str) -> Host {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let labels: Vec<&str> = host.split('.').collect();
        let (name, namespace) = match labels[..] {
            [name] => (name, self.keda_namespace.as_str()),
            [name, namespace] | [name, namespace, "svc", ..] => (name, namespace),
            _ => return Host::Elsewhere,
        };
        match (Name::parse(name), Name::parse(namespace)) {
            (Ok(name), Ok(namespace)) if host != "localhost" => Host::Service { name, namespace },
            _ => Host::Elsewhere,
        }
    }

    /// What is there of a Service, or what is wrong with it.
    async fn service(
        &self,
        name: &Name,
        namespace: &Name,
        port: u16,
    ) -> Result<String, (Mark, String)> {
        let service = match self.kubernetes.service(namespace, name).await {
            Ok(service) => service,
            Err(Error::NotFound { .. }) => {
                let there = self.others(port).await;
                return Err((Mark::Error, format!("has no Service{there}")));
            }
            Err(error) => return Err((Mark::Unknown, told(&error))),
        };
        let spec = service.spec.unwrap_or_default();
        let ports: Vec<i32> = spec.ports.iter().flatten().map(|port| port.port).collect();
        if spec.type_.as_deref() == Some("ExternalName") {
            return Ok("is a Service of type ExternalName".to_owned());
        }
        if !ports.contains(&i32::from(port)) {
            let ports: Vec<_> = ports.iter().map(i32::to_string).collect();
            let words = format!("has no such port; the Service has {}", ports.join(", "));
            return Err((Mark::Error, words));
        }
        match self.kubernetes.ready_endpoints(namespace, name).await {
            Ok(0) => Err((
                Mark::Error,
                format!("has no Pod that is ready; see kubectl get pods -n {namespace}"),
            )),
            Ok(ready) => Ok(format!("has {ready} ready endpoints")),
            Err(error) => Err((Mark::Unknown, told(&error))),
        }
    }

    /// The Services of keda-sift that there are, if they can be listed.
    async fn others(&self, port: u16) -> String {
        let all = self.kubernetes.own_services().await.unwrap_or_default();
        let has_port = |service: &&Service| {
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            ports.into_iter().any(|it| it.port == i32::from(port))
        };
        let named = |service: &Service| {
            let metadata = &service.metadata;
            Some(format!("{}.{}:{port}", metadata.name.as_ref()?, metadata.namespace.as_ref()?))
        };
        match all.iter().filter(has_port).find_map(named) {
            Some(address) => format!("; here it is {}", one_line(&address, 200)),
            None => "; give the name and the namespace of keda-sift's".to_owned(),
        }
    }

    /// The object as it is, with what is to be said of it.
    pub(super) async fn object(&self, object: &Object<'_>, of: &mut OfObject) -> Option<Known> {
        let kind = match object.kind {
            super::object::Kind::ScaledJob => Kind::ScaledJob,
            super::object::Kind::ScaledObject => Kind::ScaledObject,
            _ => return None,
        };
        let at = object.node.begins();
        let finding = |mark, about, words: String| Finding::new(mark, about, words, at, See::Keda);
        let (Ok(namespace), Ok(name)) = (Name::parse(&object.namespace), Name::parse(&object.name))
        else {
            return None;
        };
        let found = match self.kubernetes.scaled(kind, &namespace, &name).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => {
                let words = format!("is not in namespace {namespace}; apply it");
                of.findings.push(finding(Mark::Note, "cluster", words));
                return None;
            }
            Err(error) => {
                of.findings.push(finding(Mark::Unknown, "cluster", told(&error)));
                return None;
            }
        };
        let now = Timestamp::now();
        let made = found.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let age = made.map(|made| now.duration_since(made));
        let annotations = found.metadata.annotations.as_ref();
        let annotation = |key: &str| annotations.and_then(|all| all.get(key));
        let is_paused = annotation("autoscaling.keda.sh/paused").is_some_and(|it| it != "false")
            || annotation("autoscaling.keda.sh/paused-replicas").is_some();
        let old = age.map(|age| format!(", {} old", length(age))).unwrap_or_default();
        let spec = object.spec().map(Node::json).unwrap_or_default();
        let differs = first_difference(&spec, &found.data["spec"], "spec");
        of.findings.push(match differs {
            Some(path) => {
                let words =
                    format!("its {} differs from the file{old}; apply it", one_line(&path, 80));
                finding(Mark::Note, "cluster", words)
            }
            None => finding(Mark::Fine, "cluster", format!("as in the file{old}")),
        });
        let known = Known { object: found, age, is_paused };
        let (mark, words) = known.condition();
        of.findings.push(finding(mark, "keda", words));
        match self.kubernetes.events_of(kind, &namespace, &name).await {
            Ok(events) => {
                let uid = known.object.metadata.uid.as_deref();
                let words = latest_warnings(&events, uid, now);
                let warnings = words.into_iter().map(|words| finding(Mark::Note, "event", words));
                of.findings.extend(warnings);
            }
            Err(error) => of.findings.push(finding(Mark::Unknown, "event", told(&error))),
        }
        Some(known)
    }

    /// The Jobs that there are of a ScaledJob.
    pub(super) async fn present(&self, object: &Object<'_>) -> Result<Present, String> {
        let (Ok(namespace), Ok(name)) = (Name::parse(&object.namespace), Name::parse(&object.name))
        else {
            return Err("it has no name".to_owned());
        };
        let conditions = object.spec().and_then(|spec| spec.get("scalingStrategy"));
        let conditions = conditions.and_then(|strategy| strategy.get("pendingPodConditions"));
        let conditions = conditions.map(Node::json).and_then(|it| serde_json::from_value(it).ok());
        let conditions: Vec<String> = conditions.unwrap_or_default();
        match self.kubernetes.jobs_of(&namespace, &name, &conditions).await {
            Ok((running, pending)) => Ok(Present { running, pending }),
            Err(error) => Err(told(&error)),
        }
    }
}

impl Known {
    /// What KEDA says of the object.
    fn condition(&self) -> (Mark, String) {
        if self.is_paused {
            let words = "is paused, and nothing is started; remove the annotation \
                         autoscaling.keda.sh/paused";
            return (Mark::Note, words.to_owned());
        }
        let status = &self.object.data["status"];
        let condition = |of: &str| {
            let all = status["conditions"].as_array();
            all.and_then(|all| all.iter().find(|condition| condition["type"] == of).cloned())
        };
        let text = |value: &Value| one_line(value.as_str().unwrap_or_default(), WORDS);
        let Some(ready) = condition("Ready") else {
            let is_new = self.age.is_none_or(|age| age < START);
            let words = "KEDA has said nothing of it yet; see whether it runs, and watches this \
                         namespace";
            return (if is_new { Mark::Note } else { Mark::Error }, words.to_owned());
        };
        let active = match condition("Active").as_ref().and_then(|it| it["status"].as_str()) {
            Some("True") => "active",
            Some("False") => "not active",
            _ => "not known to be active",
        };
        match ready["status"].as_str() {
            Some("True") => (Mark::Fine, format!("Ready, {active}")),
            Some("False") => {
                (Mark::Error, format!("{}: {}", text(&ready["reason"]), text(&ready["message"])))
            }
            _ => (Mark::Note, format!("{}: {}", text(&ready["reason"]), text(&ready["message"]))),
        }
    }

    /// Whether KEDA has ever had an answer for a trigger. For a ScaledJob it says so nowhere else.
    pub(super) fn trigger(&self, found: &Found<'_>) -> Option<Finding> {
        if self.is_paused {
            return None;
        }
        let activity = self.object.data["status"]["triggersActivity"].as_object();
        let prefix = format!("s{}-", found.number);
        let of_it = activity.into_iter().flatten().find(|(key, _)| key.starts_with(&prefix));
        let finding = |mark, words: String| found.finding(mark, "keda", words, See::Keda);
        Some(match of_it {
            Some((metric, activity)) => {
                let is_active = activity["isActive"] == true;
                let words = if is_active { "active" } else { "not active" };
                finding(Mark::Fine, format!("polls {}, {words}", one_line(metric, 200)))
            }
            None => {
                let interval = self.object.data["spec"]["pollingInterval"].as_i64();
                let interval = SignedDuration::from_secs(interval.unwrap_or(INTERVAL));
                let age = self.age.unwrap_or_default();
                let is_new = age < interval.saturating_add(START);
                let words = format!(
                    "has never had an answer for this trigger; the object is {} old; see \
                     scalerAddress, and KEDA's log",
                    length(age)
                );
                finding(if is_new { Mark::Note } else { Mark::Error }, words)
            }
        })
    }
}

/// How a scaler is, as it says itself.
async fn call(host: &str, port: u16, is_tls: bool) -> Result<String, String> {
    let unreachable =
        |error: String| format!("from here it is not reached: {}", one_line(&error, WORDS));
    let late = |_| unreachable(format!("no answer within {} s", CALL.as_secs()));
    if is_tls {
        let connect = TcpStream::connect((host.trim_matches(['[', ']']), port));
        let connected = timeout(CALL, connect).await.map_err(late)?;
        return match connected {
            Ok(_) => Ok("something listens there".to_owned()),
            Err(error) => Err(unreachable(error.to_string())),
        };
    }
    let endpoint = Endpoint::from_shared(format!("http://{host}:{port}"))
        .map_err(|error| unreachable(error.to_string()))?;
    let check = async {
        let channel = endpoint.connect().await.map_err(|error| {
            let source = std::error::Error::source(&error);
            unreachable(source.map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        let request = HealthCheckRequest { service: SERVICE.to_owned() };
        let answer = HealthClient::new(channel).check(request).await;
        match answer.map(|answer| answer.into_inner().status()) {
            Ok(ServingStatus::Serving) => Ok("it answers".to_owned()),
            Ok(_) => Err("it answers that it does not serve yet; see its log".to_owned()),
            Err(status) => Err(format!("it is no keda-sift: {}", one_line(status.message(), 200))),
        }
    };
    timeout(CALL, check).await.map_err(late)?
}

/// What an error of the API server's means to whoever looks.
fn told(error: &Error) -> String {
    match error {
        Error::Forbidden { verb, resource, namespace, .. } => forbidden(verb, resource, namespace),
        error => one_line(&error.to_string(), WORDS),
    }
}

/// The latest warning of each that warned in the last hour.
fn latest_warnings(events: &[Event], uid: Option<&str>, now: Timestamp) -> Vec<String> {
    let at = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let time = series.or(event.event_time.as_ref()).map(|time| time.0);
        let last = event.last_timestamp.as_ref().or(event.metadata.creation_timestamp.as_ref());
        last.map(|time| time.0).max(time)
    };
    let source = |event: &Event| {
        let source = event.source.as_ref().and_then(|source| source.component.clone());
        source.or_else(|| event.reporting_component.clone()).unwrap_or_default()
    };
    let mut warnings: Vec<_> = events
        .iter()
        .filter(|event| event.type_.as_deref() == Some("Warning"))
        // One of the same name may have been there before.
        .filter(|event| uid.is_none() || event.involved_object.uid.as_deref() == uid)
        // KEDA polls a new ScaledJob twice, and gives up the first poll.
        .filter(|event| !event.message.as_deref().unwrap_or("").contains("context canceled"))
        .filter_map(|event| Some((at(event)?, source(event), event)))
        .filter(|(at, ..)| now.duration_since(*at) < LATE)
        .collect();
    warnings.sort_by(|one, other| (&one.1, other.0).cmp(&(&other.1, one.0)));
    warnings.dedup_by(|one, other| one.1 == other.1);
    let words = |(at, source, event): (Timestamp, String, &Event)| {
        let age = length(now.duration_since(at));
        let reason = one_line(event.reason.as_deref().unwrap_or_default(), 80);
        let message = one_line(event.message.as_deref().unwrap_or_default(), WORDS);
        format!("{age} ago, {}: {reason}: {message}", one_line(&source, 80))
    };
    warnings.into_iter().map(words).collect()
}

/// The path of the first value of a file that is another in the cluster. What the cluster has
/// beside that are defaults.
fn first_difference(file: &Value, cluster: &Value, path: &str) -> Option<String> {
    match (file, cluster) {
        (Value::Null, _) => None,
        (Value::Object(fields), _) => fields.iter().find_map(|(key, value)| {
            first_difference(value, &cluster[key], &format!("{path}.{key}"))
        }),
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let each = items.iter().zip(others).enumerate();
            each.into_iter().find_map(|(number, (item, other))| {
                first_difference(item, other, &format!("{path}[{number}]"))
            })
        }
        (Value::Array(items), Value::Null) if items.is_empty() => None,
        // As quantities and ports are written: 1 is "1".
        (Value::Number(number), Value::String(text))
        | (Value::String(text), Value::Number(number))
            if number.to_string() == *text =>
        {
            None
        }
        _ => (file != cluster).then(|| path.to_owned()),
    }
}

/// A length of time in its largest unit.
fn length(of: SignedDuration) -> String {
    let seconds = of.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} m", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            kubernetes: Kubernetes::none(),
            keda_namespace: "keda".to_owned(),
            is_within: false,
        }
    }

    #[test]
    fn an_address_is_read_as_keda_resolves_it() {
        let service = |name: &str, namespace: &str| Host::Service {
            name: Name::parse(name).expect("a name"),
            namespace: Name::parse(namespace).expect("a name"),
        };
        for (host, expected) in [
            ("keda-sift.tools", service("keda-sift", "tools")),
            ("Keda-Sift.tools.svc", service("keda-sift", "tools")),
            ("keda-sift.tools.svc.cluster.local.", service("keda-sift", "tools")),
            ("keda-sift", service("keda-sift", "keda")),
            ("localhost", Host::Elsewhere),
            ("127.0.0.1", Host::Elsewhere),
            ("[::1]", Host::Elsewhere),
            ("sift.example.com", Host::Elsewhere),
            ("../a.b", Host::Elsewhere),
        ] {
            assert_eq!(cluster().host(host), expected, "{host}");
        }
    }

    #[test]
    fn what_the_file_says_is_compared_and_nothing_else() {
        let cluster = json!({ "a": 1, "b": [{ "c": "x", "d": true }], "e": "1" });
        for (file, expected) in [
            (json!({}), None),
            (json!({ "a": 1, "b": [{ "c": "x" }], "e": 1, "f": null }), None),
            (json!({ "a": 2 }), Some("spec.a")),
            (json!({ "b": [{ "c": "y" }] }), Some("spec.b[0].c")),
            (json!({ "b": [] }), Some("spec.b")),
            (json!({ "g": { "h": 1 } }), Some("spec.g.h")),
        ] {
            let found = first_difference(&file, &cluster, "spec");
            assert_eq!(found.as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn of_each_that_warned_the_latest_warning_is_told() {
        let event = |component: &str, seconds: i64, message: &str| -> Event {
            let at = Timestamp::from_second(seconds).expect("a time");
            serde_json::from_value(json!({
                "metadata": {}, "involvedObject": { "uid": "1" }, "type": "Warning",
                "reason": "Failed", "message": message, "reportingComponent": component,
                "source": {}, "lastTimestamp": at.to_string(),
            }))
            .expect("an Event")
        };
        let events = [
            event("keda-operator", 9_000, "earlier"),
            event("keda-sift", 9_500, "ours\nof two lines"),
            event("keda-operator", 9_990, "later"),
            event("keda-operator", 9_999, "context canceled"),
            event("another", 1_000, "long ago"),
        ];
        let now = Timestamp::from_second(10_000).expect("a time");
        assert_eq!(
            latest_warnings(&events, Some("1"), now),
            [
                "10 s ago, keda-operator: Failed: later",
                "8 m ago, keda-sift: Failed: ours of two lines"
            ]
        );
        assert!(latest_warnings(&events, Some("2"), now).is_empty());
    }
}
