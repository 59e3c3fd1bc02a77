//! The source of the program, and what it must not hold.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of the source, each with its text.
pub(crate) fn files() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry of the source").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a file of the source");
                files.push((path, text));
            }
        }
    }
    files
}

/// They are a compilation of their own, to whose types nothing of the harness fits.
#[test]
fn unit_tests_do_without_the_harness() {
    for (path, text) in files() {
        assert!(!text.contains("sift_harness"), "{}", path.display());
    }
}
