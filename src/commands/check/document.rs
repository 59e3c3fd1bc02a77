//! What a file of manifests holds: trees of YAML, with the line and column of each key.
//!
//! # References
//! - YAML 1.2.2, and Kubernetes' `List`

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// Where something stands in a file; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(super) struct Location {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A part of a document.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A string.
    Text(String),
    /// A number, a boolean or null, as it is written.
    Other(String),
    List(Vec<Node>),
    Map(Vec<(String, Location, Node)>),
}

/// The documents of a file, those in lists each on its own.
///
/// # Errors
/// It is no YAML; says where.
pub(super) fn read(text: &str) -> Result<Vec<Node>, String> {
    let documents: Vec<Node> = serde_saphyr::from_multiple(text).map_err(|error| {
        let rendered =
            if text.contains("{{") { "; a template has to be rendered first" } else { "" };
        first_line(&error.to_string()) + rendered
    })?;
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items") {
            Some(Node::List(items))
                if document.text("kind").is_some_and(|kind| kind.ends_with("List")) =>
            {
                objects.extend(items.iter().cloned());
            }
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

/// The library's words go on with a picture of the place.
fn first_line(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it is no YAML").trim_start_matches("error: ");
    // For those who write programs.
    line.split(", set ").next().unwrap_or(line).to_owned()
}

impl Node {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().find(|(known, ..)| known == key).map(|(.., node)| node)
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same without places.
    pub(super) fn json(&self) -> Value {
        match self {
            Node::Text(text) => Value::from(text.as_str()),
            Node::Other(value) => serde_json::from_str(value).unwrap_or_default(),
            Node::List(items) => items.iter().map(Node::json).collect(),
            Node::Map(entries) => {
                entries.iter().map(|(key, _, node)| (key.clone(), node.json())).collect()
            }
        }
    }

    /// The elements of a list; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        match self {
            Node::List(items) => items,
            _ => &[],
        }
    }

    /// The keys of a map with where they stand; none of anything else.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(String, Location, Node)> {
        let entries: &[_] = match self {
            Node::Map(entries) => entries,
            _ => &[],
        };
        entries.iter()
    }

    /// Where a key stands.
    pub(super) fn location(&self, key: &str) -> Option<Location> {
        self.entries().find(|(known, ..)| known == key).map(|(_, location, _)| *location)
    }

    /// Where it begins.
    pub(super) fn begins(&self) -> Option<Location> {
        self.entries().next().map(|(_, location, _)| *location)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Other(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Other(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Other(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Other(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other("null".to_owned()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Other("null".to_owned()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let (line, column) = (key.referenced.line(), key.referenced.column());
            let location = Location { line, column };
            entries.push((key.value, location, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_read_with_the_places_of_their_keys() {
        let text = "\
# first
kind: ScaledJob
spec:
  triggers:
    - type: external
      metadata: { topic: a, lagThreshold: 10 }
---
kind: List
items:
  - kind: A
  - kind: B
---
";
        let objects = read(text).expect("YAML");
        let kinds: Vec<_> = objects.iter().filter_map(|object| object.text("kind")).collect();
        assert_eq!(kinds, ["ScaledJob", "A", "B"]);
        let trigger = &objects[0].get("spec").unwrap().get("triggers").unwrap().items()[0];
        assert_eq!(trigger.begins(), Some(Location { line: 5, column: 7 }));
        let metadata = trigger.get("metadata").unwrap();
        assert_eq!(metadata.location("lagThreshold"), Some(Location { line: 6, column: 29 }));
        assert_eq!(metadata.json()["lagThreshold"], 10);
        assert_eq!(metadata.text("topic"), Some("a"));
    }

    #[test]
    fn what_is_no_yaml_is_told_on_one_line() {
        for text in ["a: [1,\nb: }", "a: 1\na: 2\n"] {
            let told = read(text).expect_err("no YAML");
            assert!(!told.contains('\n') && told.contains("line "), "{told}");
        }
    }
}
