//! How much waited over the last hours, as a picture that the server draws: SVG without style or
//! script of its own. The same numbers are in a table beside it.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::text;
use crate::metadata::one_line;
use crate::scaler::{POINT_SPAN, POINTS, Point, TYPES};

/// The picture, in its own units, and where its lines are.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;
const TOP: f64 = 14.0;
const BASE: f64 = 176.0;

/// Bytes of a type's name in the tooltip of each bar.
const NAME_BYTES: usize = 40;

/// Between two times below it.
const MARK_EVERY: Duration = Duration::from_secs(3_600);

/// The picture up to now, its legend, and the table; without a point there is nothing to see.
/// `types` are the ones that the points tell apart, if any.
pub(super) fn chart(points: &[Point], types: &[String], now: SystemTime) -> Markup {
    if points.is_empty() {
        return html! { p { "No poll has been answered with a number yet." } };
    }
    let is_told = points.iter().any(|point| point.by_type() != [0; TYPES]);
    let types = if is_told { types } else { &[] };
    html! {
        (picture(points, types, now))
        @if !types.is_empty() {
            ul.legend {
                @for (index, name) in types.iter().enumerate() {
                    li { span class=(class(index)) {} (text::foreign(name)) }
                }
                li { span class="rest" {} "what else is counted" }
            }
        }
        (table(points, types))
    }
}

fn picture(points: &[Point], types: &[String], now: SystemTime) -> Markup {
    let most = points.iter().map(|point| point.most()).max().unwrap_or(0);
    let top = ceiling(most);
    let from = now.checked_sub(POINT_SPAN * POINTS as u32).unwrap_or(SystemTime::UNIX_EPOCH);
    let width = WIDTH / (POINTS + 1) as f64;
    let x = |at: SystemTime| {
        let since = at.duration_since(from).unwrap_or_default();
        since.as_secs_f64() / POINT_SPAN.as_secs_f64() * width
    };
    let label = format!(
        "How much waited over the last four hours, at most {} at a time; the table below has each \
         number",
        text::number(most)
    );
    html! {
        svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
            line.grid x1="0" y1=(TOP) x2=(WIDTH) y2=(TOP) {}
            line.grid x1="0" y1=((TOP + BASE) / 2.0) x2=(WIDTH) y2=((TOP + BASE) / 2.0) {}
            @for point in points.iter().filter(|point| point.at() >= from) {
                g.bar {
                    title { (told(point, types)) }
                    @for (class, y, height) in stack(point, types.len(), top) {
                        rect class=(class) x=(tenth(x(point.at()))) y=(tenth(y))
                            width=(tenth(width - 1.0)) height=(tenth(height)) {}
                    }
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

/// A point in words.
fn told(point: &Point, types: &[String]) -> String {
    let mut told = format!("{} UTC: {}", text::minute(point.at()), text::number(point.most()));
    for (name, count) in types.iter().zip(point.by_type()) {
        told.push_str(&format!(", {} {}", text::number(count), one_line(name, NAME_BYTES)));
    }
    told
}

/// The parts of a bar from its foot on: class, upper end and height. What KEDA is told may be less
/// than what waits, so that the parts are shares of the bar.
fn stack(point: &Point, types: usize, top: u64) -> Vec<(&'static str, f64, f64)> {
    let bar = (point.most() as f64 / top as f64 * (BASE - TOP)).max(1.0);
    let counts = &point.by_type()[..types.min(TYPES)];
    let sum: u64 = counts.iter().sum();
    let whole = point.most().max(sum).max(1) as f64;
    let rest = point.most().saturating_sub(sum);
    let parts = counts.iter().enumerate().map(|(index, count)| (class(index), *count));
    let mut foot = BASE;
    let mut stack = Vec::new();
    for (class, count) in parts.chain([("rest", rest)]).filter(|(_, count)| *count > 0) {
        let height = count as f64 / whole * bar;
        foot -= height;
        stack.push((class, foot, height));
    }
    if stack.is_empty() {
        stack.push(("rest", BASE - bar, bar));
    }
    stack
}

fn class(index: usize) -> &'static str {
    ["type-1", "type-2", "type-3", "type-4"].get(index).copied().unwrap_or("rest")
}

/// The same as a table.
fn table(points: &[Point], types: &[String]) -> Markup {
    html! {
        details id="points" {
            summary { "The same as a table" }
            div.scroll role="region" aria-label="The last hours" tabindex="0" {
                table {
                    caption { "The most that waited in each two minutes" }
                    thead {
                        tr {
                            th scope="col" { "From" }
                            th.number scope="col" { "Messages" }
                            @for name in types { th.name scope="col" { (text::foreign(name)) } }
                        }
                    }
                    tbody {
                        @for point in points.iter().rev() {
                            tr {
                                td { (text::time(point.at())) }
                                td.number { (text::number(point.most())) }
                                @for (_, count) in types.iter().zip(point.by_type()) {
                                    td.number { (text::number(count)) }
                                }
                            }
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
