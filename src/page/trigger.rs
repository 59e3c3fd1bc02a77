//! One trigger: what it counts now and what that is made of, how it was, and what KEDA makes of it.

use std::time::SystemTime;

use maud::{Markup, html};

use super::chart;
use super::text;
use super::why::why;
use crate::scaler::{Explained, Overview, Poll, TYPES};
use crate::selection::{Selection, Selector, Sight};
use crate::source::{Explanation, Partition};
use crate::trigger::{HIDDEN, Trigger};

/// Everything that is known of a trigger.
pub(super) fn trigger(explained: &Explained, now: SystemTime) -> Markup {
    let Explained { overview, metadata, polls, points, measured, by_type, sight } = explained;
    let explanation = measured.as_ref().ok();
    html! {
        p.back { a href="./" { "All triggers" } }
        h1 { (text::foreign(&overview.namespace)) span.slash { "/" } (text::foreign(&overview.name)) }
        section id="now" data-live { (now_section(explained)) }
        section id="hours" data-live {
            h2 { "The last hours" }
            (chart::chart(points, &types_of(overview), now))
        }
        section id="types" data-live {
            h2 { "By type" }
            (types(by_type, sight.as_ref()))
        }
        @if let Some(explanation) = explanation.filter(|of| !of.partitions.is_empty()) {
            section {
                h2 { "Partitions" }
                div.scroll role="region" aria-label="Partitions" tabindex="0" {
                    table id="partitions" data-live { (partitions(explanation)) }
                }
            }
        }
        section id="keda" data-live {
            h2 { "What KEDA makes of it" }
            (keda(overview, explanation))
        }
        section id="polls" data-live {
            h2 { "The last polls" }
            (last_polls(overview, polls))
        }
        section {
            h2 { "Metadata" }
            (metadata_table(metadata))
        }
    }
}

/// The names of the types that the points tell apart, if they tell any.
fn types_of(overview: &Overview) -> Vec<String> {
    let selection = overview.trigger.as_ref().map(Trigger::selection);
    let several = selection.filter(|selection| selection.are_several());
    let selectors = several.map(Selection::selectors).unwrap_or_default();
    selectors.iter().take(TYPES).map(Selector::label).collect()
}

fn now_section(explained: &Explained) -> Markup {
    let Explained { overview, measured, .. } = explained;
    html! {
        p.figure {
            (text::state(overview.state)) " "
            @match measured {
                Ok(explanation) => strong id="value" { (text::backlog(explanation.measured.metric)) },
                Err(_) => strong id="value" { "no number" },
            }
            " now"
        }
        @if let Some(why) = why(explained) { p.why id="why" { (text::foreign(&why)) } }
        @if let Some(since) = overview.failing_since {
            p { "Each answer since " (text::time(since)) " is an error." }
        }
        dl {
            dt { "Where" } dd { (text::foreign(&overview.place())) }
            dt { "Counts" } dd { (text::foreign(&overview.selection())) }
            @if let Ok(explanation) = measured {
                @for (name, fact) in &explanation.facts {
                    dt { (capital(name)) } dd { (text::foreign(fact)) }
                }
            }
            dt { "Known since" } dd { (text::time(overview.known_since)) }
            dt { "Id" } dd { code { (overview.id) } }
        }
    }
}

fn types(waiting: &[(String, u64)], sight: Option<&Sight>) -> Markup {
    let most = waiting.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    html! {
        @if waiting.is_empty() && sight.is_none() {
            p { "All messages count, whatever their type, so that none is looked at." }
        }
        @if !waiting.is_empty() {
            table {
                caption { "What waits and is selected" }
                thead { tr { th scope="col" { "Type" } th.number scope="col" { "Waiting" } th scope="col" { "Share" } } }
                tbody {
                    @for (name, count) in waiting {
                        tr {
                            th.name scope="row" { (text::foreign(name)) }
                            td.number { (text::number(*count)) }
                            td { meter min="0" max=(most) value=(count) aria-label="compared with the others" {} }
                        }
                    }
                }
            }
        }
        @if let Some(sight) = sight {
            table {
                caption { "The messages looked at last, of all types" }
                thead { tr { th scope="col" { "Type" } th.number scope="col" { "Messages" } } }
                tbody {
                    @for (name, count) in sight.types() {
                        tr {
                            th.name scope="row" {
                                @if let Some(name) = name { (text::foreign(name)) }
                                @else { "the filter is false" }
                            }
                            td.number { (text::number(count)) }
                        }
                    }
                    @for (reason, count) in sight.indeterminate() {
                        tr {
                            th.name scope="row" { "cannot be judged: " (text::foreign(&reason.to_string())) }
                            td.number { (text::number(count)) }
                        }
                    }
                    @if sight.others() > 0 {
                        tr { th scope="row" { "other types" } td.number { (text::number(sight.others())) } }
                    }
                    @if sight.messages() == 0 { tr { td colspan="2" { "none yet" } } }
                }
            }
        }
    }
}

