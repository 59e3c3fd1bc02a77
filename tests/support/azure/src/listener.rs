//! Which protocol a connection speaks.
//!
//! One port serves all of them, as a test has only one to give: the first bytes tell. `AMQP` is
//! AMQP, a TLS record is TLS and is looked into again, anything else is HTTP, which may be upgraded
//! to a WebSocket that carries AMQP.
//!
//! # References
//! - OASIS AMQP WebSocket Binding 1.0
//! - RFC 6455: The WebSocket Protocol

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, interval};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::atom;
use crate::connection::Connection;
use crate::message::now;
use crate::namespace::{Command, Shared};

/// How late a lock may end or a scheduled message come due.
const TURN: Duration = Duration::from_millis(20);
/// How many things a test may want of one connection before it has got round to any.
const COMMANDS: usize = 64;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Serves whoever comes, until it is dropped.
pub(crate) async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut turn = interval(TURN);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((socket, _)) = accepted {
                    connections.spawn(greet(socket, tls.clone(), shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            _ = turn.tick() => {
                let changed = shared.lock().turn(now());
                if changed {
                    shared.wake();
                }
            }
        }
    }
}

/// A connection from its first byte to its last, under a number a test can find it by.
async fn greet(socket: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let (sender, mut commands) = mpsc::channel(COMMANDS);
    let number = {
        let mut namespace = shared.lock();
        namespace.opened += 1;
        let number = namespace.opened;
        namespace.connections.insert(number, sender);
        number
    };
    let _open = Open { number, shared: shared.clone() };
    socket.set_nodelay(true).ok();
    let mut first = [0; 4];
    if socket.peek(&mut first).await.is_err() {
        return;
    }
    // A connection that is not AMQP yet knows one command: to end.
    match (first[0], tls) {
        (0x16, Some(tls)) => {
            let accepted = tokio::select! {
                accepted = tls.accept(socket) => accepted,
                () = cut(&mut commands) => return,
            };
            if let Ok(stream) = accepted {
                speak(stream, commands, shared).await;
            }
        }
        _ => speak(socket, commands, shared).await,
    }
}

/// Counts the connection as open until it goes.
struct Open {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.lock().connections.remove(&self.number);
    }
}

async fn cut(commands: &mut mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::Cut) {
            return;
        }
    }
}

async fn speak(
    mut stream: impl Stream,
    mut commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
) {
    let mut first = [0; 4];
    let read = tokio::select! {
        read = stream.read_exact(&mut first) => read,
        () = cut(&mut commands) => return,
    };
    if read.is_err() {
        return;
    }
    let (reader, writer) = tokio::io::split(stream);
    let stream = tokio::io::join(io::Cursor::new(first).chain(reader), writer);
    if &first == b"AMQP" {
        Connection::new(shared).serve(stream, commands).await;
    } else {
        speak_http(stream, commands, shared).await;
    }
}

async fn speak_http(
    stream: impl Stream,
    mut commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
) {
    let (upgraded, mut upgrades) = mpsc::channel(1);
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, upgraded) = (shared.clone(), upgraded.clone());
        async move {
            match request.uri().path() {
                "/$servicebus/websocket" => {
                    let reply = web_socket(&request);
                    upgraded.send(hyper::upgrade::on(request)).await.ok();
                    Ok::<_, Infallible>(reply)
                }
                _ => Ok(atom::answer(&request, &shared).await),
            }
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        _ = served => {}
        () = cut(&mut commands) => return,
    }
    drop(upgraded);
    if let Some(upgrade) = upgrades.recv().await
        && let Ok(upgrade) = upgrade.await
    {
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgrade), Role::Server, None).await;
        let (near, far) = duplex(256 * 1024);
        // Each ends by the other's end, with all that was said until then carried.
        let (_, _) =
            tokio::join!(Connection::new(shared).serve(near, commands), carry(socket, far));
    }
}

/// The reply that turns a request into a WebSocket which carries AMQP.
fn web_socket(request: &Request<Incoming>) -> Response<atom::Body> {
    let header = |name| request.headers().get(name);
    // The second is what Python's SDK says.
    let protocol = header(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()).and_then(
        |protocols| {
            protocols
                .split(',')
                .map(str::trim)
                .find(|protocol| matches!(*protocol, "amqp" | "AMQPWSB10"))
        },
    );
    let mut reply = Response::new(atom::Body::of(String::new()));
    let (Some(key), Some(protocol)) = (header(SEC_WEBSOCKET_KEY), protocol) else {
        *reply.status_mut() = StatusCode::BAD_REQUEST;
        return reply;
    };
    let accept = derive_accept_key(key.as_bytes());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_str(protocol).expect("it came as a header"),
    );
    headers.insert(
        SEC_WEBSOCKET_ACCEPT,
        HeaderValue::from_str(&accept).expect("base64 fits into a header"),
    );
    reply
}

/// Carries bytes between a WebSocket and a stream until one of them ends.
async fn carry(
    socket: WebSocketStream<impl Stream>,
    stream: tokio::io::DuplexStream,
) -> io::Result<()> {
    let (mut out, mut incoming) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            message = incoming.next() => match message {
                Some(Ok(Message::Binary(bytes))) => writer.write_all(&bytes).await?,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
            read = reader.read(&mut buffer) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                out.send(Message::Binary(bytes)).await.map_err(io::Error::other)?;
            }
        }
    }
}
