//! How frames come in from a peer that nobody vouched for: never more is taken than was asked for,
//! and no memory before the bytes are there.
//!
//! - A reply's limit is known before it is read; one that announces more ends the connection.
//! - The buffer grows with what has arrived, not with what was announced.
//! - What a frame has beyond its first 64 KiB is taken out of a [`FrameBudget`], once those have
//!   arrived: out of what its cluster may have under way, and of the memory of a namespace that
//!   uses the cluster. Until there is room a connection waits, to the deadline of its request.
//!
//! # References
//! - "Kafka protocol guide": a frame is an `INT32` size and as many bytes

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection_error::{ConnectionError, Foreign};
use crate::ledger::{Charge, Payers, Use};

/// Bytes before a frame: its size.
const PREFIX: usize = 4;

/// Bytes that are read at a time before the size of a frame is known.
const FIRST_READ: usize = 4 * 1024;

/// Bytes of a frame that need no share of the budget, and that are read at a time beyond.
const STEP: usize = 64 * 1024;

/// Bytes that the frames of one cluster may hold beyond their first 64 KiB each: one of the largest
/// replies.
const CLUSTER_BUDGET: usize = 16 * 1024 * 1024;

/// What a connection is for: what is asked is not to wait for room that records take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::kafka) enum Traffic {
    /// Questions of polls.
    Asking,
    /// Records that are followed.
    Following,
    /// Records of stretches before those.
    Backfilling,
}

/// What large frames of one cluster and one kind of traffic may hold. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct FrameBudget {
    cluster: Arc<Semaphore>,
    payers: Arc<Payers>,
    of: Use,
}

/// A part of the budget, given back when it is dropped.
type Share = (OwnedSemaphorePermit, Charge);

/// A frame without its size; gives back its share of the budget when it is dropped.
#[derive(Debug)]
pub(in crate::kafka) struct Received {
    bytes: BytesMut,
    _share: Option<Share>,
}

/// Takes frames from what a peer sends.
pub(super) struct FrameReader<S> {
    stream: S,
    buffer: BytesMut,
    budget: FrameBudget,
    share: Option<Share>,
    /// A share that is waited for, which keeps its place while other things are done.
    waiting: Option<BoxFuture<'static, Option<Share>>>,
}

impl FrameBudget {
    /// What a cluster may hold that these pay for.
    pub(super) fn new(payers: &Arc<Payers>, traffic: Traffic) -> Self {
        let cluster = Arc::new(Semaphore::new(CLUSTER_BUDGET));
        let of = match traffic {
            Traffic::Asking => Use::Asking,
            Traffic::Following | Traffic::Backfilling => Use::Reading,
        };
        Self { cluster, payers: Arc::clone(payers), of }
    }

    /// So many bytes, once they are there; `None` where no frame may be so large.
    async fn take(self, bytes: usize) -> Option<Share> {
        let permits = u32::try_from(bytes).ok()?;
        // The cluster's first: what waits for that holds nothing of the others'.
        let cluster = self.cluster.acquire_many_owned(permits).await.ok()?;
        Some((cluster, self.payers.charge_when_free(self.of, bytes).await))
    }
}

impl Received {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same bytes, shared; the share of the budget goes back with the last of them.
    pub(in crate::kafka) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(super) fn new(stream: S, budget: FrameBudget) -> Self {
        Self { stream, buffer: BytesMut::new(), budget, share: None, waiting: None }
    }

    /// Waits for more bytes, of which none is due.
    ///
    /// Cancel safe: what has arrived stays.
    pub(super) async fn unasked(&mut self) -> Result<(), ConnectionError> {
        if !self.buffer.is_empty() {
            return Ok(());
        }
        self.read(FIRST_READ).await
    }

