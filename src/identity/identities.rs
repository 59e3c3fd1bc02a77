//! All tokens, each fetched once for everyone who asks, and ahead of its end.
//!
//! A call with a good token at hand gets it at once; from the last quarter of the token's life on,
//! such a call also has the next one fetched. Calls without a good token wait for one exchange
//! together. Exchanges are tasks of their own: a caller that goes away ends none, and
//! [`Identities::shutdown`] ends them all.
//!
//! A refusal is told to those who wait for it, and then forgotten: what is mended at Entra works at
//! the next call. Only throttling is remembered, for as long as Entra asks.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use azure_core::http::Transport;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::client_credentials::OAuthClient;
use super::error::Error;
use super::exchange::{Authority, Login};
use super::hosts::Scope;
use super::lifetime::{Granted, TokenLifetime};
use super::options::Options;
use super::principal::AzurePrincipal;
use crate::kubernetes::Kubernetes;
use crate::lock::lock;
use crate::telemetry::{Family, TOKEN_REQUESTS, TOKENS};
use crate::web::Web;

/// No token is kept for longer, whatever its endpoint says: no clock need count beyond.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A token, as it is sent to a [`TrustedHost`](super::TrustedHost), or to a client's own servers.
#[derive(Debug, Clone)]
pub struct Token {
    /// What is sent.
    pub secret: SecretString,
    /// When it ends. A later call gives one that ends later, well before this.
    pub expires: SystemTime,
}

/// The tokens of all identities and clients that triggers ask with.
pub struct Identities {
    options: Arc<Options>,
    kubernetes: Kubernetes,
    http: reqwest::Client,
    transport: Transport,
    held: Arc<Mutex<HashMap<Key, Held>>>,
    asked: Arc<Asked>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// How many requests for tokens have ended, and how.
#[derive(Debug, Default)]
struct Asked {
    given: AtomicU64,
    refused: AtomicU64,
}

/// Whose token, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Identity(AzurePrincipal, Scope),
    Client(Arc<OAuthClient>),
}

type Answer = Result<Token, Error>;
/// Empty until the exchange has ended; closed if it never will.
type UnderWay = watch::Receiver<Option<Answer>>;

/// What is known of one token.
#[derive(Default)]
struct Held {
    token: Option<(Token, TokenLifetime)>,
    under_way: Option<UnderWay>,
    /// Entra is not to be asked before then, for this reason.
    throttled: Option<(Instant, Error)>,
}

