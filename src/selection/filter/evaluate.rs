//! What a filter says of one message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::OnceLock;

use cel::common::types::{
    CelBool, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional,
    CelString, CelTimestamp, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Value};
use chrono::{DateTime, Datelike, TimeDelta, Utc};

use super::meter::{BUILT, HEADER, METER, Meter, entry};
use super::program::{Lookup, Program};
use crate::selection::body::{BodyPath, Found};
use crate::selection::event_type::utf8;
use crate::selection::json::{Json, Kind};
use crate::selection::message::Variable;
use crate::selection::reason::Reason;
use crate::selection::record::Record;

/// How deep lists and objects that are built may nest: building them recurses.
const MAX_NESTING: usize = 128;

/// What a filter asks of one message.
struct Asked<'a, 'm> {
    program: &'a Program,
    record: &'a Record<'m>,
    event_type: &'a str,
    meter: Meter,
    /// Why the first look-up failed that did.
    reason: OnceLock<Reason>,
}

/// Whether the program holds.
///
/// # Errors
/// Why it fails, or that it gives no boolean.
pub(super) fn holds(
    program: &Program,
    record: &Record<'_>,
    event_type: &str,
) -> Result<bool, Reason> {
    metered(program, record, event_type).0
}

/// Whether the program holds, and what that cost.
pub(super) fn metered(
    program: &Program,
    record: &Record<'_>,
    event_type: &str,
) -> (Result<bool, Reason>, usize) {
    let meter = Meter::default();
    let asked = Asked { program, record, event_type, meter, reason: OnceLock::new() };
    let functions: &Context<'_, '_> = &program.functions;
    let mut scope = functions.new_inner_scope();
    scope.set_variable_resolver(&asked);
    let verdict = Value::resolve_val(&program.expression, &scope);
    let verdict = if asked.meter.is_exceeded() {
        // Whatever came out: `||` and loops go on after an error.
        Err(Reason::TooMuch)
    } else {
        verdict.map_err(|_| asked.reason.get().copied().unwrap_or(Reason::FilterFails)).and_then(
            |value| value.downcast_ref::<CelBool>().map(|b| *b.inner()).ok_or(Reason::NoBoolean),
        )
    };
    (verdict, asked.meter.spent())
}

impl VariableResolver for Asked<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if variable == METER {
            return Some(CowVal::Borrowed(&self.meter));
        }
        let index: usize = variable.strip_prefix('@')?.parse().ok()?;
        let lookup = self.program.lookups.get(index)?;
        let answer = self.answer(lookup);
        if answer.is_none() {
            self.reason.get_or_init(|| self.why(lookup));
        }
        answer.map(CowVal::Owned)
    }
}

impl<'a, 'm> Asked<'a, 'm> {
    fn answer(&self, lookup: &Lookup) -> Option<Box<dyn Val + 'a>> {
        // A loop goes on after an error, in case a later element decides. Once the budget is
        // exceeded it must find nothing more.
        self.meter.spend(0)?;
        let message = self.record.message;
        match lookup {
            Lookup::EventType => self.text(self.event_type.into()),
            Lookup::Subject => {
                let subject = message.subject().unwrap_or_default();
                self.pass_headers()?;
                self.text(subject)
            }
            Lookup::Key => {
                let key = std::str::from_utf8(message.key().unwrap_or_default()).ok()?;
                self.text(key.into())
            }
            Lookup::Time => time(DateTime::from_timestamp_millis(message.time()?)?),
            Lookup::Size => Some(Box::new(CelInt::from(i64::try_from(message.size()).ok()?))),
            Lookup::Headers => self.headers(),
            Lookup::Header(name) => self.text(self.header(name)??),
            Lookup::HasHeader(name) => boolean(self.header(name)?.is_some()),
            Lookup::Body(path) => self.json(self.find(path)?.value()?),
            Lookup::HasBody(path) => match self.find(path)? {
                Found::Value(_) => boolean(true),
                Found::Absent => boolean(false),
                Found::Nowhere => None,
            },
            Lookup::OptionalBody(path) => Some(Box::new(match self.find(path)? {
                Found::Value(json) => CelOptional::of(self.json(json)?),
                Found::Absent => CelOptional::none(),
                Found::Nowhere => return None,
            })),
            Lookup::Source(name) => self.variable(message.source_variable(name)?),
        }
    }

    /// Why a look-up had no answer.
    fn why(&self, lookup: &Lookup) -> Reason {
        if self.meter.is_exceeded() {
            return Reason::TooMuch;
        }
        match lookup {
            Lookup::Key => Reason::KeyNoText,
            Lookup::Time => Reason::NoTime,
            Lookup::Header(_) => Reason::NoHeader,
            Lookup::Body(path) | Lookup::HasBody(path) | Lookup::OptionalBody(path) => {
                self.record.body.reason(self.record.body.find(path))
            }
            Lookup::Source(_) => Reason::NoVariable,
            _ => Reason::FilterFails,
        }
    }

    /// Pays for going over the headers.
    fn pass_headers(&self) -> Option<()> {
        self.meter.spend(self.record.message.header_count().saturating_mul(HEADER))
    }

    /// The text of a header, if it has one; `None` where that costs too much.
    fn header(&self, name: &str) -> Option<Option<Cow<'a, str>>> {
        let text = self.record.message.header(name).and_then(utf8);
        self.pass_headers()?;
        Some(text)
    }

    fn text(&self, text: Cow<'a, str>) -> Option<Box<dyn Val + 'a>> {
        self.meter.spend(text.len())?;
        Some(Box::new(CelString::from(text)))
    }

    fn variable(&self, variable: Variable<'a>) -> Option<Box<dyn Val + 'a>> {
        Some(match variable {
            Variable::Null => Box::new(CelNull),
            Variable::Boolean(answer) => Box::new(CelBool::from(answer)),
            Variable::Integer(number) => Box::new(CelInt::from(number)),
            Variable::Unsigned(number) => Box::new(CelUInt::from(number)),
            Variable::Double(number) => Box::new(CelDouble::from(number)),
            Variable::Text(text) => return self.text(text),
            Variable::Time(at) => return time(at),
            Variable::Duration(span) => Box::new(CelDuration::from(within_cel(span))),
            Variable::Map(entries) => {
                let mut map: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
                for (name, value) in entries {
                    self.meter.spend(entry(name.len()))?;
                    map.insert(name.to_owned().into(), self.variable(value)?);
                }
                Box::new(CelMap::from(map))
            }
        })
    }

    fn find(&self, path: &BodyPath) -> Option<Found<'a>> {
        let (found, passed) = self.record.body.find_counting(path);
        self.meter.spend(passed)?;
        Some(found)
    }

    fn json(&self, json: Json<'a>) -> Option<Box<dyn Val + 'a>> {
        let built = if matches!(json.kind()?, Kind::List | Kind::Object) { BUILT } else { 1 };
        self.meter.spend(json.text().len().saturating_mul(built))?;
        value(json, 0)
    }

    /// All headers whose last value is text; any other is as good as absent.
    fn headers(&self) -> Option<Box<dyn Val + 'a>> {
        let mut headers: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
        self.record.message.each_header(&mut |name, value| {
            if self.meter.spend(entry(name.len()).saturating_add(value.len())).is_none() {
                return;
            }
            let name = CelMapKey::from(name.to_owned());
            match std::str::from_utf8(value) {
                Ok(value) => {
                    headers.insert(name, Box::new(CelString::from(value.to_owned())));
                }
                Err(_) => drop(headers.remove(&name)),
            }
        });
        self.pass_headers()?;
        Some(Box::new(CelMap::from(headers)))
    }
}

