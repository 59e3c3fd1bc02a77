//! Where the jars of Kafka are, and how they come there.
//!
//! Maven resolves them once a checkout, into `target/kafka`, and those of an older version into a
//! folder beside it when a test first asks for one. A lock file lets one test binary do it while
//! others wait. Starting is what a test run pays for again and again, so the JVM's class archive
//! (CDS) of the newest is written there too: on two cores a broker then starts in 1.2 s instead of
//! 2 s.
//!
//! # References
//! - JEP 350: Dynamic CDS Archives

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use test_basics::free_port;

use super::version::KafkaVersion;

/// What they are made from: the installation is made anew when one of them changes.
const SOURCES: [&str; 5] = [
    include_str!("../kafka/pom.xml"),
    include_str!("../kafka/TestBroker.java"),
    include_str!("../kafka/OldBroker.java"),
    include_str!("../kafka/Lifeline.java"),
    include_str!("install.rs"),
];

/// Kafka, ready to run.
#[derive(Debug)]
pub(crate) struct Install {
    /// What the JVM is given as its class path. The class archive holds for exactly this text.
    pub class_path: String,
    /// The class archive, of the version that has one.
    pub archive: Option<PathBuf>,
    /// How Kafka logs.
    pub logging: PathBuf,
}

impl Install {
    /// The installation of a version in this checkout, made if it is not there yet.
    ///
    /// # Panics
    /// If Java or Maven is missing, or Maven cannot resolve the jars: a test that needs a broker
    /// fails without one.
    pub(crate) fn of(version: KafkaVersion) -> &'static Self {
        static INSTALLS: Mutex<BTreeMap<KafkaVersion, &Install>> = Mutex::new(BTreeMap::new());
        // One that panicked while it held them left none half made.
        let mut installs = INSTALLS.lock().unwrap_or_else(PoisonError::into_inner);
        installs.entry(version).or_insert_with(|| Box::leak(Box::new(Self::make(version))))
    }

    fn make(version: KafkaVersion) -> Self {
        let newest = target().join("kafka");
        fs::create_dir_all(&newest).expect("target/kafka can be made");
        // One for all versions: they share Maven's cache.
        let lock = File::create(newest.join("lock")).expect("target/kafka can be written");
        lock.lock().expect("target/kafka/lock can be locked");
        let folder = match version.number() {
            None => newest,
            Some(number) => newest.with_file_name(format!("kafka-{number}")),
        };
        fs::create_dir_all(&folder).expect("the target folder can be written");

        let stamp = folder.join("stamp");
        let sources = SOURCES.concat();
        if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == sources) {
            return Self::at(&folder, version);
        }
        if stamp.exists() {
            fs::remove_file(&stamp).expect("the target folder can be written");
        }
        resolve(&folder, version);
        compile(&folder, version);
        let install = Self::at(&folder, version);
        if let Some(archive) = &install.archive {
            install.write_archive(archive);
        }
        fs::write(&stamp, sources).expect("the target folder can be written");
        install
    }

    fn at(folder: &Path, version: KafkaVersion) -> Self {
        let mut jars: Vec<String> = fs::read_dir(folder.join("jars"))
            .expect("the folder of jars can be read")
            .map(|entry| {
                entry.expect("the folder of jars can be read").path().display().to_string()
            })
            .collect();
        jars.sort();
        Self {
            class_path: jars.join(":"),
            archive: (version == KafkaVersion::Newest).then(|| folder.join("classes.jsa")),
            logging: source("log4j2.xml"),
        }
    }

    /// Starts and ends a broker, so that the JVM writes down the classes it loaded.
    fn write_archive(&self, archive: &Path) {
        let node = tempfile::tempdir().expect("a temporary folder");
        let mut properties = super::node::Properties::default();
        properties.set("node.id", 1);
        properties.set("process.roles", "broker,controller");
        let [plaintext, controller] = [free_port(), free_port()];
        properties.set(
            "listeners",
            format!("PLAINTEXT://127.0.0.1:{plaintext},CONTROLLER://127.0.0.1:{controller}"),
        );
        properties.set("controller.quorum.voters", format!("1@127.0.0.1:{controller}"));
        properties.set("controller.listener.names", "CONTROLLER");
        properties.set("log.dirs", node.path().join("data").display());
        let file = node.path().join("node.properties");
        fs::write(&file, properties.to_string()).expect("a temporary folder can be written");

        let mut java = self.java(&node.path().join("requests.log"));
        java.arg("-Dtrain=true").arg(format!("-XX:ArchiveClassesAtExit={}", archive.display()));
        java.arg("TestBroker").arg(node.path()).arg(file);
        // Its standard input must stay open until it ends by itself.
        java.stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = java.spawn().expect("java has compiled and can be run");
        let input = child.stdin.take();
        let output = child.wait_with_output().expect("java can be waited for");
        drop(input);
        assert!(output.status.success(), "kafka does not start:\n{}", text(&output));
    }

    /// A JVM with the options that every broker has; the caller adds the class and its arguments.
    pub(crate) fn java(&self, requests: &Path) -> Command {
        let mut java = Command::new("java");
        java.arg("-Djava.net.preferIPv4Stack=true")
            .arg("-XX:+UseSerialGC")
            .arg("-XX:-UsePerfData")
            .arg("-Xlog:disable")
            .arg(format!("-Dlog4j2.configurationFile={}", self.logging.display()))
            .arg(format!("-Drequests.log={}", requests.display()))
            .args(["-cp", &self.class_path]);
        java
    }
}

/// Copies the jars from Maven's own cache, which it fills as needed.
fn resolve(folder: &Path, version: KafkaVersion) {
    let jars = folder.join("jars");
    if jars.exists() {
        fs::remove_dir_all(&jars).expect("target/kafka can be written");
    }
    let copy = |more: &[&str]| {
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "--file"]).arg(source("pom.xml")).args(more);
        maven.args(version.number().map(|number| format!("-Dkafka.version={number}")));
        maven
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display()));
        run(maven)
    };
    // Without a network Maven's cache may still have all of it.
    if let Err(online) = copy(&[]).or_else(|online| copy(&["--offline"]).map_err(|_| online)) {
        panic!("maven cannot resolve kafka's jars:\n{online}");
    }
}

/// Compiles the broker's own classes into a jar among the others: the class archive does not take
/// folders.
fn compile(folder: &Path, version: KafkaVersion) {
    let jars = folder.join("jars");
    let classes = folder.join("classes");
    let mut javac = Command::new("javac");
    javac
        .args(["-proc:none", "-nowarn", "-cp"])
        .arg(jars.join("*"))
        .arg("-d")
        .arg(&classes)
        .args(version.sources().map(source));
    run(javac)
        .unwrap_or_else(|output| panic!("{} does not compile:\n{output}", version.main_class()));
    let mut jar = Command::new("jar");
    jar.arg("--create")
        .arg("--file")
        .arg(jars.join("test-broker.jar"))
        .arg("-C")
        .arg(&classes)
        .arg(".");
    run(jar).unwrap_or_else(|output| {
        panic!("the broker's own classes cannot be put into a jar:\n{output}")
    });
}

/// The folder that Cargo builds into: a program for tests is in `<target>/<profile>/deps`.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    program.ancestors().nth(3).expect("a program that Cargo has built").to_owned()
}

/// A file beside the broker's own classes.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka").join(name)
}

/// Runs a command to its end; what it printed is the error.
fn run(mut command: Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(text(&output)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "{program}: not found; the tests need Java 17 or later (a JDK) and Maven, which `make prepare` installs or names"
            )
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn text(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
