//! Reading partitions without a group, which rust-rdkafka does not wrap.
//!
//! A [`Fetcher`] reads partitions with librdkafka's simple consumer, which needs no group id, so that
//! no principal needs rights on a group that nobody uses, and every partition feeds one queue. Nothing
//! here waits but [`Fetcher::poll`], which belongs to a thread of its own.
//!
//! librdkafka's parsers trust the broker, so brokers are asked by a client of our own
//! ([`wire`](super::wire)); what is left here goes when topics are read by it too.
//!
//! This is the only module with `unsafe`. It leans on three promises of librdkafka: handles and
//! queues may be used from any thread; what an event or a message points to lives until that event
//! or message is destroyed; and a string handed over is copied.
//!
//! # References
//! - `rdkafka.h` of librdkafka 2.12: "Simple Consumer API (legacy)"
#![expect(unsafe_code, reason = "librdkafka's simple consumer has no safe wrapper")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaType};
use rdkafka_sys as sys;
use secrecy::ExposeSecret as _;

use super::broker::Bearer;
use super::fault::{Fault, Kind};
use super::names::{Offset, Partition, Topic};
use super::security::ClusterConfig;

/// The syslog level of errors; the higher, the milder.
const LOG_ERR: i32 = 3;

/// What librdkafka calls us in its own log; brokers go by the token.
const PRINCIPAL: &CStr = c"keda-sift";

/// How OpenSSL tells that the other side refused.
const TLS_ALERT: &str = ": SSL alert number ";

/// How a broker refuses a token (RFC 7628, section 3.2.2).
const TOKEN_REFUSED: &str = "{\"status\":";

const CHECK_LOGIN: &str = "check sasl, usernameFromEnv and passwordFromEnv";

const CHECK_CLIENT: &str = "check the client's rights and scopes";

const WANTS_MORE: &str =
    "where that stays, this port wants TLS or a login: give tls and sasl, or another port";

/// Where librdkafka's advice begins, and ours in its place.
const ADVICE: &[(&str, &str)] = &[
    (
        ": broker certificate could not be verified",
        "give the CA of the brokers' certificate as caFromEnv, and servers by a name in it",
    ),
    (TLS_ALERT, "give a certificate that the brokers trust as certFromEnv, with keyFromEnv"),
    (
        ": connecting to a PLAINTEXT",
        "this port does not speak TLS: leave out tls, or give another port",
    ),
    (": connection closed by peer", WANTS_MORE),
    (": SSL connection closed by peer", WANTS_MORE),
];

/// Why a handle cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// librdkafka does not take the settings.
    #[error(transparent)]
    Settings(KafkaError),
    /// The settings are not to blame: there is no thread to be had, or the token is no good any more.
    #[error("{0}")]
    Otherwise(String),
}

/// Something a handle says of itself, unasked.
#[derive(Debug)]
pub(super) enum Notice {
    /// A connection failed, or a broker refused us.
    Fault(Fault),
    /// A line for the log, with its syslog level.
    Log(i32, String),
}

/// What a handle is made with.
#[derive(Clone)]
pub(super) struct HandleConfig {
    /// librdkafka's settings.
    pub(super) settings: ClientConfig,
    /// Who has the token, where the login is one.
    pub(super) bearer: Option<Arc<Bearer>>,
}

/// The token that a handle was last given. Whoever waits on the handle gives it the next one.
struct Given {
    bearer: Option<Arc<Bearer>>,
    version: AtomicU64,
}

/// A handle that reads partitions into one queue.
pub(super) struct Fetcher {
    // Declared before the handle: a topic must go before its handle.
    topics: HashMap<Topic, TopicHandle>,
    inner: Arc<FetcherInner>,
}

/// Ends a [`Fetcher`]'s wait for records, from another thread.
#[derive(Clone)]
pub(super) struct Waker(Weak<FetcherInner>);

/// What one poll of a [`Fetcher`] gave.
pub(super) struct Batch(Vec<NonNull<sys::rd_kafka_message_t>>);

/// One delivery: a record, or word about its partition.
pub(super) enum Delivery<'a> {
    /// A record.
    Record(Record<'a>),
    /// All up to this offset has been delivered, and nothing more is there.
    End(Offset),
    /// Reading the partition failed.
    Fault(Fault),
}

