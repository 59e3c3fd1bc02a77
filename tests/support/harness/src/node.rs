//! One Kafka process: broker and controller in one.

use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use std::process::{Child, Command, Stdio};

use super::install::Install;
use super::version::KafkaVersion;

/// How much of a node's log a failure shows.
const LINES_SHOWN: usize = 40;

/// A node, running or not. Dropping it ends its process.
#[derive(Debug)]
pub(crate) struct Node {
    plan: Plan,
    process: Option<Child>,
}

/// What a node needs to start, the same at each start.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The Kafka that it runs.
    pub version: KafkaVersion,
    /// The folder of the whole cluster. It goes when the test binary ends.
    pub cluster: PathBuf,
    /// The folder of this node, inside the cluster's.
    pub folder: PathBuf,
    /// What the node is told.
    pub properties: Properties,
    /// Options of the JVM: the heap, and how much the compiler does.
    pub jvm: &'static [&'static str],
    /// What the storage tool is told when it formats: SCRAM users.
    pub format: Vec<String>,
}

/// A Java properties file.
#[derive(Clone, Debug, Default)]
pub struct Properties(Vec<(String, String)>);

impl Node {
    /// Starts the process. It is not ready yet when this returns.
    pub(crate) fn start(plan: Plan) -> Self {
        let mut node = Self { plan, process: None };
        node.restart();
        node
    }

    /// Starts the process of a node that was killed or stopped, with its old data.
    pub(crate) fn restart(&mut self) {
        assert!(!self.is_running(), "the node is running");
        let install = Install::of(self.plan.version);
        let Plan { version, cluster, folder, properties, jvm, format } = &self.plan;
        fs::create_dir_all(folder).expect("a temporary folder can be written");
        let file = folder.join("node.properties");
        fs::write(&file, properties.to_string()).expect("a temporary folder can be written");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a temporary folder can be written");

        let mut java = install.java(&self.requests());
        let archive = install.archive.as_ref();
        java.args(archive.map(|file| format!("-XX:SharedArchiveFile={}", file.display())));
        java.args(*jvm).arg(version.main_class()).arg(cluster).arg(file).args(format);
        java.stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        // In a group of its own, so that Ctrl-C reaches the test alone and the node ends with it.
        std::os::unix::process::CommandExt::process_group(&mut java, 0);
        self.process = Some(java.spawn().expect("java has run before and can be run"));
    }

    /// Sends the process a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the node is running");
        super::program::send_signal(signal, process.id());
    }

    /// Whether the process is there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Killed before its input is closed, because at the end of its input it removes the
            // data. An error means that it has ended.
            drop(child.kill());
            child.wait().expect("a child can be waited for");
        }
    }

    /// Puts a copy of its data aside, as a backup does.
    pub(crate) fn back_up(&mut self) {
        self.copy("data", "backup");
    }

    /// Has what was put aside in place of its data.
    pub(crate) fn restore(&mut self) {
        self.copy("backup", "data");
    }

    fn copy(&mut self, from: &str, to: &str) {
        assert!(!self.is_running(), "the node is running");
        let [from, to] = [from, to].map(|name| self.plan.folder.join(name));
        if to.exists() {
            fs::remove_dir_all(&to).expect("a temporary folder can be written");
        }
        let copied = Command::new("cp").arg("-r").args([from, to]).status().expect("cp");
        assert!(copied.success(), "the data can be copied");
    }

    /// Ends the process as an operator would: it hands its leaderships over first.
    pub(crate) fn stop(&mut self) {
        self.tell("stop");
        if let Some(mut child) = self.process.take() {
            // Not `wait`, which closes its input first.
            let input = child.stdin.take();
            child.wait().expect("a child can be waited for");
            drop(input);
        }
    }

    /// Gives the process a command: see `Lifeline.java`.
    pub(crate) fn tell(&mut self, command: &str) {
        let child = self.process.as_mut().expect("the node is running");
        let input = child.stdin.as_mut().expect("the node's input is a pipe");
        writeln!(input, "{command}").and_then(|()| input.flush()).expect("the node reads commands");
    }

    /// Where its request log is.
    pub(crate) fn requests(&self) -> PathBuf {
        self.plan.folder.join("requests.log")
    }

    /// The last lines that it logged, for a failure.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.plan.folder.join("node.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Properties {
    /// Sets one; the last setting of a key holds. A value may have several lines.
    pub fn set(&mut self, key: impl Into<String>, value: impl Display) {
        self.0.push((key.into(), value.to_string().replace('\n', "\\n")));
    }

    /// Adds those of another; they hold against the ones that are there.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }
}

impl Display for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(key, value)| writeln!(formatter, "{key}={value}"))
    }
}
