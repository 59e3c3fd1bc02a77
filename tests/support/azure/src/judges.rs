//! Programs that use a namespace through Microsoft's own SDKs.
//!
//! What they need is installed once a checkout, into `target/judges`: a virtual environment for Python, `node_modules` for Node. The
//! versions are pinned beside the programs. A lock file lets one test binary install while others wait. A program that fails is a
//! panic with what it printed.
//!
//! | program | what it does |
//! |---|---|
//! | `service_bus.py`, `service_bus.js` | judge the stand-in, against [`prepare`] |
//! | `send.py <entity>` | sends the messages it is given as JSON |
//! | `settle.py <entity> <settlement>…` | receives and settles |
//! | `peek.py <queue>` | peeks at all messages, and says how long it took |

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::bus::ServiceBus;

/// What they are made from: an installation is made anew when one of them changes.
const SOURCES: [&str; 3] = [
    include_str!("../judges/python/requirements.txt"),
    include_str!("../judges/javascript/package-lock.json"),
    include_str!("judges.rs"),
];

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A program that is to be run.
#[derive(Debug)]
#[must_use = "nothing runs before `run`"]
pub struct Judge {
    command: Command,
    input: String,
}

/// A Python program: of this folder, or at a path of its own.
pub fn python(program: &str) -> Judge {
    let folder = sources().join("python");
    let mut command = Command::new(installation().join("python/bin/python"));
    // A program from elsewhere finds `bus.py` all the same.
    command.arg(folder.join(program)).env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    Judge { command, input: String::new() }
}

/// A JavaScript program: of this folder, or at a path of its own.
pub fn javascript(program: &str) -> Judge {
    let mut command = Command::new("node");
    command
        .arg(sources().join("javascript").join(program))
        .env("NODE_PATH", installation().join("javascript/node_modules"));
    Judge { command, input: String::new() }
}

/// Creates the entities that the judging programs expect.
pub fn prepare(bus: &ServiceBus) {
    bus.queue("orders").create();
    bus.queue("partitioned").partitions(4).create();
    bus.queue("sessions").sessions().create();
    bus.queue("short").lock_duration(Duration::from_secs(1)).max_delivery_count(2).create();
    bus.topic("events").subscription("billing").create();
    bus.topic("events").subscription("audit").create();
    // More than a page of them.
    for number in 0..120 {
        bus.queue(&format!("queue-{number:03}")).create();
    }
}

impl Judge {
    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(
        mut self,
        arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it is to read on its standard input.
    pub fn input(mut self, input: impl Into<String>) -> Self {
        self.input = input.into();
        self
    }

    /// The file with the certificate that the bus shows over TLS.
    pub fn certificate(self, file: &Path) -> Self {
        self.env("CERTIFICATE", file).env("NODE_EXTRA_CA_CERTS", file)
    }

    /// Runs it against the bus, with all rights; what it printed.
    ///
    /// # Panics
    /// If it fails, or takes longer than three minutes.
    pub async fn run(self, bus: &ServiceBus) -> String {
        let connection_string = bus.connection_string();
        self.env("CONNECTION_STRING", connection_string).run_alone().await
    }

    /// Runs it as it is: against what its variable `CONNECTION_STRING` says.
    ///
    /// # Panics
    /// As [`Judge::run`] does.
    pub async fn run_alone(mut self) -> String {
        let program =
            self.command.as_std().get_args().next().map(|program| program.display().to_string());
        let program = program.unwrap_or_default();
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => panic!("{program}: {MISSING}"),
            Err(error) => panic!("{program}: {error}"),
        };
        let (mut printed, mut errors) = (String::new(), String::new());
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) = pipes else {
            panic!("{program}: no pipes")
        };
        let done = timeout(PATIENCE, async {
            // A program that reads nothing may have ended already.
            stdin.write_all(self.input.as_bytes()).await.ok();
            drop(stdin);
            let (out, err) = tokio::join!(
                stdout.read_to_string(&mut printed),
                stderr.read_to_string(&mut errors)
            );
            out.and(err)?;
            child.wait().await
        });
        match done.await {
            Ok(Ok(status)) if status.success() => printed,
            Ok(Ok(status)) => panic!("{program}: {status}\n{printed}{errors}"),
            Ok(Err(error)) => panic!("{program}: {error}\n{printed}{errors}"),
            Err(_) => panic!("{program}: not done after {PATIENCE:?}\n{printed}{errors}"),
        }
    }
}

const MISSING: &str = "not found; the tests need Python 3.9 or later with venv, and Node 18 or later with npm, which `make prepare` \
                       installs or names";

/// Where the programs are.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("judges")
}

/// What the programs need, installed if it is not there yet.
fn installation() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let workspace = folders.find(|folder| folder.join("Cargo.lock").exists());
        let folder = workspace.expect("a workspace has a Cargo.lock").join("target/judges");
        fs::create_dir_all(&folder).expect("target/judges can be made");
        let lock = File::create(folder.join("lock")).expect("target/judges can be written");
        lock.lock().expect("target/judges/lock can be locked");

        let stamp = folder.join("stamp");
        let made_from = SOURCES.concat();
        if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_from) {
            return folder;
        }
        if stamp.exists() {
            fs::remove_file(&stamp).expect("target/judges can be written");
        }
        install_python(&folder.join("python"));
        install_javascript(&folder.join("javascript"));
        fs::write(&stamp, made_from).expect("target/judges can be written");
        folder
    })
}

fn install_python(folder: &Path) {
    let mut create = std::process::Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(folder);
    complete(create);
    let mut install = std::process::Command::new(folder.join("bin/python"));
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ]);
    install.arg(sources().join("python/requirements.txt"));
    complete(install);
}

fn install_javascript(folder: &Path) {
    fs::create_dir_all(folder).expect("target/judges can be written");
    for file in ["package.json", "package-lock.json"] {
        fs::copy(sources().join("javascript").join(file), folder.join(file))
            .expect("target/judges can be written");
    }
    let mut install = std::process::Command::new("npm");
    install.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(folder);
    complete(install);
}

/// Runs a command to its end.
fn complete(mut command: std::process::Command) {
    let program = format!("{command:?}");
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let printed = [output.stdout, output.stderr].concat();
            panic!("{program}: {}\n{}", output.status, String::from_utf8_lossy(&printed));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => panic!("{program}: {MISSING}"),
        Err(error) => panic!("{program}: {error}"),
    }
}
