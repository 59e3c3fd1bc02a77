//! What kind of value a part of a filter gives, as far as its text alone tells.
//!
//! A filter that gives no boolean counts nothing, and so does a comparison of a text with a number:
//! Jobs would never start. Where the text alone shows this, the filter is refused.
//! What a body holds is unknown until there is a message, so `body.urgent` passes.

use std::fmt;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use super::program::Lookup;

/// A kind of value. Numbers are one kind, because they compare with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Bytes,
    Duration,
    List,
    Map,
    Null,
    Number,
    Optional,
    Text,
    Time,
    Type,
}

/// A part of a filter that cannot be meant, by the part's number in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nonsense {
    /// A boolean has to come out, and something else does.
    NoBoolean { id: u64, kind: Kind },
    /// Two kinds that are never equal are compared.
    Unlike { id: u64, left: Kind, right: Kind },
}

/// What the parts of a tree give, whose names are the look-ups that they stand for.
pub(super) struct Kinds<'w> {
    pub(super) lookups: &'w [Lookup],
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "true or false",
            Self::Bytes => "bytes",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Null => "null",
            Self::Number => "a number",
            Self::Optional => "an optional value",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Type => "a type",
        })
    }
}

impl Kinds<'_> {
    /// The first part of `node` that cannot be meant, where a boolean has to come out of `node`.
    pub(super) fn nonsense(&self, node: &IdedExpr) -> Option<Nonsense> {
        let Expr::Call(call) = &node.expr else { return self.no_boolean(node) };
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, parts) => {
                parts.iter().find_map(|part| self.nonsense(part))
            }
            (operators::CONDITIONAL, parts) => parts.iter().find_map(|part| self.nonsense(part)),
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                let (left, right) = (self.of(left)?, self.of(right)?);
                (left != right).then_some(Nonsense::Unlike { id: node.id, left, right })
            }
            _ => self.no_boolean(node),
        }
    }

    fn no_boolean(&self, node: &IdedExpr) -> Option<Nonsense> {
        let kind = self.of(node).filter(|kind| *kind != Kind::Boolean)?;
        Some(Nonsense::NoBoolean { id: node.id, kind })
    }

    /// What a part gives; `None` where only a message tells.
    pub(super) fn of(&self, node: &IdedExpr) -> Option<Kind> {
        match &node.expr {
            Expr::Literal(literal) => Some(match literal {
                LiteralValue::Boolean(_) => Kind::Boolean,
                LiteralValue::Bytes(_) => Kind::Bytes,
                LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => {
                    Kind::Number
                }
                LiteralValue::Null => Kind::Null,
                LiteralValue::String(_) => Kind::Text,
            }),
            Expr::Ident(name) => self.of_name(name),
            Expr::Call(call) => self.of_call(call),
            Expr::List(_) => Some(Kind::List),
            Expr::Map(_) => Some(Kind::Map),
            Expr::Comprehension(parts) => self.of_loop(parts),
            Expr::Select(_) | Expr::Struct(_) | Expr::Unspecified => None,
        }
    }

    fn of_name(&self, name: &str) -> Option<Kind> {
        // Any other name is of a loop.
        let index: usize = name.strip_prefix('@')?.parse().ok()?;
        match self.lookups.get(index)? {
            Lookup::EventType | Lookup::Subject | Lookup::Key | Lookup::Header(_) => {
                Some(Kind::Text)
            }
            Lookup::Time => Some(Kind::Time),
            Lookup::Size => Some(Kind::Number),
            Lookup::Headers => Some(Kind::Map),
            Lookup::HasHeader(_) | Lookup::HasBody(_) => Some(Kind::Boolean),
            Lookup::OptionalBody(_) => Some(Kind::Optional),
            Lookup::Source("topic") => Some(Kind::Text),
            Lookup::Source("partition" | "offset" | "deliveryCount" | "sequenceNumber") => {
                Some(Kind::Number)
            }
            Lookup::Source("properties") => Some(Kind::Map),
            _ => None,
        }
    }

    fn of_call(&self, call: &CallExpr) -> Option<Kind> {
        Some(match (call.func_name.as_str(), &call.args[..]) {
            (
                operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::IN,
                _,
            ) => Kind::Boolean,
            (operators::CONDITIONAL, [_, yes, no]) => {
                return self.of(yes).filter(|kind| self.of(no) == Some(*kind));
            }
            (operators::ADD, [left, right]) => {
                return self.of(left).filter(|kind| self.of(right) == Some(*kind));
            }
            (operators::MULTIPLY | operators::DIVIDE | operators::MODULO, _) => Kind::Number,
            (operators::NEGATE, [of]) => return self.of(of),
            (operators::OPT_SELECT | operators::OPT_INDEX, _) => Kind::Optional,
            ("matches" | "startsWith" | "endsWith" | "contains" | "hasValue" | "bool", _) => {
                Kind::Boolean
            }
            ("size" | "int" | "uint" | "double", _) => Kind::Number,
            ("string", _) => Kind::Text,
            ("bytes", _) => Kind::Bytes,
            ("timestamp", _) => Kind::Time,
            ("duration", _) => Kind::Duration,
            ("type", _) => Kind::Type,
            (name, _) if name.starts_with("@matches") => Kind::Boolean,
            _ => return None,
        })
    }

    /// `all` and its like give a boolean, `map` and `filter` the list that they gather.
    fn of_loop(&self, parts: &ComprehensionExpr) -> Option<Kind> {
        match &parts.result.expr {
            Expr::Ident(name) if *name == parts.accu_var => self.of(&parts.accu_init),
            _ => self.of(&parts.result),
        }
    }
}
