//! A real Prometheus reads `/metrics` of `keda-sift serve`, and evaluates the alerts on it. Unlike
//! promtool it asks for OpenMetrics' form.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use serde_json::{Value, json};
use sift_harness::program::Program;
use sift_harness::{metadata, until};
use tempfile::TempDir;
use test_basics::{free_port, prometheus};

const RULE: &str = include_str!("../../charts/keda-sift/alerts/prometheus-rule.yaml");

/// A Prometheus that reads one page; killed when dropped.
struct Prometheus {
    server: Child,
    port: u16,
    _folder: TempDir,
}

impl Prometheus {
    fn reading(mut prometheus: Command, program: &Program) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rule: Value = serde_saphyr::from_str(RULE).expect("YAML");
        let files = [
            ("rules.json", json!({"groups": rule["spec"]["groups"]})),
            (
                "prometheus.json",
                json!({
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": ["rules.json"],
                    "scrape_configs": [{
                        "job_name": "keda-sift",
                        "honor_labels": true,
                        "static_configs": [{
                            "targets": [program.http.to_string()],
                            "labels": {"namespace": "keda-sift"},
                        }],
                    }],
                }),
            ),
        ];
        for (name, content) in files {
            fs::write(folder.path().join(name), content.to_string()).expect("a file");
        }
        let port = free_port();
        let server = prometheus
            .current_dir(folder.path())
            .args(["--config.file=prometheus.json", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        Self { server, port, _folder: folder }
    }

    /// What it answers; nothing as long as it does not listen.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(connection, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").ok()?;
        let mut reply = String::new();
        connection.read_to_string(&mut reply).ok()?;
        let reply: Value = serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()?;
        Some(reply["data"].clone())
    }

    /// The series of this name.
    fn series(&self, name: &str) -> Vec<Value> {
        let reply = self.ask(&format!("query?query={name}")).unwrap_or_default();
        reply["result"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

#[tokio::test]
async fn prometheus_reads_the_page_and_evaluates_the_alerts() {
    let Some(prometheus) = prometheus("prometheus") else { return };
    let program = Program::serving(&["--trigger-metrics", "--measure-timeout", "500ms"]);
    let mut client =
        ExternalScalerClient::connect(format!("http://{}", program.grpc)).await.unwrap();
    let asked = GetMetricsRequest {
        scaled_object_ref: Some(ScaledObjectRef {
            name: "thumbnails".to_owned(),
            namespace: "media".to_owned(),
            scaler_metadata: metadata(&[
                ("source", "kafka"),
                ("bootstrapServers", "127.0.0.1:1"),
                ("consumerGroup", "thumbnails"),
                ("topic", "uploads"),
            ]),
        }),
        metric_name: String::new(),
    };
    client.get_metrics(asked).await.unwrap_err();
    let prometheus = Prometheus::reading(prometheus, &program);

    let is_up = async || prometheus.series("up").iter().any(|up| up["value"][1] == "1");
    until("Prometheus has read the page", is_up).await;
    let of_trigger = prometheus.series("keda_sift_trigger_target");
    assert_eq!(of_trigger.len(), 1, "{of_trigger:?}");
    // Its own, and not that of the Pod.
    assert_eq!(of_trigger[0]["metric"]["namespace"], "media", "{of_trigger:?}");
    assert_eq!(of_trigger[0]["metric"]["object"], "thumbnails", "{of_trigger:?}");
    // In the older form a counter's family has `_total` in its name, and there are no units.
    let families = prometheus.ask("metadata").expect("it answers");
    assert_eq!(families["keda_sift_polls"][0]["type"], "counter", "{families}");
    assert_eq!(families["keda_sift_memory_limit_bytes"][0]["unit"], "bytes", "{families}");

    let rules = || {
        let rules = prometheus.ask("rules").unwrap_or_default();
        rules["groups"][0]["rules"].as_array().cloned().unwrap_or_default()
    };
    let all_are = async |health: &str| {
        let rules = rules();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] == health)
    };
    until("each alert has been evaluated", async || all_are("ok").await).await;
}
