//! Peeks of one entity, over the two links of its management node.
//!
//! Requests can be under way side by side; replies are handed out in the order of the requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fe2o3_amqp::link::delivery::Sendable;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Delivery, Receiver, Sender};
use fe2o3_amqp_types::messaging::{
    AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties,
};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;
use serde_amqp::primitives::OrderedMap;
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{Admission, Connection};
use super::fault::Fault;
use super::peeked::Peeked;
use super::raw::Raw;
use crate::amqp::{self, Values};
use crate::service_bus::error::steady;

/// Bytes of the longest reply. Service Bus gives some 256 KB, or one message that is longer.
const REPLY_BYTES: u64 = 32 << 20;

/// Where there is no message from the number on. The entity is there.
const NO_MESSAGE: &str = "com.microsoft:message-not-found";

/// The links to one entity's management node.
pub(in crate::service_bus) struct Link {
    sender: Sender,
    receiver: Receiver,
    /// Where replies go.
    reply_to: String,
    next: u64,
    /// Each keeps its turn until it is answered.
    waiting: VecDeque<(u64, OwnedSemaphorePermit)>,
    /// Replies that came before their turn.
    early: HashMap<u64, Message<Body<Raw>>>,
    /// Ends with the link.
    _session: SessionHandle<()>,
    /// Keeps the claim alive.
    _claim: Arc<()>,
    connection: Arc<Connection>,
}

/// A peek: `count` messages or fewer, from this sequence number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service_bus) struct Ask {
    pub(in crate::service_bus) from: u64,
    pub(in crate::service_bus) count: u32,
}

/// What came in one reply, read where it lies: to take it apart would cost more than to judge it.
pub(in crate::service_bus) struct Reply(Option<Raw>);

impl Link {
    /// Attaches to the management node of an entity, for which there is a claim.
    pub(super) async fn attach(
        admission: Admission,
        entity: &str,
        connection: Arc<Connection>,
    ) -> Result<Link, Fault> {
        let Admission { name, mut session, claim } = admission;
        let node = format!("{entity}/$management");
        let sender = Sender::builder()
            .name(format!("{name}-requests"))
            .source(name.clone())
            .target(node.clone())
            .attach(&mut session)
            .await?;
        let receiver = Receiver::builder()
            .name(format!("{name}-replies"))
            .source(node)
            .target(name.clone())
            .auto_accept(true)
            .max_message_size(REPLY_BYTES)
            .attach(&mut session)
            .await?;
        Ok(Link {
            sender,
            receiver,
            reply_to: name,
            next: 0,
            waiting: VecDeque::new(),
            early: HashMap::new(),
            _session: session,
            _claim: claim,
            connection,
        })
    }

    /// Sends a request to peek, whose turn it is, and which is of no use after `timeout`.
    pub(in crate::service_bus) async fn ask(
        &mut self,
        ask: Ask,
        turn: OwnedSemaphorePermit,
        timeout: Duration,
    ) -> Result<(), Fault> {
        let id = self.next;
        self.next += 1;
        let properties = Properties::builder()
            .message_id(MessageId::String(id.to_string()))
            .reply_to(self.reply_to.clone())
            .build();
        let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let operation = ApplicationProperties::builder()
            .insert("operation", "com.microsoft:peek-message")
            .insert("com.microsoft:server-timeout", timeout)
            .build();
        let count = i32::try_from(ask.count).unwrap_or(i32::MAX);
        let mut body = OrderedMap::new();
        body.insert(text("from-sequence-number"), Value::Long(ask.from.cast_signed()));
        body.insert(text("message-count"), Value::Int(count));
        let request = Message::builder()
            .properties(properties)
            .application_properties(operation)
            .body(Body::Value(AmqpValue(Value::Map(body))))
            .build();
        // That it was taken shows in the reply.
        drop(self.sender.send_batchable(Sendable::from(request)).await?);
        self.waiting.push_back((id, turn));
        Ok(())
    }

    /// What it goes over.
    pub(in crate::service_bus) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Waits for the reply to the request that has waited longest; empty where there is no message.
    pub(in crate::service_bus) async fn answer(&mut self) -> Result<Reply, Fault> {
        let Some(id) = self.waiting.front().map(|(id, _)| *id) else {
            return Err(Fault::Final("a reply without a request".to_owned()));
        };
        loop {
            if let Some(reply) = self.early.remove(&id) {
                self.waiting.pop_front();
                return Reply::read(reply);
            }
            let delivery: Delivery<Body<Raw>> = self.receiver.recv().await?;
            let reply = delivery.into_message();
            self.connection.hears();
            // One that does not say is taken to be in order.
            let to = correlation(&reply).unwrap_or(id);
            if !self.waiting.iter().any(|(id, _)| *id == to) {
                return Err(Fault::Final("a reply to nothing".to_owned()));
            }
            self.early.insert(to, reply);
        }
    }
}

impl Reply {
    /// What a reply says of itself.
    fn read(reply: Message<Body<Raw>>) -> Result<Reply, Fault> {
        let properties = reply.application_properties.unwrap_or_default();
        let said = |names: [&str; 2]| names.iter().find_map(|name| properties.get(*name));
        let words = |names| match said(names) {
            Some(SimpleValue::String(text)) => text.clone(),
            Some(SimpleValue::Symbol(symbol)) => symbol.to_string(),
            _ => String::new(),
        };
        let code = match said(["statusCode", "status-code"]) {
            Some(SimpleValue::Int(code)) => i64::from(*code),
            Some(SimpleValue::Long(code)) => *code,
            Some(SimpleValue::Ushort(code)) => i64::from(*code),
            Some(SimpleValue::Uint(code)) => i64::from(*code),
            _ => return Err(nonsense("without a status code")),
        };
        let condition = words(["errorCondition", "error-condition"]);
        match code {
            // To Microsoft's clients too each of these is an empty reply.
            202 | 204 => return Ok(Reply(None)),
            404 if condition == NO_MESSAGE => return Ok(Reply(None)),
            200 => {}
            code => {
                let description = words(["statusDescription", "status-description"]);
                return Err(Fault::of_status(code, &condition, &steady(&description)));
            }
        }
        match reply.body {
            Body::Value(AmqpValue(body)) => Ok(Reply(Some(body))),
            _ => Err(nonsense("without a map")),
        }
    }

    /// The messages, in their order; empty where there is none.
    pub(in crate::service_bus) fn messages(&self) -> Result<Vec<Peeked<'_>>, Fault> {
        let Some(body) = &self.0 else { return Ok(Vec::new()) };
        let body = Values::new(body.as_slice()).next();
        let entries = body.and_then(|body| body.get("messages"));
        let Some(amqp::Value::List(mut entries)) = entries else {
            return Err(nonsense("without messages"));
        };
        let mut messages = Vec::new();
        while !entries.is_empty() {
            let entry = entries.next().and_then(|entry| entry.get("message"));
            let Some(amqp::Value::Binary(message)) = entry else {
                return Err(nonsense("with an entry that has no message"));
            };
            let message = Peeked::read(message);
            messages.push(message.ok_or_else(|| nonsense("with a message that is not one"))?);
        }
        Ok(messages)
    }
}

fn nonsense(what: &str) -> Fault {
    Fault::Final(format!("a reply {what}"))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The number of the request that a reply is to.
fn correlation(reply: &Message<Body<Raw>>) -> Option<u64> {
    match reply.properties.as_ref()?.correlation_id.as_ref()? {
        MessageId::String(id) => id.parse().ok(),
        MessageId::Ulong(id) => Some(*id),
        _ => None,
    }
}
