//! What the service does on one AMQP connection.
//!
//! One task reads, decides and writes, so that what a peer sees is in order. `fe2o3-amqp` has an
//! acceptor, and it does not fit: it numbers its delivery tags, where here a tag is the lock token;
//! a message would have to be locked before it can be asked whether the receiver has credit for it;
//! its reply to an attach carries neither properties nor a session filter filled in; and it sends
//! no message that is already encoded. So the performatives are written here.
//!
//! | file | answers |
//! |---|---|
//! | `frames` | what the performatives are called, and what is in them |
//! | `links` | which links are granted, and how they end |
//! | `incoming` | what a peer sends |
//! | `outgoing` | what a peer receives, and what it decides about it |
//!
//! Rules: a channel and a handle have the same number in both directions. A frame for a link that
//! is gone is ignored, since the peer may have sent it before it knew.
//!
//! # References
//! - OASIS AMQP 1.0, part 2: Transport; part 5: Security
//! - Microsoft Learn: AMQP 1.0 in Azure Service Bus protocol guide

mod frames;
mod incoming;
mod links;
mod outgoing;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::access::{self, Claim};
use crate::codec::Value;
use crate::entity::Taking;
use crate::namespace::{Command, Shared};

use self::frames::{
    ATTACH, BEGIN, CLOSE, DETACH, DISPOSITION, END, FLOW, OPEN, SASL_INIT, SASL_MECHANISMS,
    SASL_OUTCOME, TRANSFER, error, framed, invalid, number, sequence,
};

/// The longest frame taken, as the service has it.
const FRAME: u32 = 65_536;
/// How many frames may come on a session before it is told that more may.
const WINDOW: u32 = 5_000;
/// How many messages a sender may send before it is told that it may send more.
const CREDIT: u32 = 1_000;
/// The longest message the service takes on its standard tier, and the longest batch.
const MESSAGE: u64 = 256 * 1024;
/// Which session a receiver asks for, and which it is given.
const SESSION_FILTER: &str = "com.microsoft:session-filter";
/// `message-format` of a batch.
const BATCH: i64 = 0x8001_3700;
/// How often claims and waiting receivers are looked after.
const TICK: Duration = Duration::from_millis(20);
/// How long a peer that was told of the end has to say so too.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the service waits for a session to become free if the receiver does not say.
const SESSION_WAIT: i64 = 60_000;

/// An AMQP connection.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    phase: Phase,
    /// What has come and was not looked at.
    input: BytesMut,
    /// What is to be written.
    output: Vec<u8>,
    /// The longest frame the peer takes, and how long it wants to hear something.
    frame: usize,
    idle: Option<Duration>,
    sessions: HashMap<u16, Session>,
    /// By the path the token was put for.
    claims: HashMap<String, Claim>,
    /// Receivers of a session that none is free for.
    waiting: Vec<Waiting>,
    /// The socket ends with this byte of the output.
    cut: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Sasl,
    Frames,
    /// Only a close is waited for.
    Closing(Instant),
    Over,
}

struct Session {
    next_incoming: u32,
    incoming_left: u32,
    next_outgoing: u32,
    /// How many frames the peer takes before it says more.
    outgoing_left: u32,
    next_delivery: u32,
    links: HashMap<u32, Link>,
    /// Deliveries whose receiver has not decided: which link, which lock.
    unsettled: HashMap<u32, (u32, Uuid)>,
    /// Transfers the peer's window has no room for.
    blocked: VecDeque<Vec<u8>>,
    _counted: Arc<()>,
}

struct Link {
    /// A number no other link of the bus has.
    id: u64,
    to: Terminus,
    end: End,
    _counted: Arc<()>,
}

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Terminus {
    Claims,
    /// The management node of the entity at this path.
    Node(String),
    Entity(String),
}

enum End {
    Sending(Sending),
    Receiving(Receiving),
}

/// The peer receives.
struct Sending {
    credit: u32,
    delivery_count: u32,
    drain: bool,
    taking: Taking,
    session: Option<Arc<str>>,
    /// Where the peer says its end is; a reply names it.
    target: Option<String>,
    replies: VecDeque<Vec<u8>>,
}

/// The peer sends.
struct Receiving {
    credit: u32,
    delivery_count: u32,
    delivery: Option<u32>,
    format: i64,
    settled: bool,
    payload: Vec<u8>,
}

