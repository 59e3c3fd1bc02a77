//! What rust-rdkafka does not wrap: asking brokers for offsets, and reading partitions without a group.
//!
//! [`Queries`] asks for a cluster's offsets. [`Fetcher`] reads partitions with librdkafka's simple
//! consumer, which needs no group id, so that no principal needs rights on a group that nobody
//! uses, and every partition feeds one queue. Nothing here waits but [`Queries::serve`] and
//! [`Fetcher::poll`], which belong to threads of their own.
//!
//! This is the only module with `unsafe`. It leans on three promises of librdkafka: handles and
//! queues may be used from any thread; what an event or a message points to lives until that event
//! or message is destroyed; and a string or list handed over is copied.
//!
//! # References
//! - `rdkafka.h` of librdkafka 2.12: "Admin API" and "Simple Consumer API (legacy)"
//! - KIP-396 and KIP-709 (offsets of groups), KIP-98 (isolation), KIP-516 (topic ids)
#![expect(
    unsafe_code,
    reason = "librdkafka's admin calls and simple consumer have no safe wrapper"
)]

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaType};
use rdkafka_sys as sys;
use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;

use super::bearer::Bearer;
use super::names::{Group, Offset, Partition, Topic};
use crate::lock::lock;

/// The syslog level of errors; the higher, the milder.
const LOG_ERR: i32 = 3;

/// What librdkafka calls us in its own log; brokers go by the token.
const PRINCIPAL: &CStr = c"keda-sift";

/// The longest time-out that librdkafka takes for a request.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A failure as librdkafka or a broker states it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Fault {
    pub(super) code: RDKafkaErrorCode,
    pub(super) reason: String,
}

/// Why a handle cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmade {
    /// librdkafka does not take the settings.
    #[error(transparent)]
    Settings(KafkaError),
    /// The settings are not to blame: there is no thread to be had, or the token is no good any more.
    #[error("{0}")]
    Otherwise(String),
}

/// Which end of a partition to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The log start offset.
    Start,
    /// The last stable offset: the end that `read_committed` sees.
    LastStable,
    /// The high watermark.
    HighWatermark,
}

/// An answer for each partition asked, or why there is none.
type Listed<T> = Vec<(Topic, Partition, Result<T, Fault>)>;

/// An offset for each.
pub(super) type Offsets = Listed<Offset>;

/// The first offset at or after a time for each: `None` where no record is that late.
pub(super) type Since = Listed<Option<Offset>>;

/// The committed offset for each: `None` where the group has none.
pub(super) type Committed = Listed<Option<Offset>>;

/// The number of a broker in its cluster.
pub(super) type BrokerId = i32;

/// Which topics are compacted.
pub(super) type Compacted = BTreeSet<Topic>;

/// What a topic looks like, or why that is not known.
pub(super) type Layouts = Vec<(Topic, Result<Layout, Fault>)>;

/// A topic as the brokers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Differs when a topic was deleted and made again (KIP-516); zero from brokers without ids.
    pub(super) id: (i64, i64),
    /// How many partitions there are, numbered from 0.
    pub(super) partitions: Partition,
}

/// A reply to come. Its sender is dropped with the handle, so that waiting always ends.
pub(super) type Reply<T> = oneshot::Receiver<Result<T, Fault>>;

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

/// A handle that asks a cluster for offsets.
pub(super) struct Queries {
    // Declared before the client: a queue must go before its handle.
    queue: Queue,
    client: Client<Quiet>,
    given: Given,
    waiting: Mutex<HashMap<u64, Waiting>>,
    next: AtomicU64,
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

enum Waiting {
    Offsets(oneshot::Sender<Result<Offsets, Fault>>),
    /// With the time.
    Since(i64, oneshot::Sender<Result<Since, Fault>>),
    Committed(oneshot::Sender<Result<Committed, Fault>>),
    Layouts(oneshot::Sender<Result<Layouts, Fault>>),
    Compacted(oneshot::Sender<Result<Compacted, Fault>>),
}

struct FetcherInner {
    records: Queue,
    notices: Queue,
    client: Client<Quiet>,
    given: Given,
}

struct Queue(NonNull<sys::rd_kafka_queue_t>);

struct Event(NonNull<sys::rd_kafka_event_t>);

struct Options(*mut sys::rd_kafka_AdminOptions_t);

struct PartitionList(*mut sys::rd_kafka_topic_partition_list_t);

struct TopicHandle(NonNull<sys::rd_kafka_topic_t>);

/// Log lines and errors are taken from the main queue, so no callback is ever used.
struct Quiet;

impl ClientContext for Quiet {}

impl Fault {
    fn new(code: sys::rd_kafka_resp_err_t, reason: Option<String>) -> Fault {
        Fault { code: code.into(), reason: reason.unwrap_or_else(|| text_of(code)) }
    }

