//! From the text of a filter to an expression whose names are look-ups.
//!
//! The parser gives a tree. One walk over it finds what is asked of a message, replaces each such
//! part by a name of our own (`@0`, `@1`, …), and refuses what is undeclared.

use std::sync::Arc;

use cel::Context;
use cel::common::ast::operators;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo,
};
use cel::extractors::This;
use cel::parser::{ParseErrors, Parser};
use regex::Regex;

use super::error::{FilterError, MAX_DEPTH, MAX_LENGTH, MAX_NESTING, SourceLocation, clipped};
use super::kind::{Kind, Kinds, Nonsense};
use super::library::{LIBRARY, dotted, has_function, is_namespace, is_type};
use super::program::{Lookup, Program};
use super::{meant, pattern, payments};
use crate::selection::body::{BodyPath, Step};

/// What every message has.
const VARIABLES: [&str; 7] = ["eventType", "subject", "key", "headers", "body", "time", "size"];

/// What the walk over the tree has gathered so far.
struct Walk {
    source: SourceInfo,
    source_variables: &'static [&'static str],
    lookups: Vec<Lookup>,
    functions: Context<'static, 'static>,
    /// The compiled sizes of the patterns so far, in bytes.
    patterns: Vec<usize>,
    /// The names that each loop around declares: its variable, and what it gathers.
    loops: Vec<[String; 2]>,
    /// Whether the part at hand is compared with the type of a value, so that a type's name makes
    /// sense.
    takes_types: bool,
}

/// Compiles the text of a filter.
pub(super) fn compile(
    text: &str,
    source_variables: &'static [&'static str],
) -> Result<Program, FilterError> {
    if text.len() > MAX_LENGTH {
        return Err(FilterError::TooLong { length: text.len() });
    }
    let parser = Parser::new().enable_optional_syntax(true).max_recursion_depth(MAX_NESTING);
    let (mut expression, source) =
        parser.parse_with_source_info(text).map_err(|errors| syntax_error(text, &errors))?;
    let mut walk = Walk {
        source,
        source_variables,
        lookups: Vec::new(),
        functions: Context::with_env(Arc::clone(&LIBRARY)),
        patterns: Vec::new(),
        loops: Vec::new(),
        takes_types: false,
    };
    walk.visit(&mut expression, 0)?;
    walk.refuse_nonsense(&expression)?;
    let Walk { lookups, functions, patterns, .. } = walk;
    // Without any of these, nothing in a filter makes an optional value.
    let has_optionals = text.contains('?') || text.contains("optional");
    payments::insert(&mut expression, &lookups, &patterns, has_optionals);
    Ok(Program { expression, lookups, functions })
}

