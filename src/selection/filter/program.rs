//! A compiled filter as data: an expression, and what its names stand for.

use cel::Context;
use cel::common::ast::IdedExpr;

use crate::selection::body::BodyPath;

/// A compiled filter.
pub(super) struct Program {
    /// Its names are `@` and the index of a look-up, [`METER`](super::meter::METER), and variables
    /// of loops.
    pub(super) expression: IdedExpr,
    pub(super) lookups: Vec<Lookup>,
    /// The functions: the standard library, and one for each pattern.
    pub(super) functions: Context<'static, 'static>,
}

/// One question that a filter asks of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    EventType,
    Subject,
    Key,
    Time,
    Size,
    /// All headers as a map.
    Headers,
    Header(String),
    HasHeader(String),
    Body(BodyPath),
    HasBody(BodyPath),
    /// The value at the path, as an optional: empty where only the last step leads nowhere.
    OptionalBody(BodyPath),
    /// A variable of the source.
    Source(&'static str),
}
