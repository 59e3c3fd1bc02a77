//! What `types` prints: a table for people, or JSON or YAML for programs.
//!
//! Names and types are whatever a producer wrote. For people they are shown as one line of
//! printable characters; JSON has them whole.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::super::check::Output;
use super::given::Given;
use super::progress::Stopped;
use super::proposal::Proposal;
use crate::metadata::one_line;
use crate::selection::{Carrier, EventTypeFrom, Place, Reason, TypeCount};
use crate::source::Surveyed;

/// Bytes of a name or a type that a person is shown.
const SHOWN_BYTES: usize = 60;

/// Types that a person is shown.
const SHOWN_TYPES: usize = 40;

/// Other places that are told, and types of each.
const OTHER_PLACES: usize = 8;
const TYPES_OF_OTHERS: usize = 4;

/// What a survey came to.
pub(super) struct Seen {
    pub(super) messages: u64,
    pub(super) waiting: u64,
    /// The best one first.
    pub(super) places: Vec<Place>,
    pub(super) stopped: Option<Stopped>,
    pub(super) surveyed: Surveyed,
}

/// All that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    place: String,
    messages: u64,
    /// Those that wait for the group; absent where there is none to wait for.
    waiting: Option<u64>,
    /// Whether all was read that there is from where reading began.
    is_whole: bool,
    notes: Vec<String>,
    /// Where the type is, as `eventTypeFrom` has it; absent for where CloudEvents puts it, which is
    /// the default.
    event_type_from: Option<String>,
    /// The commonest first.
    types: Vec<OfType>,
    /// Messages of types that are not told apart any more.
    others: Option<OfType>,
    indeterminate: Vec<Indeterminate>,
    other_places: Vec<OtherPlace>,
    trigger: TriggerToPaste,
    #[serde(skip)]
    yaml: String,
    #[serde(skip)]
    is_found: bool,
    #[serde(skip)]
    now: i64,
}

#[derive(Debug, Serialize)]
struct OfType {
    #[serde(rename = "type")]
    event_type: Option<String>,
    messages: u64,
    waiting: Option<u64>,
    oldest: Option<String>,
    waiting_since: Option<String>,
    average_bytes: u64,
    largest_bytes: u64,
    found_in: Vec<String>,
    #[serde(skip)]
    since: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Indeterminate {
    reason: String,
    messages: u64,
}

#[derive(Debug, Serialize)]
struct OtherPlace {
    /// As `eventTypeFrom` has it; absent for where CloudEvents puts it.
    event_type_from: Option<String>,
    messages: u64,
    types: usize,
    /// Whether there are more types than that.
    has_more: bool,
    commonest: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TriggerToPaste {
    #[serde(rename = "type")]
    kind: &'static str,
    metadata: serde_json::Map<String, serde_json::Value>,
}

impl Report {
    /// What a survey came to.
    pub(super) fn of(given: &Given, seen: Seen) -> Report {
        let Seen { messages, waiting, places, stopped, surveyed } = seen;
        let waiting = given.waits.then_some(waiting);
        let Surveyed { is_whole, mut notes } = surveyed;
        if !is_whole {
            notes.push(unread(stopped));
        }
        for key in &given.left_out {
            notes.push(format!("{key} is left out: all messages are told, whatever it says"));
        }
        if !given.waits {
            notes.push(
                "no consumerGroup is given, so it is not told how many wait for it".to_owned(),
            );
        }
        let (best, others) = match places.split_first() {
            Some((best, others)) => (Some(best), others),
            None => (None, &[][..]),
        };
        let types = best.map(in_order).unwrap_or_default();
        let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
        let proposal = Proposal::of(given, best, &names);
        if let Some(first) =
            names.first().filter(|first| proposal.event_type.as_deref() != Some(**first))
        {
            let first = one_line(first, SHOWN_BYTES);
            notes.push(format!("a trigger cannot name the type {first}; a filter can"));
        }
        let of = |name: Option<&str>, count: &TypeCount| {
            OfType::of(name, count, best.map(|best| &best.from), given.waits)
        };
        let other = best.map(|best| &best.others).filter(|others| others.messages > 0);
        let entries = proposal.metadata.iter();
        let metadata = entries.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        Report {
            place: given.place_in_words(),
            messages,
            waiting,
            is_whole,
            notes,
            event_type_from: best.and_then(|best| best.from.written()),
            types: types.iter().map(|(name, count)| of(Some(name), count)).collect(),
            others: other.map(|others| of(None, others)),
            indeterminate: best.map(indeterminate).unwrap_or_default(),
            other_places: others.iter().take(OTHER_PLACES).map(OtherPlace::of).collect(),
            yaml: proposal.yaml(),
            trigger: TriggerToPaste { kind: "external", metadata },
            is_found: best.is_some_and(|best| best.with > 0),
            now: now(),
        }
    }

