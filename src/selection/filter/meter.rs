//! What an evaluation costs, counted while it goes on.
//!
//! Filters are written by tenants and messages by anyone, so an evaluation may cost [`BUDGET`] and
//! no more. One [`Meter`] counts, and everything that can grow pays there before it is done:
//!
//! - A look-up pays for what it passes over and gives, each time it is asked.
//! - An operation pays for the values that it is given. It makes no more than a few times as much,
//!   and what it makes is paid for by the operation that takes it. So memory is bounded with time.
//! - A loop pays for its elements times the parts of its body before it begins. A loop within it
//!   pays each time it is reached.
//!
//! [`insert`](super::payments::insert) puts calls that pay into the expression, around each value
//! that has to be paid for.
//!
//! `||`, `&&`, `all` and `exists` go on after an error, so an evaluation that is out of its budget
//! can end in `true` or `false`. Whoever evaluates asks [`Meter::is_exceeded`] in the end, whatever
//! came out.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cel::common::types::{
    CelBool, CelBytes, CelInt, CelList, CelMap, CelOptional, CelString, DYN_TYPE, INT_TYPE, Type,
};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

/// What one evaluation may cost, where going over one byte of a text costs 1. The worst filter over
/// the worst message then ends within some tenths of a second, and holds some tens of megabytes.
pub(super) const BUDGET: usize = 4 << 20;

/// What each byte of a list or an object in a body costs when it is built, and each element of a
/// list besides its value: a value takes many times the bytes of its text.
pub(super) const BUILT: usize = 16;

/// What an entry of a map costs when the map is built.
pub(super) fn entry(size: usize) -> usize {
    size.saturating_add(2 * BUILT)
}

/// What each header costs that a look-up may pass over.
pub(super) const HEADER: usize = 2;

/// What each part of a loop's body costs for each element.
const PART: usize = 4;

/// The name that the meter goes by in an expression.
pub(super) const METER: &str = "@meter";

/// The functions that pay; no filter can spell their names. Each is called with the meter, a number
/// and a value, which it gives back.
pub(super) const USED: &str = "@used";
pub(super) const LOOPED: &str = "@looped";
pub(super) const OPENED: &str = "@opened";

/// `in`, which pays: called with the meter, a value and what it is sought in.
pub(super) const SOUGHT: &str = "@sought";

/// Counts what one evaluation has cost so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<AtomicUsize>);

#[cfg(test)]
thread_local! {
    /// How often anything was paid, for tests.
    pub(super) static PAYMENTS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

static METER_TYPE: Type = Type::new_unspecified_type(METER);

impl Meter {
    /// Pays; `None` once the budget is exceeded, and ever after.
    pub(super) fn spend(&self, cost: usize) -> Option<()> {
        #[cfg(test)]
        PAYMENTS.set(PAYMENTS.get() + 1);
        // Bounded, so that no sum overflows.
        let cost = cost.min(BUDGET + 1);
        let before = self.0.fetch_add(cost, Ordering::Relaxed);
        (before.saturating_add(cost) <= BUDGET).then_some(())
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.spent() > BUDGET
    }

    /// What was paid so far, with what exceeded the budget.
    pub(super) fn spent(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value, so that an expression can name it.
impl Val for Meter {
    fn get_type(&self) -> &Type {
        &METER_TYPE
    }

    fn cel_type() -> &'static Type {
        &METER_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Meter {}

/// Adds the functions that pay.
pub(super) fn declare(library: &mut Env) -> Result<(), DeclarationError> {
    let takes = || vec![DYN_TYPE, INT_TYPE, DYN_TYPE];
    library.add_overload(USED, USED, takes(), used)?;
    library.add_overload(LOOPED, LOOPED, takes(), looped)?;
    library.add_overload(OPENED, OPENED, takes(), opened)?;
    library.add_overload(SOUGHT, SOUGHT, vec![DYN_TYPE, DYN_TYPE, DYN_TYPE], sought)
}

/// Pays for going over a value a number of times.
fn used<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    paid(arguments, |value, times| cost(value).saturating_mul(times))
}

/// Pays for a loop over a value; the number is that of the parts of its body.
fn looped<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    paid(arguments, |value, parts| elements(value).saturating_mul(parts).saturating_mul(PART))
}

/// Pays for taking a field of a value: that copies the field of an optional, and costs nothing
/// else.
fn opened<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    paid(arguments, |value, _| match value.downcast_ref::<CelOptional<'_>>() {
        Some(optional) => cost(optional),
        None => 0,
    })
}

fn paid<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
    price: impl FnOnce(&(dyn Val + 'v), usize) -> usize,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [meter, number, value] = three(arguments)?;
    let number = number.downcast_ref::<CelInt>().and_then(|n| usize::try_from(*n.inner()).ok());
    pay(&meter, || price(value.as_ref(), number.unwrap_or(usize::MAX)))?;
    Ok(value)
}

/// Seeks a value in a list or a map. Each element of a list may copy the value, if it fails to
/// compare.
fn sought<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [meter, value, container] = three(arguments)?;
    let elements = match container.downcast_ref::<CelList<'_>>() {
        Some(list) => list.inner().len(),
        None => 1,
    };
    pay(&meter, || cost(value.as_ref()).saturating_mul(elements))?;
    let container = container.as_container();
    let container =
        container.ok_or_else(|| ExecutionError::function_error(SOUGHT, "neither list nor map"))?;
    Ok(CowVal::owned(CelBool::from(container.contains(value.as_ref())?)))
}

fn three<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<[CowVal<'b, 'v>; 3], ExecutionError> {
    let error = |_| ExecutionError::function_error(METER, "takes three arguments");
    arguments.try_into().map_err(error)
}

/// Pays. Once the budget is exceeded not even the price is reckoned, since that goes over the
/// value.
fn pay(meter: &CowVal<'_, '_>, price: impl FnOnce() -> usize) -> Result<(), ExecutionError> {
    let meter = meter.downcast_ref::<Meter>().filter(|meter| !meter.is_exceeded());
    let paid = meter.and_then(|meter| meter.spend(price()));
    paid.ok_or_else(|| ExecutionError::function_error(METER, "too much"))
}

/// How many elements or entries there are.
fn elements(value: &(dyn Val + '_)) -> usize {
    let size = value.as_sizer().map_or(0, |sizer| *sizer.size().inner());
    usize::try_from(size).unwrap_or(0)
}

/// What it costs to go over a value once.
fn cost(value: &(dyn Val + '_)) -> usize {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        1 + text.inner().len()
    } else if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        1 + bytes.inner().len()
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        BUILT + list.inner().iter().map(|element| BUILT + cost(element.as_ref())).sum::<usize>()
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        let entries = map.inner().iter();
        4 * BUILT
            + entries
                .map(|(key, value)| entry(cost(key.inner()) + cost(value.as_ref())))
                .sum::<usize>()
    } else if let Some(optional) = value.downcast_ref::<CelOptional<'_>>() {
        1 + optional.option().map_or(0, cost)
    } else {
        1
    }
}
