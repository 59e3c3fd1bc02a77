//! Calls that arrive together share one request.
//!
//! At most one request of a kind is under way. Who comes meanwhile waits for the next one, which
//! leaves after they came and is for all of them. So a burst of any size makes two requests, and an
//! answer never tells of a time before its question.
//!
//! Who finds nothing under way asks in its own task, so that a lone poll wakes nobody; what came
//! meanwhile is asked for in a task of its own. A caller that goes away ends nothing: its request
//! goes on by itself, and belongs to the tasks of what is asked.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lock::lock;

/// Why there is no answer once the tasks have ended.
pub(crate) const ENDED: &str = "keda-sift has closed its connections";

/// The requests of one kind, for wants of type `W`, answered by an `A` that all share.
pub(crate) struct Coalescer<W, A>(Mutex<State<W, A>>);

/// Where requests run: tasks that end with what is asked.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    end: CancellationToken,
}

/// The one request that is under way. However else it ends, nobody waits for it any longer, and the
/// next to ask begins anew.
struct Running<W: Default, A> {
    coalescer: Arc<Coalescer<W, A>>,
    over: bool,
}

/// A task that its caller runs itself, for as long as the caller is there: none has to be woken for
/// what is not shared.
struct Own {
    tasks: Tasks,
    /// `None` once it is over.
    task: Option<BoxFuture<'static, ()>>,
}

struct State<W, A> {
    under_way: bool,
    wanted: W,
    waiting: Vec<oneshot::Sender<A>>,
}

impl<W: Default + Send + 'static, A: Clone + Send + 'static> Coalescer<W, A> {
    pub(crate) fn new() -> Arc<Coalescer<W, A>> {
        Arc::new(Coalescer(Mutex::new(State {
            under_way: false,
            wanted: W::default(),
            waiting: Vec::new(),
        })))
    }

    /// Adds to what is wanted, and waits for the request that asks for it. `None` when the tasks
    /// end before, or the request panics.
    pub(crate) async fn ask<R>(
        self: &Arc<Self>,
        tasks: &Tasks,
        add: impl FnOnce(&mut W),
        request: impl Fn(W) -> R + Send + Sync + 'static,
    ) -> Option<A>
    where
        R: Future<Output = A> + Send,
    {
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut state = self.lock();
            add(&mut state.wanted);
            state.waiting.push(answer);
            !std::mem::replace(&mut state.under_way, true)
        };
        if begin {
            let running = Running { coalescer: Arc::clone(self), over: false };
            let (rest, own) = (tasks.clone(), tasks.clone());
            own.run(async move {
                let mut running = running;
                // Whoever is about to ask on this thread as well joins in.
                yield_now().await;
                running.next(&request).await;
                if !running.over {
                    // What came meanwhile is not the caller's to wait for.
                    rest.spawn(async move {
                        while !running.over {
                            running.next(&request).await;
                        }
                    });
                }
            })
            .await;
        }
        answered.await.ok()
    }

    /// Whether someone waits for the request after the one under way.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Whether nobody waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.lock().under_way
    }

    fn lock(&self) -> MutexGuard<'_, State<W, A>> {
        lock(&self.0)
    }
}

impl<W: Default + Send + 'static, A: Clone + Send + 'static> Running<W, A> {
    /// Asks once for all who wait, and looks whether more have come meanwhile.
    async fn next<R>(&mut self, request: &impl Fn(W) -> R)
    where
        R: Future<Output = A>,
    {
        let (wanted, waiting) = {
            let mut state = self.coalescer.lock();
            (std::mem::take(&mut state.wanted), std::mem::take(&mut state.waiting))
        };
        let answer = request(wanted).await;
        for waiting in waiting {
            // Who has gone away wants no answer.
            drop(waiting.send(answer.clone()));
        }
        let mut state = self.coalescer.lock();
        state.waiting.retain(|answer| !answer.is_closed());
        if state.waiting.is_empty() {
            state.under_way = false;
            state.wanted = W::default();
            self.over = true;
        }
    }
}

impl<W: Default, A> Drop for Running<W, A> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = lock(&self.coalescer.0);
        state.under_way = false;
        state.wanted = W::default();
        state.waiting.clear();
    }
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.end.clone().run_until_cancelled_owned(task));
    }

    /// Runs a task in the caller's own, until the caller goes away; then it goes on by itself.
    fn run(self, task: impl Future<Output = ()> + Send + 'static) -> Own {
        let end = self.end.clone();
        let task = async move {
            let task = AssertUnwindSafe(end.run_until_cancelled_owned(task)).catch_unwind();
            if task.await.is_err() {
                // The panic hook has told of it.
                tracing::error!("a shared request panicked");
            }
        };
        Own { tasks: self, task: Some(task.boxed()) }
    }

    /// Ends all tasks, without waiting for it: each ends where it waits.
    pub(crate) fn end(&self) {
        self.tracker.close();
        self.end.cancel();
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn ended(&self) {
        self.tracker.wait().await;
    }
}

impl Future for Own {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        let polled = task.as_mut().poll(context);
        if polled.is_ready() {
            self.task = None;
        }
        polled
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Without a runtime nobody waits for an answer.
        if let Some(task) = self.task.take()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.tracker.spawn_on(task, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_request_that_panics_fails_who_waits_and_blocks_nobody() {
        let (coalescer, tasks) = (Coalescer::<Vec<u32>, u32>::new(), Tasks::default());
        let first = Arc::new(AtomicBool::new(true));
        let ask = |wanted: u32| {
            let first = Arc::clone(&first);
            coalescer.ask(
                &tasks,
                move |all| all.push(wanted),
                move |all: Vec<u32>| {
                    let panics = first.swap(false, Ordering::Relaxed);
                    async move {
                        tokio::task::yield_now().await;
                        assert!(!panics, "as it is meant to");
                        all.into_iter().sum()
                    }
                },
            )
        };
        // The second asks while the first is under way.
        assert_eq!(
            tokio::join!(ask(1), async { tokio::join!(ask(2), ask(3)) }),
            (None, (None, None))
        );
        assert!(coalescer.is_idle());
        assert_eq!(ask(5).await, Some(5));
        tasks.end();
        assert_eq!(ask(7).await, None, "no task runs any more");
    }
}
