//! Each address of the page, and how many requests may be served at once.
//!
//! Overviews are made one at a time, because each copies what is known of all triggers, and a
//! trigger's page measures. The script waits ten times as long as a reply took before it asks
//! again, so many open pages ask less often and take no more of the processor than one.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{self, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt as _, stream};
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{MissedTickBehavior, timeout};

use super::guard::{self, Guard};
use super::layout::Page;
use super::query::Query;
use super::{overview, trigger};
use crate::diagnostics::Access;
use crate::scaler::{self, Entry, FindError, Scaler};

/// Open streams of events at once.
const STREAMS: usize = 64;

/// Triggers' pages that are made at once: each measures.
const MEASURING: usize = 8;

/// Requests that wait for their turn, and for how long.
const WAITING: usize = 128;
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// How often a stream looks for something new.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files that a page loads: the same for everybody.
const FILES: [(&str, &str, &str); 3] = [
    ("/page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// What an operator decides about the page.
#[derive(Debug)]
pub struct Options {
    /// Who may see it, and of which namespaces.
    pub access: Access,
    /// Names besides `localhost` by which it may be asked for without a token.
    pub hosts: Vec<String>,
    /// The name of this replica.
    pub replica: String,
}

/// What every request needs.
struct Desk {
    scaler: Arc<Scaler>,
    access: Access,
    replica: String,
    /// Places among as many as may wait or be served, and among as many as may be served.
    waiting: Semaphore,
    overviews: Semaphore,
    measuring: Semaphore,
    streams: Arc<Semaphore>,
}

/// Which trigger an address means.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Of {
    id: String,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("too much is asked for at once; try again")]
    Busy,
    #[error("there is no such page")]
    Page,
    #[error(transparent)]
    Trigger(FindError),
    #[error("it could not be made; see the log")]
    Broken,
}

/// All addresses.
pub fn routes(scaler: Arc<Scaler>, options: Options) -> Router {
    let Options { access, hosts, replica } = options;
    let guard = Arc::new(Guard::new(access.clone(), &hosts));
    let desk = Desk {
        scaler,
        access,
        replica,
        waiting: Semaphore::new(WAITING),
        overviews: Semaphore::new(1),
        measuring: Semaphore::new(MEASURING),
        streams: Arc::new(Semaphore::new(STREAMS)),
    };
    let mut routes = Router::new()
        .route("/", get(all))
        .route("/trigger", get(one))
        .route("/events", get(events))
        .fallback(nothing)
        .with_state(Arc::new(desk));
    for (path, kind, text) in FILES {
        routes = routes.route(path, get(async move || ([(CONTENT_TYPE, kind)], text)));
    }
    routes.layer(middleware::from_fn_with_state(guard, guard::guard))
}

async fn all(
    State(desk): State<Arc<Desk>>,
    extract::Query(query): extract::Query<Query>,
) -> Result<Response, Response> {
    let made = async {
        let _places = desk.turn(&desk.overviews).await?;
        let desk = Arc::clone(&desk);
        // Of many triggers it takes a while, which polls are not to wait for.
        let made = tokio::task::spawn_blocking(move || {
            let version = desk.version();
            let all = desk
                .scaler
                .overviews(&scaler::Query::default(), |namespace| desk.access.may_see(namespace));
            let content = overview::overview(&query, all);
            desk.page("Triggers".to_owned(), content, Some(version), "events".to_owned())
        });
        made.await.map_err(|_| Missing::Broken)
    };
    let made: Result<String, Missing> = made.await;
    made.map(|page| Html(page).into_response()).map_err(|missing| desk.missing(&missing))
}

async fn one(
    State(desk): State<Arc<Desk>>,
    extract::Query(Of { id }): extract::Query<Of>,
) -> Result<Response, Response> {
    let made = async {
        let _places = desk.turn(&desk.measuring).await?;
        let entry = desk.one(&id)?;
        let version = version_of(&entry);
        let explained = desk.scaler.explain(&entry).await;
        let title = format!("{}/{}", explained.overview.namespace, explained.overview.name);
        let events = format!("events?id={}", explained.overview.id);
        let content = trigger::trigger(&explained, SystemTime::now());
        Ok(desk.page(title, content, Some(version), events))
    };
    let made: Result<String, Missing> = made.await;
    made.map(|page| Html(page).into_response()).map_err(|missing| desk.missing(&missing))
}

