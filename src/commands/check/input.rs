//! Which texts there are to check: files, folders and standard input.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest text that is read: what an API server takes, and more.
const BYTES: u64 = 16 << 20;

/// The name of standard input.
const STDIN: &str = "-";

/// How deep folders are looked into: a link to a folder above would have no end.
const DEPTH: usize = 32;

/// Texts by the names of their files, or why one cannot be read.
pub(super) type Texts = BTreeMap<String, Result<String, String>>;

/// Where texts come from. Standard input can be read once, and is kept.
pub(super) struct Input {
    files: Vec<PathBuf>,
    is_recursive: bool,
    stdin: Option<Result<String, String>>,
}

impl Input {
    pub(super) fn new(files: &[PathBuf], is_recursive: bool) -> Input {
        let is_stdin = |file: &PathBuf| file.as_os_str() == STDIN;
        let stdin = files.iter().any(is_stdin).then(|| read(io::stdin().lock()));
        let files = files.iter().filter(|file| !is_stdin(file)).cloned().collect();
        Input { files, is_recursive, stdin }
    }

    /// All texts; of a folder those of its YAML and JSON files, as `kubectl apply -f` takes them.
    pub(super) fn texts(&self) -> Texts {
        let mut texts = Texts::new();
        if let Some(stdin) = &self.stdin {
            texts.insert(STDIN.to_owned(), stdin.clone());
        }
        for file in &self.files {
            if file.is_dir() {
                self.folder(file, DEPTH, &mut texts);
            } else {
                texts.insert(file.display().to_string(), text(file));
            }
        }
        texts
    }

    fn folder(&self, folder: &Path, depth: usize, texts: &mut Texts) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                texts.insert(folder.display().to_string(), Err(error.to_string()));
                return;
            }
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let is_manifest = path
                .extension()
                .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|it| extension == *it));
            if path.is_dir() {
                if self.is_recursive && depth > 0 {
                    self.folder(&path, depth - 1, texts);
                }
            } else if is_manifest {
                texts.insert(path.display().to_string(), text(&path));
            }
        }
    }
}

fn text(path: &Path) -> Result<String, String> {
    read(fs::File::open(path).map_err(|error| error.to_string())?)
}

fn read(from: impl Read) -> Result<String, String> {
    let mut text = String::new();
    // One byte more tells whether there is more.
    from.take(BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > BYTES {
        return Err(format!("is larger than {} MiB; give it in parts", BYTES >> 20));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_large_is_an_error_and_not_cut() {
        let whole = read(io::repeat(b'a').take(BYTES)).expect("it fits");
        assert_eq!(whole.len() as u64, BYTES);
        let told = read(io::repeat(b'a').take(BYTES + 1)).expect_err("it does not fit");
        assert_eq!(told, "is larger than 16 MiB; give it in parts");
    }
}
