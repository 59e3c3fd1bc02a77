//! Text for messages: one line of printable characters, of bounded length, whatever a tenant wrote.

/// Bytes of a value or an unknown key that a complaint shows.
pub(super) const SHOWN_BYTES: usize = 40;

/// The beginning of a text, of at most so many bytes, cut between characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The elements of a list by comma, blanks trimmed; what is empty is no element.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// A value for a message: in quotes, escaped to one line, at most 40 bytes of it.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, SHOWN_BYTES, |c| (c == '\'').then_some(c)))
}

/// A text for a message: one line of printable characters, at most `bytes` of them and the sign of
/// a cut.
pub fn one_line(text: &str, bytes: usize) -> String {
    escaped(text, bytes, |c| match c {
        '"' | '\'' | '\\' => Some(c),
        c if c.is_whitespace() => Some(' '),
        _ => None,
    })
}

fn escaped(text: &str, bytes: usize, as_is: impl Fn(char) -> Option<char>) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let fits = line.len();
        match as_is(c) {
            Some(c) => line.push(c),
            None => line.extend(c.escape_debug()),
        }
        if line.len() > bytes {
            line.truncate(fits);
            line.push('…');
            break;
        }
    }
    line
}
