//! The program as a Pod of the Deployment runs it: an address of its own, a kubeconfig for its
//! service account, and what it says of itself.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command};

use sift_harness::program::keda_sift;
use sift_harness::{PATIENCE, holds_within};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How much of a log a failure shows.
const LINES_SHOWN: usize = 40;

/// A running program; killed when dropped.
pub(crate) struct Replica {
    /// Where KEDA calls.
    pub(crate) grpc: SocketAddr,
    /// Where Kubernetes asks.
    pub(crate) http: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Replica {
    /// Starts it with these options and does not wait for it.
    pub(crate) fn start(address: Ipv4Addr, grpc: u16, http: u16, options: &[String]) -> Replica {
        let folder = TempDir::with_prefix("keda-sift-replica-").expect("a temporary folder");
        let log = File::create(log(&folder)).expect("a temporary folder can be written");
        let (grpc, http) = (SocketAddr::from((address, grpc)), SocketAddr::from((address, http)));
        let mut command = keda_sift();
        command.args([
            "serve",
            "--grpc-listen",
            &grpc.to_string(),
            "--http-listen",
            &http.to_string(),
        ]);
        command.args(options).stderr(log);
        let child = command.spawn().expect("the program has been built");
        Replica { grpc, http, child, folder }
    }

    /// Whether Kubernetes may send calls here.
    pub(crate) async fn is_ready(&self) -> bool {
        let asked = async {
            let mut connection = TcpStream::connect(self.http).await?;
            connection.write_all(b"GET /readyz HTTP/1.0\r\nhost: x\r\n\r\n").await?;
            let mut reply = String::new();
            connection.read_to_string(&mut reply).await?;
            Ok::<_, std::io::Error>(reply.split(' ').nth(1) == Some("200"))
        };
        asked.await.unwrap_or(false)
    }

    /// Waits until it is ready, or no longer is.
    pub(crate) async fn until_ready(&mut self, ready: bool) {
        let is_so = holds_within(PATIENCE, async || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{ended:?}\n{}", self.log());
            self.is_ready().await == ready
        });
        assert!(is_so.await, "never ready: {ready}\n{}", self.log());
    }

    /// Tells it to end, as a kubelet does.
    pub(crate) fn tell_to_end(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh").success());
    }

    /// Waits for its end: its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        let has_ended = holds_within(PATIENCE, async || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        assert!(has_ended.await, "never ended\n{}", self.log());
        status?.code()
    }

    /// A figure of its memory in bytes: `VmRSS` is what of it is in RAM, `VmHWM` the most that ever
    /// was.
    pub(crate) fn memory(&self, figure: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("a figure");
        let kilobytes = line.trim_start_matches(':').trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("a number") * 1_024
    }

    /// A figure of its page of metrics, by its name and labels.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let mut connection = TcpStream::connect(self.http).await.expect("it listens");
        connection.write_all(b"GET /metrics HTTP/1.0\r\nhost: x\r\n\r\n").await.expect("it reads");
        let mut page = String::new();
        connection.read_to_string(&mut page).await.expect("text");
        let value = page.lines().find_map(|row| row.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {line} in {page}"))
    }

    /// The last lines of its log.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(log(&self.folder)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Ended already, if the test ended it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}
