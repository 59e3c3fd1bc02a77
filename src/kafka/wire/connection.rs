//! One connection to a broker: requests go out one behind another without waiting, and replies come
//! back in the same order, each to the call that asked.
//!
//! A connection is a task that owns the socket. It ends when its [`Connection`] is dropped, when it
//! has been idle for long, and at the first thing a broker does that the protocol does not know;
//! every call that waits then fails with the reason.
//!
//! - A call has a deadline. What arrives for a call that nobody waits for any more is read and
//!   dropped. When the broker owes the oldest reply past its deadline, the connection is given up.
//! - Replies must come in the order of their questions, each with its correlation id, none unasked,
//!   none larger than a reply to that question may be.
//! - Where a login ends with time (KIP-368), it is renewed on the same connection between two
//!   requests.
//! - A broker's `throttle_time_ms` holds back what this connection would send next.
//!
//! # References
//! - "Kafka protocol guide": replies come in the order of the requests of a connection
//! - KIP-219 (throttling), KIP-368 (re-authentication)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use zeroize::Zeroizing;

use super::connection_error::ConnectionError;
use super::error_code::ErrorCode;
use super::frame::{self, Decoded, Frame, correlation_id};
use super::frames::{FrameBudget, FrameReader, Received};
use super::requests::{ApiVersions, Request, SaslAuthenticate, SaslHandshake};
use super::sasl::{self, Login, SaslError, Step};
use super::versions::{ApiKey, BrokerVersions};
use crate::coalescer::Tasks;

/// What brokers know us as: in their logs, quotas and metrics.
const CLIENT_ID: &str = "keda-sift";

/// Requests that may wait to be sent.
const QUEUE: usize = 256;

/// Requests that a broker may owe a reply to.
const MAX_PENDING: usize = 256;

/// The largest reply to a question about topics, groups or offsets: 100,000 partitions fit.
const MAX_REPLY: usize = 16 * 1024 * 1024;

/// The largest reply before the login is over.
const MAX_LOGIN_REPLY: usize = 64 * 1024;

/// Messages of a broker that one login may take.
const MAX_LOGIN_STEPS: usize = 16;

/// An idle connection is closed before others on the way forget it: Event Hubs does after 240 s.
const IDLE_AFTER: Duration = Duration::from_secs(180);

/// The longest that one reply can throttle a connection: Kafka's quotas have windows of seconds.
const MAX_THROTTLE: Duration = Duration::from_secs(30);

/// How long renewing a login may take.
const RENEW_TIMEOUT: Duration = Duration::from_secs(5);

/// What a login shows, whichever it is now: a token changes with time.
pub(in crate::kafka) trait Credentials: Send + Sync {
    /// What the next login shows.
    fn login(&self) -> Login;
}

/// A socket, with TLS or without.
pub(in crate::kafka) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that is open, as those who call on it hold it.
pub(in crate::kafka) struct Connection {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// A connection as long as one question follows on the answer to another: while it is opened, and
/// while a login is renewed.
pub(super) struct Exchange {
    reader: FrameReader<ReadHalf<Box<dyn Stream>>>,
    writer: WriteHalf<Box<dyn Stream>>,
    versions: BrokerVersions,
    correlation: i32,
    /// When the login has to be renewed.
    renew_at: Option<Instant>,
}

struct Shared {
    versions: BrokerVersions,
    opened: Instant,
    correlation: AtomicI32,
    /// Milliseconds after `opened` before which nothing more is to be sent.
    throttled_until: AtomicU64,
    /// Why the connection is to end, or has ended.
    ended: OnceLock<ConnectionError>,
    end: Notify,
}

/// A request on its way, and who waits for the reply.
struct Job {
    frame: Frame,
    owed: Owed,
}

/// A reply that the broker owes.
struct Owed {
    correlation: i32,
    deadline: Instant,
    reply: oneshot::Sender<Received>,
}

/// The task of a connection.
struct Running {
    exchange: Exchange,
    shared: Arc<Shared>,
    credentials: Option<Arc<dyn Credentials>>,
    jobs: mpsc::Receiver<Job>,
    owed: VecDeque<Owed>,
    /// What is to be sent, and how much of it was.
    output: Zeroizing<Vec<u8>>,
    sent: usize,
}

/// What has become of the output.
enum Sent {
    /// More of it is on its way.
    Some(usize),
    /// All of it has left, out of TLS too.
    Flushed,
}

impl Connection {
    /// Runs a connection on which the login is over.
    pub(super) fn run(
        exchange: Exchange,
        credentials: Option<Arc<dyn Credentials>>,
        tasks: &Tasks,
    ) -> Self {
        let shared = Arc::new(Shared {
            versions: exchange.versions.clone(),
            opened: Instant::now(),
            correlation: AtomicI32::new(exchange.correlation),
            throttled_until: AtomicU64::new(0),
            ended: OnceLock::new(),
            end: Notify::new(),
        });
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let running = Running {
            exchange,
            shared: Arc::clone(&shared),
            credentials,
            jobs: receiver,
            owed: VecDeque::new(),
            output: Zeroizing::default(),
            sent: 0,
        };
        tasks.spawn(running.run());
        Self { jobs, shared }
    }

