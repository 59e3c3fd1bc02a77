//! How much waited over the last hours, as a picture that the server draws: SVG without style or
//! script of its own. The same numbers are in a table beside it.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::text;
use crate::scaler::{POINT_SPAN, POINTS, Point};

/// The picture, in its own units, and where its lines are.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;
const TOP: f64 = 14.0;
const BASE: f64 = 176.0;

/// Between two times below it.
const MARK_EVERY: Duration = Duration::from_secs(3_600);

/// The picture up to now; without a point there is nothing to see.
pub(super) fn chart(points: &[Point], now: SystemTime) -> Markup {
    let Some(most) = points.iter().map(|point| point.most()).max() else {
        return html! { p { "No poll has been answered with a number yet." } };
    };
    let top = ceiling(most);
    let from = now.checked_sub(POINT_SPAN * POINTS as u32).unwrap_or(SystemTime::UNIX_EPOCH);
    let width = WIDTH / (POINTS + 1) as f64;
    let x = |at: SystemTime| {
        let since = at.duration_since(from).unwrap_or_default();
        since.as_secs_f64() / POINT_SPAN.as_secs_f64() * width
    };
    let bars = points.iter().filter(|point| point.at() >= from).map(|point| {
        let height = (point.most() as f64 / top as f64 * (BASE - TOP)).max(1.0);
        (x(point.at()), height, point)
    });
    let label = format!(
        "How much waited over the last four hours, at most {} at a time; the table below has each \
         number",
        text::number(most)
    );
    html! {
        svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
            line.grid x1="0" y1=(TOP) x2=(WIDTH) y2=(TOP) {}
            line.grid x1="0" y1=((TOP + BASE) / 2.0) x2=(WIDTH) y2=((TOP + BASE) / 2.0) {}
            @for (x, height, point) in bars {
                rect.bar x=(tenth(x)) y=(tenth(BASE - height)) width=(tenth(width - 1.0))
                    height=(tenth(height)) {
                    title { (text::minute(point.at())) " UTC: " (text::number(point.most())) }
                }
            }
            line.base x1="0" y1=(BASE) x2=(WIDTH) y2=(BASE) {}
            text x="2" y=(TOP - 3.0) { (text::number(top)) }
            @for at in marks(from, now) {
                text x=(tenth(x(at))) y=(HEIGHT - 8.0) text-anchor="middle" {
                    (text::minute(at))
                }
            }
        }
    }
}

/// The same as a table.
pub(super) fn table(points: &[Point]) -> Markup {
    html! {
        details id="points" {
            summary { "The same as a table" }
            table {
                caption { "The most that waited in each two minutes" }
                thead { tr { th scope="col" { "From (UTC)" } th.number scope="col" { "Messages" } } }
                tbody {
                    @for point in points.iter().rev() {
                        tr {
                            td { (text::time(point.at())) }
                            td.number { (text::number(point.most())) }
                        }
                    }
                }
            }
        }
    }
}

/// The next number of the form 1, 2 or 5 and zeros.
fn ceiling(most: u64) -> u64 {
    let steps = (0..20).flat_map(|power| {
        let ten = 10_u64.saturating_pow(power);
        [1, 2, 5].map(|step: u64| step.saturating_mul(ten))
    });
    steps.into_iter().find(|step| *step >= most).unwrap_or(u64::MAX)
}

/// Whole hours in between, not so near to an end that their text would be cut.
fn marks(from: SystemTime, to: SystemTime) -> impl Iterator<Item = SystemTime> {
    let since = from.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first = since.as_secs().div_ceil(MARK_EVERY.as_secs());
    let at = move |hour: u64| SystemTime::UNIX_EPOCH + MARK_EVERY * hour.try_into().unwrap_or(0);
    let edge = Duration::from_secs(600);
    (first..first + 6).map(at).filter(move |at| *at >= from + edge && *at + edge <= to)
}

fn tenth(number: f64) -> String {
    format!("{number:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_line_is_a_round_number_above_all() {
        for (most, expected) in
            [(0, 1), (1, 1), (3, 5), (5, 5), (6, 10), (51, 100), (u64::MAX, u64::MAX)]
        {
            assert_eq!(ceiling(most), expected);
        }
    }

    #[test]
    fn whole_hours_are_marked() {
        let at = |minutes: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minutes);
        let marked: Vec<_> = marks(at(655), at(895)).map(text::minute).collect();
        // 11:00 is too near to the beginning, at 10:55.
        assert_eq!(marked, ["12:00", "13:00", "14:00"]);
        assert_eq!(marks(at(1), at(2)).count(), 0);
    }
}
