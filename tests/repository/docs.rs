//! The pages for users against the decoder: every key they name is one, every key there is has its
//! place, and what they show to copy decodes.
//!
//! - A table headed `key` names keys in its first column; one headed by a key in backticks lists
//!   values of it there.
//! - A YAML example is a whole list of triggers, or else rows of one trigger's metadata.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use keda_sift::metadata::{Parameter, Use};
use keda_sift::source::PARAMETERS;
use keda_sift::sources::Sources;
use keda_sift::trigger::Trigger;
use test_basics::metadata;

const README: &str = include_str!("../../README.md");
const START: &str = include_str!("../../docs/start.md");
const PAGE: &str = include_str!("../../docs/parameters.md");

const CERTIFICATE: &str = include_str!("../../src/kafka/wire/tls/testdata/ec.crt");
const CONNECTION: &str =
    "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=jobs;SharedAccessKey=c2VjcmV0";
const KEY: &str = include_str!("../../src/kafka/wire/tls/testdata/ec.key");

/// A table's heading and what stands in backticks below it, both of the first column.
struct Table {
    heading: String,
    named: Vec<String>,
}

type Metadata = HashMap<String, String>;

/// What a trigger of each source needs, so that a row beside it is judged on its own. A connection
/// string takes the place of a namespace.
fn complete() -> [Metadata; 3] {
    let kafka = [
        ("source", "kafka"),
        ("bootstrapServers", "kafka:9092"),
        ("consumerGroup", "jobs"),
        ("topic", "uploads"),
        ("username", "me"),
        ("password", "secret"),
        ("oauthTokenEndpointUri", "https://login.example/oauth2/token"),
        ("tls", "enable"),
    ];
    let by_identity = [
        ("source", "azure-servicebus"),
        ("namespace", "shop"),
        ("queueName", "orders"),
        ("endpointSuffix", "servicebus.example.com"),
    ];
    let by_key =
        [("source", "azure-servicebus"), ("connection", CONNECTION), ("queueName", "orders")];
    [metadata(&kafka), metadata(&by_identity), metadata(&by_key)]
}

fn complaints(metadata: &Metadata) -> Vec<String> {
    Trigger::decode(metadata).err().map_or_else(Vec::new, |invalid| invalid.complaints().to_vec())
}

/// What there is to complain of when rows are added to a complete trigger, of each source.
fn complaints_beside(rows: &Metadata) -> [Vec<String>; 3] {
    complete().map(|mut metadata| {
        // The same key from the environment takes the place of the one that is there.
        metadata.retain(|key, _| !rows.contains_key(&format!("{key}FromEnv")));
        metadata.extend(rows.clone());
        // Where a type is says nothing without one.
        if rows.contains_key("eventTypeFrom") {
            metadata.entry("eventType".to_owned()).or_insert_with(|| "order.placed".to_owned());
        }
        complaints(&metadata)
    })
}

fn row(key: &str, value: &str) -> Metadata {
    metadata(&[(key, value)])
}

/// Whether a source has a parameter of this name.
fn is_key(name: &str) -> bool {
    let unknown = format!("{name}: is not a parameter");
    let told = complaints_beside(&row(name, "1"));
    told.iter().any(|told| !told.iter().any(|told| told.starts_with(&unknown)))
}

fn tables(page: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut within = false;
    for line in page.lines() {
        // A bar in a cell is escaped.
        let row = line.strip_prefix('|').map(|row| row.replace("\\|", "\0"));
        let Some(cell) = row.as_deref().and_then(|row| row.split('|').next()) else {
            within = false;
            continue;
        };
        let cell = cell.replace('\0', "|");
        match tables.last_mut() {
            Some(Table { named, .. }) if within => {
                named.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
            }
            _ => tables.push(Table { heading: cell.trim().to_owned(), named: Vec::new() }),
        }
        within = true;
    }
    tables
}

