//! From the text of a filter to an expression whose names are look-ups.
//!
//! The parser gives a tree; one walk over it finds what is asked of a message, puts a name of our own
//! in place of each such part (`@0`, `@1`, …), and refuses what is undeclared or could become expensive.

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::operators;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo,
};
use cel::extractors::This;
use cel::parser::{ParseErrors, Parser};
use cel::{Context, Env, ExecutionError, Value, extensions};
use regex::Regex;
use thiserror::Error;

use super::evaluate::{BUILT, MAX_LOOKED_UP};
use super::kind::{Kind, Kinds, Nonsense};
use super::meant;
use crate::re2;
use crate::selection::body::{BodyPath, Step};

/// The longest filter, in bytes: far more than anyone writes by hand, and parsed within milliseconds.
const MAX_LENGTH: usize = 4096;

/// How many brackets, and branches of `?:`, the parser follows into each other. It recurses for each.
const MAX_NESTING: u16 = 32;

/// How deep the tree may be, in which `a + b + c` is three levels. The evaluation recurses for each.
const MAX_DEPTH: usize = 64;

/// How large a filter's patterns may be together once compiled, in bytes; `.{1,100}` fits. At worst each byte of a text takes time that grows
/// with it.
const MAX_PATTERNS_SIZE: usize = 256 << 10;

/// How much of a pattern takes as long, at worst, as looking its text up.
const PATTERN_PASS: usize = 256;

/// What every message has.
const VARIABLES: [&str; 7] = ["eventType", "subject", "key", "headers", "body", "time", "size"];

/// CEL's standard library, and its extension for strings.
static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut library = Env::stdlib();
    library.add_extension(extensions::strings).expect("the standard library has none of its names");
    Arc::new(library)
});

/// What of the extension may be called: what takes a time that grows with its text alone. `indexOf` compares
/// each place with a whole text, and `join`, `replace` and `format` give more than they are given.
const STRING_FUNCTIONS: [&str; 6] =
    ["charAt", "lowerAscii", "upperAscii", "split", "substring", "trim"];
const OTHER_STRING_FUNCTIONS: [&str; 7] =
    ["format", "indexOf", "join", "lastIndexOf", "quote", "replace", "reverse"];

/// How often a text is gone over by a function of the extension, as its characters are taken apart.
const STRING_PASS: usize = 4;

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// Longer than any filter may be.
    #[error("{length} bytes are too long for a filter; give at most {MAX_LENGTH}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not CEL.
    #[error("not a CEL expression at {place}: {reason}")]
    Syntax {
        /// Where the parser stopped.
        place: Place,
        /// What it says.
        reason: String,
    },
    /// Brackets, or operators in a row, beyond what is evaluated.
    #[error(
        "nests too deeply at {place}; give at most {MAX_NESTING} levels of brackets and {MAX_DEPTH} operators in a row"
    )]
    TooDeep {
        /// Where the bound is passed.
        place: Place,
    },
    /// A name that stands for nothing.
    #[error("{name:?} at {place} is not a variable; give {known}")]
    UndeclaredVariable {
        /// The name.
        name: String,
        /// Where it stands.
        place: Place,
        /// The names there are.
        known: String,
    },
    /// A `-` in a name, which CEL reads as a subtraction.
    #[error("{name:?} at {place} is not a variable; give {meant}")]
    Hyphen {
        /// What stands after the `-`.
        name: String,
        /// Where it stands.
        place: Place,
        /// The name as it is to be written.
        meant: String,
    },
    /// What another language has and CEL has not.
    #[error("{found} at {place} is not CEL; give {give}")]
    OtherLanguage {
        /// What stands there.
        found: &'static str,
        /// Where it stands.
        place: Place,
        /// What CEL has for it.
        give: &'static str,
    },
    /// Something else than a boolean would come out, so nothing would count.
    #[error("gives {what} at {place}, where true or false must come out; give {fits}")]
    NoBoolean {
        /// What it gives.
        what: String,
        /// Where.
        place: Place,
        /// What fits.
        fits: &'static str,
    },
    /// A comparison that no message fits, or every one.
    #[error("compares {left} with {right} at {place}, which are never equal; give two of one kind")]
    Unlike {
        /// What stands to the left.
        left: String,
        /// What stands to the right.
        right: String,
        /// Where they are compared.
        place: Place,
    },
    /// A function that there is not.
    #[error("{name:?} at {place} is not a function that filters have")]
    UnknownFunction {
        /// The name.
        name: String,
        /// Where it is called.
        place: Place,
    },
    /// A message of some type, of which there are none.
    #[error("{name:?} at {place} is not a type that can be made here")]
    UnknownType {
        /// The type's name.
        name: String,
        /// Where it stands.
        place: Place,
    },
    /// A loop in a loop, or over the result of one.
    #[error(
        "a loop at {place} stands in another; give all, exists, exists_one, map and filter only side by side"
    )]
    NestedLoop {
        /// Where the inner one stands.
        place: Place,
    },
    /// A loop over a list in the filter itself that would be too expensive.
    #[error("a loop at {place} does too much for a list spelt out; give a shorter one")]
    LongLoop {
        /// Where it stands.
        place: Place,
    },
    /// A pattern that is no regular expression, or is not known beforehand.
    #[error("the pattern of matches at {place} {reason}")]
    Pattern {
        /// Where it is asked for.
        place: Place,
        /// What is wrong with it, and what fits.
        reason: String,
    },
}

