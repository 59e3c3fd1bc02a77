//! How many messages wait, as the management endpoint counts them: nothing is read for it.
//!
//! A count is active messages, those included that a receiver holds locked or has deferred. One
//! request gives that of one entity; for a pattern the entities are listed, [`PAGE`] a page. Polls
//! for the same entity that arrive together share a request, and it is given up when the last of
//! their deadlines has passed.
//!
//! What is asked again, and when:
//! - Where no answer came, or one of a broken gateway: twice, at once and a moment later, by
//!   azure_core.
//! - Where the namespace asks for quiet: once it has had it, if that is within the deadline; see
//!   [`Gate`]. When the gate opens, no more than [`AT_ONCE`] requests leave together.
//! - Where an entity is described without its counts, as a throttled namespace does: after
//!   [`QUIET`], and until then calls for it are answered with the same error.
//! - Where the answer is a refusal, cut short or of no use: by the next poll.
//!
//! A redirect is not followed, since what is sent may be a token.
//!
//! # References
//! - Microsoft Learn, REST API of Azure Service Bus: entities and `$Resources`, api-version 2021-05
//! - KEDA 2.20 `azure_servicebus_scaler.go`: `ActiveMessageCount`, and `operation`

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::fmt::Display;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use azure_core::http::headers::{
    AUTHORIZATION, HeaderName, Headers, RETRY_AFTER, RETRY_AFTER_MS, X_MS_RETRY_AFTER_MS,
};
use azure_core::http::policies::get_retry_after;
use azure_core::http::response::AsyncResponseBody;
use azure_core::http::{
    ClientOptions, Context, ExponentialRetryOptions, Method, Pipeline, PipelineOptions,
    PipelineStreamOptions, Request, RetryOptions, StatusCode, Transport,
};
use azure_core::time::OffsetDateTime;
use futures_util::StreamExt as _;
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::access::{ClaimKind, TrustedAccess};
use super::atom::{self, Description, Document, Entry};
use super::entity::{Entities, Entity, Matching};
use super::error::{Error, Right, steady};
use super::gate::{Gate, QUIET, Quiet};
use crate::coalescer::{Coalescer, ENDED, Tasks};
use crate::identity::Identities;
use crate::lock::lock;
use crate::metadata::quoted;
use crate::web::Web;

const API_VERSION: &str = "2021-05";

const LOCATION: HeaderName = HeaderName::from_static("location");

/// Entities a page: the most that the service gives.
const PAGE: usize = 100;
/// Pages of one listing; a namespace has 10,000 queues at most, and a topic 2,000 subscriptions.
const PAGES: usize = 1_000;
/// Requests that may be under way to one namespace.
const AT_ONCE: usize = 10;

/// Bytes of the longest answer. A page of 100 entities with their rules takes less than one
/// million.
const ANSWER_BYTES: usize = 16 << 20;
/// Bytes that are read of an error's text.
const ERROR_BYTES: usize = 64 << 10;

/// The least, and the most, whatever it says.
const QUIET_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The counts of one namespace.
pub(super) struct Counts {
    endpoint: Arc<Endpoint>,
    asking: Mutex<HashMap<Entities, Weak<Asked>>>,
    tasks: Tasks,
}

/// What is asked of one entity, or one listing.
type Asked = Coalescer<LastDeadline, Result<u64, Error>>;

/// Until when somebody waits for the answer.
#[derive(Debug, Clone, Copy, Default)]
struct LastDeadline(Option<Instant>);

/// The management endpoint of one namespace, and what it is asked with.
struct Endpoint {
    access: TrustedAccess,
    pipeline: Pipeline,
    identities: Arc<Identities>,
    gate: Arc<Gate>,
    under_way: Semaphore,
    /// Until when these are not asked for, and why.
    quiet: Mutex<HashMap<Entities, (Instant, Error)>>,
}

/// What came back for a request.
enum Answer {
    Body(Vec<u8>),
    Throttled { quiet: Duration, reason: String },
}

