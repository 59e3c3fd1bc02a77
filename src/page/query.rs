//! Which triggers an overview shows, and in which order: as its address says, so that links, forms
//! and bookmarks work without JavaScript.

use std::cmp::Reverse;

use serde::Deserialize;
use url::form_urlencoded::Serializer;

use crate::scaler::{Overview, State};

/// Triggers on a page.
pub(super) const PAGE: usize = 200;

/// Bytes of what is searched for: beyond that nothing is found anyway.
const SEARCHED_BYTES: usize = 512;

/// What an address asks for. Anything that it cannot mean is as good as left out.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Query {
    /// Words that all must be in what is shown of a trigger.
    pub(super) q: String,
    /// The only state.
    pub(super) state: String,
    /// A column; with `-` before it the other way around.
    pub(super) sort: String,
    /// Which page, from 1 on.
    pub(super) page: String,
}

/// What triggers can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Namespace and name.
    Name,
    /// What is wrong comes first.
    State,
    /// The most comes first.
    Backlog,
    /// The latest comes first.
    Polled,
}

/// The triggers of one page of an overview.
#[derive(Debug)]
pub(super) struct Selected {
    /// In order.
    pub(super) shown: Vec<Overview>,
    /// How many there are on all pages.
    pub(super) found: usize,
    /// Which page it is, from 1 on.
    pub(super) page: usize,
    /// How many pages there are, at least one.
    pub(super) pages: usize,
}

impl Column {
    const ALL: [Self; 4] = [Self::Name, Self::State, Self::Backlog, Self::Polled];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Backlog => "backlog",
            Self::Polled => "polled",
        }
    }
}

impl Query {
    /// The state that is asked for.
    pub(super) fn state(&self) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == self.state)
    }

    /// The column, and whether it is the other way around.
    pub(super) fn sort(&self) -> (Column, bool) {
        let (name, is_reversed) = match self.sort.strip_prefix('-') {
            Some(name) => (name, true),
            None => (self.sort.as_str(), false),
        };
        match Column::ALL.into_iter().find(|column| column.as_str() == name) {
            Some(column) => (column, is_reversed),
            None => (Column::Name, false),
        }
    }

    /// The address of the same with another state.
    pub(super) fn with_state(&self, state: Option<State>) -> String {
        let state = state.map(State::as_str).unwrap_or_default().to_owned();
        Self { state, page: String::new(), ..self.clone() }.address()
    }

    /// The address of the same sorted by a column; the other way around if it is already.
    pub(super) fn by(&self, column: Column) -> String {
        let other_way = if self.sort() == (column, false) { "-" } else { "" };
        let sort = format!("{other_way}{}", column.as_str());
        Self { sort, page: String::new(), ..self.clone() }.address()
    }

    /// The address of another page.
    pub(super) fn at(&self, page: usize) -> String {
        Self { page: page.to_string(), ..self.clone() }.address()
    }

    /// What leads here again; relative, as something may be served before it.
    fn address(&self) -> String {
        let mut pairs = Serializer::for_suffix(String::from("./?"), 3);
        for (key, value) in
            [("q", &self.q), ("state", &self.state), ("sort", &self.sort), ("page", &self.page)]
        {
            if !value.is_empty() {
                pairs.append_pair(key, value);
            }
        }
        pairs.finish().trim_end_matches('?').to_owned()
    }

    /// The triggers of the page that is asked for, or of the last one.
    pub(super) fn select(&self, mut all: Vec<Overview>) -> Selected {
        let wanted = self.state();
        all.retain(|overview| wanted.is_none_or(|state| overview.state == state));
        let searched = crate::metadata::cut(&self.q, SEARCHED_BYTES).to_lowercase();
        let words: Vec<_> = searched.split_whitespace().collect();
        if !words.is_empty() {
            all.retain(|overview| has(overview, &words));
        }
        // They come by namespace and name, in which what is equal stays.
        let (column, is_reversed) = self.sort();
        match column {
            Column::Name => {}
            Column::State => all.sort_by_key(|overview| rank(overview.state)),
            Column::Backlog => all.sort_by_key(|overview| Reverse(count(overview))),
            Column::Polled => {
                all.sort_by_key(|overview| Reverse(overview.last.as_ref().map(|poll| poll.at)));
            }
        }
        if is_reversed {
            all.reverse();
        }
        let found = all.len();
        let pages = found.div_ceil(PAGE).max(1);
        let page = self.page.parse().unwrap_or(1).clamp(1, pages);
        let shown = all.into_iter().skip((page - 1) * PAGE).take(PAGE).collect();
        Selected { shown, found, page, pages }
    }
}

/// Whether all words are in what is shown.
fn has(overview: &Overview, words: &[&str]) -> bool {
    let mut text = [
        &*overview.namespace,
        &overview.name,
        &overview.place(),
        &overview.selection(),
        &overview.id,
        overview.note.as_deref().unwrap_or_default(),
    ]
    .join("\n");
    if let Some(Err(refusal)) = overview.last.as_ref().map(|poll| &poll.answer) {
        text.push('\n');
        text.push_str(&refusal.words);
    }
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}

/// What is counted; nothing of one that has no number.
fn count(overview: &Overview) -> Option<u64> {
    Some(overview.last.as_ref()?.answer.as_ref().ok()?.backlog.count())
}

fn rank(state: State) -> usize {
    State::ALL.into_iter().position(|known| known == state).unwrap_or(State::ALL.len())
}