/// One delivery of a batch, unread.
#[repr(transparent)]
pub(super) struct Delivered(NonNull<sys::rd_kafka_message_t>);

/// A record as the broker keeps it; what it holds lives as long as its batch.
pub(super) struct Record<'a> {
    message: &'a sys::rd_kafka_message_t,
    headers: OnceLock<Headers>,
}

/// The headers that a message keeps once they are parsed, and how many there are.
#[derive(Clone, Copy)]
struct Headers(*mut sys::rd_kafka_headers_t, usize);

struct FetcherInner {
    records: Queue,
    notices: Queue,
    client: Client<Quiet>,
    given: Given,
}

struct Queue(NonNull<sys::rd_kafka_queue_t>);

struct Event(NonNull<sys::rd_kafka_event_t>);

struct TopicHandle(NonNull<sys::rd_kafka_topic_t>);

/// Log lines and errors are taken from the main queue, so no callback is ever used.
struct Quiet;

impl ClientContext for Quiet {}

impl From<ClientConfig> for HandleConfig {
    fn from(settings: ClientConfig) -> HandleConfig {
        HandleConfig { settings, bearer: None }
    }
}

impl HandleConfig {
    /// What a handle that reads is made with.
    pub(super) fn reading(config: &ClusterConfig, bearer: Option<Arc<Bearer>>) -> HandleConfig {
        HandleConfig { settings: reading_config(client_config(config)), bearer }
    }
}

impl Given {
    /// Gives the handle a token that is newer than its own.
    fn renew(&self, client: &Client<Quiet>) {
        if let Err(reason) = self.give(client) {
            tracing::debug!(reason, "librdkafka does not take a token");
        }
    }

    fn give(&self, client: &Client<Quiet>) -> Result<(), String> {
        let Some(bearer) = &self.bearer else {
            return Ok(());
        };
        let version = bearer.version();
        if self.version.swap(version, Ordering::AcqRel) == version {
            return Ok(());
        }
        let token = bearer.token();
        let secret = c_string(token.secret.expose_secret());
        let life = token.expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        let extensions = bearer.extensions().iter();
        let extensions: Vec<CString> =
            extensions.flat_map(|(name, value)| [c_string(name), c_string(value)]).collect();
        let mut pointers: Vec<*const c_char> =
            extensions.iter().map(|text| text.as_ptr()).collect();
        let mut error = [0; 256];
        // SAFETY: the handle is alive; all texts live to the end of the call, which copies them, and the lengths of
        // both arrays are passed along. It may be called on any thread.
        let code = unsafe {
            sys::rd_kafka_oauthbearer_set_token(
                client.native_ptr(),
                secret.as_ptr(),
                expires,
                PRINCIPAL.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                error.as_mut_ptr(),
                error.len(),
            )
        };
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            // SAFETY: the call has ended the text within the buffer.
            _ => Err(unsafe { owned_text(error.as_ptr()) }.unwrap_or_else(|| text_of(code))),
        }
    }
}

