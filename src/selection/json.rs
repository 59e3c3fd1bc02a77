//! Finding values in JSON text without parsing the rest.
//!
//! A value is its text. What is passed over on the way to it is read only for strings and brackets,
//! so that errors there can go unnoticed. A value that is used is checked. Where a name is given
//! twice, the first counts.
//!
//! This is our own because the safe look-ups of existing crates check all that they pass over,
//! which takes three times as long, and recurse for each bracket without a bound. Anyone can write
//! a message, and a megabyte of `[` would overflow the stack. Nothing here recurses.
//!
//! `NaN`, `Infinity` and `-Infinity` are numbers: Python and Java write and read them.
//!
//! # References
//! - RFC 8259: JSON; section 8.1: a reader may pass over a byte order mark
//! - Python's `json`, "Infinite and NaN Number Values"

use std::borrow::Cow;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of one value, without blanks before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Json<'m>(&'m str);

/// What a value is, judged by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    List,
    Object,
}

/// The members of an object, in the order of the text. `None` among them: from here on it is no
/// JSON.
#[derive(Debug, Clone)]
pub(super) struct Members<'m>(Items<'m>);

/// The elements of a list. `None` among them: from here on it is no JSON.
#[derive(Debug, Clone)]
pub(super) struct Elements<'m>(Items<'m>);

/// What stands between two brackets, with commas between.
#[derive(Debug, Clone)]
struct Items<'m> {
    cursor: Cursor<'m>,
    close: u8,
    begun: bool,
    ended: bool,
}

/// A place in the text; always between two characters.
#[derive(Debug, Clone)]
struct Cursor<'m> {
    text: &'m str,
    at: usize,
}

impl<'m> Json<'m> {
    /// The value that a text holds, with or without a byte order mark before it: .NET writes one.
    pub(super) fn of(text: &'m str) -> Self {
        Json(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii())
    }

    pub(super) fn text(self) -> &'m str {
        self.0
    }

    pub(super) fn kind(self) -> Option<Kind> {
        match self.0.as_bytes().first()? {
            b'n' => Some(Kind::Null),
            b't' | b'f' => Some(Kind::Boolean),
            b'-' | b'0'..=b'9' | b'N' | b'I' => Some(Kind::Number),
            b'"' => Some(Kind::String),
            b'[' => Some(Kind::List),
            b'{' => Some(Kind::Object),
            _ => None,
        }
    }

    /// A number as it is spelt; `None` if it is none.
    pub(super) fn number(self) -> Option<&'m str> {
        (is_number(self.0) || matches!(self.0, "NaN" | "Infinity" | "-Infinity")).then_some(self.0)
    }

    /// What a string says, unless it holds escapes.
    pub(super) fn plain_string(self) -> Option<&'m str> {
        let mut cursor = Cursor { text: self.0, at: 0 };
        cursor.expect(b'"')?;
        let is_escaped = cursor.skip_string()?;
        (!is_escaped && cursor.at == self.0.len()).then(|| &self.0[1..self.0.len() - 1])
    }

    /// What a string says; borrowed from the text unless it holds escapes.
    pub(super) fn string(self) -> Option<Cow<'m, str>> {
        let mut cursor = Cursor { text: self.0, at: 0 };
        cursor.string().filter(|_| cursor.at == self.0.len())
    }

    /// The members, if it is an object.
    pub(super) fn members(self) -> Option<Members<'m>> {
        Items::between(self.0, b'{', b'}').map(Members)
    }

    /// The elements, if it is a list.
    pub(super) fn elements(self) -> Option<Elements<'m>> {
        Items::between(self.0, b'[', b']').map(Elements)
    }
}

impl<'m> Iterator for Members<'m> {
    type Item = Option<(Cow<'m, str>, Json<'m>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|cursor| {
            let name = cursor.string()?;
            cursor.skip_blanks();
            cursor.expect(b':')?;
            cursor.skip_blanks();
            Some((name, cursor.value()?))
        })
    }
}

impl<'m> Iterator for Elements<'m> {
    type Item = Option<Json<'m>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(Cursor::value)
    }
}

