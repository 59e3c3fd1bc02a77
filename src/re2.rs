//! Regular expressions in RE2's syntax, which Go's programs and CEL have: the regex crate's but for quotes (`\Q…\E`), characters in a
//! class, and classes that are of ASCII alone.
//!
//! # References
//! - <https://github.com/google/re2/wiki/Syntax>
//! - CEL's language definition, `matches`

/// The pattern in the regex crate's syntax, with the same meaning. What is no pattern is none there either.
pub(crate) fn spelt_out(pattern: &str) -> String {
    let mut spelt = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix(r"\Q") {
            let (literal, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            spelt.push_str(&regex::escape(literal));
            rest = after;
        } else if c == '[' {
            rest = class_spelt_out(rest, &mut spelt);
        } else if let Some(ascii) = rest.get(..2).and_then(of_ascii) {
            spelt.push_str(ascii);
            rest = &rest[2..];
        } else {
            let (plain, after) = rest.split_at(character(rest));
            spelt.push_str(plain);
            rest = after;
        }
    }
    spelt
}

/// What RE2 has of ASCII alone, and the regex crate of all of Unicode unless it is told so.
fn of_ascii(escaped: &str) -> Option<&'static str> {
    Some(match escaped {
        r"\d" => "[0-9]",
        r"\D" => "[^0-9]",
        r"\s" => r"[\t\n\f\r ]",
        r"\S" => r"[^\t\n\f\r ]",
        r"\w" => "[0-9A-Za-z_]",
        r"\W" => "[^0-9A-Za-z_]",
        r"\b" => r"(?-u:\b)",
        _ => return None,
    })
}

/// The same of the class that a text begins with; what comes after it.
fn class_spelt_out<'a>(class: &'a str, spelt: &mut String) -> &'a str {
    let open = if class.starts_with("[^") { 2 } else { 1 };
    spelt.push_str(&class[..open]);
    let mut rest = &class[open..];
    let mut first = true;
    loop {
        if rest.is_empty() || (rest.starts_with(']') && !first) {
            let (close, after) = rest.split_at(rest.len().min(1));
            spelt.push_str(close);
            return after;
        }
        first = false;
        if let Some(class) = rest.get(..2).and_then(of_ascii).filter(|it| it.starts_with('[')) {
            spelt.push_str(class);
            rest = &rest[2..];
            continue;
        }
        let named = rest.strip_prefix("[:").and_then(|name| name.find(":]"));
        let several = named.map(|length| length + 4).or_else(|| {
            let escaped = rest.strip_prefix('\\')?.chars().next()?;
            match escaped {
                'p' | 'P' if rest[2..].starts_with('{') => rest.find('}').map(|end| end + 1),
                'p' | 'P' => Some(2 + rest[2..].chars().next()?.len_utf8()),
                _ => None,
            }
        });
        if let Some(several) = several {
            spelt.push_str(&rest[..several]);
            rest = &rest[several..];
            continue;
        }
        rest = character_spelt_out(rest, spelt);
        // A hyphen makes a range unless it comes last.
        if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
            spelt.push('-');
            rest = character_spelt_out(&rest[1..], spelt);
        }
    }
}

/// The same of the one character of a class that a text begins with.
fn character_spelt_out<'a>(text: &'a str, spelt: &mut String) -> &'a str {
    let (character, after) = text.split_at(character(text));
    if matches!(character, "[" | "]" | "-" | "&" | "~" | "^") {
        spelt.push('\\');
    }
    spelt.push_str(character);
    after
}

/// Bytes of the character that a text begins with, be it escaped or not.
fn character(text: &str) -> usize {
    let length = |text: &str| text.chars().next().map_or(0, char::len_utf8);
    match text.strip_prefix('\\') {
        Some(braced) if braced.starts_with("x{") => text.find('}').map_or(1, |end| end + 1),
        Some(hex) if hex.starts_with('x') => text.len().min(4),
        Some(escaped) => 1 + length(escaped),
        None => length(text),
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn classes_are_of_ascii_alone() {
        for (pattern, text, is_match) in [
            (r"^\w+$", "Größe", false),
            (r"^[\w-]+$", "orders-eu", true),
            (r"^[^\W\d]+$", "orders", true),
            (r"^[^\W\d]+$", "orders1", false),
            (r"^\W$", "ß", true),
            (r"^\d$", "٣", false),
            (r"^[\D]$", "٣", true),
            (r"^\s$", "\u{a0}", false),
            (r"^\S\s\S$", "a\tb", true),
            (r"\bfoo\b", "a foo b", true),
            (r"\bfoo\b", "afoo", false),
            (r"^[[:alpha:]\d]+$", "a1", true),
            (r"^.$", "ß", true),
            (r"^\\w$", r"\w", true),
            (r"^\Q\w\E$", r"\w", true),
        ] {
            let spelt = Regex::new(&spelt_out(pattern)).expect(pattern);
            assert_eq!(spelt.is_match(text), is_match, "{pattern} in {text}");
        }
    }
}