impl Fetcher {
    /// A handle with its threads running; it connects when the first partition is started.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn new(config: &HandleConfig) -> Result<Fetcher, OpenError> {
        let (client, given) = open(config, RDKafkaType::RD_KAFKA_CONSUMER)?;
        // SAFETY: the handle is alive; the new queue is destroyed with `Queue`, before the handle.
        let records = unsafe { Queue::own(sys::rd_kafka_queue_new(client.native_ptr())) };
        let inner = FetcherInner { records, notices: main_queue(&client), client, given };
        Ok(Fetcher { topics: HashMap::new(), inner: Arc::new(inner) })
    }

    pub(super) fn waker(&self) -> Waker {
        Waker(Arc::downgrade(&self.inner))
    }

    /// Begins to read a partition at an offset, or goes on from there if it is being read.
    ///
    /// # Errors
    /// librdkafka's word; what a broker says comes as a [`Delivery::Fault`].
    pub(super) fn start(
        &mut self,
        topic: &Topic,
        partition: Partition,
        from: Offset,
    ) -> Result<(), Fault> {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let handle = match self.topics.entry(topic.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(TopicHandle::new(&self.inner.client, topic)?),
        };
        // SAFETY: topic and queue are alive, and the queue outlives the reading: dropping the
        // fetcher destroys its topics, and the handle with all reading, after the last user.
        let started = unsafe {
            sys::rd_kafka_consume_start_queue(
                handle.0.as_ptr(),
                partition,
                from,
                self.inner.records.0.as_ptr(),
            )
        };
        last_error_if(started == -1)
    }

    /// Ends the reading of a partition; what was fetched of it and not yet polled is discarded.
    pub(super) fn stop(&mut self, topic: &Topic, partition: Partition) {
        if let Some(handle) = self.topics.get(topic) {
            // SAFETY: the topic is alive. A partition that is not being read is an error code.
            unsafe { sys::rd_kafka_consume_stop(handle.0.as_ptr(), partition) };
        }
    }

    /// Lets go of a topic of which no partition is being read.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.topics.remove(topic);
    }

    /// The next deliveries, at most `limit`: the first that comes within
    /// `timeout`, and those that are there by then.
    pub(super) fn poll(&self, limit: usize, timeout: Duration) -> Batch {
        self.inner.given.renew(&self.inner.client);
        // librdkafka waits until a batch is full, so only ever wait for a batch of one. That the wait
        // comes first keeps a wake-up: one that the second call swallows is followed by a return.
        let mut batch = self.take(1, timeout);
        if !batch.is_empty() {
            let mut rest = self.take(limit.saturating_sub(1), Duration::ZERO);
            batch.0.append(&mut rest.0);
        }
        batch
    }

    /// What the handle has to say of itself, if anything; does not wait.
    pub(super) fn notice(&self) -> Option<Notice> {
        self.inner.notices.poll(Duration::ZERO)?.notice()
    }

    fn take(&self, limit: usize, timeout: Duration) -> Batch {
        let mut messages: Vec<*mut sys::rd_kafka_message_t> = vec![ptr::null_mut(); limit];
        // SAFETY: the queue is alive and the array holds `limit` pointers; the messages written to
        // it are ours, and destroyed with the batch.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.inner.records.0.as_ptr(),
                millis(timeout),
                messages.as_mut_ptr(),
                limit,
            )
        };
        messages.truncate(usize::try_from(count).unwrap_or(0));
        Batch(messages.into_iter().filter_map(NonNull::new).collect())
    }
}

impl Waker {
    pub(super) fn wake(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.records.wake();
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The deliveries, cut into runs of one partition each, in the order they came.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&str, Partition, &[Delivered])> {
        self.deliveries()
            .chunk_by(|a, b| a.place() == b.place())
            .filter_map(|run| Some((run.first()?.topic()?, run.first()?.partition(), run)))
    }

    fn deliveries(&self) -> &[Delivered] {
        // SAFETY: `Delivered` is a transparent wrapper of the pointer that the batch owns, and
        // cannot outlive the borrow.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len()) }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for message in &self.0 {
            // SAFETY: the batch owns its messages, and no borrow of them outlives it.
            unsafe { sys::rd_kafka_message_destroy(message.as_ptr()) };
        }
    }
}

impl Delivered {
    /// What this delivery is.
    pub(super) fn read(&self) -> Delivery<'_> {
        let message = self.message();
        match message.err {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                Delivery::Record(Record { message, headers: OnceLock::new() })
            }
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                Delivery::End(Offset::try_from(message.offset).unwrap_or(0))
            }
            code => {
                // SAFETY: the message is alive; the text belongs to it, or is null.
                let text = unsafe { owned_text(sys::rd_kafka_message_errstr(message)) };
                Delivery::Fault(fault(code, text))
            }
        }
    }

    fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the pointer came from librdkafka and its batch is alive while this is borrowed.
        unsafe { self.0.as_ref() }
    }

    fn place(&self) -> (*mut sys::rd_kafka_topic_t, Partition) {
        (self.message().rkt, self.message().partition)
    }

    fn topic(&self) -> Option<&str> {
        let topic = self.message().rkt;
        if topic.is_null() {
            return None;
        }
        // SAFETY: the message keeps its topic alive, and the topic its name.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(topic)) }.to_str().ok()
    }

    fn partition(&self) -> Partition {
        self.message().partition
    }
}

// SAFETY: a record only reads its message, but for the headers, which librdkafka parses when they are
// first asked for; that happens once, inside a lock. A batch belongs to one thread, which reads one
// record of it at a time.
unsafe impl Sync for Record<'_> {}

