//! The pages lead to where they say: in the repository, on GitHub, and in the site that mdBook makes
//! of docs/.
//!
//! The site has the pages of docs/ alone. So they name what lies outside of it by its address on
//! GitHub, which is looked up here too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

const REPOSITORY: &str = "https://github.com/keda-sift/keda-sift/blob/main/";
const FOLDERS: [&str; 6] = ["", "docs", "charts/keda-sift", "fuzz", "manifests", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages, by their path in the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).expect("a page");
                pages.insert(path.strip_prefix(root()).expect("within").to_owned(), text);
            }
        }
    }
    pages
}

/// A page without its blocks and pieces of code.
fn prose(page: &str) -> String {
    let mut within = false;
    let lines = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        within ^= is_fence;
        !within && !is_fence
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    lines.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Where it leads to.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let ends = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(link, _)| link.to_owned()).collect()
}

/// What GitHub and mdBook call a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter.is_alphanumeric().then_some(letter),
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// The anchors of a page. Of headings that are the same, only the first can be told.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut within = false;
    let lines = page.lines().filter(|line| {
        within ^= line.trim_start().starts_with("```");
        !within
    });
    let headings = lines.filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#')));
    headings.map(anchor).collect()
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_leads_somewhere_on_github_and_in_the_site() {
    let pages = pages();
    let mut looked_at = 0;
    for (page, text) in &pages {
        for link in links(text) {
            let (target, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let path = match target.strip_prefix(REPOSITORY) {
                Some(path) => PathBuf::from(path),
                None if target.contains("://") => continue,
                None if target.is_empty() => page.clone(),
                None => {
                    let path = plain(&page.parent().expect("a folder").join(target));
                    let leaves = page.starts_with("docs") && !path.starts_with("docs");
                    assert!(!leaves, "{}: {link} is not in the site", page.display());
                    path
                }
            };
            assert!(root().join(&path).exists(), "{}: {link} leads nowhere", page.display());
            if !fragment.is_empty() {
                let there = pages.get(&path).map(|text| anchors(text)).unwrap_or_default();
                assert!(there.contains(fragment), "{}: {link} has no such heading", page.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 100, "{looked_at} links");
}

#[test]
fn every_page_of_docs_is_a_chapter_of_the_site() {
    let pages = pages();
    let docs = pages.keys().filter_map(|path| path.strip_prefix("docs").ok());
    let docs: BTreeSet<_> =
        docs.filter_map(Path::to_str).filter(|it| *it != "SUMMARY.md").collect();
    let chapters = links(&pages[Path::new("docs/SUMMARY.md")]);
    let chapters: BTreeSet<_> = chapters.iter().map(String::as_str).collect();
    assert_eq!(docs, chapters, "the pages of docs/, and the chapters in docs/SUMMARY.md");
}