/// An event whenever the page that it belongs to is another one: its version.
async fn events(
    State(desk): State<Arc<Desk>>,
    extract::Query(Of { id }): extract::Query<Of>,
) -> Result<Response, Response> {
    let permit = Arc::clone(&desk.streams).try_acquire_owned();
    let permit = permit.map_err(|_| desk.missing(&Missing::Busy))?;
    let watched = match id.as_str() {
        "" => Watched::All(Arc::clone(&desk)),
        id => {
            let entry = desk.one(id).map_err(|missing| desk.missing(&missing))?;
            Watched::One(Arc::downgrade(&entry))
        }
    };
    let end = desk.scaler.stop().streams.clone();
    let events = versions(watched)
        .map(move |version| (Ok::<_, Infallible>(Event::default().data(version)), &permit).0)
        .take_until(end.cancelled_owned());
    let no_buffer = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((no_buffer, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

async fn nothing(State(desk): State<Arc<Desk>>) -> Response {
    desk.missing(&Missing::Page)
}

/// What a stream of events is about.
enum Watched {
    All(Arc<Desk>),
    /// Does not keep it: KEDA may have forgotten it.
    One(Weak<Entry>),
}

impl Watched {
    /// What is true now; `None` once it is gone.
    fn version(&self) -> Option<String> {
        match self {
            Self::All(desk) => Some(desk.version()),
            Self::One(entry) => entry.upgrade().map(|entry| version_of(&entry)),
        }
    }
}

/// The version of now, then each that differs from the one before; `gone` is the last one of a
/// trigger.
fn versions(watched: Watched) -> impl Stream<Item = String> {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(Some((watched, ticks, None)), async |state| {
        let (watched, mut ticks, told) = state?;
        loop {
            ticks.tick().await;
            match watched.version() {
                None => return Some(("gone".to_owned(), None)),
                version if version == told => {}
                Some(version) => {
                    return Some((version.clone(), Some((watched, ticks, Some(version)))));
                }
            }
        }
    })
}

fn version_of(entry: &Entry) -> String {
    entry.answers_after(u64::MAX).1.to_string()
}

impl Desk {
    /// A place among those that are served, which may take a moment.
    async fn turn<'a>(
        &'a self,
        served: &'a Semaphore,
    ) -> Result<[SemaphorePermit<'a>; 2], Missing> {
        let waiting = self.waiting.try_acquire().map_err(|_| Missing::Busy)?;
        match timeout(TURN_WITHIN, served.acquire()).await {
            Ok(Ok(turn)) => Ok([waiting, turn]),
            _ => Err(Missing::Busy),
        }
    }

    fn one(&self, id: &str) -> Result<Arc<Entry>, Missing> {
        if id.is_empty() {
            return Err(Missing::Page);
        }
        let query = scaler::Query { id: id.to_owned(), ..scaler::Query::default() };
        let may_see = |namespace: &str| self.access.may_see(namespace);
        self.scaler.one(&query, may_see).map_err(Missing::Trigger)
    }

    fn version(&self) -> String {
        let (answers, kept) = self.scaler.version();
        format!("{answers}.{kept}")
    }

    fn page(
        &self,
        title: String,
        content: Markup,
        version: Option<String>,
        events: String,
    ) -> String {
        let warm = self.scaler.metrics().warmed_up().map(|[waiting, ready, unknown]| {
            let all = waiting + ready + unknown;
            format!("warm: {ready} of {all}")
        });
        Page { title, replica: self.replica.clone(), warm, version, events, content }.render()
    }

    fn missing(&self, missing: &Missing) -> Response {
        let status = match missing {
            Missing::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Missing::Page | Missing::Trigger(_) => StatusCode::NOT_FOUND,
            Missing::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let content = html! {
            p.back { a href="./" { "All triggers" } }
            h1 { @if status == StatusCode::NOT_FOUND { "Not found" } @else { "Not now" } }
            p { (missing) "." }
        };
        let page = self.page(missing.to_string(), content, None, String::new());
        (status, Html(page)).into_response()
    }
}
