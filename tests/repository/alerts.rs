//! The alerts: each fires when it should and not when it should not, is about metrics that there
//! are, and has its section in docs/operating.md.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use test_basics::prometheus;

use super::metrics::unknown_names;

const RULE: &str = include_str!("../../charts/keda-sift/alerts/prometheus-rule.yaml");
const OPERATING: &str = include_str!("../../docs/operating.md");

/// Where the sections are that say what to do.
const RUNBOOK: &str = "https://github.com/keda-sift/keda-sift/blob/main/docs/operating.md#";

/// Series and their values, a minute apart, as promtool writes them; and which alerts fire then.
struct Case {
    name: &'static str,
    series: &'static [(&'static str, &'static str)],
    /// When it is looked.
    at: &'static str,
    fires: &'static [&'static str],
}

/// A page with nothing wrong, of one Pod: in each case.
const HEALTHY: &[(&str, &str)] = &[
    (r#"keda_sift_build_info{job="keda-sift",instance="a",pod="a",namespace="sift"}"#, "1x60"),
    (r#"kube_pod_status_ready{namespace="sift",pod="a",condition="true"}"#, "1x60"),
    (r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="failing"}"#, "0x60"),
    (r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="unpolled"}"#, "0x60"),
    (r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="reading"}"#, "0x60"),
    (r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="waiting"}"#, "5x60"),
    (r#"keda_sift_throttled{instance="a",source="kafka"}"#, "0x60"),
    (r#"keda_sift_memory_held_bytes{instance="a",use="reading"}"#, "500x60"),
    (r#"keda_sift_memory_held_bytes{instance="a",use="keeping"}"#, "200x60"),
    (r#"keda_sift_memory_limit_bytes{instance="a"}"#, "1000x60"),
    (r#"keda_sift_polls_total{instance="a",rpc="GetMetrics",code="OK"}"#, "0+60x60"),
    (r#"keda_sift_polls_total{instance="a",rpc="GetMetrics",code="ResourceExhausted"}"#, "7x60"),
    (r#"keda_sift_events_total{instance="a",result="told"}"#, "0+1x60"),
    (r#"keda_sift_events_total{instance="a",result="dropped"}"#, "3x60"),
    (CERTIFICATE, "2592000x60"),
    (r#"keda_sift_trigger_target{instance="a",job="keda-sift",object="jobs"}"#, "1x60"),
    (r#"keda_sift_trigger_indeterminate_messages{instance="a",object="jobs"}"#, "0x60"),
    (r#"keda_sift_trigger_read_behind{instance="a",object="jobs"}"#, "0x60"),
    (r#"keda_sift_trigger_last_poll_timestamp_seconds{instance="a",object="jobs"}"#, "0+60x60"),
];

const CERTIFICATE: &str =
    r#"keda_sift_certificate_expiry_timestamp_seconds{instance="a",certificate="server"}"#;

/// Each states what is otherwise than in [`HEALTHY`].
const CASES: &[Case] = &[
    Case { name: "nothing wrong", series: &[], at: "40m", fires: &[] },
    Case {
        name: "an unready Pod of its",
        series: &[(r#"kube_pod_status_ready{namespace="sift",pod="a",condition="true"}"#, "0x60")],
        at: "20m",
        fires: &["KedaSiftNotReady"],
    },
    Case {
        name: "an unready Pod of others",
        series: &[(r#"kube_pod_status_ready{namespace="sift",pod="z",condition="true"}"#, "0x60")],
        at: "20m",
        fires: &[],
    },
    Case {
        name: "triggers that no replica is asked about",
        series: &[
            (r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="unpolled"}"#, "2x60"),
            (r#"keda_sift_trigger_states{job="keda-sift",instance="b",state="unpolled"}"#, "5x60"),
        ],
        at: "15m",
        fires: &["KedaSiftTriggersUnpolled"],
    },
    Case {
        name: "triggers that one replica is asked about, and the other not",
        series: &[(
            r#"keda_sift_trigger_states{job="keda-sift",instance="b",state="unpolled"}"#,
            "5x60",
        )],
        at: "15m",
        fires: &[],
    },
    Case {
        name: "a trigger that fails",
        series: &[
            (r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="failing"}"#, "1x60"),
            (FAILING, "120x60"),
        ],
        at: "20m",
        fires: &["KedaSiftTriggerFailing"],
    },
    Case {
        name: "a trigger that has failed for 8 minutes",
        series: &[(FAILING, "720x60")],
        at: "20m",
        fires: &[],
    },
    Case {
        name: "a trigger that failed when this replica was asked last, long ago",
        series: &[
            (FAILING, "120x60"),
            (
                r#"keda_sift_trigger_last_poll_timestamp_seconds{instance="a",object="jobs"}"#,
                "300x60",
            ),
        ],
        at: "20m",
        fires: &[],
    },
    Case {
        name: "triggers that fail, without series of each",
        series: &[(
            r#"keda_sift_trigger_states{job="keda-sift",instance="c",state="failing"}"#,
            "1x60",
        )],
        at: "11m",
        fires: &["KedaSiftTriggersFailing"],
    },
    Case {
        name: "triggers that fail now and then",
        series: &[(
            r#"keda_sift_trigger_states{job="keda-sift",instance="c",state="failing"}"#,
            "1 1 1 1 1 0 1 1 1 1 1 1 1",
        )],
        at: "12m",
        fires: &[],
    },
    Case {
        name: "a backlog that takes 16 minutes to read",
        series: &[(
            r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="reading"}"#,
            "1x60",
        )],
        at: "16m",
        fires: &["KedaSiftStillReading"],
    },
    Case {
        name: "a backlog that takes 14 minutes to read",
        series: &[(
            r#"keda_sift_trigger_states{job="keda-sift",instance="a",state="reading"}"#,
            "1x14 0x40",
        )],
        at: "16m",
        fires: &[],
    },
    Case {
        name: "a tail that falls behind",
        series: &[(BEHIND, "10+100x60")],
        at: "30m",
        fires: &["KedaSiftTailFallsBehind"],
    },
    Case {
        name: "a tail that catches up",
        series: &[(BEHIND, "10000-100x60")],
        at: "30m",
        fires: &[],
    },
    Case {
        name: "a tail that nobody asks about any more",
        series: &[(BEHIND, "100x60")],
        at: "30m",
        fires: &[],
    },
    Case {
        name: "messages that cannot be judged",
        series: &[(
            r#"keda_sift_trigger_indeterminate_messages{instance="a",object="jobs"}"#,
            "4x60",
        )],
        at: "16m",
        fires: &["KedaSiftMessagesIndeterminate"],
    },
    Case {
        name: "a source that always throttles",
        series: &[(r#"keda_sift_throttled{instance="a",source="kafka"}"#, "2x60")],
        at: "30m",
        fires: &["KedaSiftThrottled"],
    },
    Case {
        name: "a source that throttles now and then",
        series: &[(
            r#"keda_sift_throttled{instance="a",source="kafka"}"#,
            "0 0 9 0 0 9 0 0 9 0 0 9 0 0 9 0 0 9 0 0 9 0 0 9 0 0 9 0 0 9 0 0 9",
        )],
        at: "30m",
        fires: &[],
    },
    Case {
        name: "memory that is nearly used up",
        series: &[(r#"keda_sift_memory_held_bytes{instance="a",use="keeping"}"#, "400x60")],
        at: "20m",
        fires: &["KedaSiftMemoryNearLimit"],
    },
    Case {
        name: "polls that get no memory",
        series: &[(
            r#"keda_sift_polls_total{instance="a",rpc="GetMetrics",code="ResourceExhausted"}"#,
            "0+1x60",
        )],
        at: "20m",
        fires: &["KedaSiftMemoryExhausted"],
    },
    Case {
        name: "a certificate that ends in ten days",
        series: &[(CERTIFICATE, "864000x120")],
        at: "90m",
        fires: &["KedaSiftCertificateExpiresSoon"],
    },
    Case {
        name: "a certificate that ends in 29 days",
        series: &[(CERTIFICATE, "2592000x120")],
        at: "90m",
        fires: &[],
    },
    Case {
        name: "a certificate that ends in two days",
        series: &[(CERTIFICATE, "172800x120")],
        at: "90m",
        fires: &["KedaSiftCertificateExpires", "KedaSiftCertificateExpiresSoon"],
    },
    Case {
        name: "Events that are dropped",
        series: &[(r#"keda_sift_events_total{instance="a",result="dropped"}"#, "0+1x60")],
        at: "20m",
        fires: &["KedaSiftEventsLost"],
    },
];

const FAILING: &str =
    r#"keda_sift_trigger_failing_since_timestamp_seconds{instance="a",object="jobs"}"#;
const BEHIND: &str = r#"keda_sift_trigger_read_behind{instance="a",object="jobs"}"#;

/// The groups of rules, as a file of rules has them.
fn groups() -> Value {
    let rule: Value = serde_saphyr::from_str(RULE).expect("YAML");
    json!({"groups": rule["spec"]["groups"]})
}

fn rules() -> Vec<Value> {
    let groups = groups();
    let groups = groups["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).cloned().collect()
}

fn text<'a>(rule: &'a Value, at: &str) -> &'a str {
    rule.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("no {at} in {rule}"))
}

/// A test in promtool's form: what fires then is this and nothing else.
fn test(name: &str, series: &[(&str, &str)], at: &str, fires: &[&str]) -> Value {
    let series: Vec<_> =
        series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let samples: Vec<_> = fires
        .iter()
        .map(|alert| json!({"labels": format!("{{alertname=\"{alert}\"}}"), "value": 1}))
        .collect();
    json!({
        "name": name,
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{
            "expr": "count by (alertname) (ALERTS{alertstate=\"firing\"})",
            "eval_time": at,
            "exp_samples": samples,
        }],
    })
}

impl Case {
    fn test(&self) -> Value {
        let healthy =
            HEALTHY.iter().filter(|(name, _)| self.series.iter().all(|(its, _)| its != name));
        let series: Vec<_> = healthy.chain(self.series).copied().collect();
        // Beyond an hour the healthy series have ended, which is no part of the case.
        let series: Vec<_> = match self.at {
            "90m" => series
                .into_iter()
                .map(|(name, value)| (name, value.replace("x60", "x120")))
                .collect(),
            _ => series.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
        };
        let series: Vec<_> = series.iter().map(|(name, value)| (*name, value.as_str())).collect();
        test(self.name, &series, self.at, self.fires)
    }
}

/// What an alert says, in full.
fn told() -> Value {
    let labels = r#"{instance="a",namespace="media",object="thumbnails",metric="kafka-uploads"}"#;
    let series =
        |name: &str, values: &str| json!({"series": format!("{name}{labels}"), "values": values});
    json!({
        "name": "what an alert says",
        "interval": "1m",
        "input_series": [
            {"series": "keda_sift_build_info", "values": "1x60"},
            series("keda_sift_trigger_failing_since_timestamp_seconds", "120x60"),
            series("keda_sift_trigger_last_poll_timestamp_seconds", "0+60x60"),
        ],
        "alert_rule_test": [{
            "eval_time": "20m",
            "alertname": "KedaSiftTriggerFailing",
            "exp_alerts": [{
                "exp_labels": {
                    "severity": "warning",
                    "namespace": "media",
                    "object": "thumbnails",
                    "metric": "kafka-uploads",
                },
                "exp_annotations": {
                    "summary": "a trigger of media/thumbnails fails",
                    "description": "Each poll of kafka-uploads of media/thumbnails has been an error for 18m 0s. \
                                    No Jobs start for it.",
                    "runbook_url": format!("{RUNBOOK}kedasifttriggerfailing"),
                },
            }],
        }],
    })
}

fn succeeds(mut promtool: Command) {
    let output = promtool.output().expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn each_alert_fires_when_it_should_and_no_other() {
    let named: BTreeSet<_> = rules().iter().map(|rule| text(rule, "/alert").to_owned()).collect();
    let mut fired: BTreeSet<_> =
        CASES.iter().flat_map(|case| case.fires).map(|name| (*name).to_owned()).collect();
    fired.insert("KedaSiftAbsent".to_owned());
    assert_eq!(named, fired, "the alerts, and those that a case makes fire");

    let Some(promtool) = prometheus("promtool") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, value.to_string()).expect("a file can be written");
        path
    };
    let rules = write("rules.json", &groups());
    let absent =
        [test("no Pod at all", &[], "6m", &["KedaSiftAbsent"]), test("no Pod yet", &[], "4m", &[])];
    let tests: Vec<_> = CASES.iter().map(Case::test).chain(absent).chain([told()]).collect();
    let cases = json!({
        "rule_files": ["rules.json"],
        "evaluation_interval": "1m",
        "tests": tests,
    });
    let cases = write("cases.json", &cases);
    for (command, file) in [("check", rules), ("test", cases)] {
        let mut one = Command::new(promtool.get_program());
        one.args([command, "rules"]).arg(file);
        succeeds(one);
    }
}

#[test]
fn each_alert_says_how_bad_it_is_and_where_to_read_on() {
    for rule in rules() {
        let name = text(&rule, "/alert");
        let severity = text(&rule, "/labels/severity");
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
        assert!(!text(&rule, "/annotations/summary").is_empty(), "{name}");
        assert!(text(&rule, "/annotations/description").ends_with('.'), "{name}");
        let runbook = text(&rule, "/annotations/runbook_url").strip_prefix(RUNBOOK);
        assert_eq!(runbook, Some(&*name.to_lowercase()), "{name}");
        assert!(OPERATING.contains(&format!("\n### {name}\n")), "docs/operating.md has no {name}");
    }
}

#[test]
fn alerts_are_about_metrics_that_there_are() {
    for rule in rules() {
        let unknown = unknown_names(text(&rule, "/expr"));
        assert!(unknown.is_empty(), "{}: {unknown:?}", text(&rule, "/alert"));
    }
}