impl Walk {
    fn visit(&mut self, node: &mut IdedExpr, depth: usize) -> Result<(), FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError::TooDeep { location: self.location(node.id) });
        }
        if let Some(lookup) = self.lookup(&node.expr) {
            node.expr = Expr::Ident(self.name(lookup));
            return Ok(());
        }
        let (id, depth) = (node.id, depth + 1);
        match &mut node.expr {
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
            Expr::Ident(name) => self.visit_name(name, id),
            Expr::Select(select) => match dotted(&select.operand.expr) {
                Some(name) if self.takes_types && is_type(&format!("{name}.{}", select.field)) => {
                    Ok(())
                }
                _ => self.visit(&mut select.operand, depth),
            },
            Expr::Call(call) => self.visit_call(call, id, depth),
            Expr::Comprehension(comprehension) => self.visit_loop(comprehension, depth),
            Expr::List(list) => {
                list.elements.iter_mut().try_for_each(|element| self.visit(element, depth))
            }
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&mut entry.key, depth)?;
                    self.visit(&mut entry.value, depth)
                }
                EntryExpr::StructField(field) => self.visit(&mut field.value, depth),
            }),
            Expr::Struct(made) => Err(FilterError::UnknownType {
                name: clipped(&made.type_name),
                location: self.location(id),
            }),
        }
    }

    /// A name that is no look-up: a loop's variable, or a type.
    fn visit_name(&mut self, name: &str, id: u64) -> Result<(), FilterError> {
        if self.is_of_loop(name) || (self.takes_types && is_type(name)) {
            return Ok(());
        }
        let location = self.location(id);
        if let Some(meant) = meant::hyphenated(&self.source.source, self.offset(id)) {
            let (name, meant) = (clipped(name), clipped(&meant));
            return Err(FilterError::Hyphen { name, location, meant });
        }
        let known: Vec<&str> = VARIABLES.iter().chain(self.source_variables).copied().collect();
        let known = known.join(", ");
        Err(FilterError::UndeclaredVariable { name: clipped(name), location, known })
    }

    /// Refuses what cannot be meant, once names are look-ups.
    fn refuse_nonsense(&self, expression: &IdedExpr) -> Result<(), FilterError> {
        match (Kinds { lookups: &self.lookups }).nonsense(expression) {
            None => Ok(()),
            Some(Nonsense::NoBoolean { id, kind }) => Err(FilterError::NoBoolean {
                what: kind.to_string(),
                location: self.location(id),
                fits: match kind {
                    Kind::Optional => "a default, as in body.?a.orValue(false)",
                    _ => "a comparison, as in size > 100",
                },
            }),
            Some(Nonsense::Unlike { id, left, right }) => Err(FilterError::Unlike {
                left: left.to_string(),
                right: right.to_string(),
                location: self.location(id),
            }),
        }
    }

    fn visit_call(
        &mut self,
        call: &mut CallExpr,
        id: u64,
        depth: usize,
    ) -> Result<(), FilterError> {
        let takes_types = self.takes_types;
        self.takes_types = compares_types(call);
        if call.func_name.trim_start_matches('.') == "matches" {
            self.compile_pattern(call, id)?;
        } else if let Some(name) = self.unknown_function(call) {
            let name = clipped(&name);
            return Err(FilterError::UnknownFunction { name, location: self.location(id) });
        }
        if let Some(target) = &mut call.target
            && !is_namespace(target, &call.func_name)
        {
            self.visit(target, depth)?;
        }
        call.args.iter_mut().try_for_each(|argument| self.visit(argument, depth))?;
        self.takes_types = takes_types;
        Ok(())
    }

    fn visit_loop(
        &mut self,
        parts: &mut ComprehensionExpr,
        depth: usize,
    ) -> Result<(), FilterError> {
        self.visit(&mut parts.iter_range, depth)?;
        self.visit(&mut parts.accu_init, depth)?;
        self.loops.push([parts.iter_var.clone(), parts.accu_var.clone()]);
        self.visit(&mut parts.loop_cond, depth)?;
        self.visit(&mut parts.loop_step, depth)?;
        self.visit(&mut parts.result, depth)?;
        self.loops.pop();
        Ok(())
    }

    /// Puts a function made for the pattern in place of `matches`, which would compile it each
    /// time.
    fn compile_pattern(&mut self, call: &mut CallExpr, id: u64) -> Result<(), FilterError> {
        let location = self.location(id);
        if call.target.is_none() && call.args.len() == 2 {
            call.target = Some(Box::new(call.args.remove(0)));
        }
        let [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }] = &call.args[..]
        else {
            let reason = "is not known beforehand; give one string literal".to_owned();
            return Err(FilterError::Pattern { location, reason });
        };
        let (regex, size) = pattern::compile(text.inner())
            .map_err(|reason| FilterError::Pattern { location, reason })?;
        if self.patterns.iter().sum::<usize>() + size > pattern::MAX_SIZE {
            let reason = format!(
                "takes with those before it more than {} bytes once compiled; give fewer",
                pattern::MAX_SIZE
            );
            return Err(FilterError::Pattern { location, reason });
        }
        call.func_name = pattern::function(self.patterns.len());
        call.args.clear();
        self.patterns.push(size);
        self.add_matcher(&call.func_name, regex);
        Ok(())
    }

    fn add_matcher(&mut self, name: &str, regex: Regex) {
        let matcher = move |This(text): This<Arc<String>>| regex.is_match(&text);
        self.functions
            .add_function(name, matcher)
            .expect("no function of the library begins with @");
    }

    /// The name of a function that is called here and that there is not.
    fn unknown_function(&self, call: &CallExpr) -> Option<String> {
        let name = call.func_name.as_str();
        let is_operator = name.contains(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
        let known = is_operator
            || match &call.target {
                Some(target) => has_function(name, true) || is_namespace(target, name),
                None => has_function(name, false),
            };
        (!known).then(|| call.func_name.clone())
    }

    /// What a part of the tree asks of the message, if that can be looked up as one.
    fn lookup(&self, expr: &Expr) -> Option<Lookup> {
        match expr {
            Expr::Select(select) if select.test => match self.path(&select.operand.expr)? {
                ("body", mut path) => {
                    path.push(Step::Field(select.field.clone()));
                    Some(Lookup::HasBody(BodyPath::of(path)))
                }
                ("headers", path) if path.is_empty() => {
                    Some(Lookup::HasHeader(select.field.clone()))
                }
                _ => None,
            },
            Expr::Call(call) if call.func_name == operators::OPT_SELECT => match &call.args[..] {
                [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] => {
                    let ("body", mut path) = self.path(&of.expr)? else { return None };
                    path.push(Step::Field(name.inner().to_owned()));
                    Some(Lookup::OptionalBody(BodyPath::of(path)))
                }
                _ => None,
            },
            Expr::Call(call) if call.func_name == operators::IN => match &call.args[..] {
                [IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }, of] => {
                    let headers = self.path(&of.expr)?;
                    (headers == ("headers", vec![]))
                        .then(|| Lookup::HasHeader(name.inner().to_owned()))
                }
                _ => None,
            },
            expr => {
                let (variable, path) = self.path(expr)?;
                match (variable, &path[..]) {
                    ("body", _) => Some(Lookup::Body(BodyPath::of(path))),
                    ("headers", []) => Some(Lookup::Headers),
                    ("headers", [Step::Field(name)]) => Some(Lookup::Header(name.clone())),
                    ("eventType", []) => Some(Lookup::EventType),
                    ("subject", []) => Some(Lookup::Subject),
                    ("key", []) => Some(Lookup::Key),
                    ("time", []) => Some(Lookup::Time),
                    ("size", []) => Some(Lookup::Size),
                    (name, []) => self
                        .source_variables
                        .iter()
                        .find(|held| **held == name)
                        .copied()
                        .map(Lookup::Source),
                    _ => None,
                }
            }
        }
    }

    /// The variable that a part of the tree leads from, and the fields and elements that it leads
    /// along, if all of those are known beforehand.
    fn path<'e>(&self, mut expr: &'e Expr) -> Option<(&'e str, Vec<Step>)> {
        let mut path = Vec::new();
        loop {
            match expr {
                Expr::Select(select) if !select.test => {
                    path.push(Step::Field(select.field.clone()));
                    expr = &select.operand.expr;
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [of, index] = &call.args[..] else { return None };
                    path.push(match &index.expr {
                        Expr::Literal(LiteralValue::String(name)) => {
                            Step::Field(name.inner().to_owned())
                        }
                        Expr::Literal(LiteralValue::Int(index)) => {
                            Step::Element(usize::try_from(*index.inner()).ok()?)
                        }
                        _ => return None,
                    });
                    expr = &of.expr;
                }
                Expr::Ident(name) => {
                    path.reverse();
                    // A leading dot means the message's variable, not the loop's.
                    return (!self.is_of_loop(name)).then(|| (name.trim_start_matches('.'), path));
                }
                _ => return None,
            }
        }
    }

    /// The name that stands for a look-up, the same each time it is asked for.
    fn name(&mut self, lookup: Lookup) -> String {
        let known = self.lookups.iter().position(|held| *held == lookup);
        let index = known.unwrap_or_else(|| {
            self.lookups.push(lookup);
            self.lookups.len() - 1
        });
        format!("@{index}")
    }

    fn is_of_loop(&self, name: &str) -> bool {
        self.loops.iter().flatten().any(|held| held == name)
    }

    fn location(&self, id: u64) -> SourceLocation {
        SourceLocation::of(&self.source.source, self.offset(id))
    }

    fn offset(&self, id: u64) -> usize {
        self.source.offset_for(id).map_or(0, |(start, _)| start as usize)
    }
}

