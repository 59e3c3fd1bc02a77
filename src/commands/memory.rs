//! How much memory triggers may take: as it is written on the command line, `128Mi`, and what it is
//! without that.
//!
//! # References
//! - Kubernetes, "Resource units in Kubernetes": quantities of memory
//! - cgroups(7): `memory.max` of version 2, `memory.limit_in_bytes` of version 1, where a very
//!   large number means no limit

use std::fs;

use crate::ledger::DEFAULT_LIMIT;

/// The least that can be given: with less the largest replies of a broker would never fit in.
const LEAST: usize = 64 * 1024 * 1024;

/// Where the limit of the container is written that this runs in.
const FILES: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Limits from here on are none.
const NO_LIMIT: u64 = 1 << 50;

/// Why a text is no amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MemoryError {
    #[error("not an amount of memory; give a whole number and a unit, as in 128Mi or 1Gi")]
    Form,
    #[error("too little for the largest reply of a broker; give at least 64Mi")]
    TooLittle,
    #[error("more than this machine can count")]
    TooMuch,
}

/// Reads an amount of memory in bytes, of at least 64Mi.
pub(super) fn parse(text: &str) -> Result<usize, MemoryError> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit: usize = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(MemoryError::Form),
    };
    if number.is_empty() {
        return Err(MemoryError::Form);
    }
    // All digits, so that what does not fit is too much.
    let number: usize = number.parse().map_err(|_| MemoryError::TooMuch)?;
    let bytes = number.checked_mul(unit).ok_or(MemoryError::TooMuch)?;
    if bytes < LEAST { Err(MemoryError::TooLittle) } else { Ok(bytes) }
}

/// What triggers may take where nothing is said: half of what the container may, which leaves the
/// other half to the program and to what is not counted; 512 MiB without a container.
pub(super) fn default_limit() -> usize {
    let of_container =
        FILES.into_iter().find_map(|file| of_cgroup(&fs::read_to_string(file).ok()?));
    of_container.map_or(DEFAULT_LIMIT, |limit| (limit / 2).max(LEAST))
}

/// The limit that a file of a cgroup states, if it states one.
fn of_cgroup(text: &str) -> Option<usize> {
    let limit: u64 = text.trim().parse().ok()?;
    usize::try_from(limit).ok().filter(|_| limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        let rows = [
            ("64Mi", Ok(LEAST)),
            ("1Gi", Ok(1 << 30)),
            ("128M", Ok(128_000_000)),
            ("100000k", Ok(100_000_000)),
            ("67108864", Ok(LEAST)),
            ("67108863", Err(MemoryError::TooLittle)),
            ("1Ki", Err(MemoryError::TooLittle)),
            ("", Err(MemoryError::Form)),
            ("Mi", Err(MemoryError::Form)),
            ("128MB", Err(MemoryError::Form)),
            ("1.5Gi", Err(MemoryError::Form)),
            ("-1Gi", Err(MemoryError::Form)),
            ("99999999999Gi", Err(MemoryError::TooMuch)),
            ("99999999999999999999999", Err(MemoryError::TooMuch)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn the_limit_of_a_container_is_read_as_both_versions_write_it() {
        let rows = [
            ("268435456\n", Some(256 << 20)),
            ("max\n", None),
            ("9223372036854771712\n", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(of_cgroup(text), expected, "{text:?}");
        }
    }
}
