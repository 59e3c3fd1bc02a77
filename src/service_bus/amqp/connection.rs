//! One AMQP connection to a namespace, for all its entities, with a claim for each.
//!
//! Its task owns it: it makes links for whoever asks, puts tokens to `$cbs` before a link and again
//! before they expire, and ends when the connection does. The claim of an entity is renewed for as
//! long as a link holds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection as AmqpConnection, Session};
use fe2o3_amqp_cbs::client::CbsClient;
use fe2o3_amqp_cbs::token::CbsToken;
use fe2o3_amqp_types::primitives::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::fault::Fault;
use super::link::Link;
use super::stream;
use crate::coalescer::Tasks;
use crate::identity::Identities;
use crate::lock::lock;
use crate::service_bus::access::{ClaimKind, TrustedAccess};
use crate::service_bus::trigger::Transport;
use crate::web::Web;

/// Sessions, and so entities, that one connection can have; Service Bus grants 5,000.
const SESSIONS: u16 = 4_999;
/// After this much silence, either side may take the other for dead. Service Bus sends 240 s.
const IDLE: Duration = Duration::from_secs(60);
/// Links that may be asked for before the first of them is made.
const QUEUE: usize = 64;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// How soon at the earliest, and at the latest, a claim is tried again that could not be renewed,
/// or only with the same token.
const RENEW_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// For how long a claim is taken to be good at most: a tenant's signature may say that it ends
/// never.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// A connection that is open, or was. It is closed once this is dropped.
#[derive(Debug)]
pub(in crate::service_bus) struct Connection {
    asks: mpsc::Sender<Ask>,
    /// When something last came over it.
    heard: Mutex<Instant>,
}

/// A link that someone waits for.
struct Ask {
    entity: Arc<str>,
    reply: oneshot::Sender<Result<Admission, Fault>>,
}

/// What a link to an entity is made of.
pub(super) struct Admission {
    /// Tells the links of a connection from each other: a second one of a name would take the
    /// first's place.
    pub(super) name: String,
    pub(super) session: SessionHandle<()>,
    /// Keeps the claim alive.
    pub(super) claim: Arc<()>,
}

/// The claim of an entity, renewed while someone holds it.
struct Held {
    held: Weak<()>,
    expires: SystemTime,
    renew: Instant,
}

/// What the connection's task owns.
struct Owner {
    access: TrustedAccess,
    identities: Arc<Identities>,
    step_timeout: Duration,
    handle: ConnectionHandle<()>,
    cbs: CbsClient,
    // Ends after its links.
    _session: SessionHandle<()>,
    held: HashMap<Arc<str>, Held>,
    links: u64,
    /// The socket goes with the owner, whatever the library still waits for.
    _cut: DropGuard,
}

impl Connection {
    /// Opens a connection whose task ends with `tasks`, with the connection, or once nobody holds
    /// this. Each step of a link may take `step_timeout`.
    pub(in crate::service_bus) async fn open(
        web: &Web,
        access: &TrustedAccess,
        transport: Transport,
        identities: &Arc<Identities>,
        step_timeout: Duration,
        tasks: &Tasks,
    ) -> Result<Connection, Fault> {
        let cut = CancellationToken::new();
        let stream = stream::open(web, access, transport, cut.clone()).await?;
        let cut = cut.drop_guard();
        let opened = AmqpConnection::builder()
            .container_id(format!("keda-sift-{}", container()))
            .hostname(access.host())
            .channel_max(SESSIONS)
            .idle_time_out(u32::try_from(IDLE.as_millis()).unwrap_or(u32::MAX))
            .sasl_profile(SaslProfile::Anonymous)
            .open_with_stream(stream)
            .await;
        let mut handle = opened?;
        let mut session = begin(&mut handle).await?;
        let cbs = CbsClient::attach(&mut session).await?;
        let (asks, asked) = mpsc::channel(QUEUE);
        let owner = Owner {
            access: access.clone(),
            identities: Arc::clone(identities),
            step_timeout,
            handle,
            cbs,
            _session: session,
            held: HashMap::new(),
            links: 0,
            _cut: cut,
        };
        tasks.spawn(owner.run(asked));
        Ok(Connection { asks, heard: Mutex::new(Instant::now()) })
    }

    /// Whether the connection has ended.
    pub(in crate::service_bus) fn is_over(&self) -> bool {
        self.asks.is_closed()
    }

    /// Notes that something came over it.
    pub(super) fn hears(&self) {
        *lock(&self.heard) = Instant::now();
    }

    /// Whether something has come over it since.
    pub(super) fn has_heard_since(&self, then: Instant) -> bool {
        *lock(&self.heard) >= then
    }

    /// Attaches to an entity, with a new claim. How long that takes depends on how many stand in
    /// line; each is served within `step_timeout`, or the connection ends.
    pub(super) async fn link(
        self: Arc<Self>,
        entity: &Arc<str>,
        step_timeout: Duration,
    ) -> Result<Link, Fault> {
        let (reply, replied) = oneshot::channel();
        let over = |_| Fault::Lost("the connection ended".to_owned());
        self.asks.send(Ask { entity: Arc::clone(entity), reply }).await.map_err(|_| over(()))?;
        let admission = replied.await.map_err(|_| over(()))??;
        self.hears();
        let attached = timeout(step_timeout, Link::attach(admission, entity, self)).await;
        attached.unwrap_or_else(|_| Err(Fault::silent()))
    }
}

