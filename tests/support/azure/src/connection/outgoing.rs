//! What a peer receives, as far as it has credit, and what it decides about it.

use bytes::BufMut;

use super::frames::{
    ACCEPTED, DISPOSITION, FLOW, MODIFIED, REJECTED, RELEASED, TRANSFER, error, framed, number,
    sequence,
};
use super::{Connection, End, Link, Phase, Terminus, WINDOW, Waiting};
use crate::codec::Value;
use crate::entity::{LockLost, Settlement, Taking};
use crate::message::now;
use crate::node;

impl Connection {
    pub(super) fn on_flow(&mut self, channel: u16, flow: &Value) {
        let handle = number(flow, 4).map(sequence);
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let seen = number(flow, 0).map_or(1, sequence);
        session.outgoing_left = seen
            .wrapping_add(number(flow, 1).map_or(WINDOW, sequence))
            .wrapping_sub(session.next_outgoing);
        let flag = |at: usize| flow.fields().get(at) == Some(&Value::Bool(true));
        if let Some(handle) = handle {
            match session.links.get_mut(&handle).map(|link| &mut link.end) {
                Some(End::Sending(sending)) => {
                    let credit = number(flow, 6).map_or(0, sequence);
                    let count = number(flow, 5).map_or(0, sequence);
                    sending.credit =
                        count.wrapping_add(credit).wrapping_sub(sending.delivery_count);
                    sending.drain = flag(8);
                }
                Some(End::Receiving(_)) => {}
                None => {
                    let of_link = |waiting: &&mut Waiting| {
                        waiting.channel == channel
                            && number(&waiting.attach, 1).map(sequence) == Some(handle)
                    };
                    if let Some(waiting) = self.waiting.iter_mut().find(of_link) {
                        waiting.flows.push(flow.clone());
                    }
                    return;
                }
            }
        }
        if flag(9) {
            self.flow(channel, handle);
        }
    }

    pub(super) fn on_disposition(&mut self, channel: u16, disposition: &Value) {
        // A sender only confirms what this side has already settled.
        if disposition.fields().first() != Some(&Value::Bool(true)) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let Some(first) = number(disposition, 1).map(sequence) else { return };
        let last = number(disposition, 2).map_or(first, sequence);
        let settled = disposition.fields().get(3) == Some(&Value::Bool(true));
        let state = disposition.fields().get(4).cloned().unwrap_or(Value::Null);
        let Some(settlement) = settlement(&state, settled) else { return };
        let mut outcomes = Vec::new();
        let mut changed = false;
        {
            let mut namespace = self.shared.lock();
            let count = last.wrapping_sub(first);
            for delivery in (0..=count).map(|n| first.wrapping_add(n)) {
                let Some((handle, token)) = session.unsettled.remove(&delivery) else { continue };
                let link = session.links.get(&handle);
                let entity = link.and_then(|link| namespace.entity(&link.to.entity()));
                let outcome = entity.map_or(Err(LockLost), |entity| {
                    entity.turn(now());
                    entity.settle(token, settlement.clone(), now())
                });
                changed |= outcome.is_ok() && settlement != Settlement::Complete;
                outcomes.push((delivery, outcome));
            }
        }
        if changed {
            self.shared.wake();
        }
        if settled {
            return;
        }
        for (delivery, outcome) in outcomes {
            let state = match outcome {
                // The outcome comes back without its error: one in there would say that it could
                // not be applied.
                Ok(()) => Value::composite(state.descriptor().unwrap_or(ACCEPTED), vec![]),
                Err(LockLost) => {
                    Value::composite(REJECTED, vec![error(node::LOCK_LOST.0, node::LOCK_LOST.1)])
                }
            };
            let id = Value::Uint(delivery);
            self.send(
                channel,
                0,
                DISPOSITION,
                vec![Value::Bool(false), id.clone(), id, Value::Bool(true), state],
            );
        }
    }

    /// Sends what there is for receivers that have credit.
    pub(super) fn pump(&mut self) {
        if self.phase != Phase::Frames {
            return;
        }
        let channels: Vec<u16> = self.sessions.keys().copied().collect();
        for channel in channels {
            self.unblock(channel);
            let handles: Vec<u32> = self
                .sessions
                .get(&channel)
                .map(|session| session.links.keys().copied().collect())
                .unwrap_or_default();
            for handle in handles {
                while self.send_next(channel, handle) {}
                self.drain(channel, handle);
            }
        }
    }