impl<'m> Items<'m> {
    fn between(text: &'m str, open: u8, close: u8) -> Option<Self> {
        let mut cursor = Cursor { text, at: 0 };
        cursor.expect(open)?;
        Some(Items { cursor, close, begun: false, ended: false })
    }

    /// The next item as `read` takes it; `Some(None)`, and then no more, where the text is no JSON.
    fn next<T>(&mut self, read: impl FnOnce(&mut Cursor<'m>) -> Option<T>) -> Option<Option<T>> {
        if self.ended {
            return None;
        }
        self.cursor.skip_blanks();
        let begins = !std::mem::replace(&mut self.begun, true);
        match self.cursor.peek() {
            Some(byte) if byte == self.close => {
                self.ended = true;
                return None;
            }
            Some(b',') if !begins => {
                self.cursor.at += 1;
                self.cursor.skip_blanks();
            }
            Some(_) if begins => {}
            _ => {
                self.ended = true;
                return Some(None);
            }
        }
        let item = read(&mut self.cursor);
        self.ended = item.is_none();
        Some(item)
    }
}

impl<'m> Cursor<'m> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over one value and gives it.
    fn value(&mut self) -> Option<Json<'m>> {
        let start = self.at;
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.skip_string()?;
            }
            b'[' | b'{' => self.skip_brackets()?,
            _ => self.skip_word(),
        }
        (self.at > start).then(|| Json(&self.text[start..self.at]))
    }

    /// Passes over a string and gives what it says.
    fn string(&mut self) -> Option<Cow<'m, str>> {
        let start = self.at;
        self.expect(b'"')?;
        let escaped = self.skip_string()?;
        let quoted = &self.text[start..self.at];
        if escaped {
            return sonic_rs::from_str(quoted).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(&quoted[1..quoted.len() - 1]))
    }

    /// Passes over the rest of a string and its closing quote; whether it holds escapes.
    fn skip_string(&mut self) -> Option<bool> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            while let Some(eight) = bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
                let marks = marks(*eight, b'"') | marks(*eight, b'\\');
                self.at += if marks == 0 { 8 } else { marks.trailing_zeros() as usize / 8 };
                if marks != 0 {
                    break;
                }
            }
            match bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    // What is escaped may be a character of several bytes in text that is no JSON.
                    self.at += 1 + self.text.get(self.at + 1..)?.chars().next()?.len_utf8();
                }
                _ => self.at += 1,
            }
        }
    }

    /// Passes over a list or an object. Which bracket closes which is not looked at.
    fn skip_brackets(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => {
                    self.skip_string()?;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Passes over what a number, a boolean or null consists of.
    fn skip_word(&mut self) {
        // `I` and `N` are for Infinity and NaN; JSON has neither.
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'-' | b'+' | b'.' | b'E' | b'I' | b'N') =
            self.peek()
        {
            self.at += 1;
        }
    }
}

/// Whether a text is a number of JSON's grammar.
fn is_number(text: &str) -> bool {
    /// What follows the digits that a text begins with; `None` if it begins with none.
    fn after_digits(text: &str) -> Option<&str> {
        let after = text.trim_start_matches(|c: char| c.is_ascii_digit());
        (after.len() < text.len()).then_some(after)
    }
    fn after_number(text: &str) -> Option<&str> {
        let whole = text.strip_prefix('-').unwrap_or(text);
        let mut rest = match whole.strip_prefix('0') {
            Some(rest) => rest,
            None => after_digits(whole)?,
        };
        if let Some(fraction) = rest.strip_prefix('.') {
            rest = after_digits(fraction)?;
        }
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            rest = after_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))?;
        }
        Some(rest)
    }
    after_number(text).is_some_and(str::is_empty)
}

