//! What a peer sends: messages for an entity, requests to a node, and tokens.

use bytes::BufMut;

use super::frames::{ACCEPTED, DISPOSITION, REJECTED, error, number, sequence};
use super::{BATCH, CREDIT, Connection, Denied, End, Link, Sending, Terminus, WINDOW};
use crate::access::{self, Claim};
use crate::codec::Value;
use crate::message::{self, Request, Sent, now};
use crate::node::{self, Answer};

impl Connection {
    pub(super) fn on_transfer(&mut self, channel: u16, transfer: &Value, payload: &[u8]) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        session.next_incoming = session.next_incoming.wrapping_add(1);
        session.incoming_left -= 1;
        let refill = session.incoming_left < WINDOW / 2;
        if refill {
            session.incoming_left = WINDOW;
        }
        let handle = number(transfer, 0).map_or(0, sequence);
        let flag = |at: usize| transfer.fields().get(at) == Some(&Value::Bool(true));
        let mut whole = None;
        if let Some(Link { to, end: End::Receiving(taking), .. }) = session.links.get_mut(&handle) {
            if let Some(delivery) = number(transfer, 1) {
                taking.delivery = Some(sequence(delivery));
                taking.format = number(transfer, 3).unwrap_or(0);
            }
            taking.settled |= flag(4);
            taking.payload.put_slice(payload);
            if flag(9) {
                taking.payload.clear();
            } else if !flag(5) {
                taking.credit -= 1;
                taking.delivery_count = taking.delivery_count.wrapping_add(1);
                let delivery =
                    taking.delivery.take().filter(|_| !std::mem::take(&mut taking.settled));
                let refill = taking.credit < CREDIT / 2;
                if refill {
                    taking.credit = CREDIT;
                }
                whole = Some((
                    to.clone(),
                    std::mem::take(&mut taking.payload),
                    taking.format,
                    delivery,
                    refill,
                ));
            }
        }
        if let Some((to, payload, format, delivery, refill)) = whole {
            let taken = self.take_in(channel, &to, &payload, format);
            if let Some(delivery) = delivery {
                let state = match taken {
                    Ok(()) => Value::composite(ACCEPTED, vec![]),
                    Err(Denied(condition, text)) => {
                        Value::composite(REJECTED, vec![error(condition, &text)])
                    }
                };
                let id = Value::Uint(delivery);
                let fields = vec![Value::Bool(true), id.clone(), id, Value::Bool(true), state];
                self.send(channel, 0, DISPOSITION, fields);
            }
            if refill {
                self.flow(channel, Some(handle));
            }
        }
        if refill {
            self.flow(channel, None);
        }
    }

    /// Takes a message in where the link leads.
    fn take_in(
        &mut self,
        channel: u16,
        to: &Terminus,
        payload: &[u8],
        format: i64,
    ) -> Result<(), Denied> {
        let unreadable = |_| Denied("amqp:decode-error", "The message cannot be read.".into());
        let path = match to {
            Terminus::Entity(path) => path,
            Terminus::Claims => {
                let request = Request::parse(payload).map_err(unreadable)?;
                let reply = self.put_token(&request);
                self.answer(channel, to, &request, reply);
                return Ok(());
            }
            Terminus::Node(path) => {
                let request = Request::parse(payload).map_err(unreadable)?;
                let rights = self.rights(to);
                let shared = self.shared.clone();
                let answer = node::answer(&mut shared.lock(), path, &request, rights, now());
                match answer {
                    Answer::Reply(reply) => self.answer(channel, to, &request, reply),
                    Answer::Cut(reply) => {
                        let before = self.output.len();
                        self.answer(channel, to, &request, reply);
                        self.pump();
                        self.cut = Some(before + (self.output.len() - before) / 2);
                    }
                    Answer::Silence => {}
                    Answer::Detach { condition, description } => {
                        self.detach(|link| link.to == *to, condition, description);
                    }
                }
                // Scheduling, deferring and settling change what receivers find.
                if request.says("operation") != Some("com.microsoft:peek-message") {
                    shared.wake();
                }
                return Ok(());
            }
        };
        let batch = if format == BATCH {
            Sent::parse_batch(payload).map_err(unreadable)?
        } else {
            vec![Sent::parse(payload).map_err(unreadable)?]
        };
        let mut namespace = self.shared.lock();
        let Some(inbox) = namespace.inbox(path) else {
            return Err(Denied(
                "amqp:not-found",
                format!("The messaging entity '{path}' could not be found."),
            ));
        };
        if inbox.options.sessions && batch.iter().any(|sent| sent.session.is_none()) {
            let text = "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have session support enabled can only receive messages that have the SessionId set to a valid value.";
            return Err(Denied("amqp:not-allowed", text.into()));
        }
        for sent in batch {
            namespace.send(path, sent, now());
        }
        drop(namespace);
        self.shared.wake();
        Ok(())
    }

    /// Takes a token; the reply to it.
    fn put_token(&mut self, request: &Request) -> Vec<u8> {
        let name = request.says("name").unwrap_or_default().to_owned();
        let token = match &request.body {
            Some(Value::String(token)) => token.clone(),
            Some(Value::Binary(token)) => String::from_utf8_lossy(token).into_owned(),
            _ => String::new(),
        };
        let path = access::path(&name).to_lowercase();
        let claim = if access::host(&name).is_some_and(|host| !self.shared.is_at(host)) {
            Err(access::Refused(format!("The name '{name}' is not of this namespace.")))
        } else {
            let namespace = self.shared.lock();
            match request.says("type") {
                // Python's SDK says `jwt` of a signature too, and the service looks at the token.
                Some("jwt") if !token.starts_with("SharedAccessSignature ") => {
                    namespace.keys.token(&token, now())
                }
                Some("jwt" | "servicebus.windows.net:sastoken") => {
                    namespace.keys.signature(&token, now())
                }
                other => Err(access::Refused(format!("The token type {other:?} is not known."))),
            }
        };
        let claim = claim.and_then(|claim| {
            if claim.covers(&path) {
                Ok(claim)
            } else {
                Err(access::Refused("InvalidAudience: The token is for another resource.".into()))
            }
        });
        let (status, text) = match claim {
            Ok(claim) => {
                self.claims.insert(path.clone(), Claim { path, ..claim });
                (202, "Accepted".to_owned())
            }
            Err(access::Refused(why)) => (401, why),
        };
        let status =
            vec![("status-code", Value::Int(status)), ("status-description", Value::String(text))];
        message::reply(request, status, None)
    }

    /// Puts a reply onto the link whose target the request names, or else one that comes from the
    /// same node.
    fn answer(&mut self, channel: u16, to: &Terminus, request: &Request, reply: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let mut links: Vec<&mut Sending> = Vec::new();
        for link in session.links.values_mut() {
            if let End::Sending(sending) = &mut link.end
                && link.to == *to
            {
                links.push(sending);
            }
        }
        let named = links
            .iter()
            .position(|link| request.reply_to.is_some() && link.target == request.reply_to);
        if let Some(link) = links.get_mut(named.unwrap_or(0)) {
            link.replies.push_back(reply);
        }
    }
}
