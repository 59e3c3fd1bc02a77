//! What metrics say of triggers: figures that are read when a page is asked for.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::history::State;
use super::report::Query;
use super::service::Scaler;
use crate::source::Progress;
use crate::sources::Sources;
use crate::telemetry::{
    CONNECTIONS, Family, Labels, MEMORY_HELD, MEMORY_LIMIT, PageFormat, STATES, THROTTLED,
    TRIGGER_FAILING_SINCE, TRIGGER_INDETERMINATE, TRIGGER_LAST_POLL, TRIGGER_LIMIT_REACHED,
    TRIGGER_OLDEST_AGE, TRIGGER_READ_BEHIND, TRIGGER_READ_POSITION, TRIGGER_SERIES_OMITTED,
    TRIGGER_TARGET, TRIGGER_VALUE, TRIGGERS, UNMATCHED,
};

/// The `source` of triggers whose metadata is wrong.
const UNREADABLE: &str = "unreadable";

/// Triggers that have series of their own, so that a page has a bound whoever asks.
const SERIES: usize = 10_000;

impl Scaler {
    /// What has been counted so far, and what there is now.
    pub fn metrics_page(&self, format: PageFormat) -> String {
        let mut families = self.of_triggers();
        families.extend(self.of_sources());
        families.extend(self.of_memory());
        families.push(self.cluster.figures());
        if self.options.trigger_metrics {
            families.extend(self.of_each_trigger());
        }
        self.metrics.page(format, families)
    }

    /// How many there are, by source and by state.
    fn of_triggers(&self) -> Vec<Family> {
        let mut by_state = State::ALL.map(|state| (state, 0_u64));
        let mut by_source: BTreeMap<_, _> =
            Sources::names().map(|name| (name, (0_u64, 0_u64))).collect();
        let mut unreadable = 0_u64;
        let now = SystemTime::now();
        for entry in self.triggers.entries(|_| true) {
            let its = entry.history().state(now, self.forget_after());
            for (_, count) in by_state.iter_mut().filter(|(state, _)| *state == its) {
                *count += 1;
            }
            match entry.decoded() {
                Some(Ok(live)) => {
                    let counts = by_source.entry(live.trigger().source()).or_default();
                    counts.0 += 1;
                    counts.1 += u64::from(live.has_others_alone());
                }
                Some(Err(_)) => unreadable += 1,
                None => {}
            }
        }
        let mut states = Family::of(&STATES);
        for (state, count) in by_state {
            states.push(one("state", state.as_str()), count);
        }
        let mut kept = Family::of(&TRIGGERS);
        let mut unmatched = Family::of(&UNMATCHED);
        for (source, (count, others_alone)) in by_source {
            kept.push(one("source", source), count);
            unmatched.push(one("source", source), others_alone);
        }
        kept.push(one("source", UNREADABLE), unreadable);
        vec![states, kept, unmatched]
    }

    fn of_sources(&self) -> Vec<Family> {
        let mut connections = Family::of(&CONNECTIONS);
        let mut throttled = Family::of(&THROTTLED);
        for (source, figures) in self.sources.figures() {
            connections.push(one("source", source), figures.connections);
            throttled.push(one("source", source), figures.throttled);
        }
        vec![connections, throttled]
    }

    fn of_memory(&self) -> Vec<Family> {
        let ledger = self.triggers.ledger();
        let mut held = Family::of(&MEMORY_HELD);
        for (of, bytes) in ledger.by_use() {
            held.push(one("use", of.as_str()), bytes);
        }
        let limit = Family::of(&MEMORY_LIMIT);
        vec![held, limit.with(Vec::new(), ledger.limit())]
    }

    /// Of each trigger that can be read.
    fn of_each_trigger(&self) -> Vec<Family> {
        let mut value = Family::of(&TRIGGER_VALUE);
        let mut target = Family::of(&TRIGGER_TARGET);
        let mut limit = Family::of(&TRIGGER_LIMIT_REACHED);
        let mut polled = Family::of(&TRIGGER_LAST_POLL);
        let mut failing = Family::of(&TRIGGER_FAILING_SINCE);
        let mut age = Family::of(&TRIGGER_OLDEST_AGE);
        let mut indeterminate = Family::of(&TRIGGER_INDETERMINATE);
        let mut position = Family::of(&TRIGGER_READ_POSITION);
        let mut behind = Family::of(&TRIGGER_READ_BEHIND);
        let all = self.meant(&Query::default(), |_| true);
        let omitted = all.len().saturating_sub(SERIES);
        let readable = all.iter().filter_map(|entry| Some((entry, entry.decoded()?.ok()?)));
        let now = SystemTime::now();
        for (entry, live) in readable.take(SERIES) {
            let identity = entry.identity();
            let scaling = live.trigger().scaling();
            let labels: Labels = vec![
                ("namespace", identity.namespace.to_string()),
                ("object", identity.name.to_string()),
                ("metric", scaling.metric_name.clone()),
                ("trigger", identity.id()),
            ];
            target.push(labels.clone(), scaling.target);
            let Progress { position: read, behind: left, oldest } = live.progress();
            if let Some(read) = read {
                position.push(labels.clone(), read);
            }
            if let Some(left) = left {
                behind.push(labels.clone(), left);
            }
            let oldest = oldest
                .map_or(0.0, |sent| now.duration_since(sent).map_or(0.0, |age| age.as_secs_f64()));
            age.push(labels.clone(), oldest);
            let sight = live.sight().unwrap_or_default();
            let of_sight: u64 = sight.indeterminate().iter().map(|(_, count)| count).sum();
            indeterminate.push(labels.clone(), of_sight);
            let history = entry.history();
            if let Some(since) = history.failing_since() {
                failing.push(labels.clone(), since_1970(since));
            }
            let Some(last) = history.last() else { continue };
            polled.push(labels.clone(), since_1970(last.at));
            if let Ok(answer) = &last.answer {
                value.push(labels.clone(), answer.backlog.count());
                limit.push(labels, u64::from(answer.is_limit));
            }
        }
        let dropped = Family::of(&TRIGGER_SERIES_OMITTED).with(Vec::new(), omitted);
        vec![value, target, limit, polled, failing, age, indeterminate, position, behind, dropped]
    }
}

fn one(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
