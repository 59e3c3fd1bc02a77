//! Quiet for a namespace that asks for it: whoever would ask it something waits, or is answered at
//! once.
//!
//! A throttled namespace counts refused requests too, so asking it again makes it worse, and KEDA
//! asks again half a millisecond after an error. While the gate is closed nothing leaves for the
//! namespace; a call waits if it opens before the call's deadline, and else is answered with the
//! service's reason.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::lock::lock;

/// For how long a namespace is left alone that does not say how long; Microsoft's advice.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// Whether a namespace may be asked.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Option<Closed>>);

/// The service's reason for which a gate stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quiet(pub(super) String);

#[derive(Debug)]
struct Closed {
    until: Instant,
    reason: String,
}

impl Gate {
    /// Keeps the gate closed until then, or longer if it is already.
    pub(super) fn close(&self, until: Instant, reason: String) {
        let mut closed = self.lock();
        if closed.as_ref().is_none_or(|closed| closed.until < until) {
            *closed = Some(Closed { until, reason });
        }
    }

    /// When it opens; `None`: it is open.
    ///
    /// # Errors
    /// It opens after the deadline only.
    pub(super) fn opens(&self, deadline: Instant) -> Result<Option<Instant>, Quiet> {
        let mut gate = self.lock();
        let now = Instant::now();
        match &*gate {
            Some(closed) if closed.until <= now => {
                *gate = None;
                Ok(None)
            }
            Some(closed) if closed.until > deadline => Err(Quiet(closed.reason.clone())),
            closed => Ok(closed.as_ref().map(|closed| closed.until)),
        }
    }

    /// Waits until it is open.
    ///
    /// # Errors
    /// It opens after the deadline only, be that known now or later.
    pub(super) async fn pass(&self, deadline: Instant) -> Result<(), Quiet> {
        while let Some(until) = self.opens(deadline)? {
            sleep_until(until).await;
        }
        Ok(())
    }

    /// Waits until it is open, however long that takes.
    pub(super) async fn wait(&self) {
        while let Some(until) = self.closed_until() {
            sleep_until(until).await;
        }
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        self.closed_until().is_none()
    }

    fn closed_until(&self) -> Option<Instant> {
        let now = Instant::now();
        self.lock().as_ref().map(|closed| closed.until).filter(|until| *until > now)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Closed>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_gate_lets_through_at_once() {
        let (gate, begin) = (Gate::default(), Instant::now());
        assert_eq!(gate.pass(begin).await, Ok(()));
        assert_eq!(begin.elapsed(), Duration::ZERO);
        // One that has opened is as good.
        gate.close(begin, "busy".to_owned());
        assert_eq!(gate.pass(begin - seconds(1)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_is_waited_for_only_if_it_opens_in_time() {
        let (gate, begin) = (Gate::default(), Instant::now());
        gate.close(begin + seconds(5), "busy".to_owned());
        assert_eq!(gate.pass(begin + seconds(4)).await, Err(Quiet("busy".to_owned())));
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(gate.pass(begin + seconds(6)).await, Ok(()));
        assert_eq!(begin.elapsed(), seconds(5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_when_it_stays_closed_for_longer() {
        let (gate, begin) = (Gate::default(), Instant::now());
        gate.close(begin + seconds(5), "busy".to_owned());
        let later = async {
            tokio::time::sleep(seconds(1)).await;
            gate.close(begin + seconds(60), "busier".to_owned());
            gate.close(begin + seconds(2), "calm".to_owned());
        };
        let (passed, ()) = tokio::join!(gate.pass(begin + seconds(10)), later);
        assert_eq!(passed, Err(Quiet("busier".to_owned())));
        assert_eq!(begin.elapsed(), seconds(5));
    }
}
