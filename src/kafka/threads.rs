//! The threads that wait on librdkafka, and how they end.
//!
//! librdkafka's handles are waited for by blocking, and ending one waits for its own threads. So each
//! handle lives and dies on a thread of ours; whoever made the handle tells the thread to end, and
//! this joins it.

use std::sync::Mutex;
use std::thread::{Builder, JoinHandle};

use crate::lock::lock;

/// The threads of one [`Kafka`](super::Kafka).
#[derive(Default)]
pub(super) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    pub(super) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        let thread = Builder::new().name(name.to_owned()).spawn(work);
        let mut threads = lock(&self.0);
        threads.retain(|thread| !thread.is_finished());
        match thread {
            Ok(thread) => threads.push(thread),
            // What the thread would have answered is then not answered, and polls say so in time.
            Err(error) => tracing::error!(%error, name, "cannot start a thread"),
        }
    }

    /// Waits for the threads, which must have been told to end. Blocks.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.0));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a kafka thread panicked");
            }
        }
    }
}
