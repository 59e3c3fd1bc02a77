//! A lie, and what is to become of a poll.

use std::time::Duration;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use sift_harness::Trigger;
use sift_harness::hostile::{
    END, Hostile, NEW, OF_TYPE, PARTITIONS, PASSWORD, Scenario, TRUTH, TYPE, USER,
};
use tokio::time::Instant;
use tonic::Code;

pub(super) const MEASURE_TIMEOUT: Duration = Duration::from_secs(3);

/// What an answer may take beyond that, on a machine where brokers are being started.
const SLACK: Duration = Duration::from_secs(3);

/// What is to become of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Must {
    /// It fails.
    Fail,
    /// It fails, or says the truth: the lie is about something that does not count.
    FailOrTell,
    /// It says the truth.
    Tell,
    /// It fails, or says a number above zero: the broker may say what its own numbers are.
    FailOrCount,
    /// It says this number, as the broker does in its own way.
    Say(i64),
    /// It fails, and these words are in the error.
    Name(&'static str),
    /// It ends in time: what was bent may be a number that means something else now.
    End,
}

/// What a trigger counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Offsets,
    /// Messages of [`TYPE`].
    Type,
    /// Offsets, for a group that has committed none.
    New,
}

/// How a trigger is to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Plaintext,
    /// The broker has TLS, and so has the trigger.
    Tls,
    /// The trigger wants TLS, and the broker has none.
    TlsWanted,
    Plain,
    Scram,
}

/// A lie.
pub(super) struct Lie {
    pub(super) name: String,
    pub(super) scenario: Scenario,
    pub(super) way: Way,
    pub(super) counts: Counts,
    pub(super) must: Must,
}

impl Way {
    pub(super) fn on(self, trigger: Trigger, ca: &str) -> Trigger {
        let login = |trigger: Trigger, mechanism| {
            let trigger = trigger.with("sasl", mechanism);
            trigger.with("usernameFromEnv", USER).with("passwordFromEnv", PASSWORD)
        };
        match self {
            Self::Plaintext => trigger,
            Self::Tls | Self::TlsWanted => trigger.with("tls", "enable").with("caFromEnv", ca),
            Self::Plain => login(trigger, "plaintext"),
            Self::Scram => login(trigger, "scram_sha256"),
        }
    }
}

impl Counts {
    pub(super) fn on(self, trigger: Trigger) -> Trigger {
        match self {
            Self::Offsets => trigger.with("countFrom", "offsets"),
            Self::Type => trigger.with("eventType", TYPE),
            Self::New => Self::Offsets.on(trigger).with("consumerGroup", NEW),
        }
    }

    /// What waits in truth.
    pub(super) fn truth(self) -> i64 {
        match self {
            Self::Offsets => TRUTH,
            Self::Type => OF_TYPE * i64::from(PARTITIONS),
            Self::New => END * i64::from(PARTITIONS),
        }
    }

    /// Whether this is the truth, or a lower bound of it where there may be one.
    fn is_true(self, value: i64) -> bool {
        value == self.truth() || self == Self::Type && (1..self.truth()).contains(&value)
    }
}

impl Lie {
    /// Polls twice: an error is not to make the next poll believe what this one did not.
    pub(super) async fn judge(&self, trigger: &Trigger, hostile: &Hostile) -> Result<(), String> {
        let polls = if self.must == Must::End { 1 } else { 2 };
        let mut ran_out = false;
        let mut last = String::new();
        for poll in 1..=polls {
            let asked = Instant::now();
            let answer = trigger.value().await;
            let took = asked.elapsed();
            ran_out |= took >= MEASURE_TIMEOUT;
            last = format!("{answer:?} after {took:?}");
            let wrong =
                |what: &str| Err(format!("{}, poll {poll}: {what} after {took:?}", self.name));
            if took > MEASURE_TIMEOUT + SLACK {
                return wrong("late");
            }
            match (&answer, self.must) {
                (Ok(value), Must::Tell) if *value == self.counts.truth() => {}
                (Ok(value), Must::FailOrTell) if self.counts.is_true(*value) => {}
                (Ok(value), Must::Say(number)) if *value == number => {}
                (_, Must::End) => {}
                (Ok(value), Must::FailOrCount) if *value > 0 => {}
                (Ok(value), _) => return wrong(&format!("counted {value}")),
                (Err(status), Must::Tell | Must::Say(_)) => return wrong(&status.to_string()),
                (Err(status), Must::Name(words)) if !status.message().contains(words) => {
                    return wrong(&status.to_string());
                }
                (Err(_), _) => {}
            }
            if let Err(status) = answer {
                let text = status.message();
                let expected = matches!(
                    status.code(),
                    Code::Unavailable
                        | Code::NotFound
                        | Code::FailedPrecondition
                        | Code::PermissionDenied
                        | Code::Unauthenticated
                );
                if !expected || text.len() > 900 || text.chars().any(char::is_control) {
                    return wrong(&format!("{status:?}"));
                }
            }
        }
        match (hostile.connections(), hostile.lies(), &self.scenario) {
            (0, _, _) => Err(format!("{}: nobody came", self.name)),
            (_, 0, Scenario::Honest) | (_, 1.., _) => Ok(()),
            // On a busy machine a poll may run out of time before it comes to it.
            (_, 0, _) if self.must == Must::End && ran_out => Ok(()),
            (_, 0, _) => Err(format!("{}: was never told: {last}", self.name)),
        }
    }
}

pub(super) fn lie(name: &str, must: Must, scenario: Scenario) -> Lie {
    lie_on(Way::Plaintext, name, must, scenario)
}

pub(super) fn lie_on(way: Way, name: &str, must: Must, scenario: Scenario) -> Lie {
    Lie { name: name.to_owned(), scenario, way, counts: Counts::Offsets, must }
}

/// A lie to a trigger that selects by type.
pub(super) fn lie_to_reader(name: &str, must: Must, scenario: Scenario) -> Lie {
    Lie { counts: Counts::Type, ..lie(name, must, scenario) }
}

pub(super) fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

pub(super) fn topic_name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}
