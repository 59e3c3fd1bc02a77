//! Where do decompressed bytes wait to be read?
//!
//! It grows as far as one record needs; beyond 4 MiB only as far as somebody pays for it.

use std::sync::Arc;

use super::error::BatchError;
use crate::ledger::{Charge, Payers, Use};

/// Bytes of the buffer that are kept between batches.
pub(super) const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Decompressed bytes that are not read yet.
#[derive(Default)]
pub(super) struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that may still come.
    allowed: usize,
    /// Who pays for the buffer where it is large; without any it costs nothing.
    payers: Option<Arc<Payers>>,
    charge: Option<Charge>,
}

impl Window {
    /// What is not read yet.
    #[inline]
    pub(super) fn filled(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Passes over what was read.
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
    }

    /// Room for as many bytes after what is filled.
    ///
    /// # Errors
    /// Nobody has the memory.
    pub(super) fn room(&mut self, bytes: usize) -> Result<&mut [u8], BatchError> {
        if self.buffer.len().saturating_sub(self.end) < bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
            let needed = self.end.saturating_add(bytes);
            if needed > self.buffer.len() {
                // A record that grows by pieces is copied a few times and not once for each.
                let grown = needed.max(self.end.saturating_mul(2));
                self.charge_for(grown)?;
                self.buffer.resize(grown, 0);
            }
        }
        let end = self.end.saturating_add(bytes);
        Ok(self.buffer.get_mut(self.end..end).unwrap_or_default())
    }

    fn charge_for(&mut self, bytes: usize) -> Result<(), BatchError> {
        let Some(payers) = self.payers.as_ref().filter(|_| bytes > KEPT_BYTES) else {
            return Ok(());
        };
        if self.charge.as_mut().is_some_and(|charge| charge.resize(bytes).is_ok()) {
            return Ok(());
        }
        // Nobody pays any more where nobody reads for anyone: that ends with what is judged now.
        self.charge = payers.charge(Use::Reading, bytes).transpose().map_err(BatchError::Memory)?;
        Ok(())
    }

    /// Bytes of the room are filled.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.end = self.end.saturating_add(bytes).min(self.buffer.len());
        // What may come ends below what an `usize` can hold, so one more than allowed is told.
        self.allowed = self.allowed.wrapping_sub(bytes);
    }

    /// Bytes that may still come.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
    }

    /// Nothing is filled, and as many bytes may come.
    pub(super) fn begin(&mut self, allowed: usize) {
        (self.start, self.end, self.allowed) = (0, 0, allowed);
    }

    /// Has these pay for what the buffer takes.
    pub(super) fn charge_to(&mut self, payers: &Arc<Payers>) {
        self.payers = Some(Arc::clone(payers));
    }

    /// Gives back what a large batch took.
    pub(super) fn shrink(&mut self) {
        if self.held() > KEPT_BYTES {
            *self = Self { payers: self.payers.take(), ..Self::default() };
        }
    }

    /// Bytes of the buffer.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }
}
