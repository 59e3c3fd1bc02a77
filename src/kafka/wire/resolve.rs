//! Which addresses a broker's name has, looked up without blocking a thread: names are of tenants,
//! and one that is not answered for must hold up nobody.
//!
//! The system's resolver blocks a thread for each look-up, for as long as a name server is silent.
//! So names are looked up here by `hickory-resolver`, as `/etc/resolv.conf` and `/etc/hosts` say.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::sync::OnceCell;

use super::Endpoint;
use super::connection_error::ConnectionError;
use crate::metadata::one_line;

/// How long one name server is waited for before it is asked again, or the next one is.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Addresses of one name that are tried: a name can be given any number.
const MAX_ADDRESSES: usize = 16;

/// A name that did not resolve is looked up anew after this: it may be a broker that comes back.
const FORGET_FAILURE_AFTER: Duration = Duration::from_secs(1);

/// How long addresses are believed at most: a broker that was moved is found as soon as DNS knows.
/// They are looked up only where a connection is opened.
const FORGET_AFTER: Duration = Duration::from_secs(1);

/// The look-ups of the process.
#[derive(Default)]
pub(in crate::kafka) struct Resolver(OnceCell<TokioResolver>);

impl Resolver {
    /// The addresses of a broker, at most 16 of them. The caller bounds the time.
    ///
    /// # Errors
    /// [`ConnectionError::Resolve`] where there is none.
    pub(super) async fn addresses(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Vec<SocketAddr>, ConnectionError> {
        let with_port = |address| SocketAddr::new(address, endpoint.port());
        if let Some(address) = endpoint.address() {
            return Ok(vec![with_port(address)]);
        }
        let fault = |reason: String| ConnectionError::Resolve {
            host: one_line(endpoint.host(), 100),
            reason: one_line(&reason, 150),
        };
        let resolver = self.0.get_or_try_init(async || system());
        let resolver = resolver.await.map_err(fault)?;
        let found = resolver.lookup_ip(endpoint.host()).await;
        let found = found.map_err(|error| match error.is_no_records_found() {
            true => ConnectionError::NoSuchName { host: one_line(endpoint.host(), 100) },
            false => fault(error.to_string()),
        })?;
        let addresses: Vec<_> = found.iter().take(MAX_ADDRESSES).map(with_port).collect();
        if addresses.is_empty() {
            return Err(fault("it has none".to_owned()));
        }
        Ok(addresses)
    }
}

/// As the system is set up.
fn system() -> Result<TokioResolver, String> {
    let told = |error: hickory_resolver::net::NetError| format!("no resolver: {error}");
    let mut builder = TokioResolver::builder_tokio().map_err(told)?;
    let options = builder.options_mut();
    options.timeout = TIMEOUT;
    options.positive_max_ttl = Some(FORGET_AFTER);
    options.negative_max_ttl = Some(FORGET_FAILURE_AFTER);
    builder.build().map_err(told)
}
