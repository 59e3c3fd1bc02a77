//! Which events come, and who handles them.

use std::collections::HashMap;

/// A ScaledJob.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    /// The event types it handles, as its trigger has them.
    pub(crate) types: &'static str,
    /// How many messages a Job takes.
    pub(crate) target: u32,
    /// Every so many seconds all that waits for it has been handled; 0 is never.
    pub(crate) every: u64,
}

/// What a ScaledJob's trigger says.
pub(crate) struct Trigger {
    pub(crate) job: &'static Job,
    /// What it counts in.
    pub(crate) place: &'static str,
    pub(crate) metadata: HashMap<String, String>,
}

/// Events of several types, each of which comes at a rate of its own.
pub(crate) struct Events {
    rates: &'static [Rate],
    /// How many have come, of each.
    come: Vec<u64>,
}

/// An event type with how many a second there are, in tenths.
pub(crate) type Rate = (&'static str, u64);

impl Job {
    /// Whether the time has come to handle what waits.
    pub(crate) fn is_due(&self, seconds: u64) -> bool {
        seconds > 0 && self.every > 0 && seconds.is_multiple_of(self.every)
    }
}

impl Trigger {
    pub(crate) fn new<const N: usize>(
        job: &'static Job,
        place: &'static str,
        metadata: [(&str, &str); N],
    ) -> Trigger {
        Trigger { job, place, metadata: test_basics::metadata(&metadata) }
    }
}

impl Events {
    /// None has come yet.
    pub(crate) fn new(rates: &'static [Rate]) -> Events {
        Events { rates, come: vec![0; rates.len()] }
    }

    /// The types of those that come until so many seconds have passed, and have not come before.
    pub(crate) fn until(&mut self, seconds: u64) -> Vec<&'static str> {
        let mut types = Vec::new();
        for ((event_type, rate), come) in self.rates.iter().zip(&mut self.come) {
            let due = (seconds * rate / 10).saturating_sub(*come);
            types.extend((0..due).map(|_| event_type));
            *come += due;
        }
        types
    }

    /// How many have come, as in `120 image.uploaded, 30 image.replaced`.
    pub(crate) fn text(&self) -> String {
        let counts = self.rates.iter().zip(&self.come);
        let counts = counts.map(|((event_type, _), come)| format!("{come} {event_type}"));
        counts.collect::<Vec<_>>().join(", ")
    }
}
