//! A source that tests steer: it says what it is told to, when it is told to, and keeps what it was
//! asked.

use std::sync::Arc;

use tokio::sync::watch;

use super::sources::{Measured, Purpose};
use crate::{backlog::Backlog, kafka, selection::Sight};

pub(crate) type Reply = Result<Backlog, kafka::Error>;

/// What every trigger is measured by, in a test.
pub(crate) struct Script {
    reply: watch::Sender<Reply>,
    open: watch::Sender<bool>,
    asked: watch::Sender<Vec<Purpose>>,
    sight: watch::Sender<Option<Sight>>,
}

impl Script {
    /// Measures this from now on.
    pub(crate) fn saying(reply: Reply) -> Arc<Self> {
        Arc::new(Self {
            reply: watch::Sender::new(reply),
            open: watch::Sender::new(true),
            asked: watch::Sender::default(),
            sight: watch::Sender::default(),
        })
    }

    pub(crate) fn say(&self, reply: Reply) {
        self.reply.send_modify(|said| *said = reply);
    }

    /// Has seen this of the messages.
    pub(crate) fn show(&self, sight: Sight) {
        self.sight.send_replace(Some(sight));
    }

    pub(crate) fn sight(&self) -> Option<Sight> {
        self.sight.borrow().clone()
    }

    /// Keeps all answers back until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.open.send_replace(true);
    }

    /// What it has been asked for so far.
    pub(crate) fn asked(&self) -> Vec<Purpose> {
        self.asked.borrow().clone()
    }

    /// Waits until it has been asked this many times.
    pub(crate) async fn asked_times(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| asked.len() >= times).await.expect("the script is its sender");
    }

    pub(crate) async fn measure(&self, purpose: Purpose) -> Result<Measured, kafka::Error> {
        self.asked.send_modify(|asked| asked.push(purpose));
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the script is its sender");
        let backlog = self.reply.borrow().clone()?;
        Ok(Measured { metric: backlog, activity: backlog })
    }
}