    /// What is said of a handle that ended before it answered.
    pub(super) fn ended() -> Fault {
        Fault::new(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__DESTROY, None)
    }

    /// What is said where nobody answers in time.
    pub(super) fn silent() -> Fault {
        Fault::new(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT, None)
    }

    /// What is said of records that could not be judged because judging them panicked.
    pub(super) fn panicked() -> Fault {
        let reason = "judging a record failed, which is a fault of keda-sift's".to_owned();
        Fault::new(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__APPLICATION, Some(reason))
    }

    /// What is said of a partition that a reply leaves out.
    pub(super) fn unanswered() -> Fault {
        let reason = "the brokers' replies leave a partition out".to_owned();
        Fault::new(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, Some(reason))
    }

    fn check(code: sys::rd_kafka_resp_err_t) -> Result<(), Fault> {
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Fault::new(code, None)),
        }
    }
}

impl From<ClientConfig> for HandleConfig {
    fn from(settings: ClientConfig) -> HandleConfig {
        HandleConfig { settings, bearer: None }
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

impl Queries {
    /// A handle with its threads running; it connects when first asked.
    ///
    /// # Errors
    /// [`Unmade`]. Not reaching a broker is no error here. The settings must have a `group.id`: an
    /// offset request that meets a coordinator which has moved uses the handle's own group without
    /// looking whether it has one (librdkafka issue 5040).
    pub(super) fn new(config: &HandleConfig) -> Result<Queries, Unmade> {
        let (client, given) = open(config, RDKafkaType::RD_KAFKA_CONSUMER)?;
        Ok(Queries {
            queue: main_queue(&client),
            client,
            given,
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// Asks for one end of each partition (ListOffsets), of all leaders at once.
    pub(super) fn offsets(
        &self,
        partitions: &[(Topic, Partition)],
        end: End,
        timeout: Duration,
    ) -> Reply<Offsets> {
        let (reply, received) = oneshot::channel();
        let spec = match end {
            End::Start => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
            End::LastStable | End::HighWatermark => {
                sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST
            }
        };
        let list = PartitionList::new(partitions, i64::from(spec as i32));
        self.list_offsets(&list, end == End::LastStable, timeout, Waiting::Offsets(reply));
        received
    }

    /// Asks for the first offset of each partition whose record is of this time or later, in milliseconds since 1970 and not before
    /// (ListOffsets), of all leaders at once.
    pub(super) fn since(
        &self,
        partitions: &[(Topic, Partition)],
        time: i64,
        timeout: Duration,
    ) -> Reply<Since> {
        let (reply, received) = oneshot::channel();
        let list = PartitionList::new(partitions, time);
        self.list_offsets(&list, false, timeout, Waiting::Since(time, reply));
        received
    }

    fn list_offsets(
        &self,
        list: &PartitionList,
        read_committed: bool,
        timeout: Duration,
        waiting: Waiting,
    ) {
        let options =
            self.options(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout, waiting);
        if read_committed {
            let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
            // SAFETY: the options are alive; an isolation level fits ListOffsets, so the error
            // object this would return does not arise, and destroying null is allowed.
            unsafe {
                sys::rd_kafka_error_destroy(sys::rd_kafka_AdminOptions_set_isolation_level(
                    options.0, level,
                ));
            }
        }
        // SAFETY: handle, list, options and queue are alive; librdkafka copies list and options.
        unsafe {
            sys::rd_kafka_ListOffsets(
                self.client.native_ptr(),
                list.0,
                options.0,
                self.queue.0.as_ptr(),
            );
        }
    }

    /// Asks for a group's committed offsets (OffsetFetch), of these partitions or, with `None`, of
    /// every partition that it has one for.
    ///
    /// There is no time-out: librdkafka 2.12 forgets the request when it times out before the
    /// coordinator is known, but not the look-up of that coordinator, which then uses freed memory
    /// (its issue 3663). Who does not want to wait any more drops the reply; dropping the handle
    /// ends the request safely.
    pub(super) fn committed(
        &self,
        group: &Group,
        partitions: Option<&[(Topic, Partition)]>,
    ) -> Reply<Committed> {
        let (reply, received) = oneshot::channel();
        let list = partitions.map(|partitions| PartitionList::new(partitions, -1001));
        let group = c_string(group.as_str());
        let options = self.options(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            LONGEST,
            Waiting::Committed(reply),
        );
        // SAFETY: everything pointed to is alive during the calls, which copy it; the request
        // object is destroyed once, here.
        unsafe {
            let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(
                group.as_ptr(),
                list.as_ref().map_or(ptr::null(), |list| list.0.cast_const()),
            );
            sys::rd_kafka_ListConsumerGroupOffsets(
                self.client.native_ptr(),
                &mut request,
                1,
                options.0,
                self.queue.0.as_ptr(),
            );
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        }
        received
    }

    /// Asks a broker what topics look like (Metadata); the reply says of each whether it exists.
    pub(super) fn layouts(
        &self,
        broker: BrokerId,
        topics: &[Topic],
        timeout: Duration,
    ) -> Reply<Layouts> {
        let (reply, received) = oneshot::channel();
        let names: Vec<CString> = topics.iter().map(|topic| c_string(topic.as_str())).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            timeout,
            Waiting::Layouts(reply),
        );
        options.send_to(broker);
        // SAFETY: the names outlive the calls, which copy them; the collection is destroyed once.
        unsafe {
            let collection =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeTopics(
                self.client.native_ptr(),
                collection,
                options.0,
                self.queue.0.as_ptr(),
            );
            sys::rd_kafka_TopicCollection_destroy(collection);
        }
        received
    }

    /// Asks a broker which topics have a cleanup policy that compacts (DescribeConfigs). Topics whose
    /// configuration we may not read are left out.
    pub(super) fn compacted(
        &self,
        broker: BrokerId,
        topics: &[Topic],
        timeout: Duration,
    ) -> Reply<Compacted> {
        let (reply, received) = oneshot::channel();
        let options = self.options(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
            timeout,
            Waiting::Compacted(reply),
        );
        options.send_to(broker);
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the names outlive the calls, which copy them; each resource is destroyed once.
        unsafe {
            let mut resources: Vec<_> = topics
                .iter()
                .map(|topic| {
                    sys::rd_kafka_ConfigResource_new(kind, c_string(topic.as_str()).as_ptr())
                })
                .collect();
            sys::rd_kafka_DescribeConfigs(
                self.client.native_ptr(),
                resources.as_mut_ptr(),
                resources.len(),
                options.0,
                self.queue.0.as_ptr(),
            );
            for resource in resources {
                sys::rd_kafka_ConfigResource_destroy(resource);
            }
        }
        received
    }

    /// The brokers there are, asked of any of them; blocks for `timeout` at most. As a by-product
    /// librdkafka learns anew who leads the topic's partitions.
    pub(super) fn brokers(&self, topic: &Topic, timeout: Duration) -> Result<Vec<BrokerId>, Fault> {
        let metadata = self.client.fetch_metadata(Some(topic.as_str()), timeout);
        let metadata = metadata.map_err(|error| Fault {
            code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
            reason: error.to_string(),
        })?;
        Ok(metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect())
    }

    /// Waits up to `timeout` for what the brokers or librdkafka say, hands one reply to whoever
    /// asked, and returns what nobody asked for.
    pub(super) fn serve(&self, timeout: Duration) -> Option<Notice> {
        self.given.renew(&self.client);
        let event = self.queue.poll(timeout)?;
        if let Some(notice) = event.notice() {
            return Some(notice);
        }
        // SAFETY: the event is alive; an admin event's opaque is the number that `options` set.
        let number = unsafe { sys::rd_kafka_event_opaque(event.0.as_ptr()) } as u64;
        let waiting = lock(&self.waiting).remove(&number);
        // A receiver that has gone no longer wants the answer.
        match waiting {
            Some(Waiting::Offsets(reply)) => drop(reply.send(event.offsets())),
            Some(Waiting::Since(time, reply)) => drop(reply.send(event.since(time))),
            Some(Waiting::Committed(reply)) => drop(reply.send(event.committed())),
            Some(Waiting::Layouts(reply)) => drop(reply.send(event.layouts())),
            Some(Waiting::Compacted(reply)) => drop(reply.send(event.compacted())),
            None => {}
        }
        None
    }

    /// Makes [`serve`](Queries::serve) return at once.
    pub(super) fn wake(&self) {
        self.queue.wake();
    }

    fn options(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        waiting: Waiting,
    ) -> Options {
        // Numbers start at 1, and no pointer is passed through librdkafka: what is never answered
        // is dropped with the handle.
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.waiting).insert(number, waiting);
        let mut error = [0; 256];
        // SAFETY: the handle is alive, the options are destroyed with `Options`, and the buffer's
        // length is passed along. The number is carried as an opaque and never dereferenced.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.client.native_ptr(), operation);
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis(timeout).max(1),
                error.as_mut_ptr(),
                error.len(),
            );
            sys::rd_kafka_AdminOptions_set_opaque(options, number as *mut c_void);
            Options(options)
        }
    }
}

impl Fetcher {
    /// A handle with its threads running; it connects when the first partition is started.
    ///
    /// # Errors
    /// [`Unmade`].
    pub(super) fn new(config: &HandleConfig) -> Result<Fetcher, Unmade> {
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
                Delivery::Fault(Fault::new(code, text))
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
            match Fault::check(code) {
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
                Fault::check(code).ok()?;
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
                sys::RD_KAFKA_EVENT_ERROR => Some(Notice::Fault(Fault::new(
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

    fn outcome(&self) -> Result<(), Fault> {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive, and the text is copied.
        unsafe {
            Fault::check(sys::rd_kafka_event_error(event)).map_err(|fault| Fault {
                reason: owned_text(sys::rd_kafka_event_error_string(event))
                    .unwrap_or_else(|| fault.reason.clone()),
                ..fault
            })
        }
    }

    fn offsets(&self) -> Result<Offsets, Fault> {
        // A leader that could not be asked leaves what was asked for, which is negative, and no error.
        self.listed(|offset| Offset::try_from(offset).map_err(|_| Fault::unanswered()))
    }

    fn since(&self, time: i64) -> Result<Since, Fault> {
        self.listed(|offset| match offset {
            _ if offset == time => Err(Fault::unanswered()),
            offset => Ok(Offset::try_from(offset).ok()),
        })
    }

    /// What ListOffsets gave, as `read` has it.
    fn listed<T>(&self, read: impl Fn(i64) -> Result<T, Fault>) -> Result<Listed<T>, Fault> {
        self.outcome()?;
        let mut count = 0;
        // SAFETY: the event is alive and, by the request's number, a ListOffsets result; the array
        // has `count` elements that live as long as the event.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(self.0.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
            Ok(array(infos, count)
                .iter()
                .map(|info| {
                    let place = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
                    let (topic, partition, answer) = read_place(place);
                    (topic, partition, answer.and_then(&read))
                })
                .collect())
        }
    }

    fn committed(&self) -> Result<Committed, Fault> {
        self.outcome()?;
        let mut count = 0;
        // SAFETY: the event is alive and, by the request's number, a result of
        // ListConsumerGroupOffsets; groups and partitions live as long as the event.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(self.0.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
            let group = *array(groups, count).first().ok_or_else(unexpected)?;
            let error = sys::rd_kafka_group_result_error(group);
            if !error.is_null() {
                return Err(Fault::new(
                    sys::rd_kafka_error_code(error),
                    owned_text(sys::rd_kafka_error_string(error)),
                ));
            }
            let list = sys::rd_kafka_group_result_partitions(group);
            if list.is_null() {
                return Ok(Vec::new());
            }
            let (elements, count) = ((*list).elems, usize::try_from((*list).cnt).unwrap_or(0));
            Ok(array(elements.cast_const(), count)
                .iter()
                .map(|place| {
                    let (topic, partition, answer) = read_place(place);
                    // librdkafka's -1001 says that there is none, and so does any other negative.
                    (topic, partition, answer.map(|offset| Offset::try_from(offset).ok()))
                })
                .collect())
        }
    }

    fn compacted(&self) -> Result<Compacted, Fault> {
        self.outcome()?;
        let mut count = 0;
        // SAFETY: the event is alive and, by the request's number, a DescribeConfigs result; what
        // it holds lives as long as it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(self.0.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
            let compacts = |resource: *const sys::rd_kafka_ConfigResource_t| {
                let mut count = 0;
                let entries = sys::rd_kafka_ConfigResource_configs(resource, &mut count);
                array(entries, count).iter().any(|entry| {
                    let name = owned_text(sys::rd_kafka_ConfigEntry_name(*entry));
                    let value = owned_text(sys::rd_kafka_ConfigEntry_value(*entry));
                    name.as_deref() == Some("cleanup.policy")
                        && value.is_some_and(|policy| policy.contains("compact"))
                })
            };
            Ok(array(resources, count)
                .iter()
                .filter(|resource| compacts(**resource))
                .filter_map(|resource| owned_text(sys::rd_kafka_ConfigResource_name(*resource)))
                .map(|name| Topic::from(&*name))
                .collect())
        }
    }

    fn layouts(&self) -> Result<Layouts, Fault> {
        self.outcome()?;
        let mut count = 0;
        // SAFETY: the event is alive and, by the request's number, a DescribeTopics result; what
        // it holds lives as long as it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(self.0.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            Ok(array(topics, count)
                .iter()
                .map(|topic| {
                    let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(*topic));
                    let error = sys::rd_kafka_TopicDescription_error(*topic);
                    let code = sys::rd_kafka_error_code(error);
                    let mut partitions = 0;
                    sys::rd_kafka_TopicDescription_partitions(*topic, &mut partitions);
                    let id = sys::rd_kafka_TopicDescription_topic_id(*topic);
                    let layout = Layout {
                        id: (
                            sys::rd_kafka_Uuid_most_significant_bits(id),
                            sys::rd_kafka_Uuid_least_significant_bits(id),
                        ),
                        partitions: Partition::try_from(partitions).unwrap_or(Partition::MAX),
                    };
                    let name = Topic::from(name.to_string_lossy().as_ref());
                    (name, Fault::check(code).map(|()| layout))
                })
                .collect())
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours, and nothing read from it is kept.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

impl Options {
    /// Sends the request to this broker. Without it librdkafka sends it to the controller, which may
    /// be a broker that is gone, and of which the mock cluster has none.
    fn send_to(&self, broker: BrokerId) {
        let mut error = [0; 256];
        // SAFETY: the options are alive, and the buffer's length is passed along. A number that is
        // no broker's makes the request time out.
        unsafe {
            sys::rd_kafka_AdminOptions_set_broker(self.0, broker, error.as_mut_ptr(), error.len());
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the options are ours; requests have copied them.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

impl PartitionList {
    /// The partitions, each with the same offset (a real one, or a code of librdkafka's).
    fn new(partitions: &[(Topic, Partition)], offset: i64) -> PartitionList {
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        // SAFETY: the list is ours; each name is copied, and each added element is alive while its
        // offset is written.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(count);
            let mut name: Option<(&Topic, CString)> = None;
            for (topic, partition) in partitions {
                if name.as_ref().is_none_or(|(last, _)| *last != topic) {
                    name = Some((topic, c_string(topic.as_str())));
                }
                let text = name.as_ref().map_or(ptr::null(), |(_, text)| text.as_ptr());
                (*sys::rd_kafka_topic_partition_list_add(list, text, *partition)).offset = offset;
            }
            PartitionList(list)
        }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is ours; requests have copied it.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
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
fn open(config: &HandleConfig, kind: RDKafkaType) -> Result<(Client<Quiet>, Given), Unmade> {
    let native = config.settings.create_native_config().map_err(Unmade::Settings)?;
    // SAFETY: the configuration is alive; it says which events come through queues.
    unsafe { sys::rd_kafka_conf_set_events(native.ptr(), sys::RD_KAFKA_EVENT_ERROR) };
    let client = Client::new(&config.settings, native, kind, Quiet).map_err(|error| {
        // SAFETY: reads this thread's own last error, which the call that failed has set.
        match (unsafe { sys::rd_kafka_last_error() }, error) {
            (sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG, error) => {
                Unmade::Settings(error)
            }
            (_, KafkaError::ClientCreation(said)) => Unmade::Otherwise(said),
            (_, error) => Unmade::Settings(error),
        }
    })?;
    let given = Given { bearer: config.bearer.clone(), version: AtomicU64::new(0) };
    given.give(&client).map_err(Unmade::Otherwise)?;
    Ok((client, given))
}

fn main_queue(client: &Client<Quiet>) -> Queue {
    // SAFETY: the handle is alive; this gives a reference of our own.
    unsafe { Queue::own(sys::rd_kafka_queue_get_main(client.native_ptr())) }
}

/// # Safety
/// The place is a live element of a list of librdkafka's.
unsafe fn read_place(
    place: &sys::rd_kafka_topic_partition_t,
) -> (Topic, Partition, Result<i64, Fault>) {
    // SAFETY: a list's elements have a name.
    let name = unsafe { CStr::from_ptr(place.topic) };
    (
        Topic::from(name.to_string_lossy().as_ref()),
        place.partition,
        Fault::check(place.err).map(|()| place.offset),
    )
}

/// # Safety
/// `start` is null, or points to `count` elements that live for `'a`.
unsafe fn array<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(start, count) }
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

fn text_of(code: sys::rd_kafka_resp_err_t) -> String {
    // SAFETY: librdkafka has a static text for every code.
    unsafe { owned_text(sys::rd_kafka_err2str(code)) }.unwrap_or_else(|| format!("{code:?}"))
}

fn last_error_if(failed: bool) -> Result<(), Fault> {
    if failed {
        // SAFETY: reads this thread's own last error.
        Err(Fault::new(unsafe { sys::rd_kafka_last_error() }, None))
    } else {
        Ok(())
    }
}

/// A connection was closed, as a log line tells it: `[thrd:…]: kafka:9092/1: Disconnected …`.
fn closed_connection(line: &str) -> Notice {
    let text = line.split_once("]: ").map_or(line, |(_, text)| text);
    let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT;
    Notice::Fault(Fault::new(code, Some(text.to_owned())))
}

fn unexpected() -> Fault {
    Fault::new(
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use rdkafka::mocking::MockCluster;

    use super::*;

    /// The demo stands on librdkafka's mock cluster, which does not know every request.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_mock_cluster_answers_what_the_demo_needs() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("uploads", 2, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
        let queries = Arc::new(Queries::new(&config.into()).unwrap());
        let open = Arc::new(AtomicBool::new(true));
        let thread = std::thread::spawn({
            let (queries, open) = (Arc::clone(&queries), Arc::clone(&open));
            move || {
                while open.load(Ordering::Acquire) {
                    let _notice = queries.serve(Duration::from_millis(100));
                }
            }
        });
        let (topic, patience) = (Topic::from("uploads"), Duration::from_secs(5));
        let topics = [topic.clone()];
        let places = [(topic.clone(), 0), (topic.clone(), 1)];
        let asked = Arc::clone(&queries);
        let brokers = tokio::task::spawn_blocking(move || asked.brokers(&topic, patience));
        let brokers = brokers.await.unwrap().unwrap();
        let layouts = queries.layouts(brokers[0], &topics, patience).await.unwrap().unwrap();
        assert_eq!(layouts[0].1.as_ref().unwrap().partitions, 2);
        let compacted = queries.compacted(brokers[0], &topics, patience).await.unwrap();
        assert_ne!(compacted.map_err(|fault| fault.kind()), Err(super::super::error::Kind::Silent));
        for end in [End::Start, End::LastStable, End::HighWatermark] {
            let offsets = queries.offsets(&places, end, patience).await.unwrap().unwrap();
            assert!(offsets.iter().all(|(_, _, offset)| *offset == Ok(0)), "{end:?}: {offsets:?}");
        }
        let group = Group::from("thumbnails");
        let committed = queries.committed(&group, Some(&places)).await.unwrap().unwrap();
        assert!(committed.iter().all(|(_, _, offset)| *offset == Ok(None)), "{committed:?}");
        open.store(false, Ordering::Release);
        queries.wake();
        thread.join().unwrap();
    }
}
