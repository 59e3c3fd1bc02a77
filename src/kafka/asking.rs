//! The handle that asks a cluster, with the thread that hands out its replies, and when it is replaced.
//!
//! librdkafka 2.12 keeps the coordinator of a group in a cache that only time empties, and every use
//! starts that time anew; and a request for a group's offsets must not time out in it (see
//! [`Queries::committed`]). So a handle whose coordinator has moved, or that owes offsets for too
//! long, is replaced by a new one. What the old one still owes it may yet answer.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::librdkafka::{HandleConfig, Notice, Queries, Unmade};
use super::threads::Threads;
use super::trouble::Trouble;
use crate::lock::lock;

/// How long the thread waits for a reply before it looks whether it is to end.
const SERVE: Duration = Duration::from_secs(1);

/// A handle is given this long before it is replaced: brokers may be slow to agree.
const REPLACE_AFTER: Duration = Duration::from_millis(500);

/// The handle of a cluster that asks, whichever it is now.
pub(super) struct Asking {
    config: HandleConfig,
    trouble: Arc<Trouble>,
    threads: Arc<Threads>,
    current: Mutex<Arc<Handle>>,
}

/// One handle. Its thread ends with it.
pub(super) struct Handle {
    queries: Arc<Queries>,
    open: Arc<AtomicBool>,
    since: Instant,
}

impl Asking {
    /// # Errors
    /// [`Unmade`].
    pub(super) fn new(
        config: HandleConfig,
        trouble: Arc<Trouble>,
        threads: Arc<Threads>,
    ) -> Result<Asking, Unmade> {
        let current = Mutex::new(Handle::open(&config, &trouble, &threads)?);
        Ok(Asking { config, trouble, threads, current })
    }

    pub(super) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.lock())
    }

    /// Replaces this handle, unless it is gone already or very new.
    pub(super) fn replace(&self, old: &Arc<Handle>) {
        let mut current = self.lock();
        if !Arc::ptr_eq(&current, old) || old.since.elapsed() < REPLACE_AFTER {
            return;
        }
        match Handle::open(&self.config, &self.trouble, &self.threads) {
            Ok(new) => *current = new,
            // The settings were good before; without a new handle the old one may still do.
            Err(error) => tracing::warn!(%error, "cannot replace a kafka handle"),
        }
    }

    /// Ends the thread, without waiting for it.
    pub(super) fn end(&self) {
        self.lock().end();
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Handle>> {
        lock(&self.current)
    }
}

impl Handle {
    fn open(
        config: &HandleConfig,
        trouble: &Arc<Trouble>,
        threads: &Threads,
    ) -> Result<Arc<Handle>, Unmade> {
        let queries = Arc::new(Queries::new(config)?);
        let open = Arc::new(AtomicBool::new(true));
        let (served, still, trouble) =
            (Arc::clone(&queries), Arc::clone(&open), Arc::clone(trouble));
        threads.spawn("kafka-ask", move || {
            while still.load(Ordering::Acquire) {
                match served.serve(SERVE) {
                    Some(Notice::Fault(fault)) => trouble.note(fault),
                    Some(Notice::Log(level, text)) => Trouble::log(level, &text),
                    None => {}
                }
            }
        });
        Ok(Arc::new(Handle { queries, open, since: Instant::now() }))
    }

    fn end(&self) {
        self.open.store(false, Ordering::Release);
        self.queries.wake();
    }
}

impl Deref for Handle {
    type Target = Arc<Queries>;

    fn deref(&self) -> &Arc<Queries> {
        &self.queries
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