// SAFETY: parsed headers are only read.
unsafe impl Send for Headers {}
// SAFETY: as above.
unsafe impl Sync for Headers {}

impl<'a> Record<'a> {
    pub(super) fn offset(&self) -> Offset {
        // The broker numbers records from 0 upwards.
        Offset::try_from(self.message.offset).unwrap_or(0)
    }

    pub(super) fn partition(&self) -> Partition {
        self.message.partition
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka gives a pointer and its length, alive with the message.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    pub(super) fn payload(&self) -> Option<&'a [u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    /// Milliseconds since 1970, where the record has a time.
    pub(super) fn timestamp(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and the kind is written to the variable.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.message, &mut kind) };
        (kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(time)
    }

    /// The value of the last header of this name; a null value is none.
    pub(super) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers()
            .filter(|(found, _)| found.to_bytes() == name.as_bytes())
            .last()
            .and_then(|(_, value)| value)
    }

    /// Calls `each` with name and value of every header, in order; a name that is not UTF-8 cannot be
    /// asked for.
    pub(super) fn each_header(&self, each: &mut dyn FnMut(&'a str, Option<&'a [u8]>)) {
        for (name, value) in self.headers() {
            if let Ok(name) = name.to_str() {
                each(name, value);
            }
        }
    }

    fn headers(&self) -> impl Iterator<Item = (&'a CStr, Option<&'a [u8]>)> + use<'a> {
        let Headers(headers, count) = *self.headers.get_or_init(|| {
            let mut headers = ptr::null_mut();
            // SAFETY: the message is alive, and keeps the headers that this parses.
            let code = unsafe { sys::rd_kafka_message_headers(self.message, &mut headers) };
            match check(code) {
                // SAFETY: the headers are alive with the message.
                Ok(()) => Headers(headers, unsafe { sys::rd_kafka_header_cnt(headers) }),
                Err(_) => Headers(headers, 0),
            }
        });
        (0..count).map_while(move |index| {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive, and the results, which live with the message, are
            // written to the variables; a header always has a name.
            unsafe {
                let code =
                    sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                check(code).ok()?;
                Some((CStr::from_ptr(name), bytes(value, size)))
            }
        })
    }
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// # Safety
    /// The pointer is a queue of a live handle, and ours to destroy before that handle.
    unsafe fn own(queue: *mut sys::rd_kafka_queue_t) -> Queue {
        Queue(NonNull::new(queue).expect("librdkafka aborts where it cannot allocate"))
    }

    fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is alive; the event is ours and destroyed with `Event`.
        NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.0.as_ptr(), millis(timeout)) })
            .map(Event)
    }

    fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.0.as_ptr()) };
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours, alive until now, and its handle outlives it.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

impl Event {
    /// What the handle says of itself; `None` for the reply to a request.
    fn notice(&self) -> Option<Notice> {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive, each reader fits the event's kind, and texts are copied.
        unsafe {
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_ERROR => Some(Notice::Fault(fault(
                    sys::rd_kafka_event_error(event),
                    owned_text(sys::rd_kafka_event_error_string(event)),
                ))),
                sys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
                    sys::rd_kafka_event_log(event, &mut facility, &mut text, &mut level);
                    let (facility, text) = (owned_text(facility), owned_text(text)?);
                    // Of a worse failure an error tells as well.
                    let closed = facility.as_deref() == Some("FAIL") && level > LOG_ERR;
                    Some(if closed { closed_connection(&text) } else { Notice::Log(level, text) })
                }
                _ => None,
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours, and nothing read from it is kept.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

// SAFETY: librdkafka's topics may be used from any thread.
unsafe impl Send for TopicHandle {}

impl TopicHandle {
    fn new(client: &Client<Quiet>, topic: &Topic) -> Result<TopicHandle, Fault> {
        let name = c_string(topic.as_str());
        // SAFETY: handle and name are alive, and without a configuration the handle's own is used.
        let topic =
            unsafe { sys::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), ptr::null_mut()) };
        match NonNull::new(topic) {
            Some(topic) => Ok(TopicHandle(topic)),
            None => Err(last_error_if(true).err().unwrap_or_else(unexpected)),
        }
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: the topic is ours, and its handle is still alive.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}

/// A handle with its first token: it has one before it connects.
fn open(config: &HandleConfig, kind: RDKafkaType) -> Result<(Client<Quiet>, Given), OpenError> {
    let native = config.settings.create_native_config().map_err(OpenError::Settings)?;
    // SAFETY: the configuration is alive; it says which events come through queues.
    unsafe { sys::rd_kafka_conf_set_events(native.ptr(), sys::RD_KAFKA_EVENT_ERROR) };
    let client = Client::new(&config.settings, native, kind, Quiet).map_err(|error| {
        // SAFETY: reads this thread's own last error, which the call that failed has set.
        match (unsafe { sys::rd_kafka_last_error() }, error) {
            (sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG, error) => {
                OpenError::Settings(error)
            }
            (_, KafkaError::ClientCreation(said)) => OpenError::Otherwise(said),
            (_, error) => OpenError::Settings(error),
        }
    })?;
    let given = Given { bearer: config.bearer.clone(), version: AtomicU64::new(0) };
    given.give(&client).map_err(OpenError::Otherwise)?;
    Ok((client, given))
}

fn main_queue(client: &Client<Quiet>) -> Queue {
    // SAFETY: the handle is alive; this gives a reference of our own.
    unsafe { Queue::own(sys::rd_kafka_queue_get_main(client.native_ptr())) }
}

/// # Safety
/// `start` is null, or points to `count` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, count: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise; a length of 0 is fine for any pointer that is not null.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), count) })
}

