//! Why a text is not a filter.

use std::fmt;

use thiserror::Error;

use crate::metadata::one_line;

/// The longest filter, in bytes: far more than anyone writes by hand, and parsed within
/// milliseconds.
pub(super) const MAX_LENGTH: usize = 4096;

/// How many brackets, and branches of `?:`, may nest. The parser recurses for each.
pub(super) const MAX_NESTING: u16 = 32;

/// How deep the tree may be, in which `a + b + c` is three levels. The evaluation recurses for
/// each.
pub(super) const MAX_DEPTH: usize = 64;

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
    #[error("not a CEL expression at {location}: {reason}")]
    Syntax {
        /// Where the parser stopped.
        location: SourceLocation,
        /// What it says.
        reason: String,
    },
    /// Brackets, or operators in a row, beyond what is evaluated.
    #[error(
        "nests too deeply at {location}; give at most {MAX_NESTING} levels of brackets and {MAX_DEPTH} operators in a row"
    )]
    TooDeep {
        /// Where the bound is passed.
        location: SourceLocation,
    },
    /// A name that stands for nothing.
    #[error("{name:?} at {location} is not a variable; give {known}")]
    UndeclaredVariable {
        /// The name.
        name: String,
        /// Where it stands.
        location: SourceLocation,
        /// The names there are.
        known: String,
    },
    /// A `-` in a name, which CEL reads as a subtraction.
    #[error("{name:?} at {location} is not a variable; give {meant}")]
    Hyphen {
        /// What stands after the `-`.
        name: String,
        /// Where it stands.
        location: SourceLocation,
        /// The name as it is to be written.
        meant: String,
    },
    /// What another language has and CEL has not.
    #[error("{found} at {location} is not CEL; give {give}")]
    OtherLanguage {
        /// What stands there.
        found: &'static str,
        /// Where it stands.
        location: SourceLocation,
        /// What CEL has for it.
        give: &'static str,
    },
    /// Something else than a boolean would come out, so nothing would count.
    #[error("gives {what} at {location}, where true or false must come out; give {fits}")]
    NoBoolean {
        /// What it gives.
        what: String,
        /// Where.
        location: SourceLocation,
        /// What fits.
        fits: &'static str,
    },
    /// A comparison that no message fits, or every one.
    #[error(
        "compares {left} with {right} at {location}, which are never equal; give two of one kind"
    )]
    Unlike {
        /// What stands to the left.
        left: String,
        /// What stands to the right.
        right: String,
        /// Where they are compared.
        location: SourceLocation,
    },
    /// A function that there is not.
    #[error("{name:?} at {location} is not a function that filters have")]
    UnknownFunction {
        /// The name.
        name: String,
        /// Where it is called.
        location: SourceLocation,
    },
    /// A message of some type, of which there are none.
    #[error("{name:?} at {location} is not a type that can be made here")]
    UnknownType {
        /// The type's name.
        name: String,
        /// Where it stands.
        location: SourceLocation,
    },
    /// A pattern that is no regular expression, or is not known beforehand.
    #[error("the pattern of matches at {location} {reason}")]
    Pattern {
        /// Where it is asked for.
        location: SourceLocation,
        /// What is wrong with it, and what fits.
        reason: String,
    },
}

/// A location in the text of a filter, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLocation {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl SourceLocation {
    /// The location of the byte at `offset`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        SourceLocation {
            line: before.matches('\n').count() + 1,
            column: last_line.chars().count() + 1,
        }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Text for a message.
pub(super) fn clipped(text: &str) -> String {
    one_line(text, 80)
}
