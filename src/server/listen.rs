//! Which port a listener has, and why it has none.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// A port that is open; connections queue up until they are served.
pub struct Listener {
    pub(super) tcp: TcpListener,
    address: SocketAddr,
}

/// The ports of one server.
pub struct Listeners {
    /// Where KEDA calls.
    pub grpc: Listener,
    /// Where Kubernetes asks.
    pub http: Listener,
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {address}: cannot listen there")]
pub struct ListenError {
    flag: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl Listener {
    /// Opens the port of an address; port 0 takes any that is free. `flag` is what a user would
    /// change.
    ///
    /// `[::]` takes IPv4 too, and is `0.0.0.0` where there is no IPv6: as a default it serves every
    /// Pod, whatever addresses it has.
    ///
    /// # Errors
    /// When the address is not ours or the port is taken.
    pub async fn open(flag: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let opened = async {
            let tcp = match TcpListener::bind(address).await {
                Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?
                }
                bound => bound?,
            };
            Ok(Self { address: tcp.local_addr()?, tcp })
        };
        opened.await.map_err(|source| ListenError { flag, address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_default_address_takes_ipv4_too() {
        let everywhere = "[::]:0".parse().unwrap();
        let listener = Listener::open("--grpc-listen", everywhere).await.unwrap();
        let ipv4 = (Ipv4Addr::LOCALHOST, listener.address().port());
        tokio::net::TcpStream::connect(ipv4).await.expect("it listens there");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_its_flag() {
        let free = "127.0.0.1:0".parse().unwrap();
        let first = Listener::open("--grpc-listen", free).await.unwrap();
        let second = Listener::open("--http-listen", first.address()).await;
        let error = second.err().expect("the port is taken");
        assert_eq!(
            error.to_string(),
            format!("--http-listen {}: cannot listen there", first.address())
        );
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }
}
