//! The forms in which other tools write event types and places, told from those that are meant
//! here.
//!
//! A list as YAML writes it, or a path as JSONPath has it, would be one odd name that no message
//! ever has: the trigger would be accepted and count nothing. Such a text is refused with the one
//! to write. A type that really looks so can be had by a filter: `eventType == '[a]'`.

use std::borrow::Cow;

use crate::metadata::{one_line, quoted};
use crate::selection::{EventTypeFrom, EventTypes};

/// Bytes of the form to write that an error shows.
const MEANT_BYTES: usize = 120;

/// Reads a list of event types, on one line or on several.
pub(super) fn types(text: &str) -> Result<EventTypes, String> {
    let list = joined(text);
    match types_meant(&list) {
        Some(meant) => Err(format!(
            "{} is a list as other tools write it; give types by comma: {}",
            quoted(text),
            one_line(&meant, MEANT_BYTES)
        )),
        None => EventTypes::parse(&list).map_err(|error| error.to_string()),
    }
}

/// Reads where a message keeps its type.
pub(super) fn place(text: &str) -> Result<EventTypeFrom, String> {
    if names_several(text) {
        return Err(format!("{} names two places; give one of them", quoted(text)));
    }
    let meant = place_meant(text);
    let as_written = text.split_once(':').map(|(place, rest)| (place.trim(), rest.trim()));
    let is_as_written = match as_written {
        Some((place, rest)) => meant == format!("{place}:{rest}"),
        None => meant == text,
    };
    match EventTypeFrom::parse(&meant) {
        Ok(from) if is_as_written => Ok(from),
        Ok(_) => {
            let meant = one_line(&meant, MEANT_BYTES);
            let more = if meant.starts_with("header:") && text.ends_with(']') {
                "; of several headers of a name the last counts"
            } else if is_numbered(text) {
                "; a field that has a number for its name is [\"0\"]"
            } else if text.contains('*') {
                "; a field that has a * for its name is [\"*\"]"
            } else {
                ""
            };
            Err(format!("{} is not how a place is written; give {meant}{more}", quoted(text)))
        }
        Err(_) => EventTypeFrom::parse(text).map_err(|error| error.to_string()),
    }
}

/// The list on one line. A line break separates as a comma does; one after a comma, or an empty
/// line, changes nothing.
fn joined(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '\r']) {
        return Cow::Borrowed(text);
    }
    let line = |line: &str| {
        let line = line.trim();
        let end = line.strip_suffix(',').filter(|rest| !rest.ends_with('\\'));
        end.unwrap_or(line).to_owned()
    };
    let lines: Vec<_> =
        text.split(['\n', '\r']).map(line).filter(|line| !line.is_empty()).collect();
    Cow::Owned(lines.join(","))
}

/// The list that was meant, if `list` is in the form of YAML, JSON or another tool.
fn types_meant(list: &str) -> Option<String> {
    let list = list.trim();
    let brackets = [('[', ']'), ('{', '}'), ('(', ')')];
    let within = brackets.iter().find_map(|(open, close)| {
        Some(list.strip_prefix(*open)?.strip_suffix(*close)?).filter(|rest| !rest.contains(*open))
    });
    // What stands after a `;` in a media type is `charset=utf-8` and the like.
    let by_semicolon =
        list.contains(';') && list.split(';').skip(1).any(|part| !part.contains('='));
    let separators: &[char] = if by_semicolon { &[',', ';'] } else { &[','] };
    let mut is_foreign = within.is_some() || by_semicolon;
    let entries: Vec<_> = within
        .unwrap_or(list)
        .split(separators)
        .map(str::trim)
        .map(|entry| {
            let bare = unquoted(entry.strip_prefix("- ").unwrap_or(entry).trim());
            is_foreign |= bare != entry;
            bare
        })
        .filter(|entry| !entry.is_empty())
        .collect();
    is_foreign.then(|| entries.join(","))
}