/// An attach that is not answered yet.
struct Waiting {
    channel: u16,
    attach: Value,
    until: i64,
    /// Flows that came meanwhile.
    flows: Vec<Value>,
}

/// An attach that is not granted: condition and text.
struct Denied(&'static str, String);

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            phase: Phase::Header,
            input: BytesMut::with_capacity(FRAME as usize),
            output: Vec::new(),
            frame: 512,
            idle: None,
            sessions: HashMap::new(),
            claims: HashMap::new(),
            waiting: Vec::new(),
            cut: None,
        }
    }

    /// Serves until either side ends it.
    pub(crate) async fn serve(
        mut self,
        stream: impl AsyncRead + AsyncWrite,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let served = self.run(stream, &mut commands).await;
        if let Err(error) = served
            && error.kind() == io::ErrorKind::InvalidData
        {
            eprintln!("the service bus stand-in was sent what it cannot read: {error}");
        }
        for (_, session) in std::mem::take(&mut self.sessions) {
            for (_, link) in session.links {
                self.let_go(&link);
            }
        }
        self.shared.wake();
    }

    async fn run(
        &mut self,
        stream: impl AsyncRead + AsyncWrite,
        commands: &mut mpsc::Receiver<Command>,
    ) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(Box::pin(stream));
        let mut changed = self.shared.changed.subscribe();
        let mut silent = self.shared.silent.subscribe();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut written = Instant::now();
        loop {
            let mute = *silent.borrow_and_update();
            if !mute {
                self.read()?;
                self.pump();
            }
            if let Some(cut) = self.cut {
                writer.write_all(&self.output[..cut]).await?;
                return writer.flush().await;
            }
            if !self.output.is_empty() {
                writer.write_all(&self.output).await?;
                writer.flush().await?;
                self.output.clear();
                written = Instant::now();
            }
            match self.phase {
                Phase::Over => return timeout(FAREWELL, writer.shutdown()).await?,
                Phase::Closing(until) if until <= Instant::now() => return Ok(()),
                _ => {}
            }
            tokio::select! {
                read = reader.read_buf(&mut self.input), if !mute => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
                command = commands.recv() => match command {
                    Some(Command::Cut) | None => return Ok(()),
                    Some(command) => self.obey(command),
                },
                _ = changed.changed() => {}
                _ = silent.changed() => {}
                _ = tick.tick() => if !mute {
                    self.look_after();
                    if self.idle.is_some_and(|idle| written.elapsed() >= idle / 2) {
                        self.output.put_slice(&[0, 0, 0, 8, 2, 0, 0, 0]);
                    }
                },
            }
        }
    }

    /// Takes in all that has come whole.
    fn read(&mut self) -> io::Result<()> {
        while self.phase != Phase::Over {
            if matches!(self.phase, Phase::Header | Phase::Sasl) && self.input.starts_with(b"AMQP")
            {
                if self.input.len() < 8 {
                    return Ok(());
                }
                let header = self.input.split_to(8);
                self.output.put_slice(&header);
                if header[4] == 3 {
                    self.phase = Phase::Sasl;
                    // Java's SDK asks for the second, which carries nothing either.
                    let mechanisms =
                        Value::Array(vec![Value::symbol("MSSBCBS"), Value::symbol("ANONYMOUS")]);
                    self.send(0, 1, SASL_MECHANISMS, vec![mechanisms]);
                } else {
                    self.phase = Phase::Frames;
                }
                continue;
            }
            let Some(size) = self.input.first_chunk::<4>().map(|size| u32::from_be_bytes(*size))
            else {
                return Ok(());
            };
            if !(8..=FRAME).contains(&size) {
                return Err(invalid(format!("a frame of {size} bytes")));
            }
            if self.input.len() < size as usize {
                return Ok(());
            }
            let frame = self.input.split_to(size as usize).freeze();
            let (offset, channel) =
                (usize::from(frame[4]) * 4, u16::from_be_bytes([frame[6], frame[7]]));
            let mut body =
                frame.get(offset..).ok_or_else(|| invalid("a frame shorter than its header"))?;
            if body.is_empty() {
                continue;
            }
            let performative =
                Value::decode(&mut body).map_err(|_| invalid("a performative that is no AMQP"))?;
            self.perform(channel, &performative, body)?;
        }
        Ok(())
    }

    fn perform(&mut self, channel: u16, performative: &Value, payload: &[u8]) -> io::Result<()> {
        let code = performative.descriptor();
        if matches!(self.phase, Phase::Closing(_)) && code != Some(CLOSE) {
            return Ok(());
        }
        match code {
            Some(SASL_INIT) => self.send(0, 1, SASL_OUTCOME, vec![Value::Ubyte(0)]),
            Some(OPEN) => self.on_open(performative),
            Some(BEGIN) => self.on_begin(channel, performative),
            Some(ATTACH) => self.on_attach(channel, performative, None),
            Some(FLOW) => self.on_flow(channel, performative),
            Some(TRANSFER) => self.on_transfer(channel, performative, payload),
            Some(DISPOSITION) => self.on_disposition(channel, performative),
            Some(DETACH) => self.on_detach(channel, performative),
            Some(END) => {
                // Nothing more is said on a channel that has ended: Go's client drops the
                // connection.
                self.waiting.retain(|waiting| waiting.channel != channel);
                if let Some(session) = self.sessions.remove(&channel) {
                    session.links.values().for_each(|link| self.let_go(link));
                }
                self.send(channel, 0, END, vec![]);
            }
            Some(CLOSE) => {
                if !matches!(self.phase, Phase::Closing(_)) {
                    self.send(0, 0, CLOSE, vec![]);
                }
                self.phase = Phase::Over;
            }
            _ => return Err(invalid(format!("{performative:?}"))),
        }
        Ok(())
    }

    fn on_open(&mut self, open: &Value) {
        self.frame = number(open, 2)
            .and_then(|frame| frame.try_into().ok())
            .map_or(FRAME as usize, |frame: usize| frame.clamp(512, FRAME as usize));
        self.idle =
            number(open, 4).and_then(|idle| idle.try_into().ok()).map(Duration::from_millis);
        let container = Value::string(Uuid::new_v4().simple().to_string());
        self.send(
            0,
            0,
            OPEN,
            vec![container, Value::Null, Value::Uint(FRAME), Value::Ushort(4_999)],
        );
    }

    fn on_begin(&mut self, channel: u16, begin: &Value) {
        let session = Session {
            next_incoming: number(begin, 1).map_or(0, sequence),
            incoming_left: WINDOW,
            next_outgoing: 1,
            outgoing_left: number(begin, 2).map_or(WINDOW, sequence),
            next_delivery: 0,
            links: HashMap::new(),
            unsettled: HashMap::new(),
            blocked: VecDeque::new(),
            _counted: Arc::clone(&self.shared.session),
        };
        self.sessions.insert(channel, session);
        let (window, handles) = (Value::Uint(WINDOW), Value::Uint(u32::from(u8::MAX)));
        let fields = vec![Value::Ushort(channel), Value::Uint(1), window.clone(), window, handles];
        self.send(channel, 0, BEGIN, fields);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Detach { path, condition, description } => {
                let of = |link: &Link| match (&path, &link.to) {
                    (None, _) => true,
                    (Some(_), Terminus::Claims) => false,
                    (Some(path), to) => to.entity().eq_ignore_ascii_case(path),
                };
                self.detach(of, &condition, &description);
            }
            Command::Close { condition } => {
                let text = "The connection was closed by the service.";
                self.send(0, 0, CLOSE, vec![error(&condition, text)]);
                self.phase = Phase::Closing(Instant::now() + FAREWELL);
            }
            Command::Lapse => {
                self.claims.clear();
                self.look_after();
            }
            Command::Cut => {}
        }
    }

    fn send(&mut self, channel: u16, kind: u8, code: u64, fields: Vec<Value>) {
        let frame = framed(channel, kind, &Value::composite(code, fields), &[]);
        self.output.put_slice(&frame);
    }
}

impl Terminus {
    fn of(address: &str) -> Self {
        let path = access::path(address);
        if path.eq_ignore_ascii_case("$cbs") {
            return Self::Claims;
        }
        match path.to_lowercase().strip_suffix("/$management") {
            Some(entity) => Self::Node(path[..entity.len()].to_owned()),
            None => Self::Entity(path.to_owned()),
        }
    }

    /// The address as a path.
    fn path(&self) -> String {
        match self {
            Self::Claims => "$cbs".into(),
            Self::Node(path) => format!("{path}/$management"),
            Self::Entity(path) => path.clone(),
        }
    }

    /// The path of the entity alone.
    fn entity(&self) -> String {
        match self {
            Self::Claims => "$cbs".into(),
            Self::Node(path) | Self::Entity(path) => path.clone(),
        }
    }
}
