//! `keda-sift serve` as a process on two free ports, its logs and its pages; killed when dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use serde_json::Value;
use test_basics::PATIENCE;

/// Log lines that nobody has asked for yet; far more than any test makes. A program that makes more
/// is stopped by it, as by any pipe that nobody reads.
const LINES: usize = 100_000;

/// Sends a process a signal, such as `STOP`.
pub(crate) fn send_signal(signal: &str, process: u32) {
    let kill = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh").success());
}

/// The running program; killed when dropped.
pub struct Program {
    /// Where KEDA calls.
    pub grpc: SocketAddr,
    /// Where Kubernetes asks.
    pub http: SocketAddr,
    child: Child,
    logs: Receiver<Value>,
}

/// The program, whose environment has no option of its.
pub fn keda_sift() -> Command {
    // Cargo has built it before it runs a test or a benchmark, and says where.
    let program = std::env::var_os("CARGO_BIN_EXE_keda-sift");
    let mut command = Command::new(program.expect("tests are run by cargo"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("SIFT_") {
            command.env_remove(variable);
        }
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Program {
    /// Starts it with these options and waits until it serves.
    pub fn serving<S: AsRef<std::ffi::OsStr>>(options: &[S]) -> Self {
        let mut child = keda_sift()
            .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--log", "info,keda_sift=debug"])
            .args(options)
            .spawn()
            .expect("the program has been built");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, logs) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.expect("text");
                let line = serde_json::from_str(&line).unwrap_or_else(|_| Value::from(line));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut program = Self { grpc: nowhere, http: nowhere, child, logs };
        let serving = program.logged("serving");
        let address = |key: &str| serving[key].as_str().and_then(|address| address.parse().ok());
        program.grpc = address("grpc").expect("an address");
        program.http = address("http").expect("an address");
        program
    }

    /// A figure of the process as the kernel tells it: `VmRSS` and `VmHWM` in kB, or `Threads`.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn figure(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// Lets the highest memory (`VmHWM`) begin anew.
    pub fn reset_highest_memory(&self) {
        let file = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(file, "5").expect("a child's figures may be reset");
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) {
        send_signal(signal, self.child.id());
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits for the next log line with this message.
    pub fn logged(&mut self, message: &str) -> Value {
        let mut seen = Vec::new();
        while let Ok(line) = self.logs.recv_timeout(PATIENCE) {
            if line["message"] == message {
                return line;
            }
            seen.push(line);
        }
        panic!("no {message:?} in {seen:?}")
    }

    /// The log lines that nobody has asked for yet. Whoever lets the program log much asks now and
    /// then: it stands still when nobody takes what it logs.
    pub fn logs(&mut self) -> Vec<Value> {
        self.logs.try_iter().collect()
    }

    /// A page of the HTTP port: its head and its body.
    pub fn page(&self, path: &str) -> (String, String) {
        self.page_as(path, "*/*")
    }

    /// The same in a form that is asked for.
    pub fn page_as(&self, path: &str, accept: &str) -> (String, String) {
        let mut connection = TcpStream::connect(self.http).expect("it listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a socket");
        write!(connection, "GET {path} HTTP/1.0\r\nhost: x\r\naccept: {accept}\r\n\r\n")
            .expect("it reads");
        let mut reply = String::new();
        connection.read_to_string(&mut reply).expect("text");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
        (head.to_owned(), body.to_owned())
    }

    /// Tells it to end and waits for that: its exit code.
    pub fn end(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("a child can be waited for").code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already, if the test ended it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
