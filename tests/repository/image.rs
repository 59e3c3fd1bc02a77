//! The container image, as far as it can be judged where none can be built: the program needs
//! nothing that the image lacks, the Dockerfile copies what the program is made of and nothing
//! else, and what comes out is what the manifests run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

const CONFIG: &str = include_str!("../../.cargo/config.toml");
const DOCKERFILE: &str = include_str!("../../Dockerfile");
const DOCKERIGNORE: &str = include_str!("../../.dockerignore");
const PAGE: &str = include_str!("../../docs/image.md");
const PROGRAM: &str = env!("CARGO_BIN_EXE_keda-sift");
const SCRIPT: &str = include_str!("../../scripts/image");

/// Debian's releases: name, number, and the version of glibc.
const DEBIANS: [(&str, u32, &str); 2] = [("bookworm", 12, "2.36"), ("trixie", 13, "2.41")];

/// One line of the Dockerfile, continued ones joined.
#[derive(Clone, Copy)]
struct Instruction<'a> {
    word: &'a str,
    rest: &'a str,
}

impl<'a> Instruction<'a> {
    /// What a COPY takes from the checkout, and where to. None for another stage's files.
    fn copied(self) -> Option<(Vec<&'a str>, &'a str)> {
        let mut paths: Vec<_> = self.rest.split_whitespace().collect();
        (self.word == "COPY" && !self.rest.starts_with("--from")).then(|| {
            let to = paths.pop().expect("a COPY has somewhere to go");
            (paths, to)
        })
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Dockerfile without comments, a line an instruction.
fn dockerfile() -> String {
    let lines = DOCKERFILE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ")
}

/// The instructions of each stage, its FROM first.
fn stages(dockerfile: &str) -> [Vec<Instruction<'_>>; 2] {
    let mut stages: Vec<Vec<Instruction<'_>>> = Vec::new();
    for line in dockerfile.lines() {
        let (word, rest) = line.split_once(' ').expect("an instruction says something");
        if word == "FROM" {
            stages.push(Vec::new());
        }
        let stage = stages.last_mut().expect("FROM comes first");
        stage.push(Instruction { word, rest: rest.trim() });
    }
    stages.try_into().unwrap_or_else(|_| panic!("one stage builds, the other is the image"))
}

fn said<'a>(stage: &[Instruction<'a>], word: &str) -> &'a str {
    let mut all = stage.iter().filter(|instruction| instruction.word == word);
    match (all.next(), all.next()) {
        (Some(instruction), None) => instruction.rest,
        _ => panic!("{word} is said once a stage"),
    }
}

/// `a="b c" d=e` without the quotes.
fn labels(text: &str) -> Vec<(&str, &str)> {
    let mut rest = text.trim();
    let mut labels = Vec::new();
    while let Some((name, value)) = rest.split_once("=\"") {
        let (value, after) = value.split_once('"').expect("a label's value ends with its quote");
        labels.push((name, value));
        rest = after.trim();
    }
    assert!(rest.is_empty(), "{rest}: labels are name=\"value\"");
    labels
}

/// Files and folders that the Dockerfile takes from the checkout.
fn sources<'a>(instructions: impl IntoIterator<Item = &'a Instruction<'a>>) -> BTreeSet<&'a str> {
    instructions.into_iter().filter_map(|one| one.copied()).flat_map(|(paths, _)| paths).collect()
}

