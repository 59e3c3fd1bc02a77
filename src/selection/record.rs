//! A message while it is judged.

use super::body::Body;
use super::message::Message;

/// A message and its body, which is looked through once for all that asks for it.
pub(super) struct Record<'m> {
    pub(super) message: &'m dyn Message,
    pub(super) body: Body<'m>,
}

impl<'m> Record<'m> {
    pub(super) fn new(message: &'m dyn Message) -> Self {
        Record { message, body: Body::new(message.body()) }
    }
}
