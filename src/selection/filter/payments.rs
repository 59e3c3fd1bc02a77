//! Puts calls that pay into an expression, around each value that has to be paid for.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

use super::kind::{Kind, Kinds};
use super::library::is_namespace;
use super::meter::{BUILT, LOOPED, METER, OPENED, SOUGHT, USED};
use super::pattern;
use super::program::Lookup;

/// What a function that takes a text's characters apart costs for each byte.
const CHARACTERS: usize = 4;

/// How many bytes of a compiled pattern cost 1 for each byte of a text, at worst.
const PATTERN: usize = 128;

/// Puts calls that pay into an expression whose names are look-ups; `patterns` are the compiled
/// sizes of its patterns, in the order of their functions.
pub(super) fn insert(
    expression: &mut IdedExpr,
    lookups: &[Lookup],
    patterns: &[usize],
    has_optionals: bool,
) {
    let kinds = Kinds { lookups };
    Insertion { kinds, patterns, has_optionals, loops: Vec::new() }.visit(expression);
}

struct Insertion<'w> {
    kinds: Kinds<'w>,
    patterns: &'w [usize],
    /// Whether any value can be an optional.
    has_optionals: bool,
    /// The variables of the loops around.
    loops: Vec<String>,
}

impl Insertion<'_> {
    /// Gives how many parts are evaluated with `node`, without those in the bodies of loops.
    fn visit(&mut self, node: &mut IdedExpr) -> usize {
        let parts = match &mut node.expr {
            Expr::Literal(LiteralValue::String(text)) => text.inner().len() / BUILT,
            Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() / BUILT,
            Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) | Expr::Unspecified => 0,
            Expr::Select(select) => self.visit_opened(&mut select.operand),
            Expr::Call(call) => self.visit_call(call),
            Expr::List(list) => {
                list.elements.iter_mut().map(|element| self.visit_used(element, 1)).sum()
            }
            Expr::Map(map) => {
                let entries = map.entries.iter_mut().map(|entry| match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.visit_used(&mut entry.key, 1) + self.visit_used(&mut entry.value, 1)
                    }
                    EntryExpr::StructField(field) => self.visit_used(&mut field.value, 1),
                });
                entries.sum()
            }
            Expr::Comprehension(parts) => self.visit_loop(parts),
        };
        1 + parts
    }

    fn visit_call(&mut self, call: &mut CallExpr) -> usize {
        let name = call.func_name.as_str();
        match (name, &mut call.args[..]) {
            // These take booleans, or give one of their parts as it is.
            (
                operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::NOT_STRICTLY_FALSE
                | operators::CONDITIONAL,
                arguments,
            ) => arguments.iter_mut().map(|argument| self.visit(argument)).sum(),
            (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, [of, at]) => {
                self.visit_opened(of) + self.visit_used(at, 1)
            }
            // The interpreter appends in place to what a loop gathers, as long as the step reads
            // like this.
            (operators::ADD, [gathered, item]) if is_gathered(gathered) => {
                self.visit(gathered) + self.visit(item)
            }
            // These cost no more than what the filter spells out, which is counted as parts. That
            // holds for no other comparison: `<` copies both sides into its error, and so does `==`
            // with a number on its left.
            (operators::EQUALS | operators::NOT_EQUALS, [left, right])
                if !self.has_optionals && is_plain(right) =>
            {
                self.visit(left) + self.visit(right)
            }
            (operators::IN, [left, right]) if !self.has_optionals && is_list_of_texts(right) => {
                self.visit(left) + self.visit(right)
            }
            (operators::IN, [left, right]) => {
                let parts = self.visit_used(left, 1) + self.visit_used(right, 1);
                call.func_name = SOUGHT.to_owned();
                call.args.insert(0, IdedExpr { id: 0, expr: Expr::Ident(METER.to_owned()) });
                parts
            }
            (_, arguments) => {
                let times = self.times(name);
                let parts: usize =
                    arguments.iter_mut().map(|argument| self.visit_used(argument, 1)).sum();
                match &mut call.target {
                    Some(target) if !is_namespace(target, name) => {
                        parts + self.visit_used(target, times)
                    }
                    _ => parts,
                }
            }
        }
    }

    fn visit_loop(&mut self, parts: &mut ComprehensionExpr) -> usize {
        let around = self.visit_used(&mut parts.iter_range, 1) + self.visit(&mut parts.accu_init);
        self.loops.push(parts.iter_var.clone());
        let body = self.visit(&mut parts.loop_cond)
            + self.visit(&mut parts.loop_step)
            + self.visit(&mut parts.result);
        self.loops.pop();
        wrap(&mut parts.iter_range, LOOPED, body);
        around
    }

    /// A value that an operation goes over a number of times.
    fn visit_used(&mut self, node: &mut IdedExpr, times: usize) -> usize {
        let is_paid = self.is_small(node) || times == 1 && self.is_paid(node);
        let parts = self.visit(node);
        if !is_paid {
            wrap(node, USED, times);
        }
        parts
    }

    /// A value of which one field is taken.
    fn visit_opened(&mut self, node: &mut IdedExpr) -> usize {
        let parts = self.visit(node);
        if self.has_optionals && self.is_value(&node.expr) {
            wrap(node, OPENED, 1);
        }
        parts
    }

    /// How often a function goes over its target.
    fn times(&self, function: &str) -> usize {
        match function {
            // Each character may become a text of its own.
            "split" => BUILT,
            "charAt" | "lowerAscii" | "upperAscii" | "substring" | "trim" => CHARACTERS,
            name => match pattern::index(name) {
                // The text was paid for once when it was looked up.
                Some(index) => {
                    let size = self.patterns.get(index).copied().unwrap_or(usize::MAX);
                    (size / PATTERN).saturating_sub(1).max(1)
                }
                None => 1,
            },
        }
    }

    /// Whether a value is of a kind whose values are all small.
    fn is_small(&self, node: &IdedExpr) -> bool {
        let small =
            [Kind::Boolean, Kind::Duration, Kind::Null, Kind::Number, Kind::Time, Kind::Type];
        self.kinds.of(node).is_some_and(|kind| small.contains(&kind))
    }

    /// Whether a value is paid for elsewhere: a part of the filter itself, a look-up, or what a
    /// loop gathers.
    fn is_paid(&self, node: &IdedExpr) -> bool {
        is_constant(node) || matches!(&node.expr, Expr::Ident(name) if name.starts_with('@'))
    }

    /// Whether this is a value, and not the first names of a type.
    fn is_value(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Select(select) => self.is_value(&select.operand.expr),
            Expr::Ident(name) => name.starts_with('@') || self.loops.contains(name),
            _ => true,
        }
    }
}

