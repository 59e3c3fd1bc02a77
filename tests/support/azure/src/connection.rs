//! What the service does on one AMQP connection.
//!
//! One task reads, decides and writes, so that what a peer sees is in order. `fe2o3-amqp` has an acceptor, and it does not fit: it
//! numbers its delivery tags, where here a tag is the lock token; a message would have to be locked before it can be asked whether the
//! receiver has credit for it; its reply to an attach carries neither properties nor a session filter filled in; and it sends no
//! message that is already encoded. So the performatives are written here.
//!
//! Rules: a channel and a handle have the same number in both directions. A frame for a link that is gone is ignored, since the
//! peer may have sent it before it knew.
//!
//! # References
//! - OASIS AMQP 1.0, part 2: Transport; part 5: Security
//! - Microsoft Learn: AMQP 1.0 in Azure Service Bus protocol guide

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::access::{self, Claim, Rights};
use crate::codec::Value;
use crate::entity::{LockLost, Settlement, Taking};
use crate::message::{self, Request, Sent, now};
use crate::namespace::{Command, Node, Shared};
use crate::node::{self, Answer};

const OPEN: u64 = 0x10;
const BEGIN: u64 = 0x11;
const ATTACH: u64 = 0x12;
const FLOW: u64 = 0x13;
const TRANSFER: u64 = 0x14;
const DISPOSITION: u64 = 0x15;
const DETACH: u64 = 0x16;
const END: u64 = 0x17;
const CLOSE: u64 = 0x18;
const ERROR: u64 = 0x1d;
const ACCEPTED: u64 = 0x24;
const REJECTED: u64 = 0x25;
const RELEASED: u64 = 0x26;
const MODIFIED: u64 = 0x27;
const COORDINATOR: u64 = 0x30;
const SASL_MECHANISMS: u64 = 0x40;
const SASL_INIT: u64 = 0x41;
const SASL_OUTCOME: u64 = 0x44;

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
                // Nothing more is said on a channel that has ended: Go's client drops the connection.
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

    /// Answers an attach, unless it has to wait for a session to become free.
    fn on_attach(&mut self, channel: u16, attach: &Value, waited: Option<Waiting>) {
        let fields = |at: usize| attach.fields().get(at).cloned().unwrap_or(Value::Null);
        let Some(handle) = number(attach, 1).map(sequence) else { return };
        let (name, receives) = (fields(0), fields(2) == Value::Bool(true));
        let (mut source, target) = (fields(5), fields(6));
        let address = if receives { &source } else { &target };
        let address = address.fields().first().and_then(Value::text).unwrap_or_default().to_owned();
        let terminus = Terminus::of(&address);

        if target.descriptor() == Some(COORDINATOR) {
            let text = "Transactions are not supported by this stand-in.";
            let denied = Denied("amqp:not-implemented", text.into());
            self.refuse(channel, handle, &name, receives, &denied);
            return;
        }

        let mut properties = vec![("com.microsoft:max-message-batch-size", Value::Ulong(MESSAGE))];
        let id = self.shared.next_link();
        let mut held = None;
        let granted = self.grant(&terminus, receives).and_then(|sessions| {
            let filter = source.fields().get(7).and_then(|filter| filter.get(SESSION_FILTER));
            let (Terminus::Entity(path), true) = (&terminus, receives) else { return Ok(true) };
            match (sessions, filter) {
                (false, None) => Ok(true),
                (true, None) => Err(Denied(
                    "amqp:not-allowed",
                    "It is not possible for an entity that requires sessions to create a non-sessionful message receiver."
                        .into(),
                )),
                (false, Some(_)) => Err(Denied(
                    "amqp:not-allowed",
                    "A sessionful message receiver cannot be created on an entity that does not require sessions.".into(),
                )),
                (true, Some(filter)) => {
                    let filter = if let Value::Described(_, filter) = filter { filter } else { filter };
                    let wanted = filter.text();
                    let mut namespace = self.shared.lock();
                    held = namespace.entity(path).and_then(|entity| entity.hold(wanted, id, now()));
                    if held.is_none() && wanted.is_some() {
                        let text = format!("The requested session '{}' cannot be accepted.", wanted.unwrap_or_default());
                        return Err(Denied("com.microsoft:session-cannot-be-locked", text));
                    }
                    Ok(held.is_some())
                }
            }
        });

        let denied = match granted {
            Ok(true) => None,
            Ok(false) => {
                let wait = fields(13)
                    .get("com.microsoft:timeout")
                    .and_then(Value::number)
                    .unwrap_or(SESSION_WAIT);
                let waiting = waited.unwrap_or_else(|| Waiting {
                    channel,
                    attach: attach.clone(),
                    until: now() + wait,
                    flows: Vec::new(),
                });
                if now() < waiting.until {
                    self.waiting.push(waiting);
                    return;
                }
                let text = "The operation did not complete within the allotted timeout: no session is available.";
                self.refuse(
                    channel,
                    handle,
                    &name,
                    receives,
                    &Denied("com.microsoft:timeout", text.into()),
                );
                return;
            }
            Err(denied) => Some(denied),
        };
        if let Some(denied) = denied {
            self.refuse(channel, handle, &name, receives, &denied);
            return;
        }

        if let Some((session, until)) = &held {
            if let Value::Described(_, list) = &mut source
                && let Value::List(fields) = &mut **list
                && let Some(filter) = fields.get_mut(7)
            {
                // Described or bare, as it was sent: each client looks for its own form.
                let name = Value::string(&**session);
                let name = match filter.get(SESSION_FILTER) {
                    Some(Value::Described(descriptor, _)) => {
                        Value::Described(descriptor.clone(), Box::new(name))
                    }
                    _ => name,
                };
                *filter = Value::symbols([(SESSION_FILTER, name)]);
            }
            // .NET's ticks: 100 ns since the year 1.
            properties.push((
                "com.microsoft:locked-until-utc",
                Value::Long((until + 62_135_596_800_000) * 10_000),
            ));
        }
        let taking = if fields(3).number() == Some(1) { Taking::Delete } else { Taking::Lock };
        let end = if receives {
            End::Sending(Sending {
                credit: 0,
                delivery_count: 0,
                drain: false,
                taking,
                session: held.map(|(session, _)| session),
                target: target.fields().first().and_then(Value::text).map(str::to_owned),
                replies: VecDeque::new(),
            })
        } else {
            End::Receiving(Receiving {
                credit: CREDIT,
                delivery_count: number(attach, 9).map_or(0, sequence),
                delivery: None,
                format: 0,
                settled: false,
                payload: Vec::new(),
            })
        };
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let to_entity = matches!(terminus, Terminus::Entity(_));
        let _counted = Arc::clone(&self.shared.link);
        session.links.insert(handle, Link { id, to: terminus, end, _counted });
        // As the service has it: a limit on messages, and none on what is said to a node or by it.
        let longest = if to_entity { MESSAGE } else { self.shared.lock().faults.node_bytes };
        let reply = vec![
            name,
            Value::Uint(handle),
            Value::Bool(!receives),
            fields(3),
            fields(4),
            source,
            target,
            Value::Null,
            Value::Null,
            if receives { Value::Uint(0) } else { Value::Null },
            Value::Ulong(longest),
            Value::Null,
            Value::Null,
            Value::symbols(properties),
        ];
        self.send(channel, 0, ATTACH, reply);
        if !receives {
            self.flow(channel, Some(handle));
        }
        for flow in waited.map(|waited| waited.flows).unwrap_or_default() {
            self.on_flow(channel, &flow);
        }
    }

    /// Whether the peer may have the link, and whether the entity has sessions.
    fn grant(&self, to: &Terminus, receives: bool) -> Result<bool, Denied> {
        let (path, needed) = match to {
            Terminus::Claims => return Ok(false),
            Terminus::Node(path) => (path, Rights::LISTEN | Rights::SEND),
            Terminus::Entity(path) => (path, if receives { Rights::LISTEN } else { Rights::SEND }),
        };
        if !self.rights(to).touch(needed) {
            let claim = if needed == Rights::SEND { Rights::SEND } else { Rights::LISTEN };
            let text = format!(
                "Unauthorized access. '{}' claim(s) are required to perform this operation. Resource: 'sb://{}/{path}'.",
                claim.name(),
                self.shared.hosts[0],
            );
            return Err(Denied("amqp:unauthorized-access", text));
        }
        let mut namespace = self.shared.lock();
        let there = match to {
            Terminus::Entity(_) if !receives => {
                namespace.inbox(path).map(|inbox| inbox.options.sessions)
            }
            Terminus::Node(_) if matches!(namespace.node(path), Some(Node::Topic(_))) => {
                Some(false)
            }
            _ => namespace.entity(path).map(|entity| entity.options.sessions),
        };
        there.ok_or_else(|| {
            let host = &self.shared.hosts[0];
            Denied(
                "amqp:not-found",
                format!("The messaging entity 'sb://{host}/{path}' could not be found."),
            )
        })
    }

    /// What the claims that are alive allow on what the link leads to.
    fn rights(&self, to: &Terminus) -> Rights {
        let path = to.path();
        let alive = self.claims.values().filter(|claim| claim.ends > now() && claim.covers(&path));
        alive.fold(Rights::NONE, |all, claim| all | claim.rights)
    }

    /// An attach with nothing at the other end, and the detach that says why.
    fn refuse(
        &mut self,
        channel: u16,
        handle: u32,
        name: &Value,
        receives: bool,
        Denied(condition, text): &Denied,
    ) {
        let mut reply = vec![name.clone(), Value::Uint(handle), Value::Bool(!receives)];
        if receives {
            reply.resize(9, Value::Null);
            reply.push(Value::Uint(0));
        }
        self.send(channel, 0, ATTACH, reply);
        self.send(
            channel,
            0,
            DETACH,
            vec![Value::Uint(handle), Value::Bool(true), error(condition, text)],
        );
    }

    fn on_flow(&mut self, channel: u16, flow: &Value) {
        let handle = number(flow, 4).map(sequence);
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let seen = number(flow, 0).map_or(1, sequence);
        session.outgoing_left = seen
            .wrapping_add(number(flow, 1).map_or(WINDOW, sequence))
            .wrapping_sub(session.next_outgoing);
        let flag = |at: usize| flow.fields().get(at) == Some(&Value::Bool(true));
        if let Some(handle) = handle {
            match session.links.get_mut(&handle).map(|link| &mut link.end) {
                Some(End::Sending(sending)) => {
                    let credit = number(flow, 6).map_or(0, sequence);
                    let count = number(flow, 5).map_or(0, sequence);
                    sending.credit =
                        count.wrapping_add(credit).wrapping_sub(sending.delivery_count);
                    sending.drain = flag(8);
                }
                Some(End::Receiving(_)) => {}
                None => {
                    let of_link = |waiting: &&mut Waiting| {
                        waiting.channel == channel
                            && number(&waiting.attach, 1).map(sequence) == Some(handle)
                    };
                    if let Some(waiting) = self.waiting.iter_mut().find(of_link) {
                        waiting.flows.push(flow.clone());
                    }
                    return;
                }
            }
        }
        if flag(9) {
            self.flow(channel, handle);
        }
    }

    fn on_transfer(&mut self, channel: u16, transfer: &Value, payload: &[u8]) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        session.next_incoming = session.next_incoming.wrapping_add(1);
        session.incoming_left -= 1;
        let refill = session.incoming_left < WINDOW / 2;
        if refill {
            session.incoming_left = WINDOW;
        }
        let handle = number(transfer, 0).map_or(0, sequence);
        let flag = |at: usize| transfer.fields().get(at) == Some(&Value::Bool(true));
        let mut whole = None;
        if let Some(Link { to, end: End::Receiving(taking), .. }) = session.links.get_mut(&handle) {
            if let Some(delivery) = number(transfer, 1) {
                taking.delivery = Some(sequence(delivery));
                taking.format = number(transfer, 3).unwrap_or(0);
            }
            taking.settled |= flag(4);
            taking.payload.put_slice(payload);
            if flag(9) {
                taking.payload.clear();
            } else if !flag(5) {
                taking.credit -= 1;
                taking.delivery_count = taking.delivery_count.wrapping_add(1);
                let delivery =
                    taking.delivery.take().filter(|_| !std::mem::take(&mut taking.settled));
                let refill = taking.credit < CREDIT / 2;
                if refill {
                    taking.credit = CREDIT;
                }
                whole = Some((
                    to.clone(),
                    std::mem::take(&mut taking.payload),
                    taking.format,
                    delivery,
                    refill,
                ));
            }
        }
        if let Some((to, payload, format, delivery, refill)) = whole {
            let taken = self.take_in(channel, &to, &payload, format);
            if let Some(delivery) = delivery {
                let state = match taken {
                    Ok(()) => Value::composite(ACCEPTED, vec![]),
                    Err(Denied(condition, text)) => {
                        Value::composite(REJECTED, vec![error(condition, &text)])
                    }
                };
                let id = Value::Uint(delivery);
                let fields = vec![Value::Bool(true), id.clone(), id, Value::Bool(true), state];
                self.send(channel, 0, DISPOSITION, fields);
            }
            if refill {
                self.flow(channel, Some(handle));
            }
        }
        if refill {
            self.flow(channel, None);
        }
    }

    /// Takes a message in where the link leads.
    fn take_in(
        &mut self,
        channel: u16,
        to: &Terminus,
        payload: &[u8],
        format: i64,
    ) -> Result<(), Denied> {
        let unreadable = |_| Denied("amqp:decode-error", "The message cannot be read.".into());
        let path = match to {
            Terminus::Entity(path) => path,
            Terminus::Claims => {
                let request = Request::parse(payload).map_err(unreadable)?;
                let reply = self.put_token(&request);
                self.answer(channel, to, &request, reply);
                return Ok(());
            }
            Terminus::Node(path) => {
                let request = Request::parse(payload).map_err(unreadable)?;
                let rights = self.rights(to);
                let shared = self.shared.clone();
                let answer = node::answer(&mut shared.lock(), path, &request, rights, now());
                match answer {
                    Answer::Reply(reply) => self.answer(channel, to, &request, reply),
                    Answer::Cut(reply) => {
                        let before = self.output.len();
                        self.answer(channel, to, &request, reply);
                        self.pump();
                        self.cut = Some(before + (self.output.len() - before) / 2);
                    }
                    Answer::Silence => {}
                    Answer::Detach { condition, description } => {
                        self.detach(|link| link.to == *to, condition, description);
                    }
                }
                // Scheduling, deferring and settling change what receivers find.
                if request.says("operation") != Some("com.microsoft:peek-message") {
                    shared.wake();
                }
                return Ok(());
            }
        };
        let batch = if format == BATCH {
            Sent::parse_batch(payload).map_err(unreadable)?
        } else {
            vec![Sent::parse(payload).map_err(unreadable)?]
        };
        let mut namespace = self.shared.lock();
        let Some(inbox) = namespace.inbox(path) else {
            return Err(Denied(
                "amqp:not-found",
                format!("The messaging entity '{path}' could not be found."),
            ));
        };
        if inbox.options.sessions && batch.iter().any(|sent| sent.session.is_none()) {
            let text = "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have session support enabled can only receive messages that have the SessionId set to a valid value.";
            return Err(Denied("amqp:not-allowed", text.into()));
        }
        for sent in batch {
            namespace.send(path, sent, now());
        }
        drop(namespace);
        self.shared.wake();
        Ok(())
    }

    /// Takes a token; the reply to it.
    fn put_token(&mut self, request: &Request) -> Vec<u8> {
        let name = request.says("name").unwrap_or_default().to_owned();
        let token = match &request.body {
            Some(Value::String(token)) => token.clone(),
            Some(Value::Binary(token)) => String::from_utf8_lossy(token).into_owned(),
            _ => String::new(),
        };
        let path = access::path(&name).to_lowercase();
        let claim = if access::host(&name).is_some_and(|host| !self.shared.is_at(host)) {
            Err(access::Refused(format!("The name '{name}' is not of this namespace.")))
        } else {
            let namespace = self.shared.lock();
            match request.says("type") {
                // Python's SDK says `jwt` of a signature too, and the service looks at the token.
                Some("jwt") if !token.starts_with("SharedAccessSignature ") => {
                    namespace.keys.token(&token, now())
                }
                Some("jwt" | "servicebus.windows.net:sastoken") => {
                    namespace.keys.signature(&token, now())
                }
                other => Err(access::Refused(format!("The token type {other:?} is not known."))),
            }
        };
        let claim = claim.and_then(|claim| {
            if claim.covers(&path) {
                Ok(claim)
            } else {
                Err(access::Refused("InvalidAudience: The token is for another resource.".into()))
            }
        });
        let (status, text) = match claim {
            Ok(claim) => {
                self.claims.insert(path.clone(), Claim { path, ..claim });
                (202, "Accepted".to_owned())
            }
            Err(access::Refused(why)) => (401, why),
        };
        let status =
            vec![("status-code", Value::Int(status)), ("status-description", Value::String(text))];
        message::reply(request, status, None)
    }

    /// Puts a reply onto the link whose target the request names, or else one that comes from the same node.
    fn answer(&mut self, channel: u16, to: &Terminus, request: &Request, reply: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let mut links: Vec<&mut Sending> = Vec::new();
        for link in session.links.values_mut() {
            if let End::Sending(sending) = &mut link.end
                && link.to == *to
            {
                links.push(sending);
            }
        }
        let named = links
            .iter()
            .position(|link| request.reply_to.is_some() && link.target == request.reply_to);
        if let Some(link) = links.get_mut(named.unwrap_or(0)) {
            link.replies.push_back(reply);
        }
    }

    fn on_disposition(&mut self, channel: u16, disposition: &Value) {
        // A sender only confirms what this side has already settled.
        if disposition.fields().first() != Some(&Value::Bool(true)) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let Some(first) = number(disposition, 1).map(sequence) else { return };
        let last = number(disposition, 2).map_or(first, sequence);
        let settled = disposition.fields().get(3) == Some(&Value::Bool(true));
        let state = disposition.fields().get(4).cloned().unwrap_or(Value::Null);
        let Some(settlement) = settlement(&state, settled) else { return };
        let mut outcomes = Vec::new();
        let mut changed = false;
        {
            let mut namespace = self.shared.lock();
            let count = last.wrapping_sub(first);
            for delivery in (0..=count).map(|n| first.wrapping_add(n)) {
                let Some((handle, token)) = session.unsettled.remove(&delivery) else { continue };
                let link = session.links.get(&handle);
                let entity = link.and_then(|link| namespace.entity(&link.to.entity()));
                let outcome = entity.map_or(Err(LockLost), |entity| {
                    entity.turn(now());
                    entity.settle(token, settlement.clone(), now())
                });
                changed |= outcome.is_ok() && settlement != Settlement::Complete;
                outcomes.push((delivery, outcome));
            }
        }
        if changed {
            self.shared.wake();
        }
        if settled {
            return;
        }
        for (delivery, outcome) in outcomes {
            let state = match outcome {
                // The outcome comes back without its error: one in there would say that it could not be applied.
                Ok(()) => Value::composite(state.descriptor().unwrap_or(ACCEPTED), vec![]),
                Err(LockLost) => {
                    Value::composite(REJECTED, vec![error(node::LOCK_LOST.0, node::LOCK_LOST.1)])
                }
            };
            let id = Value::Uint(delivery);
            self.send(
                channel,
                0,
                DISPOSITION,
                vec![Value::Bool(false), id.clone(), id, Value::Bool(true), state],
            );
        }
    }

    fn on_detach(&mut self, channel: u16, detach: &Value) {
        let Some(handle) = number(detach, 0).map(sequence) else { return };
        self.waiting.retain(|waiting| {
            waiting.channel != channel || number(&waiting.attach, 1).map(sequence) != Some(handle)
        });
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let Some(link) = session.links.remove(&handle) else { return };
        session.unsettled.retain(|_, (of, _)| *of != handle);
        self.let_go(&link);
        self.send(channel, 0, DETACH, vec![Value::Uint(handle), Value::Bool(true)]);
    }

    /// What a link held is free again.
    fn let_go(&self, link: &Link) {
        if let (Terminus::Entity(path), End::Sending(Sending { session: Some(session), .. })) =
            (&link.to, &link.end)
        {
            if let Some(entity) = self.shared.lock().entity(path) {
                entity.let_go(session, link.id, now());
            }
            self.shared.wake();
        }
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

    /// Detaches the links for which `which` holds.
    fn detach(&mut self, which: impl Fn(&Link) -> bool, condition: &str, description: &str) {
        let mut gone = Vec::new();
        for (channel, session) in &mut self.sessions {
            let handles: Vec<u32> = session
                .links
                .iter()
                .filter(|(_, link)| which(link))
                .map(|(handle, _)| *handle)
                .collect();
            for handle in handles {
                session.unsettled.retain(|_, (of, _)| *of != handle);
                gone.extend(session.links.remove(&handle).map(|link| (*channel, handle, link)));
            }
        }
        for (channel, handle, link) in gone {
            self.let_go(&link);
            let fields =
                vec![Value::Uint(handle), Value::Bool(true), error(condition, description)];
            self.send(channel, 0, DETACH, fields);
        }
    }

    /// Detaches links whose claim has lapsed, and answers who waits for a session.
    fn look_after(&mut self) {
        let lapsed: Vec<Terminus> = self
            .sessions
            .values()
            .flat_map(|session| session.links.values())
            .filter(|link| link.to != Terminus::Claims && self.rights(&link.to) == Rights::NONE)
            .map(|link| link.to.clone())
            .collect();
        if !lapsed.is_empty() {
            let text = "Unauthorized access. The claim has expired: ExpiredToken.";
            self.detach(|link| lapsed.contains(&link.to), "amqp:unauthorized-access", text);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.on_attach(waiting.channel, &waiting.attach.clone(), Some(waiting));
        }
    }

    /// Sends what there is for receivers that have credit.
    fn pump(&mut self) {
        if self.phase != Phase::Frames {
            return;
        }
        let channels: Vec<u16> = self.sessions.keys().copied().collect();
        for channel in channels {
            self.unblock(channel);
            let handles: Vec<u32> = self
                .sessions
                .get(&channel)
                .map(|session| session.links.keys().copied().collect())
                .unwrap_or_default();
            for handle in handles {
                while self.send_next(channel, handle) {}
                self.drain(channel, handle);
            }
        }
    }

    /// Sends one message on the link, if there is one and credit for it.
    fn send_next(&mut self, channel: u16, handle: u32) -> bool {
        let Some(session) = self.sessions.get_mut(&channel) else { return false };
        let Some(Link { to, end: End::Sending(sending), .. }) = session.links.get_mut(&handle)
        else {
            return false;
        };
        if sending.credit == 0 {
            return false;
        }
        let (payload, token, settled) = match to {
            Terminus::Entity(path) => {
                let mut namespace = self.shared.lock();
                let Some(entity) = namespace.entity(path) else { return false };
                match entity.take(sending.session.as_deref(), sending.taking, now()) {
                    Some(delivered) => {
                        (delivered.message, Some(delivered.token), sending.taking == Taking::Delete)
                    }
                    None => return false,
                }
            }
            Terminus::Claims | Terminus::Node(_) => match sending.replies.pop_front() {
                Some(reply) => (reply, None, true),
                None => return false,
            },
        };
        sending.credit -= 1;
        sending.delivery_count = sending.delivery_count.wrapping_add(1);
        let delivery = session.next_delivery;
        session.next_delivery = delivery.wrapping_add(1);
        let tag = match token {
            Some(token) => token.to_bytes_le().to_vec(),
            None => delivery.to_be_bytes().to_vec(),
        };
        if let Some(token) = token.filter(|_| !settled) {
            session.unsettled.insert(delivery, (handle, token));
        }
        self.transfer(channel, handle, delivery, tag, settled, &payload);
        true
    }

    /// Cuts a message into frames the peer takes, and sends them or keeps them for when its window has room.
    fn transfer(
        &mut self,
        channel: u16,
        handle: u32,
        delivery: u32,
        tag: Vec<u8>,
        settled: bool,
        payload: &[u8],
    ) {
        let mut rest = payload;
        let mut first = Some((Value::Uint(delivery), Value::Binary(tag), Value::Uint(0)));
        loop {
            let (id, tag, format) = first.take().unwrap_or((Value::Null, Value::Null, Value::Null));
            let performative = |more: bool| {
                let fields = vec![
                    Value::Uint(handle),
                    id.clone(),
                    tag.clone(),
                    format.clone(),
                    Value::Bool(settled),
                    Value::Bool(more),
                ];
                Value::composite(TRANSFER, fields)
            };
            let room = self.frame - 8 - performative(true).encoded().len();
            let more = rest.len() > room;
            let (part, left) = rest.split_at(room.min(rest.len()));
            let frame = framed(channel, 0, &performative(more), part);
            if let Some(session) = self.sessions.get_mut(&channel) {
                session.blocked.push_back(frame);
            }
            rest = left;
            if !more {
                break;
            }
        }
        self.unblock(channel);
    }

    fn unblock(&mut self, channel: u16) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        while session.outgoing_left > 0
            && let Some(frame) = session.blocked.pop_front()
        {
            session.outgoing_left -= 1;
            session.next_outgoing = session.next_outgoing.wrapping_add(1);
            self.output.put_slice(&frame);
        }
    }

    /// Gives credit back that a peer wants used up at once.
    fn drain(&mut self, channel: u16, handle: u32) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let Some(Link { end: End::Sending(sending), .. }) = session.links.get_mut(&handle) else {
            return;
        };
        if sending.drain && sending.credit > 0 {
            sending.delivery_count = sending.delivery_count.wrapping_add(sending.credit);
            sending.credit = 0;
            self.flow(channel, Some(handle));
        }
    }

    fn flow(&mut self, channel: u16, handle: Option<u32>) {
        let Some(session) = self.sessions.get(&channel) else { return };
        let mut fields = vec![
            Value::Uint(session.next_incoming),
            Value::Uint(session.incoming_left),
            Value::Uint(session.next_outgoing),
            Value::Uint(WINDOW),
        ];
        if let Some((handle, link)) =
            handle.and_then(|handle| Some((handle, session.links.get(&handle)?)))
        {
            let (count, credit, drain) = match &link.end {
                End::Sending(sending) => (sending.delivery_count, sending.credit, sending.drain),
                End::Receiving(taking) => (taking.delivery_count, taking.credit, false),
            };
            fields.extend([
                Value::Uint(handle),
                Value::Uint(count),
                Value::Uint(credit),
                Value::Uint(0),
            ]);
            fields.extend([Value::Bool(drain), Value::Bool(false)]);
        }
        self.send(channel, 0, FLOW, fields);
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

/// What a receiver has decided; `None` if it has not.
fn settlement(state: &Value, settled: bool) -> Option<Settlement> {
    Some(match state.descriptor() {
        Some(ACCEPTED) => Settlement::Complete,
        Some(REJECTED) => {
            let error = state.fields().first().cloned().unwrap_or(Value::Null);
            let info = error.fields().get(2).cloned().unwrap_or(Value::Null);
            let text = |key: &str| info.get(key).and_then(Value::text).map(str::to_owned);
            let description = error.fields().get(1).and_then(Value::text).map(str::to_owned);
            Settlement::Bury {
                reason: text("DeadLetterReason"),
                description: text("DeadLetterErrorDescription").or(description),
            }
        }
        Some(RELEASED) => Settlement::Release,
        Some(MODIFIED) => {
            let properties = match state.fields().get(2) {
                Some(Value::Map(properties)) => properties.clone(),
                _ => Vec::new(),
            };
            match state.fields().get(1) {
                Some(Value::Bool(true)) => Settlement::Defer(properties),
                _ => Settlement::Abandon(properties),
            }
        }
        _ if settled => Settlement::Release,
        _ => return None,
    })
}

fn framed(channel: u16, kind: u8, performative: &Value, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 64);
    frame.put_slice(&[0, 0, 0, 0, 2, kind]);
    frame.put_u16(channel);
    performative.encode(&mut frame);
    frame.put_slice(payload);
    let size = u32::try_from(frame.len()).expect("a frame is not as long as four gigabytes");
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

fn error(condition: &str, description: &str) -> Value {
    // As the service does, so that a message can be found again in its logs.
    let description = format!("{description} TrackingId:{}", Uuid::new_v4());
    // All three fields: Python's SDK reads the third whether it is there or not.
    let fields = vec![Value::symbol(condition), Value::String(description), Value::Map(vec![])];
    Value::composite(ERROR, fields)
}

fn number(performative: &Value, field: usize) -> Option<i64> {
    performative.fields().get(field).and_then(Value::number)
}

fn sequence(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
