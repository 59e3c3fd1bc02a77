//! Which port a listener has, and why it has none.

use std::{io, net::SocketAddr};

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
    /// Opens the port of an address; port 0 takes any that is free. `flag` is what a user would change.
    ///
    /// # Errors
    /// When the address is not ours or the port is taken.
    pub async fn open(flag: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let opened = async {
            let tcp = TcpListener::bind(address).await?;
            Ok(Self { address: tcp.local_addr()?, tcp })
        };
        opened.await.map_err(|source| ListenError { flag, address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
