//! How a connection to a broker comes about: address, TCP, TLS, versions, login.
//!
//! All addresses of a name are tried, each a moment after the one before, and the first that takes
//! the connection is it (RFC 8305). One [`Dialer`] is made for a cluster as one login sees it.
//!
//! # References
//! - KIP-35 (ApiVersions), KIP-152 (SaslAuthenticate), KIP-368 (sessions that end)

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Endpoint;
use super::connection::{Connection, Credentials, Exchange, Stream};
use super::connection_error::{ConnectionError, system_text};
use super::frames::{FrameBudget, Traffic};
use super::resolve::Resolver;
use super::tls::TlsClient;
use crate::coalescer::Tasks;
use crate::ledger::Payers;

/// How long an address is tried before the next one is tried beside it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How long an address may take to take the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long finding an address that takes the connection may take.
const REACH_TIMEOUT: Duration = Duration::from_secs(8);

/// How long TLS, versions and login may take altogether.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection is silent before the system looks whether the other side is still there,
/// and how often it looks: load balancers forget a connection without a word.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// What is shared by all connections to one cluster.
pub(in crate::kafka) struct Network {
    resolver: Arc<Resolver>,
    asking: FrameBudget,
    following: FrameBudget,
    backfilling: FrameBudget,
}

impl Network {
    /// With the process's resolver, for a cluster that these pay for.
    pub(in crate::kafka) fn new(resolver: &Arc<Resolver>, payers: &Arc<Payers>) -> Self {
        let budget = |traffic| FrameBudget::new(payers, traffic);
        Self {
            resolver: Arc::clone(resolver),
            asking: budget(Traffic::Asking),
            following: budget(Traffic::Following),
            backfilling: budget(Traffic::Backfilling),
        }
    }

    fn budget(&self, traffic: Traffic) -> FrameBudget {
        match traffic {
            Traffic::Asking => self.asking.clone(),
            Traffic::Following => self.following.clone(),
            Traffic::Backfilling => self.backfilling.clone(),
        }
    }
}

/// Opens connections to the brokers of one cluster, with one login.
pub(in crate::kafka) struct Dialer {
    /// What is shared with other clusters.
    pub(in crate::kafka) network: Network,
    /// TLS, where the trigger wants it.
    pub(in crate::kafka) tls: Option<Arc<TlsClient>>,
    /// The login, where the trigger has one.
    pub(in crate::kafka) credentials: Option<Arc<dyn Credentials>>,
}

impl Dialer {
    /// Opens a connection, which runs as one of these tasks until it is dropped, or fails.
    ///
    /// # Errors
    /// [`ConnectionError`] where it cannot be had, after 13 s at most.
    pub(in crate::kafka) async fn open(
        &self,
        endpoint: &Endpoint,
        traffic: Traffic,
        tasks: &Tasks,
    ) -> Result<Connection, ConnectionError> {
        let unanswered = |_| ConnectionError::Connect {
            endpoint: endpoint.clone(),
            reason: "no answer in time".to_owned(),
        };
        let tcp = timeout(REACH_TIMEOUT, self.connect(endpoint)).await.map_err(unanswered)??;
        let opened = async {
            let stream = self.encrypt(tcp, endpoint).await?;
            let mut exchange = Exchange::new(stream, self.network.budget(traffic));
            exchange.agree_on_versions().await?;
            if let Some(credentials) = &self.credentials {
                exchange.log_in(&**credentials).await?;
            }
            Ok::<_, ConnectionError>(exchange)
        };
        let opened = timeout(OPEN_TIMEOUT, opened).await;
        let exchange = opened.map_err(|_| ConnectionError::Silent)??;
        Ok(Connection::run(exchange, self.credentials.clone(), tasks))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<TcpStream, ConnectionError> {
        let addresses = self.network.resolver.addresses(endpoint).await?;
        let failed = |reason| ConnectionError::Connect { endpoint: endpoint.clone(), reason };
        let mut is_refused = true;
        let mut left = addresses.into_iter();
        let mut attempts = JoinSet::new();
        let mut last = None;
        loop {
            if let Some(address) = left.next() {
                attempts.spawn(connect_to(address));
            }
            let next = async {
                if left.len() > 0 {
                    sleep(NEXT_ADDRESS_AFTER).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                attempt = attempts.join_next() => match attempt {
                    Some(Ok(Ok(stream))) => return Ok(stream),
                    Some(Ok(Err(NotConnected::Refused))) => {
                        last = Some("Connection refused".to_owned());
                    }
                    Some(Ok(Err(NotConnected::Otherwise(reason)))) => {
                        (last, is_refused) = (Some(reason), false);
                    }
                    Some(Err(error)) => (last, is_refused) = (Some(error.to_string()), false),
                    None if left.len() == 0 && is_refused && last.is_some() => {
                        return Err(ConnectionError::NothingListens { endpoint: endpoint.clone() });
                    }
                    None if left.len() == 0 => {
                        return Err(failed(last.unwrap_or_else(|| "no address".to_owned())));
                    }
                    None => {}
                },
                () = next => {}
            }
        }
    }

    async fn encrypt(
        &self,
        tcp: TcpStream,
        endpoint: &Endpoint,
    ) -> Result<Box<dyn Stream>, ConnectionError> {
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        Ok(Box::new(tls.connect(tcp, endpoint.host()).await?))
    }
}

/// Why an address takes no connection.
enum NotConnected {
    /// Nothing listens there.
    Refused,
    Otherwise(String),
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, NotConnected> {
    let attempt = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let Ok(attempt) = attempt else {
        return Err(NotConnected::Otherwise("no answer in time".to_owned()));
    };
    let stream = attempt.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => NotConnected::Refused,
        _ => NotConnected::Otherwise(system_text(&error)),
    })?;
    let (idle, every) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(every);
    // Neither is needed for an answer to be right.
    let _kept = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let _undelayed = stream.set_nodelay(true);
    Ok(stream)
}