/// A place in the text of a filter, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
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

/// A compiled filter.
pub(super) struct Program {
    /// Its names are `@` and the index of a look-up, and variables of loops.
    pub(super) expression: IdedExpr,
    /// With how often what is looked up is gone over: by patterns, and by each `+` that copies it.
    pub(super) lookups: Vec<(Lookup, usize)>,
    /// How many parts of the tree the largest loop evaluates for each element; 1 without a loop.
    pub(super) loop_size: usize,
    /// What loops over lists in the filter itself cost, as bytes looked up.
    pub(super) spelt_out: usize,
    /// The functions: the standard library, and one for each pattern.
    pub(super) functions: Context<'static, 'static>,
}

/// What the walk over the tree has gathered so far.
struct Walk {
    source: SourceInfo,
    source_variables: &'static [&'static str],
    lookups: Vec<(Lookup, usize)>,
    functions: Context<'static, 'static>,
    patterns: usize,
    patterns_size: usize,
    /// How often the value of the part at hand is gone over.
    passes: usize,
    /// The names that the loop around declares: its variable, and what it gathers. None yet in its range.
    the_loop: Option<Vec<String>>,
    loop_size: usize,
    largest_loop: usize,
    spelt_out: usize,
    /// Whether the part at hand is compared with the type of a value, so that a type's name makes sense.
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
        patterns: 0,
        patterns_size: 0,
        passes: 1,
        the_loop: None,
        loop_size: 0,
        largest_loop: 1,
        spelt_out: 0,
        takes_types: false,
    };
    walk.visit(&mut expression, 0)?;
    walk.refuse_nonsense(&expression)?;
    let Walk { lookups, functions, largest_loop: loop_size, spelt_out, .. } = walk;
    Ok(Program { expression, lookups, loop_size, spelt_out, functions })
}

