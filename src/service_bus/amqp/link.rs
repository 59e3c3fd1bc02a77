//! Peeks of one entity, over the two links of its management node.
//!
//! Requests can be under way side by side; replies are handed out in the order of the requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fe2o3_amqp::link::delivery::Sendable;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Delivery, Receiver, Sender};
use fe2o3_amqp_types::messaging::{
    AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties,
};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;
use serde_amqp::primitives::{Binary, OrderedMap};

use super::connection::Admission;
use super::fault::Fault;
use crate::service_bus::browse::Ask;
use crate::service_bus::error::steady;

/// Bytes of the longest reply: more than the 100 MB that one message may have.
const REPLY_BYTES: u64 = 128 << 20;

/// The links to one entity's management node.
pub(in crate::service_bus) struct Link {
    sender: Sender,
    receiver: Receiver,
    /// Where replies go.
    reply_to: String,
    next: u64,
    waiting: VecDeque<u64>,
    /// Replies that came before their turn.
    early: HashMap<u64, Message<Body<Value>>>,
    /// Ends with the link.
    _session: SessionHandle<()>,
    /// Keeps the claim alive.
    _claim: Arc<()>,
}

/// The encoded messages of one reply.
pub(in crate::service_bus) type Encoded = Vec<Binary>;

impl Link {
    /// Attaches to the management node of an entity, for which there is a claim.
    pub(super) async fn attach(admission: Admission, entity: &str) -> Result<Link, Fault> {
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
        })
    }

    /// Sends a request to peek.
    pub(in crate::service_bus) async fn ask(&mut self, ask: Ask) -> Result<(), Fault> {
        let id = self.next;
        self.next += 1;
        let properties = Properties::builder()
            .message_id(MessageId::String(id.to_string()))
            .reply_to(self.reply_to.clone())
            .build();
        let operation = ApplicationProperties::builder()
            .insert("operation", "com.microsoft:peek-message")
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
        self.waiting.push_back(id);
        Ok(())
    }

    /// Waits for the reply to the request that has waited longest; empty where there is no message.
    pub(in crate::service_bus) async fn answer(&mut self) -> Result<Encoded, Fault> {
        let Some(id) = self.waiting.front().copied() else {
            return Err(Fault::Nonsense("a reply without a request".to_owned()));
        };
        loop {
            if let Some(reply) = self.early.remove(&id) {
                self.waiting.pop_front();
                return messages(reply);
            }
            let delivery: Delivery<Body<Value>> = self.receiver.recv().await?;
            let reply = delivery.into_message();
            // One that does not say is taken to be in order.
            let to = correlation(&reply).unwrap_or(id);
            if !self.waiting.contains(&to) {
                return Err(Fault::Nonsense("a reply to nothing".to_owned()));
            }
            self.early.insert(to, reply);
        }
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The number of the request that a reply is to.
fn correlation(reply: &Message<Body<Value>>) -> Option<u64> {
    match reply.properties.as_ref()?.correlation_id.as_ref()? {
        MessageId::String(id) => id.parse().ok(),
        MessageId::Ulong(id) => Some(*id),
        _ => None,
    }
}

/// The messages in a reply.
fn messages(reply: Message<Body<Value>>) -> Result<Encoded, Fault> {
    let nonsense = |what: &str| Fault::Nonsense(format!("a reply {what}"));
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
    match code {
        204 => return Ok(Vec::new()),
        200 => {}
        code => {
            let condition = words(["errorCondition", "error-condition"]);
            let description = words(["statusDescription", "status-description"]);
            return Err(Fault::of_status(code, &condition, &steady(&description)));
        }
    }
    let Body::Value(AmqpValue(Value::Map(mut body))) = reply.body else {
        return Err(nonsense("without a map"));
    };
    let Some(Value::List(entries)) = body.swap_remove(&text("messages")) else {
        return Err(nonsense("without messages"));
    };
    let message = |entry: Value| match entry {
        Value::Map(mut entry) => match entry.swap_remove(&text("message")) {
            Some(Value::Binary(message)) => Ok(message),
            _ => Err(nonsense("with an entry that has no message")),
        },
        _ => Err(nonsense("with an entry that is no map")),
    };
    entries.into_iter().map(message).collect()
}
