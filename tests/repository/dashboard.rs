//! The dashboard: its queries are PromQL about metrics that there are, its panels have their place,
//! and Grafana's own types allow all that it says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use test_basics::prometheus;

use super::metrics::unknown_names;

const DASHBOARD: &str = include_str!("../../charts/keda-sift/dashboard/keda-sift.json");

/// What checks it, with the versions of what it needs.
const CHECK: [(&str, &str); 3] = [
    ("package.json", include_str!("dashboard/package.json")),
    ("package-lock.json", include_str!("dashboard/package-lock.json")),
    ("check.mjs", include_str!("dashboard/check.mjs")),
];

/// The check with all that it needs, installed once per checkout into `target/judges`.
fn check() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/judges/dashboard");
    fs::create_dir_all(&folder).expect("target/judges can be made");
    let lock = File::create(folder.with_extension("lock")).expect("target/judges can be written");
    lock.lock().expect("a file in target/judges can be locked");
    let stamp = folder.with_extension("stamp");
    let made_from = CHECK.map(|(_, text)| text).concat();
    if !fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_from) {
        for (name, text) in CHECK {
            fs::write(folder.join(name), text).expect("target/judges can be written");
        }
        let mut install = Command::new("npm");
        succeeds(install.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&folder));
        fs::write(&stamp, made_from).expect("target/judges can be written");
    }
    folder.join("check.mjs")
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

/// The panels, each with its title.
fn panels(dashboard: &Value) -> impl Iterator<Item = (&str, &Value)> {
    list(dashboard, "panels").iter().map(|panel| (panel["title"].as_str().expect("a title"), panel))
}

/// The queries, each with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let queries = panels(dashboard).flat_map(|(title, panel)| {
        list(panel, "targets")
            .iter()
            .map(move |target| (title, target["expr"].as_str().expect("a query")))
    });
    queries.collect()
}

#[test]
fn its_queries_are_about_metrics_that_there_are() {
    let dashboard = dashboard();
    let queries = queries(&dashboard);
    assert!(queries.len() > 30, "{queries:?}");
    let of_variables = list(&dashboard["templating"], "list").iter().filter_map(|variable| {
        Some((variable["name"].as_str()?, variable["query"]["query"].as_str()?))
    });
    for (of, query) in queries.iter().copied().chain(of_variables) {
        assert_eq!(unknown_names(query), BTreeSet::new(), "{of}: {query}");
    }
}

#[test]
fn its_queries_are_promql_and_name_variables_that_there_are() {
    let dashboard = dashboard();
    let mut names = vec!["__rate_interval".to_owned()];
    for variable in list(&dashboard["templating"], "list") {
        names.push(variable["name"].as_str().expect("a name").to_owned());
    }
    let with_values = |query: &str| {
        let given = names.iter().fold(query.to_owned(), |query, name| {
            let value = if name == "__rate_interval" { "5m" } else { ".*" };
            query.replace(&format!("${name}"), value)
        });
        assert!(!given.contains('$'), "an unknown variable: {query}");
        given
    };
    let queries = queries(&dashboard);
    let rules: Vec<_> = (0..)
        .zip(&queries)
        .map(|(n, (_, query)): (u32, _)| json!({"record": format!("q{n}"), "expr": with_values(query)}))
        .collect();
    let Some(mut promtool) = prometheus("promtool") else { return };
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rules = json!({"groups": [{"name": "queries", "rules": rules}]});
    fs::write(file.path(), rules.to_string()).expect("a file can be written");
    succeeds(promtool.args(["check", "rules"]).arg(file.path()));
}

#[test]
fn grafanas_own_types_allow_it() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), DASHBOARD).expect("a file can be written");
    succeeds(Command::new("node").arg(check()).arg(file.path()));
}

#[test]
fn its_panels_have_their_place_and_its_queries_a_name_and_the_chosen_source() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for (title, panel) in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}: its id is taken");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} covers another panel");
            }
        }
        let targets = list(panel, "targets");
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{title}: queries");
        let names: BTreeSet<_> = targets.iter().filter_map(|it| it["refId"].as_str()).collect();
        assert_eq!(names.len(), targets.len(), "{title}: names of queries");
        for target in targets.iter().chain((!targets.is_empty()).then_some(panel)) {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}
