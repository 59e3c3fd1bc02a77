//! What the environment of a command holds in place of that of a workload, which KEDA reads.

use std::collections::HashMap;

use crate::metadata::{FROM_ENV, one_line};

/// Bytes of the name of a variable that a person is shown.
const SHOWN_BYTES: usize = 80;

/// Takes the values of this environment for keys that name a variable. Gives the keys whose
/// variable is not there, sorted, with its name; they are removed.
pub(super) fn resolve(metadata: &mut HashMap<String, String>) -> Vec<(String, String)> {
    let mut unset = Vec::new();
    metadata.retain(|key, value| {
        if !key.ends_with(FROM_ENV) {
            return true;
        }
        match std::env::var(value.as_str()) {
            Ok(held) => {
                *value = held;
                true
            }
            Err(_) => {
                unset.push((key.clone(), one_line(value, SHOWN_BYTES)));
                false
            }
        }
    });
    unset.sort();
    unset
}