    /// Sends one message on the link, if there is one and credit for it.
    fn send_next(&mut self, channel: u16, handle: u32) -> bool {
        let Some(session) = self.sessions.get_mut(&channel) else { return false };
        let Some(Link { to, end: End::Sending(sending), .. }) = session.links.get_mut(&handle)
        else {
            return false;
        };
        if sending.credit == 0 {
            return false;
        }
        let (payload, token, settled) = match to {
            Terminus::Entity(path) => {
                let mut namespace = self.shared.lock();
                let Some(entity) = namespace.entity(path) else { return false };
                match entity.take(sending.session.as_deref(), sending.taking, now()) {
                    Some(delivered) => {
                        (delivered.message, Some(delivered.token), sending.taking == Taking::Delete)
                    }
                    None => return false,
                }
            }
            Terminus::Claims | Terminus::Node(_) => match sending.replies.pop_front() {
                Some(reply) => (reply, None, true),
                None => return false,
            },
        };
        sending.credit -= 1;
        sending.delivery_count = sending.delivery_count.wrapping_add(1);
        let delivery = session.next_delivery;
        session.next_delivery = delivery.wrapping_add(1);
        let tag = match token {
            Some(token) => token.to_bytes_le().to_vec(),
            None => delivery.to_be_bytes().to_vec(),
        };
        if let Some(token) = token.filter(|_| !settled) {
            session.unsettled.insert(delivery, (handle, token));
        }
        self.transfer(channel, handle, delivery, tag, settled, &payload);
        true
    }

    /// Cuts a message into frames the peer takes, and sends them or keeps them for when its window
    /// has room.
    fn transfer(
        &mut self,
        channel: u16,
        handle: u32,
        delivery: u32,
        tag: Vec<u8>,
        settled: bool,
        payload: &[u8],
    ) {
        let mut rest = payload;
        let mut first = Some((Value::Uint(delivery), Value::Binary(tag), Value::Uint(0)));
        loop {
            let (id, tag, format) = first.take().unwrap_or((Value::Null, Value::Null, Value::Null));
            let performative = |more: bool| {
                let fields = vec![
                    Value::Uint(handle),
                    id.clone(),
                    tag.clone(),
                    format.clone(),
                    Value::Bool(settled),
                    Value::Bool(more),
                ];
                Value::composite(TRANSFER, fields)
            };
            let room = self.frame - 8 - performative(true).encoded().len();
            let more = rest.len() > room;
            let (part, left) = rest.split_at(room.min(rest.len()));
            let frame = framed(channel, 0, &performative(more), part);
            if let Some(session) = self.sessions.get_mut(&channel) {
                session.blocked.push_back(frame);
            }
            rest = left;
            if !more {
                break;
            }
        }
        self.unblock(channel);
    }

    fn unblock(&mut self, channel: u16) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        while session.outgoing_left > 0
            && let Some(frame) = session.blocked.pop_front()
        {
            session.outgoing_left -= 1;
            session.next_outgoing = session.next_outgoing.wrapping_add(1);
            self.output.put_slice(&frame);
        }
    }

    /// Gives credit back that a peer wants used up at once.
    fn drain(&mut self, channel: u16, handle: u32) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let Some(Link { end: End::Sending(sending), .. }) = session.links.get_mut(&handle) else {
            return;
        };
        if sending.drain && sending.credit > 0 {
            sending.delivery_count = sending.delivery_count.wrapping_add(sending.credit);
            sending.credit = 0;
            self.flow(channel, Some(handle));
        }
    }

    pub(super) fn flow(&mut self, channel: u16, handle: Option<u32>) {
        let Some(session) = self.sessions.get(&channel) else { return };
        let mut fields = vec![
            Value::Uint(session.next_incoming),
            Value::Uint(session.incoming_left),
            Value::Uint(session.next_outgoing),
            Value::Uint(WINDOW),
        ];
        if let Some((handle, link)) =
            handle.and_then(|handle| Some((handle, session.links.get(&handle)?)))
        {
            let (count, credit, drain) = match &link.end {
                End::Sending(sending) => (sending.delivery_count, sending.credit, sending.drain),
                End::Receiving(taking) => (taking.delivery_count, taking.credit, false),
            };
            fields.extend([
                Value::Uint(handle),
                Value::Uint(count),
                Value::Uint(credit),
                Value::Uint(0),
            ]);
            fields.extend([Value::Bool(drain), Value::Bool(false)]);
        }
        self.send(channel, 0, FLOW, fields);
    }
}

/// What a receiver has decided; `None` if it has not.
fn settlement(state: &Value, settled: bool) -> Option<Settlement> {
    Some(match state.descriptor() {
        Some(ACCEPTED) => Settlement::Complete,
        Some(REJECTED) => {
            let error = state.fields().first().cloned().unwrap_or(Value::Null);
            let info = error.fields().get(2).cloned().unwrap_or(Value::Null);
            let text = |key: &str| info.get(key).and_then(Value::text).map(str::to_owned);
            let description = error.fields().get(1).and_then(Value::text).map(str::to_owned);
            Settlement::Bury {
                reason: text("DeadLetterReason"),
                description: text("DeadLetterErrorDescription").or(description),
            }
        }
        Some(RELEASED) => Settlement::Release,
        Some(MODIFIED) => {
            let properties = match state.fields().get(2) {
                Some(Value::Map(properties)) => properties.clone(),
                _ => Vec::new(),
            };
            match state.fields().get(1) {
                Some(Value::Bool(true)) => Settlement::Defer(properties),
                _ => Settlement::Abandon(properties),
            }
        }
        _ if settled => Settlement::Release,
        _ => return None,
    })
}
