//! How bytes get to a namespace: TCP, TLS where the namespace is not an emulator, and a WebSocket
//! where port 5671 is closed.
//!
//! The AMQP library runs a connection in tasks of its own, which wait for the other side even to
//! close. So a stream can be cut: from then on it is at its end, and what runs on it ends.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fe2o3_amqp_ws::WebSocketStream;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::fault::Fault;
use crate::service_bus::access::TrustedAccess;
use crate::service_bus::trigger::Transport;
use crate::web::Web;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream that ends when it is cut.
pub(super) struct Severable {
    inner: Box<dyn Stream>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Connects; the stream ends when `cut` is cancelled.
pub(super) async fn open(
    web: &Web,
    access: &TrustedAccess,
    transport: Transport,
    cut: CancellationToken,
) -> Result<Severable, Fault> {
    let (host, tls) = (access.host(), !access.is_plain());
    let port = match transport {
        Transport::Amqp => access.amqp_port(),
        Transport::WebSocket => access.http_port().unwrap_or(if tls { 443 } else { 80 }),
    };
    let lost = |error: io::Error| Fault::Lost(reason(&error));
    let connected = match web.address_of(host) {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((host.trim_matches(['[', ']']), port)).await,
    };
    let tcp = connected.map_err(lost)?;
    tcp.set_nodelay(true).map_err(lost)?;
    let mut inner: Box<dyn Stream> = Box::new(tcp);
    if tls {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Fault::Lost(format!("{host} is no host name")))?;
        let connector = TlsConnector::from(Arc::clone(web.tls()));
        inner = Box::new(connector.connect(name, inner).await.map_err(lost)?);
    }
    if transport == Transport::WebSocket {
        let scheme = if tls { "wss" } else { "ws" };
        let url = format!("{scheme}://{host}:{port}/$servicebus/websocket");
        let connected = WebSocketStream::connect_with_stream(url, inner).await;
        inner = Box::new(connected.map_err(|error| Fault::Lost(error.to_string()))?);
    }
    Ok(Severable { inner, cut: Box::pin(cut.cancelled_owned()) })
}

/// The system's words without the number it has for them.
fn reason(error: &io::Error) -> String {
    let said = error.to_string();
    said.split(" (os error").next().unwrap_or_default().to_owned()
}

impl fmt::Debug for Severable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Severable").finish_non_exhaustive()
    }
}

impl Severable {
    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