    pub(super) fn print(&self, output: Output) -> String {
        match output {
            Output::Text => self.text(),
            Output::Json => serde_json::to_string_pretty(self).expect("it is plain data") + "\n",
            Output::Yaml => serde_saphyr::to_string(self).expect("it is plain data"),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(&self.place);
        let waiting = match self.waiting {
            Some(waiting) => format!(", of which wait: {}", grouped(waiting)),
            None => String::new(),
        };
        line(&format!("messages read: {}{waiting}", grouped(self.messages)));
        for note in &self.notes {
            line(&format!("! {note}"));
        }
        line("");
        if self.is_found {
            line(&format!("Types {}:", shown_place(self.event_type_from.as_deref())));
            line("");
            for row in table(&self.rows()) {
                line(&row);
            }
        } else {
            line("No place was found where messages keep a type.");
        }
        if !self.indeterminate.is_empty() {
            line("");
            let messages: u64 = self.indeterminate.iter().map(|of| of.messages).sum();
            line(&format!("Indeterminate messages: {}", grouped(messages)));
            line("");
            let rows = self.indeterminate.iter();
            let rows = rows.map(|of| vec![grouped(of.messages), of.reason.clone()]);
            for row in table(&rows.collect::<Vec<_>>()) {
                line(&row);
            }
        }
        if !self.other_places.is_empty() {
            line("");
            line("Other places that may hold a type:");
            line("");
            let head = ["EVENTTYPEFROM", "MESSAGES", "TYPES", "COMMONEST"];
            let rows = self.other_places.iter().map(OtherPlace::row);
            let rows = [head.map(str::to_owned).to_vec()].into_iter().chain(rows);
            for row in table(&rows.collect::<Vec<_>>()) {
                line(&row);
            }
        }
        line("");
        line("A trigger to paste:");
        line("");
        text.push_str(&self.yaml);
        text
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut head = vec!["TYPE", "MESSAGES"];
        if self.waiting.is_some() {
            head.push("WAITING");
        }
        head.extend([
            if self.waiting.is_some() { "SINCE" } else { "OLDEST" },
            "AVERAGE",
            "LARGEST",
        ]);
        head.push("FOUND IN");
        rows.push(head.into_iter().map(str::to_owned).collect());
        let shown = self.types.iter().take(SHOWN_TYPES).chain(&self.others);
        for of in shown {
            let name = of.event_type.as_deref().map_or("(others)".to_owned(), shown_type);
            let mut row = vec![name, grouped(of.messages)];
            row.extend(of.waiting.map(grouped));
            row.push(of.since.map_or_else(String::new, |since| age(self.now - since)));
            row.push(size(of.average_bytes));
            row.push(size(of.largest_bytes));
            row.push(one_line(&of.found_in.join(", "), SHOWN_BYTES));
            rows.push(row);
        }
        if let Some(more) = self.types.len().checked_sub(SHOWN_TYPES).filter(|more| *more > 0) {
            let messages = self.types.iter().skip(SHOWN_TYPES).map(|of| of.messages).sum();
            rows.push(vec![format!("({more} more types)"), grouped(messages)]);
        }
        rows
    }
}

impl OfType {
    fn of(
        name: Option<&str>,
        count: &TypeCount,
        from: Option<&EventTypeFrom>,
        waits: bool,
    ) -> OfType {
        let written = from.and_then(EventTypeFrom::written);
        let carried = count.carriers.iter().map(|carrier| match carrier {
            Carrier::Attribute => "CloudEvents attribute".to_owned(),
            Carrier::Body => "CloudEvents body".to_owned(),
            Carrier::Plain => "subject".to_owned(),
        });
        OfType {
            event_type: name.map(str::to_owned),
            messages: count.messages,
            waiting: waits.then_some(count.waiting),
            oldest: count.oldest.and_then(timestamp),
            waiting_since: count.waiting_since.and_then(timestamp),
            average_bytes: count.bytes / count.messages.max(1),
            largest_bytes: count.largest,
            found_in: written.into_iter().chain(carried).collect(),
            since: if waits { count.waiting_since } else { count.oldest },
        }
    }
}

impl OtherPlace {
    fn of(place: &Place) -> OtherPlace {
        let types = in_order(place);
        OtherPlace {
            event_type_from: place.from.written(),
            messages: place.with,
            types: types.len(),
            has_more: place.others.messages > 0,
            commonest: types
                .iter()
                .take(TYPES_OF_OTHERS)
                .map(|(name, _)| (*name).to_owned())
                .collect(),
        }
    }