fn boolean<'m>(answer: bool) -> Option<Box<dyn Val + 'm>> {
    Some(Box::new(CelBool::from(answer)))
}

/// A timestamp, if it is within the years 1 to 9999 that CEL knows: the interpreter does not expect
/// others, and a producer can write any.
fn time<'m>(time: DateTime<Utc>) -> Option<Box<dyn Val + 'm>> {
    (1..=9999)
        .contains(&time.year())
        .then(|| Box::new(CelTimestamp::from(time.fixed_offset())) as _)
}

/// The nearest span that CEL has, which counts in nanoseconds. A span that never ends is the
/// longest.
fn within_cel(span: TimeDelta) -> TimeDelta {
    let bound = if span < TimeDelta::zero() { i64::MIN } else { i64::MAX };
    TimeDelta::nanoseconds(span.num_nanoseconds().unwrap_or(bound))
}

/// A JSON value, `depth` levels deep in another, as CEL has it.
fn value<'m>(json: Json<'m>, depth: usize) -> Option<Box<dyn Val + 'm>> {
    if depth > MAX_NESTING {
        return None;
    }
    Some(match (json.kind()?, json.text()) {
        (Kind::Null, "null") => Box::new(CelNull),
        (Kind::Boolean, "true") => Box::new(CelBool::from(true)),
        (Kind::Boolean, "false") => Box::new(CelBool::from(false)),
        (Kind::Number, _) => number(json.number()?)?,
        (Kind::String, _) => Box::new(CelString::from(json.string()?)),
        (Kind::List, _) => {
            let elements = json.elements()?.map(|element| value(element?, depth + 1));
            Box::new(CelList::from(elements.collect::<Option<Vec<_>>>()?))
        }
        (Kind::Object, _) => {
            let mut fields: HashMap<CelMapKey<'m>, Box<dyn Val + 'm>> = HashMap::new();
            for member in json.members()? {
                let (name, json) = member?;
                // The first of a name, as a look-up finds it.
                if let Entry::Vacant(field) = fields.entry(CelMapKey::String(name.into())) {
                    field.insert(value(json, depth + 1)?);
                }
            }
            Box::new(CelMap::from(fields))
        }
        (Kind::Null | Kind::Boolean, _) => return None,
    })
}

/// A number without fraction or exponent is an int, or an uint if it is too large for one.
fn number<'m>(text: &str) -> Option<Box<dyn Val + 'm>> {
    if let Ok(int) = text.parse::<i64>() {
        return Some(Box::new(CelInt::from(int)));
    }
    if let Ok(uint) = text.parse::<u64>() {
        return Some(Box::new(CelUInt::from(uint)));
    }
    Some(Box::new(CelDouble::from(text.parse::<f64>().ok()?)))
}

#[cfg(test)]
mod tests;
