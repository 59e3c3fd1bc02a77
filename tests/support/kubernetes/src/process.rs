//! A process that ends with this one, however that ends: its standard input is a pipe from here,
//! and it, or a guard beside it, watches for the end of it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::programs::Program;

/// How much of a log a failure shows.
const LINES_SHOWN: usize = 40;
const COLUMNS_SHOWN: usize = 400;

/// Ends a process that does not watch its input itself.
const END: &str = r#"echo guarded; cat; kill -KILL "$0""#;

/// Stops a process, says so, and wakes it at the end of the input. On a busy machine some threads
/// run on for a while, which Linux shows.
const PAUSE: &str = r#"
kill -STOP "$0" || exit
while grep -qsv ') T ' /proc/"$0"/task/*/stat; do :; done
echo stopped
cat
kill -CONT "$0"
"#;

/// A process, running or not. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    plan: Plan,
    child: Option<Child>,
    /// Ends it, where it would not end with its input.
    end: Option<Guard>,
    /// Wakes it. A stopped process sees no end of its input, so without this it would stay when
    /// this one is killed.
    pause: Option<Guard>,
}

/// A shell that does something to a process at the end of its own input, which is here.
#[derive(Debug)]
struct Guard(Child);

/// What a process needs to start, the same at each start.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) program: Program,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The folder of the whole server. It goes when this process ends.
    pub(crate) folder: PathBuf,
}

impl Process {
    /// Starts it. It is not ready yet when this returns.
    pub(crate) fn start(plan: Plan) -> Self {
        let mut process = Self { plan, child: None, end: None, pause: None };
        process.restart();
        process
    }

    /// Starts it again after it was killed.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "{} is running", self.plan.program.name());
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.expect("a temporary folder can be written");
        let mut command = self.plan.program.command();
        command.args(&self.plan.arguments).env("TEMPORARY_FOLDER", &self.plan.folder);
        command.envs(self.plan.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        // In a group of its own, so that Ctrl-C reaches the test alone and the process ends with
        // it.
        command.process_group(0);
        let child = command.spawn().expect("the program has just been made");
        if !self.plan.program.ends_with_input() {
            self.end = Some(Guard::of(&child, END, "guarded"));
        }
        self.child = Some(child);
    }

    /// Whether it is there. A paused one is.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Killed before its input is closed, because at the end of its input etcd removes the
            // data. An error means that it has ended.
            child.kill().ok();
            // Before the process is waited for: then its number may be another's.
            self.pause = None;
            self.end = None;
            child.wait().expect("a child can be waited for");
        }
    }

    /// Makes it hang.
    pub(crate) fn pause(&mut self) {
        assert!(self.is_running(), "{} is not running", self.plan.program.name());
        let child = self.child.as_ref().expect("it is running");
        self.pause.get_or_insert_with(|| Guard::of(child, PAUSE, "stopped"));
    }

    /// Ends the hanging.
    pub(crate) fn resume(&mut self) {
        self.pause = None;
    }

    /// The last lines that it logged, for a failure.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<String> =
            log.lines().map(|line| line.chars().take(COLUMNS_SHOWN).collect()).collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.plan.folder.join(self.plan.program.name()).with_extension("log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Guard {
    /// Returns once the script has said its word.
    fn of(child: &Child, script: &str, word: &str) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .arg(child.id().to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut guard = Self(command.spawn().expect("a shell can be run"));
        let mut said = String::new();
        let stdout = guard.0.stdout.take().expect("its output is a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("a pipe can be read");
        assert_eq!(said.trim(), word, "the process cannot be guarded");
        guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("a child can be waited for");
    }
}
