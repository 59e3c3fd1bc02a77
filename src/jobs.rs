//! How many Jobs KEDA starts for a ScaledJob, by its own arithmetic.
//!
//! # References
//! - KEDA 2.20 `pkg/scaling/executor/scale_jobs.go` (strategies) and `pkg/scaling/scale_handler.go`
//!   (`multipleScalersCalculation`)

use serde_json::Value;

/// KEDA's `maxReplicaCount` of a ScaledJob that has none.
const DEFAULT_MAX: u64 = 100;

/// What a ScaledJob says of how it is scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    strategy: Strategy,
    /// The most Jobs beside those that are always there.
    max: u64,
    min: u64,
    /// How several triggers become one.
    several: Several,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Strategy {
    Default,
    Accurate,
    Eager,
    Custom { deduction: u64, percentage: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Several {
    Max,
    Min,
    Avg,
    Sum,
}

/// What one trigger has come to.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Counted {
    /// The metric's value.
    pub value: u64,
    /// Messages for one Job.
    pub target: u64,
    /// Whether more wait than its activation threshold.
    pub is_active: bool,
}

/// Jobs that there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Present {
    /// Those that are not complete and have not failed.
    pub running: u64,
    /// Of those, the ones whose Pod does not run yet.
    pub pending: u64,
}

impl Scale {
    /// What the spec of a ScaledJob says; what it does not say is at KEDA's default.
    pub fn of(spec: &Value) -> Self {
        let strategy = &spec["scalingStrategy"];
        let text = |key: &str| strategy[key].as_str();
        let min = spec["minReplicaCount"].as_u64().unwrap_or(0);
        // `MaxReplicaCount` and `MinReplicaCount` of KEDA's `scaledjob_types.go`: what is always
        // there is not started.
        let (min, max) = match spec["maxReplicaCount"].as_u64() {
            None => (min, DEFAULT_MAX),
            Some(max) if min > max => (max, max),
            Some(max) => (min, max - min),
        };
        Scale {
            strategy: match text("strategy") {
                Some("accurate") => Strategy::Accurate,
                Some("eager") => Strategy::Eager,
                // KEDA falls back to its default where the percentage is no number.
                Some("custom") => text("customScalingRunningJobPercentage")
                    .and_then(|text| text.parse().ok())
                    .map_or(Strategy::Default, |percentage| Strategy::Custom {
                        deduction: strategy["customScalingQueueLengthDeduction"]
                            .as_u64()
                            .unwrap_or(0),
                        percentage,
                    }),
                _ => Strategy::Default,
            },
            max,
            min,
            several: match text("multipleScalersCalculation") {
                Some("min") => Several::Min,
                Some("avg") => Several::Avg,
                Some("sum") => Several::Sum,
                _ => Several::Max,
            },
        }
    }

    /// The most Jobs at a time.
    pub fn max(&self) -> u64 {
        self.max.saturating_add(self.min)
    }

    /// How many Jobs KEDA starts, where these were counted and those are there.
    pub fn starts(&self, counted: &[Counted], present: Present) -> u64 {
        if present.running < self.min {
            return self.min - present.running;
        }
        let Some(Wanted { messages, jobs }) = self.wanted(counted) else { return 0 };
        let (most, jobs) = (to_i64(self.max), jobs.ceil() as i64);
        let (running, pending) = (to_i64(present.running - self.min), to_i64(present.pending));
        let new = match self.strategy {
            Strategy::Default => jobs - running,
            Strategy::Custom { deduction, percentage } => {
                let of_running = (running as f64 * percentage) as i64;
                (jobs - to_i64(deduction) - of_running).min(most)
            }
            Strategy::Accurate if jobs + running - pending > most => most - running,
            Strategy::Accurate => jobs - pending,
            Strategy::Eager => return to_u64((most - running - pending).min(jobs)),
        };
        to_u64(new.min(messages.ceil() as i64))
    }

