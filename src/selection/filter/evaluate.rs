//! What a filter says of one message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional, CelString,
    CelTimestamp, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Value};
use chrono::{DateTime, Datelike};

use super::super::body::Found;
use super::super::event_type::utf8;
use super::super::json::{Json, Kind};
use super::super::judge::Record;
use super::super::message::Variable;
use super::compile::{Lookup, Program};

/// How many bytes one evaluation may look up, the same ones twice counted twice.
///
/// With the bounds on a filter this bounds what an evaluation can cost, in time and in memory.
const MAX_LOOKED_UP: usize = 4 << 20;

/// How many bytes each byte of a list or an object counts for: it is built in full, and small values
/// take many times their text.
const BUILT: usize = 16;

/// How deep lists and objects that are built may stand in each other: building them recurses.
const MAX_NESTING: usize = 128;

/// What a filter asks of one message, and how much it has been told.
struct Asked<'a, 'm> {
    lookups: &'a [Lookup],
    record: &'a Record<'m>,
    event_type: &'a str,
    /// Bytes looked up so far. Atomic only because the interpreter wants a resolver that is shared.
    looked_up: AtomicUsize,
}

/// Whether the program holds; `None` where it fails or gives no boolean.
pub(super) fn holds(program: &Program, record: &Record<'_>, event_type: &str) -> Option<bool> {
    let asked =
        Asked { lookups: &program.lookups, record, event_type, looked_up: AtomicUsize::new(0) };
    let functions: &Context<'_, '_> = &program.functions;
    let mut scope = functions.new_inner_scope();
    scope.set_variable_resolver(&asked);
    let verdict = Value::resolve_val(&program.expression, &scope).ok()?;
    verdict.downcast_ref::<CelBool>().map(|verdict| *verdict.inner())
}

impl VariableResolver for Asked<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let index: usize = variable.strip_prefix('@')?.parse().ok()?;
        self.answer(self.lookups.get(index)?).map(CowVal::Owned)
    }
}

impl<'a, 'm> Asked<'a, 'm> {
    fn answer(&self, lookup: &Lookup) -> Option<Box<dyn Val + 'a>> {
        let message = self.record.message;
        match lookup {
            Lookup::EventType => self.text(self.event_type.into()),
            Lookup::Subject => self.text(message.subject().unwrap_or_default().into()),
            Lookup::Key => {
                self.text(std::str::from_utf8(message.key().unwrap_or_default()).ok()?.into())
            }
            Lookup::Time => time(message.time()?),
            Lookup::Size => Some(Box::new(CelInt::from(i64::try_from(message.size()).ok()?))),
            Lookup::Headers => self.headers(),
            Lookup::Header(name) => self.text(utf8(message.header(name)?)?),
            Lookup::HasHeader(name) => boolean(message.header(name).and_then(utf8).is_some()),
            Lookup::Body(path) => self.json(self.record.body.find(path).value()?),
            Lookup::HasBody(path) => match self.record.body.find(path) {
                Found::Value(_) => boolean(true),
                Found::Absent => boolean(false),
                Found::Nowhere => None,
            },
            Lookup::OptionalBody(path) => Some(Box::new(match self.record.body.find(path) {
                Found::Value(json) => CelOptional::of(self.json(json)?),
                Found::Absent => CelOptional::none(),
                Found::Nowhere => return None,
            })),
            Lookup::Source(name) => match message.source_variable(name)? {
                Variable::Text(text) => self.text(text),
                Variable::Integer(number) => Some(Box::new(CelInt::from(number))),
            },
        }
    }

    fn text(&self, text: Cow<'a, str>) -> Option<Box<dyn Val + 'a>> {
        self.spend(text.len())?;
        Some(Box::new(CelString::from(text)))
    }

    fn json(&self, json: Json<'a>) -> Option<Box<dyn Val + 'a>> {
        let built = matches!(json.kind()?, Kind::List | Kind::Object);
        self.spend(json.text().len() * if built { BUILT } else { 1 })?;
        value(json, 0)
    }

    /// All headers that are text; a header that is not is as good as absent.
    fn headers(&self) -> Option<Box<dyn Val + 'a>> {
        let mut headers: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
        let mut bytes = 0;
        self.record.message.each_header(&mut |name, value| {
            bytes += name.len() + value.len();
            if let Ok(value) = std::str::from_utf8(value) {
                headers.insert(name.to_owned().into(), Box::new(CelString::from(value.to_owned())));
            }
        });
        self.spend(bytes * BUILT)?;
        Some(Box::new(CelMap::from(headers)))
    }

    /// Counts bytes looked up; `None` once they are too many.
    fn spend(&self, bytes: usize) -> Option<()> {
        let before = self.looked_up.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= MAX_LOOKED_UP).then_some(())
    }
}

fn boolean<'m>(answer: bool) -> Option<Box<dyn Val + 'm>> {
    Some(Box::new(CelBool::from(answer)))
}

/// A timestamp, if it is within the years 1 to 9999 that CEL knows: the interpreter does not expect
/// others, and a producer can write any.
fn time<'m>(milliseconds: i64) -> Option<Box<dyn Val + 'm>> {
    let time = DateTime::from_timestamp_millis(milliseconds)?;
    (1..=9999)
        .contains(&time.year())
        .then(|| Box::new(CelTimestamp::from(time.fixed_offset())) as _)
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
        (Kind::Number, text) => number(text)?,
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
    let double: f64 = text.parse().ok()?;
    double.is_finite().then(|| Box::new(CelDouble::from(double)) as _)
}