impl Walk {
    fn visit(&mut self, node: &mut IdedExpr, depth: usize) -> Result<(), FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError::TooDeep { place: self.place(node.id) });
        }
        self.add(weight(&node.expr));
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
            Expr::Comprehension(comprehension) => self.visit_loop(comprehension, id, depth),
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
                place: self.place(id),
            }),
        }
    }

    /// A name that is no look-up: a variable of the loop, or a type.
    fn visit_name(&mut self, name: &str, id: u64) -> Result<(), FilterError> {
        if self.is_of_loop(name) || (self.takes_types && is_type(name)) {
            return Ok(());
        }
        let place = self.place(id);
        if let Some(meant) = meant::hyphenated(&self.source.source, self.offset(id)) {
            let (name, meant) = (clipped(name), clipped(&meant));
            return Err(FilterError::Hyphen { name, place, meant });
        }
        let known: Vec<&str> = VARIABLES.iter().chain(self.source_variables).copied().collect();
        let known = known.join(", ");
        Err(FilterError::UndeclaredVariable { name: clipped(name), place, known })
    }

    /// Refuses what could never be meant, once names are look-ups.
    fn refuse_nonsense(&self, expression: &IdedExpr) -> Result<(), FilterError> {
        match (Kinds { lookups: &self.lookups }).nonsense(expression) {
            None => Ok(()),
            Some(Nonsense::NoBoolean { id, kind }) => Err(FilterError::NoBoolean {
                what: kind.to_string(),
                place: self.place(id),
                fits: match kind {
                    Kind::Optional => "a default, as in body.?a.orValue(false)",
                    _ => "a comparison, as in size > 100",
                },
            }),
            Some(Nonsense::Unlike { id, left, right }) => Err(FilterError::Unlike {
                left: left.to_string(),
                right: right.to_string(),
                place: self.place(id),
            }),
        }
    }

    fn visit_call(
        &mut self,
        call: &mut CallExpr,
        id: u64,
        depth: usize,
    ) -> Result<(), FilterError> {
        let (passes, takes_types) = (self.passes, self.takes_types);
        self.takes_types = compares_types(call);
        if call.func_name.trim_start_matches('.') == "matches" {
            let size = self.compile_pattern(call, id)?;
            self.passes = passes.saturating_mul((size / PATTERN_PASS).max(1));
            // An empty text takes its time too.
            self.add(1);
        } else if call.func_name == operators::ADD {
            self.passes = passes.saturating_add(1);
        } else if call.func_name == "split" && call.target.is_some() {
            // Each character may become a text of its own.
            self.passes = passes.saturating_mul(BUILT);
        } else if STRING_FUNCTIONS.contains(&call.func_name.as_str()) && call.target.is_some() {
            self.passes = passes.saturating_add(STRING_PASS);
        } else if let Some(name) = self.unknown_function(call) {
            return Err(FilterError::UnknownFunction {
                name: clipped(&name),
                place: self.place(id),
            });
        }
        if let Some(target) = &mut call.target
            && !is_namespace(target, &call.func_name)
        {
            self.visit(target, depth)?;
        }
        call.args.iter_mut().try_for_each(|argument| self.visit(argument, depth))?;
        (self.passes, self.takes_types) = (passes, takes_types);
        Ok(())
    }

    fn visit_loop(
        &mut self,
        parts: &mut ComprehensionExpr,
        id: u64,
        depth: usize,
    ) -> Result<(), FilterError> {
        if self.the_loop.is_some() {
            return Err(FilterError::NestedLoop { place: self.place(id) });
        }
        // In its range a loop counts as one already, so that none can work on the result of another.
        self.the_loop = Some(Vec::new());
        self.loop_size = 0;
        self.visit(&mut parts.iter_range, depth)?;
        // No more elements than this are spelt out; those looked up are paid for when they are.
        let range = self.loop_size;
        self.visit(&mut parts.accu_init, depth)?;
        self.the_loop = Some(vec![parts.iter_var.clone(), parts.accu_var.clone()]);
        self.loop_size = 0;
        self.visit(&mut parts.loop_cond, depth)?;
        self.visit(&mut parts.loop_step, depth)?;
        self.visit(&mut parts.result, depth)?;
        self.largest_loop = self.largest_loop.max(self.loop_size);
        let cost = range.saturating_mul(self.loop_size).saturating_mul(BUILT);
        self.spelt_out = self.spelt_out.saturating_add(cost);
        if self.spelt_out > MAX_LOOKED_UP {
            return Err(FilterError::LongLoop { place: self.place(id) });
        }
        self.the_loop = None;
        Ok(())
    }

    /// Counts a part of a loop.
    fn add(&mut self, weight: usize) {
        self.loop_size = self.loop_size.saturating_add(weight.saturating_mul(self.passes));
    }

    /// Puts a function made for the pattern in place of `matches`, which would compile it each time; gives
    /// the pattern's size.
    fn compile_pattern(&mut self, call: &mut CallExpr, id: u64) -> Result<usize, FilterError> {
        let place = self.place(id);
        if call.target.is_none() && call.args.len() == 2 {
            call.target = Some(Box::new(call.args.remove(0)));
        }
        let [IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. }] = &call.args[..]
        else {
            let reason = "is not known beforehand; give one string literal".to_owned();
            return Err(FilterError::Pattern { place, reason });
        };
        let (regex, size) =
            sized(pattern.inner()).map_err(|reason| FilterError::Pattern { place, reason })?;
        self.patterns_size += size;
        if self.patterns_size > MAX_PATTERNS_SIZE {
            let reason = format!(
                "takes with those before it more than {MAX_PATTERNS_SIZE} bytes once compiled; give fewer"
            );
            return Err(FilterError::Pattern { place, reason });
        }
        call.func_name = format!("@matches{}", self.patterns);
        call.args.clear();
        self.patterns += 1;
        self.add_matcher(&call.func_name, regex);
        Ok(size)
    }

    fn add_matcher(&mut self, name: &str, regex: Regex) {
        let matcher = move |This(text): This<Arc<String>>| regex.is_match(&text);
        self.functions
            .add_function(name, matcher)
            .expect("no function of the library begins with @");
    }

    /// The name of a function that is called here and that there is not.
    fn unknown_function(&self, call: &CallExpr) -> Option<String> {
        let is_operator =
            call.func_name.contains(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
        let is_refused = OTHER_STRING_FUNCTIONS.contains(&call.func_name.as_str());
        let known = is_operator
            || !is_refused
                && match &call.target {
                    Some(target) => {
                        has_function(&call.func_name, true) || is_namespace(target, &call.func_name)
                    }
                    None => has_function(&call.func_name, false),
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

    /// The variable that a part of the tree leads from, and the fields and elements that it leads along,
    /// if all of those are known beforehand.
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
                    // A leading dot says: not the loop's variable, the message's.
                    return (!self.is_of_loop(name)).then(|| (name.trim_start_matches('.'), path));
                }
                _ => return None,
            }
        }
    }

    /// The name that stands for a look-up, the same each time it is asked for.
    fn name(&mut self, lookup: Lookup) -> String {
        let asked = (lookup, self.passes);
        let known = self.lookups.iter().position(|held| *held == asked);
        let index = known.unwrap_or_else(|| {
            self.lookups.push(asked);
            self.lookups.len() - 1
        });
        format!("@{index}")
    }

    fn is_of_loop(&self, name: &str) -> bool {
        self.the_loop.iter().flatten().any(|held| held == name)
    }

    fn place(&self, id: u64) -> Place {
        Place::of(&self.source.source, self.offset(id))
    }

    fn offset(&self, id: u64) -> usize {
        self.source.offset_for(id).map_or(0, |(start, _)| start as usize)
    }
}