/// Whether this call may have a type's name as an argument: beside the type of a value.
fn compares_types(call: &CallExpr) -> bool {
    let gives_type =
        |part: &IdedExpr| matches!(&part.expr, Expr::Call(call) if call.func_name == "type");
    matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS | operators::IN)
        && call.args.iter().any(gives_type)
}

/// What the text has from another language, or else the parser's first complaint, on one line and
/// without the tokens that it expected.
fn syntax_error(text: &str, errors: &ParseErrors) -> FilterError {
    let Some(first) = errors.errors.first() else {
        return FilterError::Syntax {
            location: SourceLocation { line: 1, column: 1 },
            reason: "not understood".to_owned(),
        };
    };
    let position = |number: isize| usize::try_from(number).unwrap_or(0).max(1);
    let location = SourceLocation { line: position(first.pos.0), column: position(first.pos.1) };
    if errors.errors.iter().any(|error| error.msg.contains("Recursion limit")) {
        return FilterError::TooDeep { location };
    }
    if let Some(meant::Slip { at, found, give }) = meant::slip(text) {
        return FilterError::OtherLanguage { found, location: SourceLocation::of(text, at), give };
    }
    let reason = first
        .msg
        .trim_start_matches("Syntax error: ")
        .split(" expecting ")
        .next()
        .unwrap_or_default();
    FilterError::Syntax { location, reason: clipped(&reason.replace("<EOF>", "the end")) }
}
