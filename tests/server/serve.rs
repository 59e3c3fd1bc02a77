//! `keda-sift serve` as a user runs it: the program itself, its options, its logs and its ending.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use keda_sift::scaler::proto::ScaledObjectRef;
use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use serde_json::Value;

fn keda_sift() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keda-sift"));
    command.env_remove("SIFT_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The program on two free ports, writing JSON logs; killed when dropped.
struct Running {
    child: Child,
    logs: Lines<BufReader<ChildStderr>>,
    grpc: String,
    http: String,
}

impl Running {
    fn serving() -> Self {
        let mut child = keda_sift()
            .args(["serve", "--http-listen", "127.0.0.1:0"])
            .env("SIFT_GRPC_LISTEN", "127.0.0.1:0")
            .env("SIFT_LOG_FORMAT", "json")
            .spawn()
            .unwrap();
        let mut logs = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = log(&mut logs, "serving");
        assert_eq!(ready["version"], keda_sift::version::VERSION);
        let address = |key: &str| ready[key].as_str().unwrap().to_owned();
        Self { grpc: address("grpc"), http: address("http"), child, logs }
    }

    /// Sends a signal and waits for the end: the exit code, and the last thing it said.
    fn end_by(mut self, signal: &str) -> (Option<i32>, Value) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let last = log(&mut self.logs, "ended: every call was answered");
        (self.child.wait().unwrap().code(), last)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, as a rule.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The first log line with this message.
fn log(logs: &mut Lines<BufReader<ChildStderr>>, message: &str) -> Value {
    let mut seen = Vec::new();
    for line in logs {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["message"] == message {
            return line;
        }
        seen.push(line);
    }
    panic!("no {message:?} in {seen:?}")
}

fn failed(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{error}");
    error
}

#[tokio::test]
async fn it_serves_on_the_ports_it_names() {
    let running = Running::serving();

    let mut http = TcpStream::connect(&running.http).unwrap();
    write!(http, "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");

    let url = format!("http://{}", running.grpc);
    let mut grpc = ExternalScalerClient::connect(url).await.unwrap();
    let spec = grpc.get_metric_spec(ScaledObjectRef::default()).await.unwrap();
    assert_eq!(spec.into_inner().metric_specs.len(), 1);
}

#[test]
fn a_signal_ends_it_well() {
    for signal in ["TERM", "INT"] {
        let (code, last) = Running::serving().end_by(signal);
        assert_eq!(code, Some(0), "SIG{signal}: {last}");
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_flag_address_and_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--grpc-listen", "--http-listen"), ("--http-listen", "--grpc-listen")] {
        let output =
            keda_sift().args(["serve", flag, &address, other, "127.0.0.1:0"]).output().unwrap();
        let error = failed(&output, 1);
        for part in [flag, &address, "in use"] {
            assert!(error.contains(part), "no {part:?} in {error:?}");
        }
    }
}

#[test]
fn an_option_that_cannot_be_read_says_what_fits() {
    let rows = [
        (["--measure-timeout", "10"], "10s"),
        (["--measure-timeout", "0s"], "more than 0"),
        (["--grace-period", "1000h"], "720h"),
        (["--log-format", "xml"], "json"),
        (["--grpc-listen", "here"], "--grpc-listen"),
        (["--log", "keda_sift=loud"], "--log"),
    ];
    for (arguments, part) in rows {
        let output = keda_sift().arg("serve").args(arguments).output().unwrap();
        let error = failed(&output, 2);
        assert!(error.contains(part), "{arguments:?}: no {part:?} in {error:?}");
    }
}

#[test]
fn help_names_every_option_with_its_variable_and_default() {
    let output = keda_sift().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let rows = [
        ("--grpc-listen", "SIFT_GRPC_LISTEN", "[::]:9090"),
        ("--http-listen", "SIFT_HTTP_LISTEN", "[::]:9091"),
        ("--measure-timeout", "SIFT_MEASURE_TIMEOUT", "10s"),
        ("--forget-after", "SIFT_FORGET_AFTER", "15m"),
        ("--grace-period", "SIFT_GRACE_PERIOD", "15s"),
        ("--log", "SIFT_LOG", "info"),
        ("--log-format", "SIFT_LOG_FORMAT", "text"),
    ];
    for (flag, variable, default) in rows {
        for part in [flag, &format!("[env: {variable}="), &format!("[default: {default}]")] {
            assert!(help.contains(part), "no {part:?} in {help}");
        }
    }
}
