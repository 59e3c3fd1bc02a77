//! What kustomize and helm make of it, built once for all tests.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kubernetes_api::tools;
use serde_json::json;
use tempfile::TempDir;

use super::PAGES;
use super::variants::{CHART_ALONE, VARIANTS, Variant};

/// What the two make of a variant.
pub(super) struct Built {
    pub(super) variant: &'static Variant,
    pub(super) kustomized: String,
    pub(super) charted: String,
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn chart() -> PathBuf {
    root().join("charts/keda-sift")
}

/// A folder to build in. kustomize takes other folders by a relative path only.
struct Workshop(TempDir);

impl Workshop {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder"))
    }

    /// The way from here to `manifests/`.
    fn manifests(&self) -> String {
        let here = self.0.path().canonicalize().expect("the folder is there");
        let up = "../".repeat(here.components().count() - 1);
        let there = root().join("manifests").canonicalize().expect("the manifests are there");
        format!("{up}{}", there.strip_prefix("/").expect("an absolute path").display())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a file can be written");
    }

    fn build(&self, kustomization: &str) -> String {
        self.write("kustomization.yaml", kustomization);
        tools::kustomize(self.0.path())
    }
}

impl Variant {
    fn kustomized(&self) -> String {
        let workshop = Workshop::new();
        let manifests = workshop.manifests();
        let components: Vec<String> =
            self.components.iter().map(|name| format!("{manifests}/components/{name}")).collect();
        workshop.build(
            &json!({
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": self.namespace,
                "resources": [format!("{manifests}/{}", self.of)],
                "components": components,
            })
            .to_string(),
        )
    }
}

pub(super) fn charted(namespace: &str, values: &[&str]) -> String {
    tools::helm_template(chart(), &arguments(namespace, values))
}

/// With a version of Kubernetes, as helm otherwise assumes that of its own build.
pub(super) fn arguments<'a>(namespace: &'a str, values: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["--kube-version", "1.35.0", "--namespace", namespace];
    arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
    arguments
}

/// Every variant, built once for all tests.
pub(super) fn built() -> &'static [Built] {
    static BUILT: LazyLock<Vec<Built>> = LazyLock::new(|| {
        let build = |variant: &'static Variant| Built {
            variant,
            kustomized: variant.kustomized(),
            charted: charted(variant.namespace, variant.values),
        };
        VARIANTS.iter().map(build).collect()
    });
    &BUILT
}

/// Everything there is, with what it is, built once too.
pub(super) fn everything() -> &'static [(String, String)] {
    static EVERYTHING: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for Built { variant, kustomized, charted } in built() {
            all.push((format!("{variant:?}, kustomized"), kustomized.clone()));
            all.push((format!("{variant:?}, charted"), charted.clone()));
        }
        for values in CHART_ALONE {
            all.push((format!("the chart with {values:?}"), charted("keda-sift", values)));
        }
        all.extend(examples());
        all
    });
    &EVERYTHING
}

/// The blocks of a language in a page; those in lists are indented.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<(&'a str, String)> {
    let mut blocks = Vec::new();
    let mut within: Option<(&str, usize, String)> = None;
    for line in page.lines() {
        let text = line.trim_start();
        let Some((language, indent, block)) = &mut within else {
            if let Some(language) = text.strip_prefix("```") {
                within = Some((language, line.len() - text.len(), String::new()));
            }
            continue;
        };
        if text.starts_with("```") {
            blocks.push((*language, std::mem::take(block)));
            within = None;
        } else {
            writeln!(block, "{}", line.get(*indent..).unwrap_or_default()).expect("a string");
        }
    }
    assert!(within.is_none(), "a block has no end");
    blocks.retain(|(found, _)| *found == language);
    blocks
}

/// What the pages show to apply or to install.
fn examples() -> Vec<(String, String)> {
    let mut built = Vec::new();
    let workshop = Workshop::new();
    let manifests = workshop.manifests();
    let version = env!("CARGO_PKG_VERSION");

    let blocks = |language| PAGES.iter().flat_map(move |page| blocks(page, language));
    let yaml: Vec<_> = blocks("yaml").collect();
    for (_, block) in &yaml {
        if let Some(name) = block.lines().next().and_then(|line| line.strip_prefix("# ")) {
            workshop.write(name, block);
        }
    }
    for (_, block) in yaml.iter().filter(|(_, block)| block.contains("kind: Kustomization")) {
        let local = block
            .replace("https://github.com/keda-sift/keda-sift//manifests", &manifests)
            .replace(&format!("?ref=v{version}"), "");
        assert!(
            !local.contains("?ref="),
            "an example has another version than {version}:\n{block}"
        );
        built.push((format!("the example\n{block}"), workshop.build(&local)));
    }
    assert!(built.len() >= 8, "the pages have examples of kustomizations");

    let shell: String = blocks("sh").map(|(_, block)| block).collect();
    let shell = shell.replace("\\\n", " ");
    let installs = shell
        .lines()
        .filter_map(|line| line.strip_prefix("helm install keda-sift charts/keda-sift "));
    let before = built.len();
    for install in installs {
        let words = install
            .replace("\"$CLIENT_ID\"", "11111111-2222-3333-4444-555555555555")
            .replace('\'', "");
        let mut arguments = vec!["--kube-version", "1.35.0"];
        arguments.extend(words.split_whitespace());
        built.push((format!("helm install {install}"), tools::helm_template(chart(), &arguments)));
    }
    assert!(built.len() >= before + 4, "the pages have examples of the chart");
    built
}
