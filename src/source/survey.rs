//! What a source shows of its messages to whoever asks what there is, without a selection.
//!
//! A survey reads once, from where it is told to the end as that is when it begins. Nothing of it
//! is kept or shared, and nothing is committed, received or locked.

use std::ops::ControlFlow;

use tokio::time::Instant;

use crate::selection::Message;

/// What a survey looks at.
#[derive(Debug, Clone, Copy)]
pub struct SurveyPlan {
    /// Where it begins.
    pub from: SurveyFrom,
    /// Messages that are shown at most.
    pub limit: u64,
    /// Whether it is asked what waits for the trigger's consumer group; a source without groups
    /// shows only what waits.
    pub asks_group: bool,
    /// When it ends, wherever it is.
    pub deadline: Instant,
}

/// Where a survey begins. A source without groups begins with the first message in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SurveyFrom {
    /// With the first message that there still is.
    Earliest,
    /// With the first message that waits for the group, and at least so many messages before the
    /// end.
    Committed {
        /// How many there are to be, whatever waits.
        at_least: u64,
    },
    /// So many messages before the end.
    Last(u64),
}

/// Whoever looks.
pub trait Surveyor: Send {
    /// At most about so many messages are to come.
    fn expect(&mut self, messages: u64);

    /// One message, and whether it waits for the group. Ends the survey by breaking.
    fn see(&mut self, message: &dyn Message, waits: bool) -> ControlFlow<()>;
}

/// How a survey ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// Whether every message was shown that there was from its beginning on.
    pub is_whole: bool,
    /// What a person should know of it, each one line.
    pub notes: Vec<String>,
}