/// Whether more than one place is named.
fn names_several(text: &str) -> bool {
    let places = ["header:", "body:", "key", "subject"];
    let is_place = |part: &str| places.iter().any(|place| part.trim_start().starts_with(place));
    let mut parts = text.split([',', ';', '|']);
    parts.next().is_some_and(is_place) && parts.any(is_place)
}

/// The place as it is written here; `text` itself where it may be meant as it stands.
fn place_meant(text: &str) -> String {
    let text = unquoted(text.trim());
    let rest_of = |places: &[&str]| {
        let rest = places.iter().find_map(|place| text.strip_prefix(place))?;
        Some(unquoted(rest.trim()))
    };
    if let Some(name) = rest_of(&["header:", "headers:", "headers.", "header."]) {
        return format!("header:{}", name_meant(name));
    }
    match rest_of(&["body:", "body."]) {
        Some(path) => format!("body:{}", path_meant(path)),
        None if text.starts_with("$.") => format!("body:{}", path_meant(text)),
        None => text.to_owned(),
    }
}

/// The name of a header without a number or a `*` in brackets: it has no elements.
fn name_meant(name: &str) -> &str {
    let in_brackets = name.strip_suffix(']').and_then(|name| name.rsplit_once('['));
    match in_brackets {
        Some((name, index)) if !name.is_empty() && (index == "*" || is_number(index)) => name,
        _ => name,
    }
}

/// A path as it is written here, out of one of JSONPath, of a JSON pointer, or with numbers for
/// names.
fn path_meant(path: &str) -> String {
    // Within brackets a name may hold anything.
    if path.contains("[\"") {
        return path.strip_prefix('$').unwrap_or(path).to_owned();
    }
    let of_root = path.strip_prefix('$').map(|rest| rest.strip_prefix('.').unwrap_or(rest));
    let pointer = path.strip_prefix('/').map(|rest| rest.replace('/', "."));
    let path = pointer.as_deref().or(of_root).unwrap_or(path);
    let mut meant = String::new();
    for (nth, name) in path.split('.').enumerate() {
        match name {
            "*" => meant.push_str("[*]"),
            name if nth > 0 && is_number(name) => meant.push_str(&format!("[{name}]")),
            name => {
                meant.push_str(if nth > 0 { "." } else { "" });
                meant.push_str(name);
            }
        }
    }
    // Whether there is one for all elements is the path's to say; there always is one for the
    // first.
    if meant.contains("[*]") && EventTypeFrom::parse(&format!("body:{meant}")).is_err() {
        meant = meant.replace("[*]", "[0]");
    }
    meant
}

