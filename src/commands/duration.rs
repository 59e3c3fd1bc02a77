//! How a length of time is written on the command line: whole numbers and their units, as in
//! `500ms`, `10s`, `15m`, `2h` and `1m30s`.
//!
//! # References
//! - Go's `time.ParseDuration` and `Duration.String`, as which Kubernetes shows `15m0s`

use std::time::Duration;

/// The longest time that can be given. Beyond it clocks would overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Units, the longest first, and how many milliseconds they have.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DurationError {
    #[error(
        "not a length of time; give whole numbers and units, as in 500ms, 10s, 15m, 2h or 1m30s"
    )]
    Form,
    #[error("too long; give at most 720h")]
    TooLong,
    #[error("nothing would ever be in time; give more than 0")]
    Zero,
}

/// Reads a length of time, which may be 0. Its units get shorter, each given once.
pub(super) fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut milliseconds: u64 = 0;
    loop {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError::Form)?;
        let (number, from_unit) = rest.split_at(unit_at);
        let unit_end = from_unit.find(|c: char| c.is_ascii_digit()).unwrap_or(from_unit.len());
        let (unit, after) = from_unit.split_at(unit_end);
        let (_, in_milliseconds) =
            units.find(|(known, _)| *known == unit).ok_or(DurationError::Form)?;
        if number.is_empty() {
            return Err(DurationError::Form);
        }
        // All digits, so that what does not fit is too long.
        let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
        milliseconds = number
            .checked_mul(*in_milliseconds)
            .and_then(|more| milliseconds.checked_add(more))
            .ok_or(DurationError::TooLong)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let duration = Duration::from_millis(milliseconds);
    if duration > LONGEST { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// Reads a length of time above 0.
pub(super) fn parse_positive(text: &str) -> Result<Duration, DurationError> {
    let duration = parse(text)?;
    if duration.is_zero() { Err(DurationError::Zero) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_units_are_a_length_of_time() {
        let rows = [
            ("500ms", Ok(Duration::from_millis(500))),
            ("10s", Ok(Duration::from_secs(10))),
            ("15m", Ok(Duration::from_secs(900))),
            ("2h", Ok(Duration::from_secs(7200))),
            ("0s", Ok(Duration::ZERO)),
            ("720h", Ok(LONGEST)),
            ("721h", Err(DurationError::TooLong)),
            ("99999999999999999999h", Err(DurationError::TooLong)),
            ("18446744073709551615h", Err(DurationError::TooLong)),
            ("", Err(DurationError::Form)),
            ("10", Err(DurationError::Form)),
            ("s", Err(DurationError::Form)),
            ("-1s", Err(DurationError::Form)),
            ("1.5s", Err(DurationError::Form)),
            ("10 s", Err(DurationError::Form)),
            ("1m30s", Ok(Duration::from_secs(90))),
            ("15m0s", Ok(Duration::from_secs(900))),
            ("1h0m0s", Ok(Duration::from_secs(3600))),
            ("1s500ms", Ok(Duration::from_millis(1_500))),
            ("720h1ms", Err(DurationError::TooLong)),
            ("1s1m", Err(DurationError::Form)),
            ("1m1m", Err(DurationError::Form)),
            ("1m30", Err(DurationError::Form)),
            ("10d", Err(DurationError::Form)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text:?}");
        }
        assert_eq!(parse_positive("0ms"), Err(DurationError::Zero));
        assert_eq!(parse_positive("1ms"), Ok(Duration::from_millis(1)));
    }
}
