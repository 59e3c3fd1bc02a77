//! How far a survey is: a bar on a terminal, and a line now and then elsewhere, both on standard
//! error.
//!
//! The bar has no colours, so that `NO_COLOR` has nothing to take away.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::report::grouped;
use crate::selection::{Census, Message};
use crate::source::{SurveyPlan, Surveyor};

/// How often it is told how far it is, where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How many messages are seen between two looks at the time.
const LOOK_EVERY: u64 = 64;

/// Why not everything was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// So many messages were to be read.
    Limit(u64),
    /// So long was it to take.
    Timeout(Duration),
}

/// Takes messages, and tells how many there have been.
pub(super) struct Progress {
    census: Census,
    limit: u64,
    timeout: Duration,
    deadline: Instant,
    /// Messages that are to come, if that is known.
    expected: Option<u64>,
    bar: ProgressBar,
    /// When the next line is due; `None` on a terminal.
    tell_at: Option<Instant>,
    stopped: Option<Stopped>,
}

impl Progress {
    pub(super) fn new(census: Census, plan: SurveyPlan, timeout: Duration) -> Progress {
        let is_terminal = std::io::stderr().is_terminal();
        let target = match is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {human_pos} messages, {elapsed}"));
        let now = Instant::now();
        Progress {
            census,
            limit: plan.limit,
            timeout,
            deadline: plan.deadline,
            expected: None,
            bar,
            tell_at: (!is_terminal).then(|| now + TELL_EVERY),
            stopped: None,
        }
    }

    /// What was seen, and if that is not everything, why.
    pub(super) fn finish(self) -> (Census, Option<Stopped>) {
        self.bar.finish_and_clear();
        // A source may end by itself at either.
        let is_full = self.census.messages() >= self.limit;
        let is_late = Instant::now() >= self.deadline;
        let full = is_full.then_some(Stopped::Limit(self.limit));
        let late = is_late.then_some(Stopped::Timeout(self.timeout));
        (self.census, self.stopped.or(full).or(late))
    }

    /// Tells how far it is.
    fn tell(&mut self, seen: u64) {
        self.bar.set_position(seen);
        let now = Instant::now();
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_at = Some(now + TELL_EVERY);
            match self.expected {
                Some(expected) => {
                    eprintln!("{} of {} messages read", grouped(seen), grouped(expected));
                }
                None => eprintln!("{} messages read", grouped(seen)),
            }
        }
    }
}

impl Surveyor for Progress {
    fn expect(&mut self, messages: u64) {
        let messages = messages.min(self.limit);
        self.expected = Some(messages);
        self.bar.set_length(messages);
        self.bar.set_style(style("{bar:30} {human_pos}/{human_len} messages, {eta} left"));
    }

    fn see(&mut self, message: &dyn Message, waits: bool) -> ControlFlow<()> {
        if self.census.messages() >= self.limit {
            self.stopped = Some(Stopped::Limit(self.limit));
            return ControlFlow::Break(());
        }
        self.census.add(message, waits);
        let seen = self.census.messages();
        if seen.is_multiple_of(LOOK_EVERY) {
            self.tell(seen);
            if Instant::now() >= self.deadline {
                self.stopped = Some(Stopped::Timeout(self.timeout));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