fn is_numbered(text: &str) -> bool {
    text.split(['.', '/', ':']).any(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text without the quotes around it.
fn unquoted(text: &str) -> &str {
    let quotes = ['"', '\'', '`'];
    let within = quotes.iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    within.map_or(text, str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_in_another_tools_form_is_refused_with_the_one_to_write() {
        let rows = [
            ("- order.placed\n- order.paid\n", "order.placed,order.paid"),
            ("- order.placed", "order.placed"),
            (r#"["order.placed", "order.paid"]"#, "order.placed,order.paid"),
            ("[order.placed]", "order.placed"),
            ("{a,b}", "a,b"),
            ("(a,b)", "a,b"),
            ("'order.placed'", "order.placed"),
            ("\"a\",\"b\"", "a,b"),
            ("a, 'b'", "a,b"),
            ("a;b", "a,b"),
            ("a; b,c", "a,b,c"),
            ("[\n  \"a\",\n  \"b\"\n]", "a,b"),
        ];
        for (text, meant) in rows {
            let told = types(text).expect_err(text);
            let expected =
                format!("is a list as other tools write it; give types by comma: {meant}");
            assert!(told.starts_with(&quoted(text)) && told.ends_with(&expected), "{text}: {told}");
            assert!(types(meant).is_ok(), "{meant}");
        }
    }

    #[test]
    fn a_list_that_may_be_meant_is_read() {
        let rows = [
            ("order.placed\norder.paid\n", "order.placed,order.paid"),
            ("order.placed,\n\n  order.paid,\r\n", "order.placed,order.paid"),
            ("a\\,\nb", "a\\,,b"),
            (r"size\,colour", r"size\,colour"),
            ("application/json;charset=utf-8", "application/json;charset=utf-8"),
            ("a[0]", "a[0]"),
            ("it's", "it's"),
            ("-a", "-a"),
            ("(a)(b)", "(a)(b)"),
            ("a b", "a b"),
            (r"image\..*", r"image\..*"),
        ];
        for (text, expected) in rows {
            let expected = EventTypes::parse(expected).map_err(|error| error.to_string());
            assert_eq!(types(text), expected, "{text}");
        }
    }

    #[test]
    fn a_place_in_another_tools_form_is_refused_with_the_one_to_write() {
        let rows = [
            ("body:$.type", "body:type"),
            ("body:$type", "body:type"),
            ("$.data.type", "body:data.type"),
            ("body:/data/type", "body:data.type"),
            ("body:items.0.kind", "body:items[0].kind; a field that has a number for its name is"),
            ("body:\"type\"", "body:type"),
            ("\"body:type\"", "body:type"),
            ("body.type", "body:type"),
            ("header:'kind'", "header:kind"),
            ("headers:kind", "header:kind"),
            ("headers.kind", "header:kind"),
            ("'key'", "key"),
            ("body:a.*.b", "body:a[*].b; a field that has a * for its name is [\"*\"]"),
            ("body:a.*", "body:a[*]; a field"),
            ("body:*.kind", "body:[*].kind; a field"),
            ("body:$.*.kind", "body:[*].kind; a field"),
            ("header:x[0]", "header:x; of several headers of a name the last counts"),
            ("headers.x[*]", "header:x; of several headers"),
        ];
        for (text, meant) in rows {
            let told = place(text).expect_err(text);
            let expected = format!("is not how a place is written; give {meant}");
            assert!(told.starts_with(&quoted(text)) && told.contains(&expected), "{text}: {told}");
        }
        for text in ["body:items.*.kind", "body:$.items.*.kind"] {
            let told = place(text).expect_err(text);
            assert!(told.contains("give body:items["), "{text}: {told}");
        }
        for text in ["header:kind,body:type", "key, subject", "header:a|header:b"] {
            let told = place(text).expect_err(text);
            assert!(told.ends_with("names two places; give one of them"), "{text}: {told}");
        }
    }

    #[test]
    fn a_place_that_may_be_meant_is_read() {
        let rows = [
            " header: x-type ",
            "body: a.b",
            "key",
            "subject",
            "header:a.0.b",
            "body:a[0].b",
            "body:[1].kind",
            r#"body:["a.b"].kind"#,
            r#"body:["a.0.b"].kind"#,
            r#"body:a["0"]"#,
            r#"body:a["*"].b"#,
            "body:0",
        ];
        for text in rows {
            assert_eq!(
                place(text),
                EventTypeFrom::parse(text).map_err(|e| e.to_string()),
                "{text}"
            );
            assert!(place(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "heder:a",
            "body:a..b",
            "header:",
            "body:",
            "body:a*.b",
            r#"body:["a"].*"#,
            "header:x[:]",
            "header:[0]",
        ] {
            let expected = EventTypeFrom::parse(text).map_err(|error| error.to_string());
            assert_eq!(place(text), expected, "{text}");
            assert!(place(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-$./\\[\\]{}\"'`a-c0-2,;:*\\\\\n ]{0,16}|\\PC{0,16}") {
            for told in [types(&text).err(), place(&text).err()].into_iter().flatten() {
                prop_assert!(!told.is_empty());
            }
        }

        #[test]
        fn plain_types_are_read_as_they_stand(list in prop::collection::vec("[a-z][a-zA-Z0-9._:/ -]{0,8}[a-z]", 1..4)) {
            let list = list.join(",");
            prop_assert_eq!(types(&list), EventTypes::parse(&list).map_err(|error| error.to_string()));
        }
    }
}
