//! All triggers: how they are, and how much waits for each.

use maud::{Markup, html};

use super::query::{Column, Query, Selected};
use super::text;
use crate::scaler::{Overview, State};

/// What an overview shows of all triggers that may be seen.
pub(super) fn overview(query: &Query, all: Vec<Overview>) -> Markup {
    let total = all.len();
    let count = |state| all.iter().filter(|overview| overview.state == state).count();
    let states = State::ALL.map(|state| (state, count(state)));
    let selected = query.select(all);
    html! {
        h1 { "Triggers" }
        p id="summary" role="status" data-live { (summary(total, &states)) }
        nav id="states" aria-label="By state" data-live {
            (filter(query, None, "all", total))
            @for (state, count) in states { (filter(query, Some(state), state.as_str(), count)) }
        }
        form id="search" role="search" action="./" method="get" {
            label for="q" { "Search" }
            input id="q" type="search" name="q" value=(query.q) maxlength="512" autocomplete="off"
                placeholder="name, namespace, topic, type, error";
            @if let Some(state) = query.state() {
                input type="hidden" name="state" value=(state.as_str());
            }
            @if !query.sort.is_empty() { input type="hidden" name="sort" value=(query.sort); }
            button type="submit" { "Search" }
        }
        div.scroll role="region" aria-label="Triggers" tabindex="0" {
            table.triggers id="triggers" data-live { (table(query, &selected, total)) }
        }
        nav.pages id="pages" aria-label="Pages" data-live { (pages(query, &selected)) }
    }
}

fn summary(total: usize, states: &[(State, usize)]) -> String {
    let states = states.iter().filter(|(_, count)| *count > 0);
    let states: Vec<_> = states
        .map(|(state, count)| format!("{} {}", text::number(*count as u64), state.as_str()))
        .collect();
    match total {
        0 => {
            "This replica knows no trigger: KEDA has not asked about any, and warm-up follows none."
                .to_owned()
        }
        _ => format!("{}: {}.", text::of(total as u64, "trigger"), states.join(", ")),
    }
}

fn filter(query: &Query, state: Option<State>, name: &str, count: usize) -> Markup {
    let is_current = query.state() == state;
    html! {
        a href=(query.with_state(state)) aria-current=[is_current.then_some("true")] {
            (name) " " span.count { (text::number(count as u64)) }
        }
    }
}

fn table(query: &Query, selected: &Selected, total: usize) -> Markup {
    let (sorted, is_reversed) = query.sort();
    let column = |column: Column, name: &str, class: &str| {
        // The name and the state ascend by themselves, the numbers and times descend.
        let ascends = matches!(column, Column::Name | Column::State) != is_reversed;
        let way = if ascends { "ascending" } else { "descending" };
        html! {
            th scope="col" class=(class) aria-sort=[(column == sorted).then_some(way)] {
                a href=(query.by(column)) { (name) }
            }
        }
    };
    html! {
        caption {
            @if selected.found == total { "All " (text::of(total as u64, "trigger")) }
            @else { (text::number(selected.found as u64)) " of " (text::of(total as u64, "trigger")) }
        }
        thead {
            tr {
                (column(Column::Name, "Trigger", ""))
                (column(Column::State, "State", ""))
                (column(Column::Backlog, "Waiting", "number"))
                th.number scope="col" { "Jobs wanted" }
                (column(Column::Polled, "Last poll", ""))
                th.wide scope="col" { "Where" }
                th.wide scope="col" { "Counts" }
            }
        }
        tbody {
            @for overview in &selected.shown { (row(overview)) }
            @if selected.shown.is_empty() && total > 0 {
                tr { td colspan="7" { "No trigger is like that." } }
            }
        }
    }
}

fn row(overview: &Overview) -> Markup {
    let last = overview.last.as_ref();
    let answer = last.map(|poll| &poll.answer);
    let value = answer.and_then(|answer| answer.as_ref().ok());
    let remark = match answer {
        Some(Err(refusal)) => Some(&*refusal.words),
        _ => overview.note.as_deref(),
    };
    let jobs = value.and_then(|value| overview.jobs_wanted(value.backlog.count()));
    html! {
        tr {
            th.name scope="row" {
                a href=(link(overview)) {
                    (text::foreign(&overview.namespace)) span.slash { "/" }
                    (text::foreign(&overview.name))
                }
                @if let Some(remark) = remark { p.remark { (text::foreign(remark)) } }
            }
            td { (text::state(overview.state)) }
            td.number { @if let Some(value) = value { (text::backlog(value.backlog)) } @else { "–" } }
            td.number { @if let Some(jobs) = jobs { (text::number(jobs)) } @else { "–" } }
            td { @if let Some(poll) = last { (text::time(poll.at)) } @else { "never" } }
            td.wide { (text::foreign(&overview.place())) }
            td.wide { (text::foreign(&overview.selection())) }
        }
    }
}

/// The address of a trigger's own page.
fn link(overview: &Overview) -> String {
    format!("trigger?id={}", overview.id)
}

fn pages(query: &Query, selected: &Selected) -> Markup {
    let Selected { page, pages, .. } = *selected;
    html! {
        @if pages > 1 {
            @if page > 1 { a href=(query.at(page - 1)) rel="prev" { "Previous" } }
            span { "Page " (page) " of " (pages) }
            @if page < pages { a href=(query.at(page + 1)) rel="next" { "Next" } }
        }
    }
}
