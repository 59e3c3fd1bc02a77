//! The token that a cluster's connections log in with, where its login is a token: fetched before
//! the first connection is made, and renewed for as long as the cluster is there.
//!
//! A connection that logs in, for the first time or anew, takes the token that is at hand.
//!
//! A token of the scaler's own goes to trusted hosts alone, so each bootstrap server must be one.
//! What these say of other brokers is believed, as everything else they say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::identity::{
    AzurePrincipal, Hosts, Identities, OAuthClient, Scope, Token, TokenEndpoints,
};
use crate::kafka::error::Error;
use crate::kafka::sasl::TokenLogin;
use crate::kafka::security::ClusterConfig;
use crate::kafka::wire::Credentials;
use crate::kafka::wire::sasl;
use crate::lock::lock;

/// How often a token is looked at; fetching ahead is up to `identity`.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where logins by token come from, and where they may go.
#[derive(Clone)]
pub struct Logins {
    /// Who fetches tokens.
    pub identities: Arc<Identities>,
    /// The hosts that may see a token of the scaler's.
    pub hosts: Hosts,
    /// The hosts that a client's token may be fetched from.
    pub endpoints: TokenEndpoints,
}

/// A cluster's token, whichever it is now.
pub(in crate::kafka) struct Bearer {
    identities: Arc<Identities>,
    wanted: TokenLogin,
    login: Login,
    token: Mutex<Token>,
}

/// Whose token, and what for, once it is known that it may go there.
enum Login {
    Client(Arc<OAuthClient>),
    Identity(AzurePrincipal, Scope),
}

impl Bearer {
    /// The bearer of a cluster, with its first token. `None` where the login is no token.
    ///
    /// # Errors
    /// The token may not go there, or cannot be had by the deadline.
    pub(in crate::kafka) async fn of(
        config: &ClusterConfig,
        logins: Option<&Logins>,
        deadline: Instant,
    ) -> Result<Option<Arc<Bearer>>, Error> {
        let Some(wanted) = config.token_login() else {
            return Ok(None);
        };
        let logins = logins.ok_or(Error::NoTokens)?;
        let login = match wanted {
            TokenLogin::Client { client, .. } => client_login(logins, client)?,
            TokenLogin::Workload(who) => workload_login(logins, config, who)?,
        };
        let identities = Arc::clone(&logins.identities);
        let token = Mutex::new(login.token(&identities, deadline).await?);
        Ok(Some(Arc::new(Bearer { identities, wanted: wanted.clone(), login, token })))
    }

    /// Has a good token at hand until it is dropped. A token that cannot be had is complained of
    /// elsewhere: `identity` logs it, and once the old one has ended the brokers refuse it.
    pub(in crate::kafka) async fn keep(self: Arc<Self>) {
        loop {
            sleep(LOOK_EVERY).await;
            let deadline = Instant::now() + LOOK_EVERY;
            let Ok(new) = self.login.token(&self.identities, deadline).await else {
                continue;
            };
            *lock(&self.token) = new;
        }
    }
}

impl Credentials for Bearer {
    fn login(&self) -> sasl::Login {
        self.wanted.with(&lock(&self.token).secret)
    }
}

impl Credentials for sasl::Login {
    fn login(&self) -> sasl::Login {
        self.clone()
    }
}

/// What connections of a cluster log in with, where they do.
pub(in crate::kafka) fn credentials(
    config: &ClusterConfig,
    bearer: Option<&Arc<Bearer>>,
) -> Option<Arc<dyn Credentials>> {
    match bearer {
        Some(bearer) => Some(Arc::clone(bearer) as Arc<dyn Credentials>),
        None => config.login(None).map(|login| Arc::new(login) as Arc<dyn Credentials>),
    }
}

impl Login {
    async fn token(&self, identities: &Identities, deadline: Instant) -> Result<Token, Error> {
        let token = match self {
            Login::Client(client) => identities.client_token(client, deadline).await,
            Login::Identity(who, scope) => identities.token(who, scope, deadline).await,
        };
        Ok(token?)
    }
}

fn client_login(logins: &Logins, client: &Arc<OAuthClient>) -> Result<Login, Error> {
    if !logins.endpoints.allow(&client.endpoint) {
        let host = client.endpoint.host().to_owned();
        return Err(Error::EndpointNotAllowed { host });
    }
    Ok(Login::Client(Arc::clone(client)))
}

/// Event Hubs gives each namespace a resource of its own: that of the first server.
fn workload_login(
    logins: &Logins,
    config: &ClusterConfig,
    who: &AzurePrincipal,
) -> Result<Login, Error> {
    let hosts = config.hosts().map(|host| logins.hosts.trust_host(host));
    let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
    let first = hosts.first().ok_or(Error::NoTokens)?;
    Ok(Login::Identity(who.clone(), Scope::event_hubs(first)))
}
