//! What was meant by a text that is not CEL: words of SQL, JSONPath and other languages that users
//! bring along, and what CEL has instead.

/// Something that CEL does not have, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slip {
    /// Where it stands in the text, in bytes.
    pub(super) at: usize,
    /// What stands there.
    pub(super) found: &'static str,
    /// What fits.
    pub(super) give: &'static str,
}

/// Signs, the longest first where one begins with another.
const SIGNS: &[(&str, &str)] = &[
    ("===", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("=~", "matches, as in key.matches('^a')"),
    ("?.", "has(body.a) && body.a == 1, or body.?a.orValue(0)"),
    ("[*]", "exists, as in body.items.exists(item, item.kind == 'a'), or one element as [0]"),
    ("“", "straight quotes"),
    ("”", "straight quotes"),
    ("‘", "straight quotes"),
    ("’", "straight quotes"),
    ("$", "body, as in body.amount"),
];

/// Signs of CEL that contain a sign of the next table.
const SIGNS_OF_CEL: &[&str] = &["==", "!=", "<=", ">=", "&&", "||"];

/// Signs that are parts of CEL's own.
const PARTS: &[(&str, &str)] = &[("=", "=="), ("&", "&&"), ("|", "||")];

/// Words, in any case.
const WORDS: &[(&str, &str)] = &[
    ("and", "&&"),
    ("or", "||"),
    ("not", "!, as in !(eventType in ['a'])"),
    ("is", "== null, or has(body.a)"),
    ("like", "contains, startsWith or matches, as in key.contains('a')"),
    ("between", ">= and <= with && between"),
];

/// The first thing in `text` that another language has and CEL has not.
pub(super) fn slip(text: &str) -> Option<Slip> {
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        if matches!(next, '\'' | '"') {
            at += literal(rest, next);
            continue;
        }
        if is_of_word(next) {
            let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            // A field may have any name, and so may a function.
            let is_name = text[..at].ends_with('.') || rest[end..].starts_with(['.', '(']);
            let known = WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
            if let Some((found, give)) = known.filter(|_| !is_name) {
                return Some(Slip { at, found, give });
            }
            at += end;
            continue;
        }
        let found = |signs: &[(&'static str, &'static str)]| {
            let known = signs.iter().find(|(known, _)| rest.starts_with(known))?;
            Some(Slip { at, found: known.0, give: known.1 })
        };
        if let Some(slip) = found(SIGNS) {
            return Some(slip);
        }
        if let Some(sign) = SIGNS_OF_CEL.iter().find(|sign| rest.starts_with(**sign)) {
            at += sign.len();
            continue;
        }
        if let Some(slip) = found(PARTS) {
            return Some(slip);
        }
        at += next.len_utf8();
    }
    None
}

/// The name with a `-` in it that was meant where CEL reads a subtraction, as it is to be written:
/// `headers['x-region']` for `headers.x-region`. `at` is where the part after the `-` stands.
pub(super) fn hyphenated(text: &str, at: usize) -> Option<String> {
    let (before, after) = text.split_at_checked(at)?;
    let of_path = |c: char| is_of_word(c) || matches!(c, '-' | '.');
    let start = before
        .rfind(|c| !of_path(c))
        .map_or(0, |last| last + before[last..].chars().next().map_or(0, char::len_utf8));
    let end = after.find(|c| !(is_of_word(c) || c == '-')).unwrap_or(after.len());
    let path = &text[start..at + end];
    let (parent, name) = path.rsplit_once('.')?;
    let known = ["headers", "body", "properties"];
    let is_known = known.contains(&parent.split('.').next().unwrap_or_default());
    // A `-` that is meant stands beside a number, or has blanks around it.
    let is_name = name.contains('-') && !parent.contains('-') && !name.starts_with('-');
    (is_known && is_name).then(|| format!("{parent}['{name}']"))
}

/// Bytes of the literal that `rest` begins with, up to its closing quote or to the end.
fn literal(rest: &str, quote: char) -> usize {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    rest.len()
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_languages_have_is_found_outside_of_literals() {
        let rows = [
            ("body.a = 1", Some((7, "=", "=="))),
            ("body.a == 1 AND body.b == 2", Some((12, "and", "&&"))),
            ("body.a == 1 or true", Some((12, "or", "||"))),
            ("body.a === 1", Some((7, "===", "=="))),
            ("body.a <> 1", Some((7, "<>", "!="))),
            ("body.a & 1", Some((7, "&", "&&"))),
            ("body.a == 'x = 1 and y", None),
            ("body.and == 1 && or.not == 2 && body.a >= 3 || and(1)", None),
            (r"'it\'s = ' == key", None),
            ("“a” == key", Some((0, "“", "straight quotes"))),
            ("é = 1", Some((3, "=", "=="))),
            ("'é' = key", Some((5, "=", "=="))),
            ("", None),
        ];
        for (text, expected) in rows {
            let found = slip(text).map(|slip| (slip.at, slip.found, slip.give));
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(slip("body.a?.b == 1").map(|slip| slip.found), Some("?."));
        assert_eq!(slip("body.items[*].a == 1").map(|slip| slip.found), Some("[*]"));
    }

    #[test]
    fn a_name_with_a_hyphen_is_told_from_a_subtraction() {
        let rows = [
            ("headers.x-region == 'eu'", "region", Some("headers['x-region']")),
            ("true && headers.x-request-id == 'a'", "id", Some("headers['x-request-id']")),
            ("headers.x-request-id == 'a'", "request", Some("headers['x-request-id']")),
            ("body.a.x-y > 1", "y", Some("body.a['x-y']")),
            ("headers.x - region > 1", "region", None),
            ("other.x-region > 1", "region", None),
            ("headers-region", "region", None),
            ("é.x-region", "region", None),
        ];
        for (text, part, expected) in rows {
            let at = text.rfind(part).expect("a part of the text");
            assert_eq!(hyphenated(text, at).as_deref(), expected, "{text}");
        }
        assert_eq!(hyphenated("é", 1), None);
        assert_eq!(hyphenated("a", 9), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_through(text in "\\PC{0,40}", at in 0..60_usize) {
            if let Some(slip) = slip(&text) {
                proptest::prop_assert!(text.is_char_boundary(slip.at));
            }
            hyphenated(&text, at);
        }
    }
}
