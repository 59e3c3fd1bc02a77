//! How a length of time is written on the command line: a whole number and its unit, `500ms`, `10s`,
//! `15m`, `2h`.

use std::time::Duration;

/// The longest time that can be given. Beyond it clocks would overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a text is no length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DurationError {
    #[error("not a length of time; give a whole number and a unit, as in 500ms, 10s, 15m or 2h")]
    Form,
    #[error("too long; give at most 720h")]
    TooLong,
    #[error("nothing would ever be in time; give more than 0")]
    Zero,
}

/// Reads a length of time, which may be 0.
pub(super) fn parse(text: &str) -> Result<Duration, DurationError> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError::Form)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_in_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(DurationError::Form),
    };
    if number.is_empty() {
        return Err(DurationError::Form);
    }
    // All digits, so that what does not fit is too long.
    let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
    let ms = number.checked_mul(unit_in_ms).ok_or(DurationError::TooLong)?;
    let duration = Duration::from_millis(ms);
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
    fn a_number_and_its_unit_are_a_length_of_time() {
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
            ("1m30s", Err(DurationError::Form)),
            ("10d", Err(DurationError::Form)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text:?}");
        }
        assert_eq!(parse_positive("0ms"), Err(DurationError::Zero));
        assert_eq!(parse_positive("1ms"), Ok(Duration::from_millis(1)));
    }
}
