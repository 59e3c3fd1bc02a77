//! Why a trigger counts 0, in one sentence, by what was measured.

use super::text;
use crate::scaler::Explained;
use crate::source::{Explanation, Partition};

/// The sentence; `None` where messages wait.
pub(super) fn why(explained: &Explained) -> Option<String> {
    match &explained.measured {
        Err(refusal) if refusal.is_reading => Some(format!("Not known yet: {}.", refusal.words)),
        Err(refusal) => Some(format!("There is no number: {}.", refusal.words)),
        Ok(explanation) if explanation.measured.metric.count() > 0 => None,
        Ok(explanation) => Some(format!("0, because {}.", nothing(explained, explanation))),
    }
}

fn nothing(explained: &Explained, explanation: &Explanation) -> String {
    if let Some(note) = &explained.overview.note {
        return note.clone();
    }
    let seen = explained.sight.as_ref().filter(|sight| sight.messages() > 0);
    let partitions = &explanation.partitions[..];
    let are_all = |is: fn(&Partition) -> bool| partitions.iter().all(is);
    if partitions.is_empty() {
        return match seen {
            Some(sight) => {
                format!("none of the messages that were looked at last is selected: {sight}")
            }
            None => "nothing waits there".to_owned(),
        };
    }
    if explanation.measured.activity.count() > 0 {
        return "the group stands still where messages wait, and excludePersistentLag leaves that \
                out"
        .to_owned();
    }
    if are_all(|partition| partition.start >= partition.end) {
        return "the topic holds no messages".to_owned();
    }
    let begins = |partition: &Partition| partition.from.or(partition.committed);
    let behind = partitions
        .iter()
        .map(|partition| partition.end.saturating_sub(begins(partition).unwrap_or(partition.end)));
    match behind.sum::<u64>() {
        0 if are_all(|partition| partition.committed.is_none()) => {
            "the group has committed nothing and begins at the end, as offsetResetPolicy says"
                .to_owned()
        }
        0 => "the group has read everything: it stands at the end of each partition".to_owned(),
        offsets => {
            let behind = format!(
                "of the {} before the end none is a message that is selected",
                text::of(offsets, "offset")
            );
            match seen {
                Some(sight) => format!("{behind}; of those looked at last there are {sight}"),
                None => behind,
            }
        }
    }
}