/// # Safety
/// `text` is null or a string that ends in a zero.
unsafe fn owned_text(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null())
        .then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned())
        .filter(|text| !text.is_empty())
}

/// A failure as librdkafka or a broker states it.
fn fault(code: sys::rd_kafka_resp_err_t, reason: Option<String>) -> Fault {
    let reason = reason.unwrap_or_else(|| text_of(code));
    let code = Code::from(code);
    Fault::new(kind_of(code, &reason), steady(code, &reason))
}

fn check(code: sys::rd_kafka_resp_err_t) -> Result<(), Fault> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(fault(code, None)),
    }
}

/// What to make of librdkafka's word.
fn kind_of(code: Code, reason: &str) -> Kind {
    match code {
        Code::NotLeaderForPartition
        | Code::LeaderNotAvailable
        | Code::ReplicaNotAvailable
        | Code::BrokerNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::KafkaStorageError
        | Code::NotCoordinator
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::UnstableOffsetCommit
        | Code::NoEnt
        | Code::RequestTimedOut
        | Code::BrokerTransportFailure
        | Code::NetworkException => {
            // With TLS 1.3 a broker refuses a certificate only after the handshake.
            if reason.contains(TLS_ALERT) { Kind::Refused } else { Kind::Passing }
        }
        Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed => Kind::Refused,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Kind::Denied,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic => Kind::Missing,
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Kind::Gone,
        Code::OperationTimedOut | Code::Resolve | Code::AllBrokersDown => Kind::Silent,
        _ => Kind::Other,
    }
}

/// The reason in the same words each time: without the connection it was, how long and how often,
/// and with advice that names a trigger's parameters in place of librdkafka's settings.
fn steady(code: Code, reason: &str) -> String {
    let text = reason.split_once(" (after ").map_or(reason, |(text, _)| text);
    // Such as `sasl_ssl://kafka:9093/bootstrap: `.
    let text = match text.split_once(": ") {
        Some((connection, rest)) if connection.contains('/') => rest,
        _ => text,
    };
    // Such as `LISTCONSUMERGROUPOFFSETS worker coordinator request failed: `.
    let text = text.split_once("request failed: ").map_or(text, |(_, rest)| rest);
    let (said, advice) = match code {
        Code::Authentication | Code::SaslAuthenticationFailed if text.contains(TOKEN_REFUSED) => {
            (text, Some(CHECK_CLIENT))
        }
        Code::Authentication | Code::SaslAuthenticationFailed => (text, Some(CHECK_LOGIN)),
        _ => ADVICE
            .iter()
            .find_map(|(theirs, ours)| Some((text.split_once(theirs)?.0, Some(*ours))))
            .unwrap_or((text, None)),
    };
    let said = said.trim_end_matches(['.', ':', ' ']);
    advice.map_or_else(|| said.to_owned(), |advice| format!("{said}; {advice}"))
}