    /// What the active triggers want together; `None` where none is active.
    fn wanted(&self, counted: &[Counted]) -> Option<Wanted> {
        let most = self.max as f64;
        let active = counted.iter().filter(|counted| counted.is_active && counted.value > 0);
        let each: Vec<Wanted> = active
            .map(|counted| {
                let messages = counted.value as f64;
                Wanted { messages, jobs: (messages / counted.target.max(1) as f64).min(most) }
            })
            .collect();
        let by_messages = |one: &&Wanted, other: &&Wanted| one.messages.total_cmp(&other.messages);
        let sum = || {
            let total = |of: fn(&Wanted) -> f64| each.iter().map(of).sum::<f64>();
            Wanted { messages: total(|it| it.messages), jobs: total(|it| it.jobs) }
        };
        let Wanted { messages, jobs } = match self.several {
            // Of equals KEDA takes the first.
            Several::Max => *each.iter().rev().max_by(by_messages)?,
            Several::Min => *each.iter().min_by(by_messages)?,
            Several::Sum if each.is_empty() => return None,
            Several::Sum => sum(),
            Several::Avg if each.is_empty() => return None,
            Several::Avg => {
                let (Wanted { messages, jobs }, number) = (sum(), each.len() as f64);
                Wanted { messages: messages / number, jobs: jobs / number }
            }
        };
        Some(Wanted { messages, jobs: jobs.min(most) })
    }
}

/// In KEDA's own floating-point numbers.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    messages: f64,
    jobs: f64,
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(spec: &str) -> Scale {
        Scale::of(&serde_saphyr::from_str(spec).expect("YAML"))
    }

    fn counted(value: u64, target: u64) -> Counted {
        Counted { value, target, is_active: value > 0 }
    }

    #[test]
    fn strategies_start_what_keda_starts() {
        let rows = [
            ("{}", 45, 0, 0, 5),
            ("{}", 45, 3, 0, 2),
            ("{}", 45, 9, 0, 0),
            ("{}", 10_000, 0, 0, 100),
            ("{maxReplicaCount: 4}", 45, 1, 0, 3),
            ("{minReplicaCount: 2}", 0, 0, 0, 2),
            ("{minReplicaCount: 2}", 45, 1, 0, 1),
            ("{minReplicaCount: 2}", 45, 3, 0, 4),
            ("{minReplicaCount: 2, maxReplicaCount: 4}", 45, 2, 0, 2),
            ("{minReplicaCount: 9, maxReplicaCount: 4}", 45, 1, 0, 3),
            ("{scalingStrategy: {strategy: accurate}}", 45, 3, 1, 4),
            ("{maxReplicaCount: 6, scalingStrategy: {strategy: accurate}}", 45, 3, 1, 3),
            ("{maxReplicaCount: 6, scalingStrategy: {strategy: eager}}", 45, 3, 1, 2),
            ("{scalingStrategy: {strategy: eager}}", 45, 3, 1, 5),
            (
                "{scalingStrategy: {strategy: custom, customScalingQueueLengthDeduction: 1, \
                 customScalingRunningJobPercentage: '0.5'}}",
                45,
                4,
                0,
                2,
            ),
            ("{scalingStrategy: {strategy: custom}}", 45, 4, 0, 1),
        ];
        for (spec, value, running, pending, expected) in rows {
            let starts = scale(spec).starts(&[counted(value, 10)], Present { running, pending });
            assert_eq!(starts, expected, "{spec}: {value} with {running} and {pending}");
        }
    }

    #[test]
    fn several_triggers_become_one_number_of_those_that_are_active() {
        let all = [counted(45, 10), counted(7, 7), counted(0, 1)];
        // By their messages, not by their Jobs; 4.5 and 1.
        for (word, expected) in [("max", 5), ("min", 1), ("sum", 6), ("avg", 3)] {
            let scale =
                scale(&format!("{{scalingStrategy: {{multipleScalersCalculation: {word}}}}}"));
            assert_eq!(scale.starts(&all, Present::default()), expected, "{word}");
        }
    }
}
