//! Programs that use a namespace through Microsoft's own SDKs.
//!
//! What those of a language need is installed once per checkout, when a test first asks for one:
//! into `target/judges/<language>`. The versions are pinned beside the programs. A lock file lets
//! one test binary install while others wait. A program that fails is a panic with what it printed.
//!
//! | program | what it does |
//! |---|---|
//! | `service_bus.py`, `service_bus.js`, Go's and Java's `judge` | judge the stand-in, against [`prepare`] |
//! | `send.py <entity>` | sends the messages it is given as JSON |
//! | Go's and Java's `send <entity>` | sends a message of each type that the SDK has |
//! | `settle.py <entity> <settlement>…` | receives and settles |
//! | `peek.py <queue>` | peeks at all messages, and says how long it took |

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::bus::ServiceBus;

/// A language that there is an SDK for.
#[derive(Debug, Clone, Copy)]
enum Language {
    Python,
    JavaScript,
    Go,
    Java,
}

/// How long a program may take.
const AT_MOST: Duration = Duration::from_secs(180);

/// A program that is to be run.
#[derive(Debug)]
#[must_use = "nothing runs before `run`"]
pub struct Judge {
    command: Command,
    input: String,
}

/// A Python program: of this folder, or at a path of its own.
pub fn python(program: &str) -> Judge {
    let folder = Language::Python.sources();
    let mut command = Command::new(Language::Python.installed().join("bin/python"));
    // A program from elsewhere finds `bus.py` all the same.
    command.arg(folder.join(program)).env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    Judge { command, input: String::new() }
}

/// A JavaScript program: of this folder, or at a path of its own.
pub fn javascript(program: &str) -> Judge {
    let mut command = Command::new("node");
    command
        .arg(Language::JavaScript.sources().join(program))
        .env("NODE_PATH", Language::JavaScript.installed().join("node_modules"));
    Judge { command, input: String::new() }
}

/// The program in Go, which does what its first argument says; `None` where Go is not at hand,
/// which nobody needs for anything else on a developer's machine. CI has it.
pub fn go(what: &str) -> Option<Judge> {
    if std::env::var_os("CI").is_none() && !has_go() {
        eprintln!(
            "Microsoft's SDK for Go is left out: Go 1.26 or later is not at hand; get it from https://go.dev/dl"
        );
        return None;
    }
    let mut command = Command::new(Language::Go.installed().join("judge"));
    command.arg(what);
    Some(Judge { command, input: String::new() })
}

/// The program in Java, which does what its first argument says. It speaks TLS alone, and needs the
/// [`Judge::certificate`].
pub fn java(what: &str) -> Judge {
    let folder = Language::Java.installed();
    let class_path =
        format!("{}:{}", folder.join("classes").display(), folder.join("jars/*").display());
    let mut command = Command::new("java");
    // It runs for seconds: what a JVM does to be fast in the long run only takes time.
    command.args([
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Xshare:auto",
    ]);
    command.args(["-cp", &class_path, "Main", what]);
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
        let command = self.command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        // Without its environment, which has a key.
        let program = words.join(" ");
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
        let done = timeout(AT_MOST, async {
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
            Err(_) => panic!("{program}: not done after {AT_MOST:?}\n{printed}{errors}"),
        }
    }
}

const MISSING: &str = "not found; the tests need Python 3.9 or later with venv, Node 18 or later with npm, a JDK 17 or later and \
                       Maven, which `make prepare` installs or names, and in CI Go 1.26 or later";

/// Small files, and nothing in them of the machine that built them.
const GO_FLAGS: [&str; 4] = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"];