fn documented_keys(page: &str) -> BTreeSet<String> {
    let of_keys = tables(page).into_iter().filter(|table| table.heading == "key");
    of_keys.flat_map(|table| table.named).collect()
}

/// Every parameter that there is, of whatever source.
fn parameters() -> impl Iterator<Item = &'static Parameter> {
    let tables = Sources::tables().map(|(_, table)| table).chain([&PARAMETERS]);
    tables.flat_map(|table| table.parameters)
}

/// The rows of a page that say a key's default and meaning: the cells of each.
fn rows_of_keys(page: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut within = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            within = line.starts_with("|---") && within;
            continue;
        };
        // A bar in a cell is escaped.
        let row = row.replace("\\|", "\0");
        let cells = row.trim_end_matches('|').split('|');
        let cells: Vec<_> = cells.map(|cell| cell.trim().replace('\0', "|")).collect();
        if cells[0] == "key" {
            within = true;
        } else if within {
            rows.push(cells);
        }
    }
    rows
}

/// The metadata of each trigger that a page shows, or rows of one, with the line that they begin
/// at.
fn examples(page: &str) -> Vec<(usize, Metadata)> {
    let lines: Vec<&str> = page.lines().collect();
    let begins = lines.iter().enumerate().filter(|(_, line)| **line == "```yaml");
    let mut examples = Vec::new();
    for (begin, _) in begins {
        let block = &lines[begin + 1..];
        let end = block.iter().position(|line| *line == "```").expect("the block ends");
        let block = &block[..end];
        let external = block.iter().enumerate().filter(|(_, line)| is_external(line));
        let triggers: Vec<usize> = external.map(|(at, _)| at).collect();
        for at in &triggers {
            assert_eq!(block[at + 1].trim(), "metadata:", "after line {}", begin + at + 2);
            let of_trigger = indented_beyond(indent(block[at + 1]), &block[at + 2..]);
            examples.push((begin + at + 4, mapping(of_trigger)));
        }
        if triggers.is_empty() {
            examples.push((begin + 2, mapping(block)));
        }
    }
    examples
}

fn is_external(line: &str) -> bool {
    line.trim().starts_with("- type: external")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn indented_beyond<'a, 'l>(than: usize, lines: &'l [&'a str]) -> &'l [&'a str] {
    let end = lines.iter().position(|line| indent(line) <= than);
    &lines[..end.unwrap_or(lines.len())]
}

/// The rows of a flat mapping in YAML, with what KEDA makes of a `FromEnv` key.
fn mapping(mut lines: &[&str]) -> Metadata {
    let mut rows = Metadata::new();
    while let Some((line, rest)) = lines.split_first() {
        let (key, value) = line.trim().split_once(": ").expect("a row is `key: value`");
        let is_block = matches!(value, ">-" | "|");
        let folded = if is_block { indented_beyond(indent(line), rest) } else { &[] };
        let value = match key {
            "connectionFromEnv" => CONNECTION.to_owned(),
            "caFromEnv" | "certFromEnv" => CERTIFICATE.to_owned(),
            "keyFromEnv" => KEY.to_owned(),
            _ if is_block => {
                let lines: Vec<_> = folded.iter().map(|line| line.trim()).collect();
                lines.join(if value == "|" { "\n" } else { " " })
            }
            _ => scalar(value),
        };
        assert!(rows.insert(key.to_owned(), value).is_none(), "{key} is given twice");
        lines = &rest[folded.len()..];
    }
    rows
}

/// A string on one line, quoted or plain; Kubernetes takes nothing else in metadata.
fn scalar(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (value, comment) = quoted.split_once(quote).expect("the quote is closed");
            assert!(!value.contains('\\') || quote == '\'', "{text}: an escape");
            assert!(comment.is_empty() || comment.trim_start().starts_with('#'), "{text}: goes on");
            return value.to_owned();
        }
    }
    let plain = text.split(" #").next().unwrap_or_default().trim();
    let begins = plain.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_string = begins && !plain.contains(": ") && !matches!(plain, "true" | "false");
    assert!(is_string, "{text}: put it in quotes");
    plain.to_owned()
}