impl Owner {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut answers = true;
        while answers {
            let renew = self.held.values().map(|claim| claim.renew).min();
            answers = tokio::select! {
                ask = asked.recv() => match ask {
                    Some(ask) => self.serve(ask).await,
                    None => false,
                },
                () = until(renew) => self.renew().await,
                ended = self.handle.on_close() => {
                    debug!(host = self.access.host(), ?ended, "connection to service bus ended");
                    false
                }
            };
        }
        // A namespace that says no goodbye is left without one.
        drop(timeout(GOODBYE, self.handle.close()).await);
    }

    /// Whether the namespace answers. Where it does not, what it says later would be taken for the
    /// answer to another question, so the connection is of no more use.
    async fn serve(&mut self, ask: Ask) -> bool {
        let session = timeout(self.step_timeout, self.admit(&ask.entity)).await;
        let answers = session.is_ok();
        // Who has gone away wants no link.
        drop(ask.reply.send(session.unwrap_or_else(|_| Err(Fault::silent()))));
        answers
    }

    async fn admit(&mut self, entity: &Arc<str>) -> Result<Admission, Fault> {
        let expires = self.put_token(entity).await?;
        let session = begin(&mut self.handle).await?;
        let held = self.held.get(entity).and_then(|claim| claim.held.upgrade()).unwrap_or_default();
        let claim = Held { held: Arc::downgrade(&held), expires, renew: ahead_of(expires) };
        self.held.insert(Arc::clone(entity), claim);
        self.links += 1;
        let name = format!("keda-sift-{}", self.links);
        Ok(Admission { name, session, claim: held })
    }

    /// Renews the claims whose time has come. Whether the namespace answers, as in
    /// [`Owner::serve`].
    async fn renew(&mut self) -> bool {
        // What has lapsed has no link any more, and another link has another claim.
        self.held
            .retain(|_, claim| claim.held.strong_count() > 0 && claim.expires > SystemTime::now());
        let now = Instant::now();
        let due = self.held.iter().filter(|(_, claim)| claim.renew <= now);
        let due: Vec<(Arc<str>, SystemTime)> =
            due.map(|(entity, claim)| (Arc::clone(entity), claim.expires)).collect();
        for (entity, before) in due {
            let Ok(renewed) = timeout(self.step_timeout, self.put_token(&entity)).await else {
                return false;
            };
            let Some(claim) = self.held.get_mut(&entity) else { continue };
            match renewed {
                Ok(expires) if expires > before => {
                    claim.expires = expires;
                    claim.renew = ahead_of(expires);
                }
                outcome => {
                    // The link finds out if the claim lapses before another try succeeds.
                    debug!(entity = &*entity, renewed = outcome.is_ok(), "claim not renewed yet");
                    claim.renew = now + (left(before) / 8).clamp(RENEW_AGAIN.0, RENEW_AGAIN.1);
                }
            }
        }
        true
    }

    async fn put_token(&mut self, entity: &str) -> Result<SystemTime, Fault> {
        let audience = format!("amqp://{}/{entity}", self.access.host());
        // Earlier than whoever waits for the link gives up, so that a slow Entra is told by name.
        let deadline = Instant::now() + self.step_timeout * 9 / 10;
        let claim = self.access.claim(&self.identities, &audience, deadline).await;
        let claim = claim.map_err(Fault::Token)?;
        let kind = match claim.kind {
            ClaimKind::Jwt => "jwt",
            ClaimKind::SharedAccess => "servicebus.windows.net:sastoken",
        };
        let expires = claim.expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let expires = i64::try_from(expires).ok().map(Timestamp::from_milliseconds);
        let token = CbsToken::new(claim.token.expose_secret(), kind, expires);
        self.cbs.put_token(audience, token).await?;
        Ok(claim.expires)
    }
}

async fn begin(handle: &mut ConnectionHandle<()>) -> Result<SessionHandle<()>, Fault> {
    Ok(Session::begin(handle).await?)
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// When to renew what expires then: in the last quarter of its time, as tokens are.
fn ahead_of(expires: SystemTime) -> Instant {
    Instant::now() + left(expires) * 3 / 4
}

fn left(expires: SystemTime) -> Duration {
    expires.duration_since(SystemTime::now()).unwrap_or_default().min(LONGEST)
}

/// A number that tells this program's connections from each other in the namespace's own logs.
fn container() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_never_ends_is_renewed_all_the_same() {
        let never = UNIX_EPOCH + Duration::from_secs(i64::MAX as u64 / 2);
        for expires in [never, never + Duration::from_secs(i64::MAX as u64 / 3)] {
            let renewed = ahead_of(expires);
            assert!(renewed <= Instant::now() + LONGEST, "{expires:?}");
        }
        assert!(ahead_of(UNIX_EPOCH) <= Instant::now(), "what has ended, at once");
    }
}