/// Does what a COPY says.
fn copy(instruction: Instruction<'_>, into: &Path) {
    let Some((paths, to)) = instruction.copied() else { return };
    for path in paths {
        let from = repository().join(path);
        let mut to = into.join(to);
        let folder = if to.to_string_lossy().ends_with('/') || to.ends_with(".") {
            to.push(from.file_name().expect("a name"));
            to.parent()
        } else {
            to.parent()
        };
        fs::create_dir_all(folder.expect("a folder")).unwrap();
        let copied = Command::new("cp").arg("-R").args([&from, &to]).status().unwrap();
        assert!(copied.success(), "COPY {}", instruction.rest);
    }
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(repository().join("scripts/image"));
    command.args(arguments);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An executable file that prints a line.
fn tool(folder: &Path, name: &str, line: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\necho '{line}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "the image holds a program for Linux")]
fn the_program_needs_nothing_that_the_image_lacks() {
    let check = script(&["check", PROGRAM]).output().unwrap();
    assert!(check.status.success(), "{}", text(&check));
}

#[test]
fn the_manual_and_the_completions_lie_where_they_are_looked_for() {
    let share = TempDir::new().unwrap();
    let folder = share.path().to_str().unwrap();
    let pages = script(&["pages", PROGRAM, folder]).output().unwrap();
    assert!(pages.status.success(), "{}", text(&pages));
    for (file, begins) in [
        ("man/man1/keda-sift.1", ".ie"),
        ("man/man1/keda-sift-serve.1", ".ie"),
        ("bash-completion/completions/keda-sift", "_keda__sift() {"),
        ("fish/vendor_completions.d/keda-sift.fish", "# "),
        ("zsh/vendor-completions/_keda-sift", "#compdef keda-sift"),
    ] {
        let held = fs::read_to_string(share.path().join(file)).unwrap();
        assert!(held.starts_with(begins), "{file} begins with {:?}", held.lines().next());
        assert!(
            PAGE.contains(&format!("`/usr/share/{}", file.split('/').next().unwrap())),
            "{file}"
        );
    }
}

#[test]
fn what_the_image_lacks_is_named() {
    let fine =
        ("libc.so.6 => /lib/libc.so.6 (0x0)", "0 DF *UND* 0 (GLIBC_2.34) read", "keda-sift 1");
    let rows = [
        ("fine", fine, None),
        ("an older version, not a smaller number", (fine.0, "0 (GLIBC_2.9) f", fine.2), None),
        ("the newest there is", (fine.0, "0 (GLIBC_2.41) f", fine.2), None),
        ("a library", ("libz.so.1 => /l/libz.so.1 (0x0)", fine.1, fine.2), Some("needs libz.so.1")),
        (
            "one that is nowhere",
            ("libz.so.1 => not found", fine.1, fine.2),
            Some("needs libz.so.1"),
        ),
        (
            "glibc",
            (fine.0, "0 (GLIBC_2.42) f", fine.2),
            Some("needs glibc 2.42, the image has 2.41"),
        ),
        ("nothing to judge", (fine.0, "no symbols", fine.2), Some("finds no version of glibc")),
        ("another program", (fine.0, fine.1, ""), Some("is not keda-sift")),
    ];
    for (name, (ldd, objdump, version), complaint) in rows {
        let tools = TempDir::new().unwrap();
        tool(tools.path(), "ldd", ldd);
        tool(tools.path(), "objdump", objdump);
        let program = tool(tools.path(), "program", version);
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        let check =
            script(&["check", program.to_str().unwrap()]).env("PATH", path).output().unwrap();
        let told = text(&check);
        match complaint {
            None => assert!(check.status.success(), "{name}: {told}"),
            Some(complaint) => {
                assert!(!check.status.success(), "{name}");
                assert!(told.contains(complaint), "{name}: {told}");
            }
        }
    }
}

#[test]
fn every_file_the_program_is_made_of_is_copied() {
    let dockerfile = dockerfile();
    let [build, _] = stages(&dockerfile);
    let copied = sources(&build);

    // What the compiler read, by its own notes, and what the build script says that it reads. Both
    // are relative to the checkout, apart from what was generated.
    let mut read = BTreeSet::from([PathBuf::from("build.rs")]);
    for notes in fs::read_dir(Path::new(PROGRAM).with_file_name("deps")).unwrap() {
        let notes = notes.unwrap().path();
        let name = notes.file_name().unwrap().to_str().unwrap();
        if name.starts_with("keda_sift-") && name.ends_with(".d") {
            let notes = fs::read_to_string(notes).unwrap();
            let of_rules = notes.lines().filter_map(|line| line.split_once(": "));
            read.extend(of_rules.flat_map(|(_, of)| of.split_whitespace().map(PathBuf::from)));
        }
    }
    let script = fs::read_to_string(repository().join("build.rs")).unwrap();
    let told = script.lines().filter_map(|line| line.split_once("cargo::rerun-if-changed="));
    read.extend(told.map(|(_, path)| PathBuf::from(path.trim_end_matches("\");"))));
    read.retain(|path| path.is_relative());
    for must in ["src/lib.rs", "src/main.rs", "proto"] {
        assert!(read.contains(Path::new(must)), "{must} is not in {read:?}");
    }
    for path in read {
        assert!(
            copied.iter().any(|copied| path.starts_with(copied)),
            "{} is part of the program, and the Dockerfile does not copy it",
            path.display()
        );
    }
    assert!(copied.contains(".cargo/config.toml"), "the allocator's settings are built in");
}

#[test]
fn the_manifests_load_before_any_source_is_there() {
    let dockerfile = dockerfile();
    let [build, _] = stages(&dockerfile);
    let first = build.iter().take_while(|instruction| instruction.word != "RUN");
    let folder = TempDir::new().unwrap();
    for instruction in first.clone() {
        copy(*instruction, folder.path());
    }
    for source in sources(first) {
        let file = Path::new(source).file_name().unwrap().to_str().unwrap();
        assert!(
            ["Cargo.toml", "Cargo.lock", "config.toml", "image"].contains(&file),
            "{source} is no manifest: the dependencies would be built again whenever it changes"
        );
    }

    let run = |command: &mut Command| {
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    run(Command::new("scripts/image").arg("stubs"));
    // Fetching is what judges the manifests and builds nothing; for this platform, as others'
    // packages are not there.
    let compiler = run(Command::new("rustc").arg("-vV"));
    let platform = compiler.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let fetch = ["fetch", "--locked", "--offline", "--target", platform];
    run(Command::new(env!("CARGO")).args(fetch));
}

#[test]
fn stubs_never_take_the_place_of_sources() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/main.rs"), "mine").unwrap();
    let output = script(&["dependencies"]).current_dir(folder.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("there are sources here"), "{}", text(&output));
    assert_eq!(fs::read_to_string(folder.path().join("src/main.rs")).unwrap(), "mine");
}

/// On a package of a few lines, so that it takes a moment.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "the image holds a program for Linux")]
fn what_was_built_of_stubs_is_not_taken_for_the_program() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let package = "name = \"keda-sift\"\nversion = \"0.1.0\"\n";
    fs::write(path("Cargo.toml"), format!("[package]\n{package}edition = \"2024\"\n")).unwrap();
    fs::write(path("Cargo.lock"), format!("version = 4\n\n[[package]]\n{package}")).unwrap();
    let run = |arguments: &[&str]| {
        let output = script(arguments)
            .current_dir(folder.path())
            .env("CARGO_TARGET_DIR", path("target"))
            .env("PROFILE", "dev")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    run(&["dependencies"]);

    // As a checkout has them: older than what was built already.
    let sources = [
        ("build.rs", "fn main() {}"),
        ("src/lib.rs", "pub const NAME: &str = \"keda-sift\";"),
        ("src/main.rs", "fn main() { println!(\"{} is here\", keda_sift::NAME) }"),
    ];
    fs::create_dir(path("src")).unwrap();
    for (name, source) in sources {
        fs::write(path(name), source).unwrap();
        let file = fs::File::options().write(true).open(path(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_hours(300_000)).unwrap();
    }
    run(&["program", "out/keda-sift"]);
    let said = Command::new(path("out/keda-sift")).output().unwrap().stdout;
    assert_eq!(said, b"keda-sift is here\n");
}

#[test]
fn the_builder_is_sent_what_is_copied_and_nothing_else() {
    let mut patterns = DOCKERIGNORE.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(patterns.next(), Some("*"));
    let sent: BTreeSet<_> = patterns
        .map(|pattern| pattern.strip_prefix('!').expect("all else is left out already"))
        .collect();
    let dockerfile = dockerfile();
    assert_eq!(sent, sources(stages(&dockerfile).iter().flatten()));
    for path in sent {
        assert!(repository().join(path).exists(), "{path} is not there");
        assert!(
            !path.contains('*'),
            "{path}: with a wildcard, all that is left out is walked through"
        );
    }
}

#[test]
fn what_is_built_runs_on_the_images_debian() {
    let dockerfile = dockerfile();
    let [build, image] = stages(&dockerfile);
    let (compiler, _) = said(&build, "FROM").split_once(" AS ").unwrap();
    let (rust, name) = compiler.strip_prefix("rust:").unwrap().split_once('-').unwrap();
    let (_, number, glibc) = DEBIANS.into_iter().find(|(debian, ..)| *debian == name).unwrap();

    assert_eq!(rust, env!("CARGO_PKG_RUST_VERSION"));
    assert_eq!(said(&image, "FROM"), format!("gcr.io/distroless/cc-debian{number}:nonroot"));
    assert!(SCRIPT.contains(&format!("\nglibc={glibc}\n")), "scripts/image knows another glibc");
}

#[test]
fn each_platform_builds_its_own() {
    // C dependencies look at the machine they are built on, so nothing is built for another.
    for word in ["--platform", "BUILDPLATFORM", "TARGETARCH", "TARGETPLATFORM"] {
        assert!(!DOCKERFILE.contains(word), "{word}");
    }
    assert!(PAGE.contains("--platform linux/amd64,linux/arm64"));
    // An arm64 kernel's pages have 4, 16 or 64 KiB; the allocator aborts where they are larger than
    // it was built for.
    assert!(CONFIG.contains("\nAARCH64_UNKNOWN_LINUX_GNU_JEMALLOC_SYS_WITH_LG_PAGE = \"16\"\n"));
}

#[test]
fn the_image_runs_the_program_without_root_or_a_shell() {
    let dockerfile = dockerfile();
    let [_, image] = stages(&dockerfile);
    assert!(image.iter().all(|instruction| instruction.word != "RUN"), "there is no shell for RUN");
    assert_eq!(said(&image, "USER"), "65532:65532");

    // A list is run as it is; text would be given to a shell.
    let entrypoint: Vec<String> = serde_json::from_str(said(&image, "ENTRYPOINT")).unwrap();
    assert_eq!(entrypoint, ["/usr/local/bin/keda-sift"]);
    let arguments: Vec<String> = serde_json::from_str(said(&image, "CMD")).unwrap();
    assert_eq!(arguments, ["serve"]);
    let built = image.iter().filter(|one| one.rest.starts_with("--from=build"));
    let built: Vec<_> = built.map(|one| one.rest).collect();
    let expected = [
        "--from=build /build/out/share /usr/share/",
        "--from=build /build/out/keda-sift /usr/local/bin/",
    ];
    assert_eq!(built, expected);

    let help = Command::new(PROGRAM).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for port in said(&image, "EXPOSE").split_whitespace() {
        assert!(help.contains(&format!(":{port}]")), "nothing listens on {port} by default");
    }
}

#[test]
fn labels_say_what_the_manifest_says() {
    let dockerfile = dockerfile();
    let [_, image] = stages(&dockerfile);
    let labels = labels(said(&image, "LABEL"));
    let label = |name: &str| {
        let name = format!("org.opencontainers.image.{name}");
        let found = labels.iter().find(|(label, _)| *label == name);
        found.unwrap_or_else(|| panic!("{name} is missing")).1
    };
    assert_eq!(label("title"), env!("CARGO_PKG_NAME"));
    assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert_eq!(label("base.name"), said(&image, "FROM"));
    assert_eq!(label("version"), "$VERSION");
    assert_eq!(label("revision"), "$REVISION");
    assert!(label("documentation").starts_with(label("source")));

    let arguments: Vec<_> =
        image.iter().filter(|one| one.word == "ARG").map(|one| one.rest).collect();
    assert_eq!(arguments, [concat!("VERSION=", env!("CARGO_PKG_VERSION")), "REVISION=unknown"]);
}

#[test]
fn the_page_names_what_the_image_is_built_on() {
    let dockerfile = dockerfile();
    let [_, image] = stages(&dockerfile);
    assert!(PAGE.contains(said(&image, "FROM")));
    let libraries = SCRIPT.lines().find_map(|line| line.strip_prefix("libraries='")).unwrap();
    for library in libraries.trim_end_matches('\'').split(' ') {
        assert!(
            library == "linux-vdso.so.1" || PAGE.contains(&format!("`{library}`")),
            "{library}"
        );
    }
}

/// The build stage, done in order in a folder of its own: what is shown is that its files are
/// enough, and that what was built of the stubs is not taken for the program.
#[test]
#[ignore = "takes away what was compiled of the checkout: make image"]
fn the_build_stages_steps_give_the_program() {
    let dockerfile = dockerfile();
    let [build, _] = stages(&dockerfile);
    let folder = TempDir::new().unwrap();
    // Where all that it depends on has been compiled. What was compiled of the checkout goes: Cargo
    // takes that for the folder's.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    for instruction in &build {
        copy(*instruction, folder.path());
        if instruction.word == "RUN" {
            let run = Command::new("sh")
                .args(["-c", instruction.rest])
                .current_dir(folder.path())
                .env("CARGO_TARGET_DIR", target)
                .env("PROFILE", "dev")
                .env("REVISION", "0123456789abcdef0123456789abcdef01234567")
                .status()
                .unwrap();
            assert!(run.success(), "RUN {}", instruction.rest);
        }
    }
    let program = folder.path().join("out/keda-sift");
    let version = Command::new(&program).arg("--version").output().unwrap();
    let expected = concat!("keda-sift ", env!("CARGO_PKG_VERSION"), " (0123456)\n");
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);
    assert!(folder.path().join("out/share/man/man1/keda-sift-serve.1").exists());
    let bytes = fs::read(program).unwrap();
    let built_in = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(built_in(b"narenas:2,"), "the allocator's settings are not built in");
}