    /// Whether nothing more can be asked on it.
    pub(in crate::kafka) fn has_ended(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Asks, and waits for the reply until the deadline; gives the payload that it was read from,
    /// too. Dropping the future gives up the wait alone.
    ///
    /// # Errors
    /// [`ConnectionError`]; after any but [`ConnectionError::is_ours`] the connection is over. What
    /// the broker itself answers with an error is a reply.
    pub(in crate::kafka) async fn call<R: Request>(
        &self,
        request: &R,
        deadline: Instant,
    ) -> Result<(R::Reply, Received), ConnectionError> {
        let api = R::KEY.name();
        let version = self.shared.versions.choose_up_to(R::KEY, request.highest());
        let version = version.ok_or(ConnectionError::Unsupported { api })?;
        self.unthrottled(deadline).await?;
        let correlation = self.shared.correlation.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let frame = frame::request_frame(request, version, correlation, CLIENT_ID)
            .map_err(|reason| ConnectionError::Unaskable { api, reason })?;
        let (reply, replied) = oneshot::channel();
        let job = Job { frame, owed: Owed { correlation, deadline, reply } };
        let asked = async {
            self.jobs.send(job).await.ok()?;
            replied.await.ok()
        };
        let frame = match timeout_at(deadline, asked).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(self.shared.reason()),
            Err(_) => return Err(ConnectionError::Silent),
        };
        match frame::decode_frame(request, version, frame.bytes()) {
            Ok(Decoded { reply, throttle }) => {
                self.shared.throttle(throttle);
                Ok((reply, frame))
            }
            Err(reason) => {
                let error = ConnectionError::Reply { api, reason };
                self.shared.end(error.clone());
                Err(error)
            }
        }
    }

    /// For how long the broker has asked that nothing more be sent.
    pub(in crate::kafka) fn throttled(&self) -> Duration {
        let until = Duration::from_millis(self.shared.throttled_until.load(Ordering::Relaxed));
        until.saturating_sub(self.shared.opened.elapsed())
    }

    /// Waits as long as the broker has asked for.
    async fn unthrottled(&self, deadline: Instant) -> Result<(), ConnectionError> {
        let left = self.throttled();
        if left.is_zero() {
            return Ok(());
        }
        if left >= deadline.saturating_duration_since(Instant::now()) {
            // It would fail all the same, and whoever asks again at once would not be any wiser.
            sleep_until(deadline).await;
            return Err(ConnectionError::Throttled(left));
        }
        sleep(left).await;
        Ok(())
    }
}

impl Shared {
    fn end(&self, error: ConnectionError) {
        // The first reason is the cause.
        let _first = self.ended.set(error);
        self.end.notify_one();
    }

    fn reason(&self) -> ConnectionError {
        self.ended.get().cloned().unwrap_or(ConnectionError::Ended)
    }