impl Place {
    /// The place of the byte at `offset`.
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        Place { line: before.matches('\n').count() + 1, column: last_line.chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What a part of the tree, those within it aside, adds to the cost of evaluating it once.
fn weight(expr: &Expr) -> usize {
    match expr {
        Expr::Literal(LiteralValue::String(text)) => 1 + text.inner().len() / 16,
        Expr::Literal(LiteralValue::Bytes(bytes)) => 1 + bytes.inner().len() / 16,
        _ => 1,
    }
}

/// The names that a part of the tree spells with dots between, such as `google.protobuf.Timestamp`.
fn dotted(mut expr: &Expr) -> Option<String> {
    let mut names = Vec::new();
    while let Expr::Select(select) = expr {
        names.push(select.field.as_str());
        expr = &select.operand.expr;
    }
    let Expr::Ident(first) = expr else { return None };
    names.push(first.trim_start_matches('.'));
    names.reverse();
    Some(names.join("."))
}

/// Whether a type's name makes sense in what is called so: beside the type of a value.
fn compares_types(call: &CallExpr) -> bool {
    let gives_type =
        |part: &IdedExpr| matches!(&part.expr, Expr::Call(call) if call.func_name == "type");
    matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS | operators::IN)
        && call.args.iter().any(gives_type)
}

fn is_type(name: &str) -> bool {
    LIBRARY.types().find_type(name.trim_start_matches('.')).is_some()
}

/// Whether `target` is no value but the first part of a function's name, as in `optional.of(1)`.
fn is_namespace(target: &IdedExpr, function: &str) -> bool {
    dotted(&target.expr)
        .is_some_and(|namespace| has_function(&format!("{namespace}.{function}"), false))
}

/// Whether the library has a function of this name, to be called on a value if `member`.
///
/// The library has no list of its functions, but what it says of a call that fits none tells.
fn has_function(name: &str, member: bool) -> bool {
    let target = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) };
    let call = CallExpr {
        func_name: name.to_owned(),
        target: member.then(|| Box::new(target)),
        args: Vec::new(),
    };
    let call = IdedExpr { id: 0, expr: Expr::Call(call) };
    let library = Context::with_env(Arc::clone(&LIBRARY));
    let answer = Value::resolve_val(&call, &library);
    !matches!(answer, Err(ExecutionError::UndeclaredReference(_)))
}