/// Marks the top bit of each byte that is `wanted`. Nothing is marked below the first such byte;
/// marks above it may be wrong.
fn marks(bytes: [u8; 8], wanted: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let differences = u64::from_le_bytes(bytes) ^ (ONES * u64::from(wanted));
    differences.wrapping_sub(ONES) & !differences & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(text: &str) -> Option<Vec<(String, String)>> {
        let members = Json::of(text).members()?;
        members
            .map(|member| member.map(|(name, json)| (name.into_owned(), json.text().to_owned())))
            .collect()
    }

    fn elements(text: &str) -> Option<Vec<&str>> {
        Json::of(text).elements()?.map(|element| element.map(Json::text)).collect()
    }

    #[test]
    fn members_and_elements_are_those_of_the_text() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(members(" {} "), Some(vec![]));
        assert_eq!(
            members(
                "{\"a\" : 1 ,\n\"b\":{\"}\":[\"]\\\"\"]}, \"\\u0063\":\"long enough, \\\\\"} trailing"
            ),
            Some(vec![
                pair("a", "1"),
                pair("b", r#"{"}":["]\""]}"#),
                pair("c", r#""long enough, \\""#)
            ])
        );
        assert_eq!(elements("[ ]"), Some(vec![]));
        assert_eq!(
            elements("[1, [2,[]] ,\"]\",-1.5e3,null]"),
            Some(vec!["1", "[2,[]]", "\"]\"", "-1.5e3", "null"])
        );
        assert_eq!(
            elements("\u{feff} [NaN,Infinity ,-Infinity]"),
            Some(vec!["NaN", "Infinity", "-Infinity"])
        );
    }

    #[test]
    fn text_that_is_no_json_is_told() {
        for text in [
            "",
            "[1]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1 2}",
            "{a:1}",
            "{\"a\":\"",
            "{\"a\":[",
            "{\"a\":\"\\",
            "{\"\\ud800\":1}",
            "{\"a\":1]",
            "\"{}\"",
            "{\"a\":?}",
        ] {
            assert_eq!(members(text), None, "{text}");
        }
        for text in ["{}", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[\"é\\é"] {
            assert_eq!(elements(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_one_of_json_s_or_none_at_all() {
        for text in ["0", "-0", "12", "1.50", "1e9", "-1.5E-3", "NaN", "Infinity", "-Infinity"] {
            assert_eq!(Json::of(text).number(), Some(text));
        }
        for text in ["", "-", "01", "1.", ".5", "1e", "1e+", "1a", "+1", "1-2", "-NaN", "Nan", "In"]
        {
            assert_eq!(Json::of(text).number(), None, "{text}");
        }
    }

    #[test]
    fn nesting_without_end_is_passed_over() {
        let text = format!("[{}0{},1]", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(elements(&text).and_then(|elements| elements.last().copied()), Some("1"));
        assert_eq!(elements(&"[".repeat(1 << 20)), None);
    }

    proptest! {
        #[test]
        fn what_serde_reads_is_read_alike(pairs in proptest::collection::vec((".{0,12}", ".{0,20}", any::<i64>()), 0..5)) {
            let value: Vec<_> = pairs.iter().map(|(a, b, n)| serde_json::json!({ a: [b, n, { b: a }, null] })).collect();
            let text = serde_json::to_string_pretty(&value).expect("a value has a text");
            let read: Vec<serde_json::Value> = elements(&text).expect("a list").into_iter()
                .map(|text| serde_json::from_str(text).expect("JSON")).collect();
            prop_assert_eq!(&read, &value);
            for (element, (name, ..)) in elements(&text).expect("a list").iter().zip(&pairs) {
                prop_assert_eq!(&members(element).expect("an object")[0].0, name);
            }
        }

        #[test]
        fn a_number_is_what_serde_takes_for_one(text in "-?[0-9.eE+-]{0,6}") {
            let serde = serde_json::from_str::<serde_json::Number>(&text);
            // Serde refuses what no f64 holds, such as 1e999.
            prop_assume!(serde.is_ok() || !text.contains(['e', 'E']));
            prop_assert_eq!(Json::of(&text).number().is_some(), serde.is_ok());
        }

        #[test]
        fn a_string_says_what_serde_says(text in ".{0,40}") {
            let quoted = serde_json::to_string(&text).expect("a string has a text");
            prop_assert_eq!(Json::of(&quoted).string(), Some(Cow::Borrowed(&*text)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}\",:\\\\ 1aé]{0,40}") {
            let _read_or_refused = (members(&text), elements(&text), Json::of(&text).string());
        }
    }
}