impl Counts {
    /// Counts in the namespace at `access`, asked for by tasks that `tasks` ends. Connects to
    /// nothing.
    ///
    /// `gate` is the namespace's: what closes it keeps these questions back as well.
    pub(super) fn new(
        access: TrustedAccess,
        web: &Web,
        identities: Arc<Identities>,
        gate: Arc<Gate>,
        tasks: Tasks,
    ) -> Self {
        let endpoint = Endpoint {
            access,
            pipeline: pipeline(web),
            identities,
            gate,
            under_way: Semaphore::new(AT_ONCE),
            quiet: Mutex::default(),
        };
        Self { endpoint: Arc::new(endpoint), asking: Mutex::default(), tasks }
    }

    /// The active messages of `entities`, asked for after this call and known by the deadline.
    ///
    /// Dropping the future gives up this caller's wait and nothing that others wait for.
    ///
    /// # Errors
    /// When there is no count. A missing entity, a pattern without matches and an answer without
    /// counts are errors too, and never 0.
    pub(super) async fn active(
        &self,
        entities: &Entities,
        deadline: Instant,
    ) -> Result<u64, Error> {
        let endpoint = &self.endpoint;
        // Others may wait longer than this call, so that the gate is no reason for their request to
        // fail.
        endpoint.gate.opens(deadline).map_err(|quiet| throttled(entities, quiet))?;
        endpoint.is_quiet(entities)?;
        let asked = self.asked(entities);
        let (asking, asked_for) = (Arc::clone(endpoint), entities.clone());
        let answer = asked.ask(
            &self.tasks,
            |last| last.extend(deadline),
            move |last| {
                let (endpoint, entities) = (Arc::clone(&asking), asked_for.clone());
                async move { endpoint.count(&entities, last.end()).await }
            },
        );
        match timeout_at(deadline, answer).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(endpoint.unreachable(ENDED)),
            Err(_) => Err(match endpoint.gate.opens(deadline) {
                Err(quiet) => throttled(entities, quiet),
                Ok(_) => endpoint.silent(),
            }),
        }
    }

    /// What is asked of these entities now. It lives while somebody asks or waits.
    fn asked(&self, entities: &Entities) -> Arc<Asked> {
        let mut asking = lock(&self.asking);
        if let Some(asked) = asking.get(entities).and_then(Weak::upgrade) {
            return asked;
        }
        asking.retain(|_, asked| asked.strong_count() > 0);
        let asked = Coalescer::new();
        asking.insert(entities.clone(), Arc::downgrade(&asked));
        asked
    }
}

impl LastDeadline {
    fn extend(&mut self, deadline: Instant) {
        self.0 = self.0.max(Some(deadline));
    }

    fn end(self) -> Instant {
        self.0.unwrap_or_else(Instant::now)
    }
}

impl Endpoint {
    async fn count(&self, entities: &Entities, deadline: Instant) -> Result<u64, Error> {
        // A round before this one may have learnt it.
        self.is_quiet(entities)?;
        let counted = match entities {
            Entities::One(entity) => {
                let path = entity.described_by().path();
                let body = self.get(entity, &path, "", deadline).await;
                body.and_then(|body| self.count_of(entity, &body))
            }
            Entities::Matching(matching) => self.matching(matching, deadline).await,
        };
        if let Err(error @ Error::Incomplete { .. }) = &counted {
            let now = Instant::now();
            let mut quiet = lock(&self.quiet);
            quiet.retain(|_, (until, _)| *until > now);
            quiet.insert(entities.clone(), (now + QUIET, error.clone()));
        }
        counted
    }