fn partitions(explanation: &Explanation) -> Markup {
    let offset = |offset: Option<u64>| offset.map_or_else(|| "–".to_owned(), text::number);
    let row = |partition: &Partition| {
        html! {
            tr {
                th.name scope="row" {
                    (text::foreign(&partition.topic)) " " (partition.number)
                    @if partition.persistent { p.remark { "left out: excludePersistentLag" } }
                }
                td.number { (offset(partition.committed)) }
                td.number { (offset(Some(partition.end))) }
                td.number { (offset(partition.tail)) }
                td.number { (text::number(partition.waiting)) }
                td.number { (offset(partition.from)) }
                td.number { (offset(Some(partition.start))) }
            }
        }
    };
    html! {
        caption {
            "Offsets; ends are exclusive."
            @if explanation.more_partitions > 0 {
                " " (text::number(explanation.more_partitions as u64)) " more have less waiting."
            }
        }
        thead {
            tr {
                th scope="col" { "Partition" }
                th.number scope="col" { "Committed" }
                th.number scope="col" { "End" }
                th.number scope="col" { "Read up to" }
                th.number scope="col" { "Waiting" }
                th.number scope="col" { "Counted from" }
                th.number scope="col" { "Log start" }
            }
        }
        tbody { @for partition in &explanation.partitions { (row(partition)) } }
    }
}

fn keda(overview: &Overview, explanation: Option<&Explanation>) -> Markup {
    let Some(scaling) = overview.trigger.as_ref().map(Trigger::scaling) else {
        return html! { p { "Its metadata cannot be read, so that KEDA gets an error from each poll." } };
    };
    let measured = explanation.map(|explanation| explanation.measured);
    let jobs = measured.and_then(|measured| overview.jobs_wanted(measured.metric.count()));
    let active = measured.map(|measured| measured.activity.exceeds(scaling.activation));
    html! {
        p id="jobs" {
            @match (jobs, active) {
                (_, Some(Some(false))) => "It is not active, so that KEDA starts nothing for it.",
                (Some(jobs), _) => {
                    "KEDA wants " (text::of(jobs, "Job")) ": one for each "
                    @if scaling.target == 1 { "message" }
                    @else { (text::number(scaling.target)) " messages" }
                    ", those that run included."
                }
                _ => "Without a number KEDA starts nothing for it.",
            }
        }
        dl {
            dt { "Metric" } dd { (text::foreign(&scaling.metric_name)) }
            dt { "Messages for one Job" } dd { (text::number(scaling.target)) }
            dt { "Active above" } dd { (text::number(scaling.activation)) }
            dt { "Active" }
            dd {
                @match active.flatten() {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "not known",
                }
            }
            dt { "Jobs at most" }
            dd {
                @if let Some(most) = overview.max_jobs { (text::number(most)) }
                @else { "not known here; see maxReplicaCount" }
            }
        }
    }
}

fn last_polls(overview: &Overview, polls: &[Poll]) -> Markup {
    html! {
        @if polls.is_empty() {
            p { "KEDA has not asked yet." }
        } @else {
            table {
                caption { "The last " (polls.len()) " of " (text::number(overview.polls)) }
                thead {
                    tr {
                        th scope="col" { "At" }
                        th scope="col" { "Answer" }
                        th.number scope="col" { "Took" }
                    }
                }
                tbody {
                    @for poll in polls {
                        tr {
                            td { (text::time(poll.at)) }
                            td.answer {
                                @match &poll.answer {
                                    Ok(value) => (text::backlog(value.backlog)),
                                    Err(refusal) => {
                                        (format!("{:?}", refusal.code)) ": " (text::foreign(&refusal.words))
                                    }
                                }
                            }
                            td.number { (text::took(poll.took)) }
                        }
                    }
                }
            }
        }
    }
}

fn metadata_table(metadata: &[(String, String)]) -> Markup {
    html! {
        div.scroll role="region" aria-label="Metadata" tabindex="0" {
            table {
                caption { "As KEDA sent it. What may be a secret is hidden." }
                thead { tr { th scope="col" { "Key" } th scope="col" { "Value" } } }
                tbody {
                    @for (key, value) in metadata {
                        tr {
                            th.name scope="row" { (text::foreign(key)) }
                            td.answer {
                                @if value == HIDDEN { em { (HIDDEN) } }
                                @else { (text::foreign(value)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
