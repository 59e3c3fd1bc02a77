//! A trigger's metadata, as the rows of a table.

use std::collections::HashMap;

/// Keys and values, as a test writes them.
pub type Rows<'a> = &'a [(&'a str, &'a str)];

/// The metadata of these rows; of rows with the same key the last one holds.
pub fn metadata<'a>(
    rows: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> HashMap<String, String> {
    rows.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}