/// Whether this is what a loop gathers or counts, as the parser names it.
fn is_gathered(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == "@result")
}

/// Whether the filter itself spells a value out.
fn is_constant(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(_) => true,
        Expr::List(list) => list.elements.iter().all(is_constant),
        Expr::Map(map) => map.entries.iter().all(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => is_constant(&entry.key) && is_constant(&entry.value),
            EntryExpr::StructField(field) => is_constant(&field.value),
        }),
        _ => false,
    }
}

/// Whether the filter itself spells a value out, in which there is no map: that would look up keys,
/// however long they are.
fn is_plain(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(_) => true,
        Expr::List(list) => list.elements.iter().all(is_plain),
        _ => false,
    }
}

fn is_list_of_texts(node: &IdedExpr) -> bool {
    let is_text = |node: &IdedExpr| matches!(node.expr, Expr::Literal(LiteralValue::String(_)));
    matches!(&node.expr, Expr::List(list) if list.elements.iter().all(is_text))
}

/// Puts `function(@meter, number, node)` in place of `node`.
fn wrap(node: &mut IdedExpr, function: &str, number: usize) {
    let id = node.id;
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    let arguments = vec![
        IdedExpr { id, expr: Expr::Ident(METER.to_owned()) },
        IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(number.into())) },
        std::mem::take(node),
    ];
    let call = CallExpr { func_name: function.to_owned(), target: None, args: arguments };
    *node = IdedExpr { id, expr: Expr::Call(call) };
}