/// Whether there is a Go that builds the program.
fn has_go() -> bool {
    let mut version = std::process::Command::new("go");
    let said = version.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
    // Such as `go1.26.8`.
    said.ok().and_then(|said| {
        let said = String::from_utf8(said.stdout).ok()?;
        let minor: u32 = said
            .trim()
            .strip_prefix("go1.")?
            .split(|of: char| !of.is_ascii_digit())
            .next()?
            .parse()
            .ok()?;
        Some(minor >= 26)
    }) == Some(true)
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    /// Where the programs are.
    fn sources(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("judges").join(self.name())
    }

    /// What an installation is made from: it is made anew when one of them changes.
    fn made_from(self) -> String {
        let sources: &[&str] = match self {
            Self::Python => &[include_str!("../judges/python/requirements.txt")],
            Self::JavaScript => &[include_str!("../judges/javascript/package-lock.json")],
            Self::Go => &[
                include_str!("../judges/go/go.mod"),
                include_str!("../judges/go/go.sum"),
                include_str!("../judges/go/main.go"),
                include_str!("../judges/go/judge.go"),
                include_str!("../judges/go/send.go"),
            ],
            Self::Java => &[
                include_str!("../judges/java/pom.xml"),
                include_str!("../judges/java/Main.java"),
                include_str!("../judges/java/Judge.java"),
                include_str!("../judges/java/Send.java"),
            ],
        };
        sources.concat() + include_str!("judges.rs")
    }

    /// What the programs need, installed if it is not there yet.
    fn installed(self) -> PathBuf {
        let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let workspace = folders.find(|folder| folder.join("Cargo.lock").exists());
        let all = workspace.expect("a workspace has a Cargo.lock").join("target/judges");
        let folder = all.join(self.name());
        fs::create_dir_all(&folder).expect("target/judges can be made");
        // Beside the folder, which an installation may clear.
        let lock =
            File::create(folder.with_extension("lock")).expect("target/judges can be written");
        lock.lock().expect("a file in target/judges can be locked");

        let stamp = folder.with_extension("stamp");
        let made_from = self.made_from();
        if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_from) {
            return folder;
        }
        if stamp.exists() {
            fs::remove_file(&stamp).expect("target/judges can be written");
        }
        match self {
            Self::Python => install_python(&folder),
            Self::JavaScript => install_javascript(&folder),
            Self::Go => install_go(&folder),
            Self::Java => install_java(&folder),
        }
        fs::write(&stamp, made_from).expect("target/judges can be written");
        folder
    }
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
    install.arg(Language::Python.sources().join("requirements.txt"));
    complete(install);
}

fn install_javascript(folder: &Path) {
    for file in ["package.json", "package-lock.json"] {
        fs::copy(Language::JavaScript.sources().join(file), folder.join(file))
            .expect("target/judges can be written");
    }
    let mut install = std::process::Command::new("npm");
    install.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(folder);
    complete(install);
}

fn install_go(folder: &Path) {
    let mut build = std::process::Command::new("go");
    build.arg("build").args(GO_FLAGS).arg("-o").arg(folder.join("judge")).arg(".");
    // Nothing from outside decides what is built.
    build.current_dir(Language::Go.sources());
    build.env("GOFLAGS", "").env("GOWORK", "off").env("GOTOOLCHAIN", "local");
    complete(build);
}

fn install_java(folder: &Path) {
    let (sources, jars) = (Language::Java.sources(), folder.join("jars"));
    // None of an older version is left among them.
    if jars.exists() {
        fs::remove_dir_all(&jars).expect("target/judges can be written");
    }
    let mut resolve = std::process::Command::new("mvn");
    resolve.args(["--quiet", "--batch-mode", "--file"]).arg(sources.join("pom.xml"));
    resolve.arg("dependency:copy-dependencies");
    resolve.arg(format!("-DoutputDirectory={}", jars.display()));
    complete(resolve);
    let mut compile = std::process::Command::new("javac");
    compile.args(["-proc:none", "-nowarn", "-encoding", "UTF-8", "-cp"]).arg(jars.join("*"));
    compile.arg("-d").arg(folder.join("classes"));
    compile.args(["Main.java", "Judge.java", "Send.java"].map(|file| sources.join(file)));
    complete(compile);
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