/// What another language has in the text, or else the first of the parser's complaints, on one line and
/// without the tokens it would have liked.
fn syntax_error(text: &str, errors: &ParseErrors) -> FilterError {
    let Some(first) = errors.errors.first() else {
        return FilterError::Syntax {
            place: Place { line: 1, column: 1 },
            reason: "not understood".to_owned(),
        };
    };
    let position = |number: isize| usize::try_from(number).unwrap_or(0).max(1);
    let place = Place { line: position(first.pos.0), column: position(first.pos.1) };
    if errors.errors.iter().any(|error| error.msg.contains("Recursion limit")) {
        return FilterError::TooDeep { place };
    }
    if let Some(meant::Slip { at, found, give }) = meant::slip(text) {
        return FilterError::OtherLanguage { found, place: Place::of(text, at), give };
    }
    let reason = first
        .msg
        .trim_start_matches("Syntax error: ")
        .split(" expecting ")
        .next()
        .unwrap_or_default();
    FilterError::Syntax { place, reason: clipped(&reason.replace("<EOF>", "the end")) }
}

/// A pattern and how large it is once compiled, as a power of two: the regex crate only says whether it
/// is larger than a limit.
fn sized(pattern: &str) -> Result<(Regex, usize), String> {
    let not_one = |reason: &str| format!("is not a regular expression: {}", clipped(reason));
    let spelt = re2::translated(pattern).map_err(|error| not_one(&error.to_string()))?;
    let mut limit = PATTERN_PASS;
    loop {
        // What is kept of past texts is for each thread, and of use only as far as it goes beyond the pattern.
        let kept = limit.saturating_mul(4).max(MAX_PATTERNS_SIZE);
        let compiled = spelt.compiled(|builder| {
            builder.size_limit(limit).dfa_size_limit(kept);
        });
        match compiled {
            Ok(regex) => return Ok((regex, limit)),
            Err(regex::Error::CompiledTooBig(_)) if limit < MAX_PATTERNS_SIZE => limit *= 2,
            Err(regex::Error::CompiledTooBig(_)) => {
                return Err(format!(
                    "takes more than {limit} bytes once compiled; give a shorter one"
                ));
            }
            Err(_) => return Err(not_one("not understood")),
        }
    }
}

/// Text for a message: one line and not long.
fn clipped(text: &str) -> String {
    let one_line = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(80).map(one_line).collect()
}
