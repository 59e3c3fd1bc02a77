//! Numbers and times as people read them.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::backlog::Backlog;
use crate::metadata::one_line;
use crate::scaler::State;

/// Bytes of the longest text, beyond those of an error.
const FOREIGN_BYTES: usize = 2_000;

/// With a comma before each three digits: 12,345.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with its noun, of which an `s` makes the plural: 1 trigger, 2 triggers.
pub(super) fn of(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count))
}

/// A lower bound says that it is one.
pub(super) fn backlog(backlog: Backlog) -> String {
    match backlog {
        Backlog::Exact(count) => number(count),
        Backlog::AtLeast(bound) => format!("at least {}", number(bound.get())),
    }
}

/// Milliseconds below a second, else seconds.
pub(super) fn took(took: Duration) -> String {
    match took.as_millis() {
        0 => "under 1 ms".to_owned(),
        millis @ ..1_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

/// A time of day in UTC, with the whole of it for machines and as a tooltip.
pub(super) fn time(at: SystemTime) -> Markup {
    let at = DateTime::<Utc>::from(at);
    let whole = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(whole) title=(whole) { (at.format("%H:%M:%S")) } }
}

/// An hour and a minute, in UTC.
pub(super) fn minute(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%H:%M").to_string()
}

/// What a tenant wrote: on one line, what nobody can see escaped, such as marks that turn the
/// direction of text around; kept apart from the direction of the text beside it; and whole in its
/// tooltip where the style cuts it.
pub(super) fn foreign(text: &str) -> Markup {
    let text = one_line(text, FOREIGN_BYTES);
    html! { bdi title=(text) { (text) } }
}

/// A state as a coloured word.
pub(super) fn state(state: State) -> Markup {
    let name = state.as_str();
    html! { span class={ "state " (name) } { (name) } }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        for (given, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(number(given), expected);
        }
        assert_eq!((of(1, "Job"), of(1_200, "Job")), ("1 Job".to_owned(), "1,200 Jobs".to_owned()));
        let bound = NonZeroU64::new(7).expect("seven is not zero");
        assert_eq!(backlog(Backlog::AtLeast(bound)), "at least 7");
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        for (micros, expected) in
            [(300, "under 1 ms"), (12_000, "12 ms"), (1_250_000, "1.2 s"), (12_000_000, "12.0 s")]
        {
            assert_eq!(took(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn a_time_is_in_utc() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(3_723);
        assert_eq!(
            time(at).into_string(),
            r#"<time datetime="1970-01-01T01:02:03Z" title="1970-01-01T01:02:03Z">01:02:03</time>"#
        );
    }
}