    fn row(&self) -> Vec<String> {
        let place = match &self.event_type_from {
            Some(place) => one_line(place, SHOWN_BYTES),
            None => "(the default)".to_owned(),
        };
        let or_more = if self.has_more { "+" } else { "" };
        let types = format!("{}{or_more}", self.types);
        let mut commonest: Vec<_> = self.commonest.iter().map(|name| shown_type(name)).collect();
        if self.types > commonest.len() {
            commonest.push("…".to_owned());
        }
        vec![place, grouped(self.messages), types, commonest.join(", ")]
    }
}

/// Why not everything was read.
fn unread(stopped: Option<Stopped>) -> String {
    match stopped {
        Some(Stopped::Limit(limit)) => format!(
            "reading stopped after {} messages, so there are more; read on with --limit",
            grouped(limit)
        ),
        Some(Stopped::Timeout(timeout)) => format!(
            "reading stopped after {} s, so there are more; read on with --timeout",
            timeout.as_secs()
        ),
        None => "reading stopped before the end, so there may be more".to_owned(),
    }
}

/// The types of a place, the commonest first.
fn in_order(place: &Place) -> Vec<(&str, &TypeCount)> {
    let types = place.types.iter().map(|(name, count)| (&**name, count));
    let mut types: Vec<_> = types.collect();
    types.sort_by(|(one, of_one), (other, of_other)| {
        let by_count = of_other.messages.cmp(&of_one.messages);
        by_count.then_with(|| one.cmp(other))
    });
    types
}

fn indeterminate(place: &Place) -> Vec<Indeterminate> {
    let mut reasons: Vec<_> = place.without.iter().collect();
    reasons.sort_by_key(|(_, messages)| std::cmp::Reverse(**messages));
    let of = |(reason, messages): (&Reason, &u64)| Indeterminate {
        reason: reason.to_string(),
        messages: *messages,
    };
    reasons.into_iter().map(of).collect()
}

fn shown_place(written: Option<&str>) -> String {
    match written {
        Some(place) => format!("as eventTypeFrom {} has them", one_line(place, SHOWN_BYTES)),
        None => "where CloudEvents puts them, which is the default".to_owned(),
    }
}

fn shown_type(name: &str) -> String {
    match one_line(name, SHOWN_BYTES) {
        empty if empty.trim().is_empty() => "\"\"".to_owned(),
        shown => shown,
    }
}

/// Rows with their columns below each other; numbers to the right.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let is_number = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.filter(|cell| cell.starts_with(|c: char| c.is_ascii_digit())).count() * 2
            >= rows.len()
    };
    let columns: Vec<(usize, bool)> =
        (0..columns).map(|column| (width(column), is_number(column))).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::from(" ");
        for (cell, (width, is_number)) in row.iter().zip(&columns) {
            let blanks = " ".repeat(width - cell.chars().count());
            match is_number {
                true => write!(line, " {blanks}{cell}"),
                false => write!(line, " {cell}{blanks}"),
            }
            .expect("a String takes everything");
            line.push(' ');
        }
        line
    };
    rows.iter().map(line).collect()
}

/// A number with a comma before each three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

/// How long ago something was, in whole units.
fn age(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn timestamp(milliseconds: i64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(milliseconds)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sizes_and_ages_read_easily() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), expected);
        }
        for (bytes, expected) in
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1 KiB"), (5 << 20, "5 MiB")]
        {
            assert_eq!(size(bytes), expected);
        }
        let rows = [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")];
        for (seconds, expected) in rows {
            assert_eq!(age(seconds * 1_000), expected);
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let rows = [row(&["TYPE", "MESSAGES"]), row(&["a…", "1,000"]), row(&["order.made", "7"])];
        let expected =
            ["  TYPE        MESSAGES ", "  a…             1,000 ", "  order.made         7 "];
        assert_eq!(table(&rows), expected);
    }
}
