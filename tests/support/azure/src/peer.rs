//! A client as small as can be, to see on the wire what the SDKs hide: how links, connections and
//! sockets end.

use std::time::Duration;

use test_basics::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bus::ServiceBus;
use crate::codec::Value;
use crate::faults::Busy;
use crate::message::Message;
use crate::{Rights, access};

const ATTACH: u64 = 0x12;
const TRANSFER: u64 = 0x14;
const DETACH: u64 = 0x16;
const CLOSE: u64 = 0x18;

/// A connection with one session on channel 0, that has put a token for everything.
struct Peer(TcpStream);

/// A frame that came: the performative and what follows it.
struct Came(Value, Vec<u8>);

impl Peer {
    /// Connects and puts a token of this key.
    async fn connect(bus: &ServiceBus, key: &str) -> Self {
        let mut stream = TcpStream::connect(bus.address()).await.expect("the bus listens");
        stream.write_all(b"AMQP\0\x01\0\0").await.expect("the bus reads");
        let mut header = [0; 8];
        stream.read_exact(&mut header).await.expect("the bus answers");
        let mut peer = Self(stream);
        peer.send(0x10, vec![Value::string("peer"), Value::Null, Value::Uint(65_536)], &[]).await;
        let window = Value::Uint(1_000);
        peer.send(0x11, vec![Value::Null, Value::Uint(0), window.clone(), window], &[]).await;
        peer.link("$cbs", 0).await;
        let token = access::sign(
            key,
            bus.root_key().1,
            &format!("sb://{}/", bus.address()),
            std::time::SystemTime::now() + std::time::Duration::from_secs(3_600),
        );
        let properties = [
            ("operation", Value::string("put-token")),
            ("type", Value::string("servicebus.windows.net:sastoken")),
            ("name", Value::string(format!("sb://{}/", bus.address()))),
        ];
        peer.ask(1, Value::strings(properties), Value::String(token)).await;
        let Came(_, reply) = peer.next(TRANSFER).await;
        assert!(reply.windows(8).any(|bytes| bytes == b"Accepted"), "{reply:?}");
        peer
    }

    /// Attaches a link from the node on this handle, with credit, and one to it on the next.
    async fn link(&mut self, node: &str, handle: u32) {
        let end = |code, address: &str| Value::composite(code, vec![Value::string(address)]);
        for (handle, receives) in [(handle, true), (handle + 1, false)] {
            let name = Value::string(format!("{node}-{handle}"));
            let mut fields =
                vec![name, Value::Uint(handle), Value::Bool(receives), Value::Null, Value::Null];
            fields.extend([end(0x28, node), end(0x29, node)]);
            self.send(ATTACH, fields, &[]).await;
        }
        let mut flow = vec![Value::Uint(1), Value::Uint(1_000), Value::Uint(0), Value::Uint(1_000)];
        flow.extend([Value::Uint(handle), Value::Uint(0), Value::Uint(100)]);
        self.send(0x13, flow, &[]).await;
    }

    async fn ask(&mut self, handle: u32, properties: Value, body: Value) {
        let mut payload = Vec::new();
        for (code, value) in [(0x74, properties), (0x77, body)] {
            Value::Described(Box::new(Value::Ulong(code)), Box::new(value)).encode(&mut payload);
        }
        let transfer = vec![
            Value::Uint(handle),
            Value::Uint(0),
            Value::Binary(vec![0]),
            Value::Uint(0),
            Value::Bool(true),
        ];
        self.send(TRANSFER, transfer, &payload).await;
    }

    async fn peek(&mut self, handle: u32) {
        let body = [("from-sequence-number", Value::Long(1)), ("message-count", Value::Int(250))];
        let properties = [("operation", Value::string("com.microsoft:peek-message"))];
        self.ask(handle, Value::strings(properties), Value::strings(body)).await;
    }

    async fn send(&mut self, code: u64, fields: Vec<Value>, payload: &[u8]) {
        let body = [&Value::composite(code, fields).encoded()[..], payload].concat();
        let size = u32::try_from(body.len() + 8).expect("a small frame").to_be_bytes();
        let frame = [&size[..], &[2, 0, 0, 0], &body].concat();
        self.0.write_all(&frame).await.expect("the bus reads");
    }

    /// The next frame of this kind; those before it are left out. `None` when the socket ends
    /// first.
    async fn try_next(&mut self, code: u64) -> Option<Came> {
        loop {
            let read =
                timeout(PATIENCE, self.0.read_u32()).await.expect("the bus says something in time");
            let mut frame = vec![0; usize::try_from(read.ok()?).expect("a small frame") - 4];
            self.0.read_exact(&mut frame).await.ok()?;
            let mut rest = &frame[4..];
            let performative = Value::decode(&mut rest).expect("a performative");
            if performative.descriptor() == Some(code) {
                return Some(Came(performative, rest.to_vec()));
            }
        }
    }

