//! The patterns of `matches`.

use regex::Regex;

use super::error::clipped;
use crate::re2;

/// How large a filter's patterns may be together once compiled, in bytes; `.{1,100}` fits. At
/// worst, each byte of a text takes a time that grows with the size of the pattern.
pub(super) const MAX_SIZE: usize = 256 << 10;

/// The least size that is told apart, in bytes.
pub(super) const LEAST_SIZE: usize = 256;

/// A pattern and how large it is once compiled, as a power of two: the regex crate only says
/// whether it is larger than a limit.
pub(super) fn compile(pattern: &str) -> Result<(Regex, usize), String> {
    let not_one = |reason: &str| format!("is not a regular expression: {}", clipped(reason));
    let spelt = re2::translated(pattern).map_err(|error| not_one(&error.to_string()))?;
    let mut limit = LEAST_SIZE;
    loop {
        // The cache of past texts exists once per thread, and is only of use if it is larger than
        // the pattern.
        let kept = limit.saturating_mul(4).max(MAX_SIZE);
        let compiled = spelt.compiled(|builder| {
            builder.size_limit(limit).dfa_size_limit(kept);
        });
        match compiled {
            Ok(regex) => return Ok((regex, limit)),
            Err(regex::Error::CompiledTooBig(_)) if limit < MAX_SIZE => limit *= 2,
            Err(regex::Error::CompiledTooBig(_)) => {
                return Err(format!(
                    "takes more than {limit} bytes once compiled; give a shorter one"
                ));
            }
            Err(_) => return Err(not_one("not understood")),
        }
    }
}

/// The name of the function for the pattern with this index.
pub(super) fn function(index: usize) -> String {
    format!("@matches{index}")
}

/// The index of the pattern that the function is for.
pub(super) fn index(function: &str) -> Option<usize> {
    function.strip_prefix("@matches")?.parse().ok()
}