    /// # Errors
    /// These were described without counts a moment ago, which is how a namespace asks for quiet
    /// too.
    fn is_quiet(&self, entities: &Entities) -> Result<(), Error> {
        match lock(&self.quiet).get(entities) {
            Some((until, error)) if *until > Instant::now() => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// How many messages of `entity` a description tells: the active ones, and of a dead-letter
    /// queue all.
    fn count_of(&self, entity: &Entity, body: &[u8]) -> Result<u64, Error> {
        let incomplete = || Error::Incomplete { entity: entity.to_string() };
        let document = atom::parse(body).map_err(|error| unusable(entity, &error))?;
        // An empty feed comes where nothing is; a full one where the path is that of a list.
        let Document::Entry(Entry { name, description }) = document else {
            return Err(self.not_found(entity));
        };
        match (entity.described_by(), description) {
            (Entity::Queue(_), Description::Queue(counts))
            | (Entity::Subscription { .. }, Description::Subscription(counts)) => {
                let count = match entity {
                    Entity::DeadLetters(_) => counts.dead,
                    _ => counts.active,
                };
                count.ok_or_else(incomplete)
            }
            (_, Description::Topic) => Err(Error::Topic { topic: quoted(&name) }),
            _ => Err(unusable(entity, &"its answer describes something else")),
        }
    }

    /// What becomes of the active messages of all entities whose names match.
    async fn matching(&self, matching: &Matching, deadline: Instant) -> Result<u64, Error> {
        let path = match &matching.topic {
            None => "$Resources/queues".to_owned(),
            Some(topic) => format!("{topic}/Subscriptions"),
        };
        // By name: one that is made or deleted meanwhile moves others from page to page.
        let (mut found, mut any) = (BTreeMap::new(), false);
        for page in 0..PAGES {
            let range = format!("&$skip={}&$top={PAGE}", page * PAGE);
            let body = self.get(matching, &path, &range, deadline).await?;
            let document = atom::parse(&body).map_err(|error| unusable(matching, &error))?;
            let Document::Feed(entries) = document else {
                return Err(unusable(matching, &"its answer is no list"));
            };
            let last = entries.len() < PAGE;
            any |= !entries.is_empty();
            for Entry { name, description } in entries {
                if name.is_empty() {
                    return Err(unusable(matching, &"its list has an entity without a name"));
                }
                if !matching.pattern.is_match(&name) {
                    continue;
                }
                let active = match description {
                    Description::Queue(counts) | Description::Subscription(counts) => counts.active,
                    Description::Topic | Description::Unknown => None,
                };
                let incomplete = || Error::Incomplete { entity: quoted(&name) };
                let active = active.ok_or_else(incomplete)?;
                found.insert(name, active);
            }
            if last && any {
                return Ok(matching.operation.apply(found.into_values()));
            }
            // A missing topic has such a list as well.
            if last {
                let namespace = self.access.host().to_owned();
                return Err(Error::NothingListed { entities: matching.to_string(), namespace });
            }
        }
        Err(unusable(matching, &format_args!("there are more than {}", PAGES * PAGE)))
    }

    /// The answer for a path, asked for until the deadline, with quiet whenever the namespace wants
    /// it.
    async fn get(
        &self,
        what: &impl ToString,
        path: &str,
        range: &str,
        deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        let what = what.to_string();
        loop {
            self.gate.pass(deadline).await.map_err(|quiet| throttled(&what, quiet))?;
            let exchange = async {
                let _one = self.under_way.acquire().await;
                match self.gate.opens(deadline) {
                    // It has been closed while this one waited for its turn.
                    Ok(Some(_)) => Ok(None),
                    Ok(None) => self.exchange(&what, path, range, deadline).await.map(Some),
                    Err(quiet) => Err(throttled(&what, quiet)),
                }
            };
            match timeout_at(deadline, exchange).await.map_err(|_| self.silent())?? {
                Some(Answer::Body(body)) => return Ok(body),
                Some(Answer::Throttled { quiet, reason }) => {
                    self.gate.close(Instant::now() + quiet, reason);
                }
                None => {}
            }
        }
    }

    /// One request, and what comes back for it.
    async fn exchange(
        &self,
        what: &str,
        path: &str,
        range: &str,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut url =
            self.access.management().ok_or_else(|| unusable(&what, &"its host fits no URL"))?;
        url.set_path(path);
        let claim = self.access.claim(&self.identities, url.as_str(), deadline).await?;
        url.set_query(Some(&format!("api-version={API_VERSION}{range}")));
        let scheme = match claim.kind {
            ClaimKind::Jwt => "Bearer ",
            // It says so itself.
            ClaimKind::SharedAccess => "",
        };
        let mut request = Request::new(url, Method::Get);
        request.insert_header(AUTHORIZATION, format!("{scheme}{}", claim.token.expose_secret()));

        let unchecked = PipelineStreamOptions { skip_checks: true, ..Default::default() };
        let response = self.pipeline.stream(&Context::new(), &mut request, Some(unchecked)).await;
        let response = response.map_err(|error| self.unreachable(&cause(&error)))?;
        let (status, headers, body) = response.deconstruct();
        if status.is_success() {
            return Ok(Answer::Body(whole(what, body).await?));
        }
        let right = if range.is_empty() { Right::Manage } else { Right::List };
        self.declined(what, right, status, &headers, body).await
    }

    /// What to make of an answer that is none.
    async fn declined(
        &self,
        what: &str,
        right: Right,
        status: StatusCode,
        headers: &Headers,
        body: AsyncResponseBody,
    ) -> Result<Answer, Error> {
        let entity = what.to_owned();
        let status = u16::from(status);
        if (300..400).contains(&status) {
            let target = headers.get_optional_str(&LOCATION).and_then(|url| Url::parse(url).ok());
            let host = target.as_ref().and_then(Url::host_str).unwrap_or("another place");
            let reason = format_args!("it redirects to {}, where nothing is sent", quoted(host));
            return Err(unusable(&what, &reason));
        }
        let detail =
            atom::detail(&beginning(body).await).map_or_else(String::new, |said| steady(&said));
        let separator = if detail.is_empty() { "" } else { ": " };
        let reason = format!("HTTP status {status}{separator}{detail}");
        Err(match status {
            401 => Error::Unauthorized { entity, right, reason },
            403 => Error::Denied { entity, right, reason },
            404 | 410 => self.not_found(&entity),
            429 | 503 => return Ok(Answer::Throttled { quiet: quiet(headers), reason }),
            _ => Error::Service { entity, reason },
        })
    }

    fn not_found(&self, what: &dyn Display) -> Error {
        Error::NotFound { entity: what.to_string(), namespace: self.access.host().to_owned() }
    }

    fn silent(&self) -> Error {
        self.unreachable("its management endpoint has not answered in time")
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable { namespace: self.access.host().to_owned(), reason: reason.to_owned() }
    }
}

/// azure_core's pipeline, without the retries that are the gate's business.
fn pipeline(web: &Web) -> Pipeline {
    let retry = ExponentialRetryOptions {
        initial_delay: azure_core::time::Duration::milliseconds(50),
        max_retries: 2,
        ..Default::default()
    };
    let options = ClientOptions {
        transport: Some(Transport::new(Arc::new(web.http().clone()))),
        retry: RetryOptions::exponential(retry),
        ..Default::default()
    };
    let retried = PipelineOptions {
        retry_status_codes: vec![
            StatusCode::RequestTimeout,
            StatusCode::InternalServerError,
            StatusCode::BadGateway,
            StatusCode::GatewayTimeout,
        ],
        ..Default::default()
    };
    let (name, version) = (option_env!("CARGO_PKG_NAME"), option_env!("CARGO_PKG_VERSION"));
    Pipeline::new(name, version, options, Vec::new(), Vec::new(), Some(retried))
}

/// For how long the namespace wants quiet.
fn quiet(headers: &Headers) -> Duration {
    let named = [X_MS_RETRY_AFTER_MS, RETRY_AFTER_MS, RETRY_AFTER];
    let asked = get_retry_after(headers, OffsetDateTime::now_utc, &named);
    let (least, most) = QUIET_RANGE;
    asked.map_or(QUIET, |asked| Duration::try_from(asked).unwrap_or(least)).clamp(least, most)
}

/// The body to its end.
async fn whole(what: &str, body: AsyncResponseBody) -> Result<Vec<u8>, Error> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| unusable(&what, &"its answer was cut short"))?;
        if bytes.len() + chunk.len() > ANSWER_BYTES {
            return Err(unusable(&what, &format_args!("its answer is over {ANSWER_BYTES} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// As much of a body as tells what is wrong.
async fn beginning(body: AsyncResponseBody) -> Vec<u8> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ERROR_BYTES {
            break;
        }
    }
    bytes
}

fn throttled(what: &dyn Display, Quiet(reason): Quiet) -> Error {
    Error::Throttled { entity: what.to_string(), reason }
}

fn unusable(what: &dyn Display, reason: &dyn Display) -> Error {
    Error::Service { entity: what.to_string(), reason: reason.to_string() }
}

/// What is at the bottom of an error; above it stand the names of libraries.
fn cause(error: &azure_core::Error) -> String {
    let mut cause: &(dyn StdError + 'static) = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    steady(&cause.to_string())
}

#[cfg(test)]
mod tests;