    /// The next frame, of at most `limit` bytes.
    ///
    /// Cancel safe: what has arrived stays.
    ///
    /// # Errors
    /// The peer closes, fails, or announces a size that no reply to this question has.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Received, ConnectionError> {
        loop {
            let mut missing = FIRST_READ;
            if let Some(prefix) = self.buffer.first_chunk::<PREFIX>() {
                let announced = i32::from_be_bytes(*prefix);
                let size = usize::try_from(announced).ok().filter(|size| *size <= limit);
                let Some(size) = size else {
                    return Err(match Foreign::of_prefix(*prefix) {
                        Some(foreign) => ConnectionError::Foreign(foreign),
                        None => ConnectionError::FrameSize { announced, limit },
                    });
                };
                let has = self.buffer.len() - PREFIX;
                if has >= size {
                    let mut bytes = self.buffer.split_to(PREFIX + size);
                    drop(bytes.split_to(PREFIX));
                    return Ok(Received { bytes, _share: self.share.take() });
                }
                missing = (size - has).min(STEP);
                if size > STEP && has >= STEP {
                    self.take_share(size - STEP).await;
                }
            }
            self.read(missing).await?;
        }
    }

    /// Waits for the frame's share of the budget, unless it has that. Cancel safe.
    async fn take_share(&mut self, bytes: usize) {
        if self.share.is_none() {
            let budget = self.budget.clone();
            let waiting = self.waiting.get_or_insert_with(|| budget.take(bytes).boxed());
            self.share = waiting.await;
            self.waiting = None;
        }
    }

    async fn read(&mut self, about: usize) -> Result<(), ConnectionError> {
        self.buffer.reserve(about);
        // The buffer may have more room than that, which is no share of the budget.
        let mut some = (&mut self.stream).take(about as u64);
        match some.read_buf(&mut self.buffer).await {
            Ok(0) => Err(ConnectionError::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(ConnectionError::of_io(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::task::Poll;

    use super::*;
    use crate::ledger::Ledger;

    /// The budget of a cluster that is used by a namespace of its own, which has that much memory.
    fn budget(ledger: &Arc<Ledger>) -> FrameBudget {
        let payers = Arc::new(Payers::default());
        payers.join(&ledger.account("shop"));
        FrameBudget::new(&payers, Traffic::Asking)
    }

    fn ledger() -> Arc<Ledger> {
        Ledger::new(64 * 1024 * 1024)
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        let size = i32::try_from(bytes.len()).expect("a small frame");
        [&size.to_be_bytes(), bytes].concat()
    }

    #[tokio::test]
    async fn frames_come_one_after_another() {
        let all = [framed(b"one"), framed(b""), framed(&[7; 200_000])].concat();
        let mut reader = FrameReader::new(Cursor::new(all), budget(&ledger()));
        assert_eq!(reader.next(10).await.expect("a frame").bytes(), b"one");
        assert_eq!(reader.next(10).await.expect("a frame").bytes(), b"");
        let large = reader.next(200_000).await.expect("a frame");
        assert_eq!(large.bytes().len(), 200_000);
        assert_eq!(reader.next(10).await.expect_err("the end"), ConnectionError::Closed);
    }

    #[tokio::test]
    async fn a_size_that_no_reply_has_is_refused_before_it_is_read() {
        let http = *b"HTTP/1.1 400 Bad Request";
        let alert = [0x15, 3, 3, 0, 2, 2, 40];
        let rows: [(&str, &[u8], &str); 5] = [
            ("negative", &[0xff; 4], "announces a reply of -1 bytes"),
            ("one too many", &[0, 0, 0, 101], "announces a reply of 101 bytes"),
            ("as many as can be", &[0x7f, 0xff, 0xff, 0xff], "2147483647"),
            ("HTTP", &http, "HTTP"),
            ("TLS", &alert, "TLS"),
        ];
        for (name, bytes, expected) in rows {
            let mut reader = FrameReader::new(Cursor::new(bytes), budget(&ledger()));
            let error = reader.next(100).await.expect_err(name).to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn memory_is_taken_for_what_has_arrived_and_not_for_what_is_announced() {
        let mut begun = framed(&[0; 16]);
        begun[..4].copy_from_slice(&100_000_000_i32.to_be_bytes());
        let mut reader = FrameReader::new(Cursor::new(begun), budget(&ledger()));
        assert_eq!(reader.next(200_000_000).await.expect_err("cut"), ConnectionError::Closed);
        assert!(reader.buffer.capacity() < 2 * (STEP + FIRST_READ), "{}", reader.buffer.capacity());
    }

    #[tokio::test]
    async fn large_frames_hold_their_share_of_the_budget_until_they_are_dropped() {
        let ledger = ledger();
        let budget = budget(&ledger);
        let large = framed(&[0; 1_000_000]);
        let mut reader = FrameReader::new(Cursor::new(large), budget.clone());
        let frame = reader.next(2_000_000).await.expect("a frame");
        let share = 1_000_000 - STEP;
        assert_eq!(ledger.used(), share);
        assert_eq!(budget.cluster.available_permits(), CLUSTER_BUDGET - share);
        drop(frame);
        assert_eq!(ledger.used(), 0);
        assert_eq!(budget.cluster.available_permits(), CLUSTER_BUDGET);
    }

    #[tokio::test]
    async fn a_cluster_that_holds_all_that_it_may_leaves_the_others_theirs() {
        let ledger = ledger();
        let [greedy, other] = [budget(&ledger), budget(&ledger)];
        let held = greedy.clone().take(CLUSTER_BUDGET).await.expect("a share");
        let more = greedy.take(1);
        tokio::pin!(more);
        assert!(futures_util::poll!(&mut more).is_pending());
        assert!(other.take(CLUSTER_BUDGET).await.is_some());
        drop(held);
        assert!(more.await.is_some());
    }

    #[tokio::test]
    async fn a_namespace_whose_clusters_hold_all_that_it_may_leaves_the_others_theirs() {
        let ledger = ledger();
        let mut held = Vec::new();
        let waiting = loop {
            let mut share = Box::pin(budget(&ledger).take(CLUSTER_BUDGET));
            match futures_util::poll!(&mut share) {
                Poll::Ready(share) => held.push(share),
                Poll::Pending => break share,
            }
        };
        assert_eq!(held.len(), 2, "a half of 64 MiB");
        let payers = Arc::new(Payers::default());
        payers.join(&ledger.account("other"));
        let other = FrameBudget::new(&payers, Traffic::Asking);
        assert!(other.take(CLUSTER_BUDGET).await.is_some());
        held.clear();
        assert!(waiting.await.is_some());
    }
}
