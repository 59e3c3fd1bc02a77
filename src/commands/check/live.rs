//! What a trigger counts now, and how many Jobs follow from it.

use std::time::Duration;

use tokio::time::Instant;

use super::finding::{Finding, Mark, See};
use super::inspect::Found;
use super::object::Object;
use super::report::{Count, OfObject, OfTrigger};
use crate::backlog::{Backlog, Measured, Purpose, Scope};
use crate::jobs::{Counted, Present, Scale};
use crate::ledger::{DEFAULT_LIMIT, Ledger};
use crate::metadata::one_line;
use crate::sources::Sources;
use crate::trigger::Trigger;

/// Adds what the trigger counts.
pub(super) async fn measure(
    found: &Found<'_>,
    trigger: &Trigger,
    sources: &Sources,
    timeout: Duration,
    of: &mut OfTrigger,
) {
    let account = Ledger::new(DEFAULT_LIMIT).account(&found.namespace);
    let poller = sources.follow(trigger, &account);
    let measured =
        poller.measure(Instant::now() + timeout, Purpose::Metric, Scope::default()).await;
    let finding = |mark, words| found.finding(mark, "count", words, See::Counts);
    match measured {
        Ok(Measured { metric, activity }) => {
            let scaling = trigger.scaling();
            let is_lower_bound = matches!(metric, Backlog::AtLeast(_));
            let value = metric.count();
            let or_more = if is_lower_bound { " or more" } else { "" };
            let sight = poller.sight().filter(|sight| sight.messages() > 0);
            of.findings.push(match sight {
                Some(sight) if value == 0 => {
                    let words = format!("0; among the messages looked at last: {sight}");
                    finding(Mark::Note, words)
                }
                _ => finding(Mark::Fine, format!("{value}{or_more}")),
            });
            match activity.exceeds(scaling.activation) {
                Some(is_active) => {
                    let counted = Counted { value, target: scaling.target, is_active };
                    of.count = Some(Count { counted, is_lower_bound });
                }
                None => {
                    let words = "it is not known whether more wait than the activation threshold";
                    of.findings.push(finding(Mark::Unknown, words.to_owned()));
                }
            }
        }
        Err(failure) => {
            of.findings.push(finding(Mark::Unknown, one_line(&failure.to_string(), 900)));
        }
    }
}

/// Adds which Jobs there are and, if counts were asked for and each trigger of the ScaledJob has
/// one, how many KEDA would start.
pub(super) fn jobs(
    object: &Object<'_>,
    scale: &Scale,
    present: Result<Present, String>,
    (is_live, is_paused): (bool, bool),
    of: &mut OfObject,
) {
    let at = object.spec().and_then(|spec| spec.location("triggers"));
    let finding = |mark, words| Finding::new(mark, "jobs", words, at, See::Jobs);
    let present = match present {
        Ok(present) => present,
        Err(problem) => return of.findings.push(finding(Mark::Unknown, problem)),
    };
    let Present { running, pending } = present;
    let words = format!("{running} running, {pending} pending, at most {}", scale.max());
    if !is_live {
        return of.findings.push(finding(Mark::Fine, words));
    }
    let all = object.spec().and_then(|spec| spec.get("triggers"));
    let all = all.map_or(0, |triggers| triggers.items().len());
    let counted: Vec<Counted> =
        of.triggers.iter().filter_map(|of| of.count).map(|count| count.counted).collect();
    if counted.len() < all {
        let words = format!("{words}; not every trigger of it has a count");
        return of.findings.push(finding(Mark::Unknown, words));
    }
    let starts = scale.starts(&counted, present);
    let (starts, words) = match is_paused {
        true => (0, format!("{words}: 0 start while it is paused; without that {starts} would")),
        false => (starts, format!("{words}: {starts} would start")),
    };
    of.starts = Some(starts);
    of.findings.push(finding(Mark::Fine, words));
}