    fn throttle(&self, time: Duration) {
        if !time.is_zero() {
            let time = time.min(MAX_THROTTLE);
            let until = u64::try_from((self.opened.elapsed() + time).as_millis());
            self.throttled_until.fetch_max(until.unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

impl Exchange {
    pub(super) fn new(stream: Box<dyn Stream>, budget: FrameBudget) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: FrameReader::new(reader, budget),
            writer,
            versions: BrokerVersions::default(),
            correlation: 0,
            renew_at: None,
        }
    }

    /// Learns which versions the broker speaks.
    pub(super) async fn agree_on_versions(&mut self) -> Result<(), ConnectionError> {
        let key = ApiKey::ApiVersions;
        let mut reply = self.ask(&ApiVersions, *key.versions().end()).await?;
        if reply.error == Some(ErrorCode::UNSUPPORTED_VERSION) {
            // The broker is older; the first version is one that each has.
            reply = self.ask(&ApiVersions, 0).await?;
        }
        if reply.error.is_some() {
            return Err(ConnectionError::Unsupported { api: key.name() });
        }
        self.versions = reply.versions;
        Ok(())
    }

    /// Logs in, for the first time or anew.
    pub(super) async fn log_in(
        &mut self,
        credentials: &dyn Credentials,
    ) -> Result<(), ConnectionError> {
        let mut mechanism = sasl::mechanism(&credentials.login());
        let handshake = SaslHandshake { mechanism: mechanism.name().to_owned() };
        let reply = self.negotiated(&handshake).await?;
        if let Some(code) = reply.error {
            let (mechanism, offered) = (mechanism.name(), reply.mechanisms);
            return Err(ConnectionError::NotOffered { mechanism, code, offered });
        }
        let mut challenge = Zeroizing::new(Vec::new());
        let mut lifetime = None;
        for _ in 0..MAX_LOGIN_STEPS {
            let message = match mechanism.respond(&challenge)? {
                Step::Send(message) => message,
                Step::Refused { last, error } => {
                    // The broker waits for it, and closes the connection then.
                    let last = SaslAuthenticate { auth_bytes: Zeroizing::new(last.to_vec()) };
                    let _whatever = self.negotiated(&last).await;
                    return Err(error.into());
                }
                Step::Done => {
                    // Soon enough that the broker has not closed the connection by then. No broker
                    // is to have us log in without a pause.
                    let renew_after = lifetime
                        .map(|lifetime: Duration| lifetime.mul_f64(0.85).max(mechanism.rest()));
                    self.renew_at = renew_after.and_then(|time| Instant::now().checked_add(time));
                    return Ok(());
                }
            };
            let request = SaslAuthenticate { auth_bytes: message };
            let reply = self.negotiated(&request).await?;
            if let Some(refusal) = &reply.refusal {
                let (mechanism, reason) = (mechanism.name(), refusal.to_string());
                return Err(SaslError::Refused { mechanism, reason }.into());
            }
            lifetime = reply.session_lifetime;
            challenge = reply.auth_bytes;
        }
        Err(ConnectionError::EndlessLogin)
    }

    async fn negotiated<R: Request>(&mut self, request: &R) -> Result<R::Reply, ConnectionError> {
        let unsupported = ConnectionError::Unsupported { api: R::KEY.name() };
        let version = self.versions.choose(R::KEY).ok_or(unsupported)?;
        self.ask(request, version).await
    }

    async fn ask<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Reply, ConnectionError> {
        self.correlation = self.correlation.wrapping_add(1);
        let api = R::KEY.name();
        let frame = frame::request_frame(request, version, self.correlation, CLIENT_ID)
            .map_err(|reason| ConnectionError::Unaskable { api, reason })?;
        let written = async {
            self.writer.write_all(frame.as_bytes()).await?;
            self.writer.flush().await
        };
        written.await.map_err(|error| ConnectionError::of_io(&error))?;
        let reply = self.reader.next(MAX_LOGIN_REPLY).await?;
        let told = |reason| ConnectionError::Reply { api, reason };
        if correlation_id(reply.bytes()).map_err(told)? != self.correlation {
            return Err(ConnectionError::OutOfOrder);
        }
        Ok(frame::decode_frame(request, version, reply.bytes()).map_err(told)?.reply)
    }
}

impl Running {
    async fn run(mut self) {
        let error = match self.serve().await {
            Ok(()) => ConnectionError::Ended,
            Err(error) => error,
        };
        self.shared.end(error);
        // Whoever waits, or would, is told the reason: their channels close with this.
        self.jobs.close();
    }

    /// Sends and reads until the last holder is gone.
    async fn serve(&mut self) -> Result<(), ConnectionError> {
        let mut idle_since = Instant::now();
        loop {
            if self.is_renewal_due() && self.owed.is_empty() && self.output.is_empty() {
                if self.jobs.is_closed() {
                    return Ok(());
                }
                self.renew().await?;
            }
            let takes = self.owed.len() < MAX_PENDING && !self.is_renewal_due();
            let sends = !self.output.is_empty();
            let owes = self.owed.front().map(|owed| owed.deadline);
            let wake_at = match (owes, self.exchange.renew_at) {
                (Some(owes), _) => owes,
                (None, Some(renew_at)) if renew_at > Instant::now() => {
                    renew_at.min(idle_since + IDLE_AFTER)
                }
                (None, _) => idle_since + IDLE_AFTER,
            };
            let Exchange { reader, writer, .. } = &mut self.exchange;
            tokio::select! {
                biased;
                () = self.shared.end.notified() => return Err(self.shared.reason()),
                came = receive(reader, owes.is_some()) => {
                    let (Some(frame), Some(owed)) = (came?, self.owed.pop_front()) else {
                        return Err(ConnectionError::Unasked);
                    };
                    if correlation_id(frame.bytes()).ok() != Some(owed.correlation) {
                        return Err(ConnectionError::OutOfOrder);
                    }
                    // Who has gone away wants no answer.
                    let _taken = owed.reply.send(frame);
                    idle_since = Instant::now();
                }
                job = self.jobs.recv(), if takes => {
                    let Some(job) = job else { return Ok(()) };
                    // Who has gone away before it was sent wants no answer.
                    if !job.owed.reply.is_closed() {
                        self.output.extend_from_slice(job.frame.as_bytes());
                        self.owed.push_back(job.owed);
                    }
                    idle_since = Instant::now();
                }
                sent = send(writer, &self.output, self.sent), if sends => {
                    match sent? {
                        Sent::Flushed => {
                            self.output = Zeroizing::default();
                            self.sent = 0;
                        }
                        Sent::Some(bytes) => self.sent += bytes,
                    }
                }
                () = sleep_until(wake_at) => {
                    if owes.is_some() {
                        return Err(ConnectionError::GivenUp);
                    }
                    if idle_since.elapsed() >= IDLE_AFTER {
                        return Err(ConnectionError::Idle);
                    }
                }
            }
        }
    }

    fn is_renewal_due(&self) -> bool {
        self.exchange.renew_at.is_some_and(|at| at <= Instant::now())
    }

    /// Logs in anew, between two requests.
    async fn renew(&mut self) -> Result<(), ConnectionError> {
        let Some(credentials) = &self.credentials else {
            self.exchange.renew_at = None;
            return Ok(());
        };
        self.exchange.correlation = self.shared.correlation.fetch_add(64, Ordering::Relaxed);
        let renewed = timeout(RENEW_TIMEOUT, self.exchange.log_in(&**credentials)).await;
        renewed.map_err(|_| ConnectionError::GivenUp)?
    }
}

/// Sends some of the output, or has TLS let go of the rest once all was sent.
///
/// Cancel safe: it does one thing, which is told when it is done.
async fn send(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    output: &[u8],
    sent: usize,
) -> Result<Sent, ConnectionError> {
    let broken = |error: std::io::Error| ConnectionError::of_io(&error);
    match output.get(sent..) {
        Some(rest) if !rest.is_empty() => match writer.write(rest).await.map_err(broken)? {
            0 => Err(ConnectionError::Closed),
            bytes => Ok(Sent::Some(bytes)),
        },
        _ => writer.flush().await.map(|()| Sent::Flushed).map_err(broken),
    }
}

/// The next reply; `None` where something comes and none is due. Cancel safe.
async fn receive(
    reader: &mut FrameReader<ReadHalf<Box<dyn Stream>>>,
    is_due: bool,
) -> Result<Option<Received>, ConnectionError> {
    if is_due {
        reader.next(MAX_REPLY).await.map(Some)
    } else {
        reader.unasked().await.map(|()| None)
    }
}