fn text_of(code: sys::rd_kafka_resp_err_t) -> String {
    // SAFETY: librdkafka has a static text for every code.
    unsafe { owned_text(sys::rd_kafka_err2str(code)) }.unwrap_or_else(|| format!("{code:?}"))
}

fn last_error_if(failed: bool) -> Result<(), Fault> {
    if failed {
        // SAFETY: reads this thread's own last error.
        Err(fault(unsafe { sys::rd_kafka_last_error() }, None))
    } else {
        Ok(())
    }
}

/// A connection was closed, as a log line tells it: `[thrd:…]: kafka:9092/1: Disconnected …`.
fn closed_connection(line: &str) -> Notice {
    let text = line.split_once("]: ").map_or(line, |(_, text)| text);
    let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT;
    Notice::Fault(fault(code, Some(text.to_owned())))
}

/// A line of librdkafka's, for whoever turns debugging on: what matters of it is in answers.
pub(super) fn log(level: i32, text: &str) {
    tracing::debug!(level, "{text}");
}

fn unexpected() -> Fault {
    fault(
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__BAD_MSG,
        Some("the broker's reply makes no sense".to_owned()),
    )
}

/// Names with a zero in them are refused where triggers are decoded; such a name matches nothing.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// What every handle is set to.
fn client_config(config: &ClusterConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("client.id", "keda-sift");
    // That a broker closed a connection, and why it may have, is only logged, at this level.
    client.set_log_level(RDKafkaLogLevel::Info);
    // A broker that comes back is found within a second; librdkafka's own 10 s are for fleets.
    client.set("reconnect.backoff.max.ms", "1000");
    client.set("socket.keepalive.enable", "true");
    client.set("socket.nagle.disable", "true");
    // KIP-714 would add requests of no use here.
    client.set("enable.metrics.push", "false");
    for (key, value) in config.settings() {
        client.set(key, value.expose_secret());
    }
    client
}

/// What the reading handles are set to besides.
fn reading_config(mut client: ClientConfig) -> ClientConfig {
    client.set("isolation.level", "read_committed");
    client.set("enable.partition.eof", "true");
    // A position that is gone must be heard of, not moved.
    client.set("auto.offset.reset", "error");
    // A commit marker is only heard of by the end-of-partition event of the fetch after it, and a
    // partition is only fetched from once the fetch under way is answered.
    client.set("fetch.wait.max.ms", "100");
    client.set("fetch.error.backoff.ms", "100");
    // With the default of 1 s a reader as fast as the broker stalls whenever its queue is full.
    client.set("fetch.queue.backoff.ms", "2");
    // Bounds what the queue holds, and so how long one topic's flood delays another topic.
    client.set("queued.max.messages.kbytes", "16384");
    client.set("fetch.max.bytes", "16777216");
    // Closes the connection that only served to find the brokers; the others are never idle.
    client.set("connections.max.idle.ms", "10000");
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_the_same_each_time_and_ends_in_what_to_do() {
        let rows = [
            (
                Code::BrokerTransportFailure,
                "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused \
                 (after 0ms in state CONNECT, 3 identical error(s) suppressed)",
                "Connect to ipv4#127.0.0.1:9 failed: Connection refused",
            ),
            (
                Code::GroupAuthorizationFailed,
                "LISTCONSUMERGROUPOFFSETS worker coordinator request failed: Broker: Group authorization failed",
                "Broker: Group authorization failed",
            ),
            (
                Code::Authentication,
                "sasl_ssl://a:1/bootstrap: SASL authentication error: Invalid username (after 9ms in state AUTH_REQ)",
                "SASL authentication error: Invalid username; check sasl, usernameFromEnv and passwordFromEnv",
            ),
            (
                Code::Authentication,
                "sasl_ssl://a:1/bootstrap: SASL authentication error: {\"status\":\"invalid_token\"} (after 9ms)",
                "SASL authentication error: {\"status\":\"invalid_token\"}; check the client's rights and scopes",
            ),
            (Code::AllBrokersDown, "1/1 brokers are down", "1/1 brokers are down"),
        ];
        for (code, reason, expected) in rows {
            assert_eq!(steady(code, reason), expected);
        }
    }
}