impl Identities {
    /// Asks for nothing yet. Service accounts have their tokens from `kubernetes`.
    pub fn new(options: Options, web: &Web, kubernetes: Kubernetes) -> Arc<Self> {
        Arc::new(Self {
            options: Arc::new(options),
            kubernetes,
            http: web.http().clone(),
            transport: Transport::new(Arc::new(web.http().clone())),
            held: Arc::default(),
            asked: Arc::default(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        })
    }

    /// A token with which `who` may do what `scope` says: at hand, or fetched by `deadline`.
    /// Dropping the future ends nothing.
    ///
    /// # Errors
    /// There is no identity, or Entra gives it no token, or none by then.
    pub async fn token(
        &self,
        who: &AzurePrincipal,
        scope: &Scope,
        deadline: Instant,
    ) -> Result<Token, Error> {
        let authority = Authority::new(&self.options, scope.authority)?;
        let key = Key::Identity(who.clone(), scope.clone());
        let fetch = {
            let (options, kubernetes) = (Arc::clone(&self.options), self.kubernetes.clone());
            let (who, scope, authority) = (who.clone(), scope.clone(), authority.clone());
            let transport = self.transport.clone();
            || async move {
                let login = Login::find(&options, &kubernetes, &who, authority).await?;
                login.exchange(&scope.resource, &transport).await
            }
        };
        self.hold(key, fetch, |reason| authority.unreachable(reason), deadline).await
    }

    /// A client's token from its own endpoint, likewise.
    ///
    /// # Errors
    /// The endpoint gives it no token, or none by then.
    pub async fn client_token(
        &self,
        client: &Arc<OAuthClient>,
        deadline: Instant,
    ) -> Result<Token, Error> {
        let fetch = {
            let (client, http) = (Arc::clone(client), self.http.clone());
            || client.exchange(http)
        };
        let key = Key::Client(Arc::clone(client));
        self.hold(key, fetch, |reason| client.unreachable(reason), deadline).await
    }

    /// The token at hand, or the one that `fetch` gets for all who wait for it.
    async fn hold<F>(
        &self,
        key: Key,
        fetch: impl FnOnce() -> F,
        unreachable: impl Fn(&'static str) -> Error,
        deadline: Instant,
    ) -> Result<Token, Error>
    where
        F: Future<Output = Result<Granted, Error>> + Send + 'static,
    {
        let ending = || unreachable("the scaler is ending");
        let mut under_way = {
            let now = Instant::now();
            let mut held = lock(&self.held);
            let entry = held.entry(key.clone()).or_default();
            let may_ask = entry.may_ask(now);
            let good = entry.good(now);
            let idle = entry.under_way().is_none();
            let due = good.as_ref().is_none_or(|(_, lease)| lease.is_due(now));
            if idle && due && may_ask.is_ok() {
                entry.under_way = Some(self.begin(key, fetch()));
            }
            match (good, entry.under_way()) {
                (Some((token, _)), _) => return Ok(token),
                (None, Some(under_way)) => under_way,
                (None, None) => return Err(may_ask.err().unwrap_or_else(ending)),
            }
        };
        let answer = timeout_at(deadline, under_way.wait_for(Option::is_some)).await;
        let answer = answer.map_err(|_| unreachable("it has given no answer in time"))?;
        answer.ok().and_then(|answer| answer.clone()).unwrap_or_else(|| Err(ending()))
    }

    /// How many tokens there are that are good now, and how requests for them have ended.
    pub fn figures(&self) -> Vec<Family> {
        let now = Instant::now();
        let good = lock(&self.held).values().filter(|held| held.good(now).is_some()).count();
        let tokens = Family::of(&TOKENS);
        let result = |result: &str| vec![("result", result.to_owned())];
        let requests = Family::of(&TOKEN_REQUESTS)
            .with(result("given"), self.asked.given.load(Ordering::Relaxed))
            .with(result("refused"), self.asked.refused.load(Ordering::Relaxed));
        vec![tokens.with(Vec::new(), good), requests]
    }

    /// Ends what is under way, and waits for it.
    pub async fn shutdown(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn begin<F>(&self, key: Key, fetch: F) -> UnderWay
    where
        F: Future<Output = Result<Granted, Error>> + Send + 'static,
    {
        let (tell, under_way) = watch::channel(None);
        let (held, asked) = (Arc::clone(&self.held), Arc::clone(&self.asked));
        let exchange = async move {
            let answer = fetch.await.map(leased);
            let count = if answer.is_ok() { &asked.given } else { &asked.refused };
            count.fetch_add(1, Ordering::Relaxed);
            debug!(whose = %key, given = answer.is_ok(), "asked for a token");
            settle(&mut lock(&held), &key, &answer);
            tell.send_replace(Some(answer.map(|(token, _)| token)));
        };
        self.tasks.spawn(self.end.clone().run_until_cancelled_owned(exchange));
        under_way
    }
}

impl Drop for Identities {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Identity(who, scope) => write!(f, "identity {who} for {}", scope.resource),
            Key::Client(client) => write!(f, "a client of {}", client.endpoint.host()),
        }
    }
}

impl Held {
    fn good(&self, now: Instant) -> Option<(Token, TokenLifetime)> {
        self.token.clone().filter(|(_, lease)| lease.is_good(now))
    }

    fn may_ask(&self, now: Instant) -> Result<(), Error> {
        match &self.throttled {
            Some((until, error)) if now < *until => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// An exchange that ended without an answer, because it panicked, is not under way.
    fn under_way(&self) -> Option<UnderWay> {
        self.under_way.clone().filter(|under_way| under_way.has_changed().is_ok())
    }
}

/// Puts an answer in its place, and drops what has ended, so that identities of triggers long gone
/// take no room.
fn settle(
    held: &mut HashMap<Key, Held>,
    key: &Key,
    answer: &Result<(Token, TokenLifetime), Error>,
) {
    let now = Instant::now();
    let entry = held.entry(key.clone()).or_default();
    entry.under_way = None;
    match answer {
        Ok(leased) => *entry = Held { token: Some(leased.clone()), ..Held::default() },
        Err(error) => {
            if let Error::Throttled { wait, .. } = error {
                entry.throttled = Some((now + *wait, error.clone()));
            }
            if let Some((_, lease)) = entry.token.as_mut().filter(|(_, lease)| lease.is_good(now)) {
                lease.put_off(now);
                warn!(whose = %key, %error, "a token could not be renewed yet");
            }
        }
    }
    held.retain(|_, entry| {
        entry.good(now).is_some() || entry.under_way().is_some() || entry.may_ask(now).is_err()
    });
}

fn leased(granted: Granted) -> (Token, TokenLifetime) {
    let life = granted.life.min(LONGEST_LIFE);
    let token = Token { secret: granted.secret, expires: SystemTime::now() + life };
    (token, TokenLifetime::new(Instant::now(), life))
}
