//! What a filter says of one message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use cel::common::types::{
    CelBool, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional,
    CelString, CelTimestamp, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Value};
use chrono::{DateTime, Datelike, TimeDelta, Utc};

use super::compile::{Lookup, Program};
use crate::selection::body::{BodyPath, Found};
use crate::selection::event_type::utf8;
use crate::selection::json::{Json, Kind};
use crate::selection::judge::Record;
use crate::selection::message::Variable;
use crate::selection::reason::Reason;

/// What one evaluation may look up, in bytes, those passed over on the way included, and the same ones
/// twice counted twice.
///
/// This bounds what an evaluation can cost, in time and in memory: to some tens of milliseconds. So each
/// byte counts for as many as there are parts in the filter's largest loop, all of which may be evaluated
/// for it, or as often as the filter goes over it otherwise.
pub(super) const MAX_LOOKED_UP: usize = 2 << 20;

/// What each byte of a list or an object counts for at least, and each element of a list that the filter
/// itself spells out: it is built in full, and small values take many times their text.
pub(super) const BUILT: usize = 16;

/// How deep lists and objects that are built may stand in each other: building them recurses.
const MAX_NESTING: usize = 128;

/// What a filter asks of one message, and how much it has been told.
struct Asked<'a, 'm> {
    program: &'a Program,
    record: &'a Record<'m>,
    event_type: &'a str,
    /// What was looked up so far. Atomic only because the interpreter wants a resolver that is shared.
    looked_up: AtomicUsize,
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
    let looked_up = AtomicUsize::new(program.spelt_out);
    let asked = Asked { program, record, event_type, looked_up, reason: OnceLock::new() };
    let functions: &Context<'_, '_> = &program.functions;
    let mut scope = functions.new_inner_scope();
    scope.set_variable_resolver(&asked);
    let verdict = Value::resolve_val(&program.expression, &scope)
        .map_err(|_| asked.reason.get().copied().unwrap_or(Reason::FilterFails))?;
    let verdict = verdict.downcast_ref::<CelBool>().ok_or(Reason::NoBoolean)?;
    Ok(*verdict.inner())
}

impl VariableResolver for Asked<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let index: usize = variable.strip_prefix('@')?.parse().ok()?;
        let (lookup, passes) = self.program.lookups.get(index)?;
        let answer = self.answer(lookup, self.program.loop_size.max(*passes));
        if answer.is_none() {
            self.reason.get_or_init(|| self.why(lookup));
        }
        answer.map(CowVal::Owned)
    }
}

impl<'a, 'm> Asked<'a, 'm> {
    /// The answer, each byte of which costs this much.
    fn answer(&self, lookup: &Lookup, cost: usize) -> Option<Box<dyn Val + 'a>> {
        // A loop goes on after a failure, in case a later element decides; it must find nothing more.
        self.spend(0)?;
        let message = self.record.message;
        match lookup {
            Lookup::EventType => self.text(self.event_type.into(), cost),
            Lookup::Subject => self.text(message.subject().unwrap_or_default(), cost),
            Lookup::Key => {
                let key = std::str::from_utf8(message.key().unwrap_or_default()).ok()?;
                self.text(key.into(), cost)
            }
            Lookup::Time => time(DateTime::from_timestamp_millis(message.time()?)?),
            Lookup::Size => Some(Box::new(CelInt::from(i64::try_from(message.size()).ok()?))),
            Lookup::Headers => self.headers(cost),
            Lookup::Header(name) => self.text(utf8(message.header(name)?)?, cost),
            Lookup::HasHeader(name) => boolean(message.header(name).and_then(utf8).is_some()),
            Lookup::Body(path) => self.json(self.find(path)?.value()?, cost),
            Lookup::HasBody(path) => match self.find(path)? {
                Found::Value(_) => boolean(true),
                Found::Absent => boolean(false),
                Found::Nowhere => None,
            },
            Lookup::OptionalBody(path) => Some(Box::new(match self.find(path)? {
                Found::Value(json) => CelOptional::of(self.json(json, cost)?),
                Found::Absent => CelOptional::none(),
                Found::Nowhere => return None,
            })),
            Lookup::Source(name) => self.variable(message.source_variable(name)?, cost),
        }
    }

    /// Why a look-up had no answer.
    fn why(&self, lookup: &Lookup) -> Reason {
        if self.spend(0).is_none() {
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

    fn text(&self, text: Cow<'a, str>, cost: usize) -> Option<Box<dyn Val + 'a>> {
        self.spend(text.len().saturating_mul(cost))?;
        Some(Box::new(CelString::from(text)))
    }

    fn variable(&self, variable: Variable<'a>, cost: usize) -> Option<Box<dyn Val + 'a>> {
        Some(match variable {
            Variable::Null => Box::new(CelNull),
            Variable::Boolean(answer) => Box::new(CelBool::from(answer)),
            Variable::Integer(number) => Box::new(CelInt::from(number)),
            Variable::Unsigned(number) => Box::new(CelUInt::from(number)),
            Variable::Double(number) => Box::new(CelDouble::from(number)),
            Variable::Text(text) => return self.text(text, cost),
            Variable::Time(at) => return time(at),
            Variable::Duration(span) => Box::new(CelDuration::from(within_cel(span))),
            Variable::Map(entries) => {
                let mut map: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
                for (name, value) in entries {
                    self.spend((name.len() + BUILT).saturating_mul(cost))?;
                    map.insert(name.to_owned().into(), self.variable(value, cost)?);
                }
                Box::new(CelMap::from(map))
            }
        })
    }

    fn find(&self, path: &BodyPath) -> Option<Found<'a>> {
        let (found, passed) = self.record.body.find_counting(path);
        self.spend(passed)?;
        Some(found)
    }

    fn json(&self, json: Json<'a>, cost: usize) -> Option<Box<dyn Val + 'a>> {
        let least = if matches!(json.kind()?, Kind::List | Kind::Object) { BUILT } else { 1 };
        self.spend(json.text().len().saturating_mul(cost.max(least)))?;
        value(json, 0)
    }

    /// All headers whose last value is text; any other is as good as absent.
    fn headers(&self, cost: usize) -> Option<Box<dyn Val + 'a>> {
        let mut headers: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
        let mut bytes = 0;
        self.record.message.each_header(&mut |name, value| {
            bytes += name.len() + value.len();
            let name = CelMapKey::from(name.to_owned());
            match std::str::from_utf8(value) {
                Ok(value) => {
                    headers.insert(name, Box::new(CelString::from(value.to_owned())));
                }
                Err(_) => drop(headers.remove(&name)),
            }
        });
        self.spend(bytes.saturating_mul(cost.max(BUILT)))?;
        Some(Box::new(CelMap::from(headers)))
    }

    /// Counts what was looked up; `None` once it is too much.
    fn spend(&self, bytes: usize) -> Option<()> {
        let before = self.looked_up.fetch_add(bytes, Ordering::Relaxed);
        (before.saturating_add(bytes) <= MAX_LOOKED_UP).then_some(())
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

/// The span nearest to this one that CEL has: it counts them in nanoseconds. What never ends is the longest.
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