    async fn next(&mut self, code: u64) -> Came {
        self.try_next(code).await.expect("the socket stays open")
    }

    /// The condition with which the next link, or the connection, ends.
    async fn condition(&mut self, code: u64) -> String {
        let Came(performative, _) = self.next(code).await;
        let error = performative.fields().last().cloned().expect("an error");
        error.fields()[0].text().expect("a condition").to_owned()
    }
}

async fn bus() -> ServiceBus {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 1_000, |_| Message::new("x"));
    bus
}

#[tokio::test]
async fn links_end_with_the_condition_that_was_asked_for() {
    let bus = bus().await;
    let mut peer = Peer::connect(&bus, bus.root_key().0).await;
    for (handle, condition, end) in [
        (
            2,
            "amqp:link:detach-forced",
            &(|bus: &ServiceBus| bus.detach_links("orders", "amqp:link:detach-forced"))
                as &dyn Fn(&ServiceBus),
        ),
        (4, "com.microsoft:server-busy", &|bus| bus.busy(Busy::Detach)),
        (6, "amqp:unauthorized-access", &ServiceBus::lapse_claims),
    ] {
        peer.link("orders/$management", handle).await;
        peer.peek(handle + 1).await;
        peer.next(TRANSFER).await;
        end(&bus);
        peer.peek(handle + 1).await;
        assert_eq!(peer.condition(DETACH).await, condition);
        assert_eq!(peer.condition(DETACH).await, condition);
        bus.busy(None);
    }
    peer.link("orders/$management", 8).await;
    assert_eq!(
        peer.condition(DETACH).await,
        "amqp:unauthorized-access",
        "there is no claim any more"
    );
}

#[tokio::test]
async fn a_deleted_queue_ends_its_links_and_grants_no_more() {
    let bus = bus().await;
    let mut peer = Peer::connect(&bus, bus.root_key().0).await;
    peer.link("orders/$management", 2).await;
    peer.next(ATTACH).await;
    bus.delete("orders");
    for _ in 0..2 {
        assert_eq!(peer.condition(DETACH).await, "amqp:not-found");
    }
    peer.link("orders", 4).await;
    assert_eq!(peer.condition(DETACH).await, "amqp:not-found");
}

#[tokio::test]
async fn rights_decide_which_links_there_are() {
    let bus = bus().await;
    bus.key("listen", Rights::LISTEN);
    let mut peer = Peer::connect(&bus, "listen").await;
    // The first of the pair receives, the second sends.
    peer.link("orders", 2).await;
    let Came(refused, _) = peer.next(DETACH).await;
    assert_eq!(refused.fields()[0], Value::Uint(3));
    peer.link("orders/$management", 4).await;
    peer.peek(5).await;
    peer.next(TRANSFER).await;
}

#[tokio::test]
async fn connections_end_politely_or_not() {
    let bus = bus().await;
    let mut closed = Peer::connect(&bus, bus.root_key().0).await;
    bus.close_connections("amqp:connection:forced");
    assert_eq!(closed.condition(CLOSE).await, "amqp:connection:forced");
    drop(closed);

    let mut cut = Peer::connect(&bus, bus.root_key().0).await;
    bus.cut_sockets();
    assert!(cut.try_next(CLOSE).await.is_none());

    let mut halved = Peer::connect(&bus, bus.root_key().0).await;
    halved.link("orders/$management", 2).await;
    bus.cut_in_the_middle_of_next_reply();
    halved.peek(3).await;
    assert!(halved.try_next(TRANSFER).await.is_none(), "half a frame is none");
    assert_eq!(bus.connections().ever, 3);
}

#[tokio::test]
async fn peeks_stay_unanswered_while_they_are_to() {
    let bus = bus().await;
    let mut peer = Peer::connect(&bus, bus.root_key().0).await;
    peer.link("orders/$management", 2).await;
    bus.stall_peeks(true);
    peer.peek(3).await;
    while bus.peeks() == 0 {
        tokio::task::yield_now().await;
    }
    bus.stall_peeks(false);
    assert_eq!(bus.peeked(), 0);
    bus.silence(true);
    peer.peek(3).await;
    assert!(timeout(Duration::from_millis(100), peer.next(TRANSFER)).await.is_err());
    bus.silence(false);
    peer.next(TRANSFER).await;
    assert_eq!((bus.peeks(), bus.peeked()), (2, 250));
}
