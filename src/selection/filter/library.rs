//! The functions and types that filters have.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use cel::{Context, Env, ExecutionError, Value, extensions};

use super::meter;

/// CEL's standard library, and its extension for strings.
pub(super) static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut library = Env::stdlib();
    library.add_extension(extensions::strings).expect("the standard library has none of its names");
    meter::declare(&mut library).expect("no other function's name begins with @");
    Arc::new(library)
});

/// What of the extension cannot be called: `indexOf` compares each place with a whole text, and the
/// others give more than they are given. What is left takes a time that grows with its text alone.
const REFUSED: [&str; 7] =
    ["format", "indexOf", "join", "lastIndexOf", "quote", "replace", "reverse"];

/// The names that a part of the tree spells with dots between, such as `google.protobuf.Timestamp`.
pub(super) fn dotted(mut expr: &Expr) -> Option<String> {
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

pub(super) fn is_type(name: &str) -> bool {
    LIBRARY.types().find_type(name.trim_start_matches('.')).is_some()
}

/// Whether `target` is no value but the first part of a function's name, as in `optional.of(1)`.
pub(super) fn is_namespace(target: &IdedExpr, function: &str) -> bool {
    dotted(&target.expr)
        .is_some_and(|namespace| has_function(&format!("{namespace}.{function}"), false))
}

/// Whether filters have a function of this name, to be called on a value if `member`.
///
/// The library has no list of its functions, but what it says of a call that fits none tells.
pub(super) fn has_function(name: &str, member: bool) -> bool {
    if REFUSED.contains(&name) {
        return false;
    }
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