#[test]
fn every_key_there_is_has_its_place_and_no_other_word_is_called_one() {
    assert!(!is_key("nonsense") && !is_key("Topic") && is_key("topic"));
    let documented = documented_keys(PAGE);
    // Those of a TriggerAuthentication are KEDA's own.
    let ours = parameters().filter(|parameter| parameter.use_ != Use::OfAuthentication);
    let known: BTreeSet<_> = ours.map(|parameter| parameter.key.to_owned()).collect();
    assert!(known.len() > 40, "{known:?}");
    let unknown: Vec<_> = documented.difference(&known).collect();
    assert!(unknown.is_empty(), "docs/parameters.md names what is no key: {unknown:?}");
    let missing: Vec<_> = known.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/parameters.md does not name {missing:?}");
    let readme = documented_keys(README);
    assert!(!readme.is_empty() && readme.is_subset(&known), "README.md: {readme:?}");
}

#[test]
fn every_parameter_is_described_as_the_program_knows_it() {
    let rows = rows_of_keys(PAGE);
    for Parameter { key, default, meaning, use_, .. } in parameters() {
        let of_key = |row: &&Vec<String>| row[0].contains(&format!("`{key}`"));
        let fits = |row: &Vec<String>| {
            let of_default = row.len() < 3 || row[1].starts_with(default);
            of_default && row.last().is_some_and(|told| told.starts_with(meaning))
        };
        let told: Vec<_> = rows.iter().filter(of_key).collect();
        let is_told = told.iter().any(|row| fits(row)) || *use_ == Use::OfAuthentication;
        assert!(is_told, "{key}: {default:?} {meaning:?} in none of {told:#?}");
    }
}

#[test]
fn every_value_that_a_table_lists_fits_its_key() {
    let mut values = 0;
    for Table { heading, named } in tables(PAGE) {
        let key = heading.strip_prefix('`').and_then(|heading| heading.strip_suffix('`'));
        for (key, value) in key.iter().flat_map(|key| named.iter().map(move |value| (key, value))) {
            assert!(is_key(key), "{key} heads a table");
            let told = complaints_beside(&row(key, value));
            assert!(told.iter().any(Vec::is_empty), "{key}: {value}: {told:?}");
            values += 1;
        }
    }
    assert!(values > 20, "{values} values");
}

/// Where `kubectl apply -k manifests/` puts it. KEDA says nothing of one that is wrong.
const ADDRESS: &str = "keda-sift.keda-sift:9090";

#[test]
fn every_address_shown_is_the_one_that_the_short_way_gives() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = vec![("README.md".to_owned(), README.to_owned())];
    for entry in fs::read_dir(docs).expect("the folder of pages") {
        let path = entry.expect("a page").path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a page is text");
        pages.push((path.display().to_string(), text));
    }
    let mut shown = 0;
    for (page, text) in pages {
        let rows = text.lines().filter_map(|line| line.trim().strip_prefix("scalerAddress: "));
        for row in rows {
            assert_eq!(row.split(" #").next().map(str::trim), Some(ADDRESS), "{page}");
            shown += 1;
        }
    }
    assert!(shown > 5, "{shown} addresses");
}

#[test]
fn every_trigger_shown_decodes() {
    let pages =
        [("README.md", README, 1), ("docs/start.md", START, 1), ("docs/parameters.md", PAGE, 5)];
    for (page, text, least) in pages {
        let examples = examples(text);
        assert!(examples.len() >= least, "{page}: {} examples", examples.len());
        for (line, metadata) in examples {
            let told = if metadata.contains_key("scalerAddress") {
                vec![complaints(&metadata)]
            } else {
                complaints_beside(&metadata).to_vec()
            };
            assert!(told.iter().any(Vec::is_empty), "{page}, line {line}: {told:?}");
        }
    }
}
