//! What an entity's management node answers.
//!
//! A request names an operation and carries a map; the reply carries a status as HTTP has it, and a
//! map or nothing.
//!
//! # References
//! - Microsoft Learn: AMQP 1.0 in Azure Service Bus, request-response-based operations

use bytes::BufMut;
use uuid::Uuid;

use crate::access::Rights;
use crate::codec::{self, Value};
use crate::entity::{Delivered, LockLost, Settlement, Taking};
use crate::faults::{Busy, Empty, Faults};
use crate::message::{Request, Sent, reply};
use crate::namespace::Namespace;

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Reply(Vec<u8>),
    /// The reply is to end half way.
    Cut(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// The links are detached.
    Detach {
        condition: &'static str,
        description: &'static str,
    },
}

/// The status and body of a reply.
enum Outcome {
    Done(Option<Vec<u8>>),
    Nothing,
    Failed(i32, &'static str, String),
}

/// What is said of a lock that has ended, here and where a receiver settles on its link.
pub(crate) const LOCK_LOST: (&str, &str) = (
    "com.microsoft:message-lock-lost",
    "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue.",
);

const BUSY: (&str, &str) = (
    "com.microsoft:server-busy",
    "The request was terminated because the namespace is being throttled. Error code : 50009. Please wait 10 seconds and try again.",
);

/// Answers a request to the node of the entity at this path, for one who has these rights.
pub(crate) fn answer(
    namespace: &mut Namespace,
    path: &str,
    request: &Request,
    rights: Rights,
    now: i64,
) -> Answer {
    let operation = request.says("operation").unwrap_or_default();
    let operation = operation.strip_prefix("com.microsoft:").unwrap_or(operation);
    let peeks = operation == "peek-message";
    if peeks {
        namespace.count(path, |counters| counters.peeks += 1);
        let Faults { stall_peeks, stalled, .. } = &namespace.faults;
        if *stall_peeks || stalled.as_deref() == Some(path) {
            return Answer::Silence;
        }
        match namespace.faults.busy {
            Some(Busy::Detach) => return Answer::Detach { condition: BUSY.0, description: BUSY.1 },
            Some(Busy::Reply) => {
                return Answer::Reply(written(
                    request,
                    Outcome::Failed(503, BUSY.0, BUSY.1.into()),
                ));
            }
            None => {}
        }
    }
    let needed = match operation {
        "schedule-message" | "cancel-scheduled-message" => Rights::SEND,
        _ => Rights::LISTEN,
    };
    let outcome = if rights.include(needed) {
        act(namespace, path, operation, request.body.as_ref().unwrap_or(&Value::Null), now)
    } else {
        let text = format!(
            "Unauthorized access. '{}' claim(s) are required to perform this operation.",
            needed.name()
        );
        Outcome::Failed(401, "amqp:unauthorized-access", text)
    };
    let reply = written(request, outcome);
    if peeks && std::mem::take(&mut namespace.faults.cut_next_reply) {
        Answer::Cut(reply)
    } else {
        Answer::Reply(reply)
    }
}

fn act(namespace: &mut Namespace, path: &str, operation: &str, body: &Value, now: i64) -> Outcome {
    let number = |key: &str| body.get(key).and_then(Value::number);
    let session = body.get("session-id").and_then(Value::text);
    let list = |key: &str| body.get(key).map(|value| value.items().to_vec()).unwrap_or_default();
    match operation {
        "schedule-message" => return schedule(namespace, path, &list("messages"), now),
        "cancel-scheduled-message" => {
            let Some(inbox) = namespace.inbox(path) else { return missing(path) };
            inbox.turn(now);
            let cancelled = list("sequence-numbers")
                .iter()
                .filter_map(Value::number)
                .all(|number| inbox.cancel(number));
            return if cancelled { Outcome::Done(None) } else { not_found() };
        }
        _ => {}
    }

    let Faults { reply_limit: limit, reply_bytes: bytes, empty, missing_from, .. } =
        namespace.faults;
    let Some(entity) = namespace.entity(path) else { return missing(path) };
    entity.turn(now);
    match operation {
        "peek-message" => {
            let from = number("from-sequence-number").unwrap_or(0);
            if let Some((_, silent)) = missing_from.filter(|(number, _)| from >= *number) {
                namespace.faults.stall_peeks |= silent;
                return missing(path);
            }
            let count =
                number("message-count").and_then(|count| count.try_into().ok()).unwrap_or(1);
            let entries = entity.peek(from, limit.min(count), bytes, session);
            namespace.count(path, |counters| counters.peeked += entries.len() as u64);
            if entries.is_empty() {
                return match empty {
                    Empty::NoContent => Outcome::Nothing,
                    Empty::Accepted => Outcome::Failed(202, "", String::new()),
                    Empty::MessageNotFound => not_found(),
                };
            }
            let size = entries.iter().map(bytes::Bytes::len).sum();
            messages(entries.len(), size, |out| {
                entries.iter().for_each(|entry| out.put_slice(entry));
            })
        }
        "receive-by-sequence-number" => {
            let taking = if number("receiver-settle-mode") == Some(0) {
                Taking::Delete
            } else {
                Taking::Lock
            };
            let numbers = list("sequence-numbers");
            let numbers = numbers.iter().filter_map(Value::number);
            let taken: Vec<Delivered> =
                numbers.filter_map(|number| entity.take_deferred(number, taking, now)).collect();
            if taken.is_empty() {
                return not_found();
            }
            let mut entries = Vec::new();
            for Delivered { token, message } in &taken {
                let entry = [
                    ("message", Value::Binary(message.clone())),
                    ("lock-token", Value::Uuid(*token)),
                ];
                Value::strings(entry).encode(&mut entries);
            }
            messages(taken.len(), entries.len(), |out| out.put_slice(&entries))
        }
        "update-disposition" => {
            let text = |key: &str| body.get(key).and_then(Value::text).map(str::to_owned);
            let properties = match body.get("properties-to-modify") {
                Some(Value::Map(properties)) => properties.clone(),
                _ => Vec::new(),
            };
            let settlement = match body.get("disposition-status").and_then(Value::text) {
                Some("completed") => Settlement::Complete,
                Some("abandoned") => Settlement::Abandon(properties),
                Some("defered") => Settlement::Defer(properties),
                Some("suspended") => Settlement::Bury {
                    reason: text("deadletter-reason"),
                    description: text("deadletter-description"),
                },
                other => {
                    return Outcome::Failed(
                        400,
                        "com.microsoft:argument-error",
                        format!("disposition-status {other:?}"),
                    );
                }
            };
            let mut settled =
                tokens(body).into_iter().map(|token| entity.settle(token, settlement.clone(), now));
            settled
                .try_for_each(|settled| settled)
                .map_or_else(|LockLost| lock_lost(), |()| Outcome::Done(None))
        }
        "renew-lock" => {
            let ends: Result<Vec<i64>, LockLost> =
                tokens(body).into_iter().map(|token| entity.renew(token, now)).collect();
            ends.map_or_else(
                |LockLost| lock_lost(),
                |ends| {
                    let ends = Value::Array(ends.into_iter().map(Value::Timestamp).collect());
                    Outcome::Done(Some(Value::strings([("expirations", ends)]).encoded()))
                },
            )
        }
        "renew-session-lock" => match entity.renew_session(session.unwrap_or_default(), now) {
            Ok(ends) => Outcome::Done(Some(
                Value::strings([("expiration", Value::Timestamp(ends))]).encoded(),
            )),
            Err(LockLost) => Outcome::Failed(
                410,
                "com.microsoft:session-lock-lost",
                "The session lock has expired.".into(),
            ),
        },
        "get-session-state" => {
            let state = entity.session_state(session.unwrap_or_default()).clone();
            let state = state.map_or(Value::Null, Value::Binary);
            Outcome::Done(Some(Value::strings([("session-state", state)]).encoded()))
        }
        "set-session-state" => {
            *entity.session_state(session.unwrap_or_default()) = match body.get("session-state") {
                Some(Value::Binary(state)) => Some(state.clone()),
                _ => None,
            };
            Outcome::Done(None)
        }
        "get-message-sessions" => {
            let at = |key: &str| number(key).and_then(|n| usize::try_from(n).ok());
            let (skip, top) = (at("skip").unwrap_or(0), at("top").unwrap_or(100));
            let names = entity.session_names();
            let names = names.iter().skip(skip).take(top).map(|name| Value::string(&**name));
            let names: Vec<Value> = names.collect();
            if names.is_empty() {
                return Outcome::Nothing;
            }
            let next = i32::try_from(skip + names.len()).unwrap_or(i32::MAX);
            let page = [("skip", Value::Int(next)), ("sessions-ids", Value::Array(names))];
            Outcome::Done(Some(Value::strings(page).encoded()))
        }
        other => Outcome::Failed(
            501,
            "amqp:not-implemented",
            format!("The operation '{other}' is not supported."),
        ),
    }
}

fn schedule(namespace: &mut Namespace, path: &str, messages: &[Value], now: i64) -> Outcome {
    let mut numbers = Vec::new();
    for message in messages {
        let Some(Value::Binary(bytes)) = message.get("message") else {
            return Outcome::Failed(
                400,
                "com.microsoft:argument-error",
                "A message is missing.".into(),
            );
        };
        let Ok(sent) = Sent::parse(bytes) else {
            return Outcome::Failed(
                400,
                "com.microsoft:argument-error",
                "A message cannot be read.".into(),
            );
        };
        match namespace.send(path, sent, now) {
            Some(number) => numbers.push(Value::Long(number)),
            None => return missing(path),
        }
    }
    Outcome::Done(Some(Value::strings([("sequence-numbers", Value::Array(numbers))]).encoded()))
}

/// A body `{"messages": [ … ]}` whose entries the caller writes.
fn messages(count: usize, size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let mut out = Vec::with_capacity(size + 40);
    let mut head = Vec::new();
    codec::put_string(&mut head, "messages");
    codec::put_list_head(&mut head, count, size);
    out.put_u8(0xd1);
    out.put_u32(
        u32::try_from(head.len() + size + 4).expect("a reply is not as long as four gigabytes"),
    );
    out.put_u32(2);
    out.put_slice(&head);
    write(&mut out);
    Outcome::Done(Some(out))
}

fn tokens(body: &Value) -> Vec<Uuid> {
    let tokens = body.get("lock-tokens").map(Value::items).unwrap_or_default();
    tokens
        .iter()
        .filter_map(|token| if let Value::Uuid(token) = token { Some(*token) } else { None })
        .collect()
}

fn missing(path: &str) -> Outcome {
    Outcome::Failed(
        404,
        "amqp:not-found",
        format!("The messaging entity '{path}' could not be found."),
    )
}

fn not_found() -> Outcome {
    let text = "The specified message does not exist.";
    Outcome::Failed(404, "com.microsoft:message-not-found", text.into())
}

fn lock_lost() -> Outcome {
    Outcome::Failed(410, LOCK_LOST.0, LOCK_LOST.1.into())
}

fn written(request: &Request, outcome: Outcome) -> Vec<u8> {
    let status = |code: i32, text: &str| {
        vec![("statusCode", Value::Int(code)), ("statusDescription", Value::string(text))]
    };
    match outcome {
        Outcome::Done(body) => reply(request, status(200, "OK"), body.as_deref()),
        Outcome::Nothing => reply(request, status(204, "No Content"), None),
        Outcome::Failed(code, condition, text) => {
            let mut status = status(code, &text);
            status.push(("errorCondition", Value::symbol(condition)));
            reply(request, status, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Options;
    use crate::message::Message;

    fn asking(operation: &str, body: Value) -> Request {
        Request {
            id: Some(Value::Ulong(7)),
            application: vec![(Value::string("operation"), Value::string(operation))],
            body: Some(body),
            ..Request::default()
        }
    }

    fn peek(from: i64, count: i32) -> Request {
        let body =
            [("from-sequence-number", Value::Long(from)), ("message-count", Value::Int(count))];
        asking("com.microsoft:peek-message", Value::strings(body))
    }

    /// The status and the body of a reply.
    fn read(answer: Answer) -> (i64, Value) {
        let (Answer::Reply(reply) | Answer::Cut(reply)) = answer else { panic!("{answer:?}") };
        let reply = Request::parse(&reply).expect("a reply can be read");
        let status = reply.application.iter().find(|(key, _)| key.text() == Some("statusCode"));
        (
            status.and_then(|(_, code)| code.number()).expect("a status"),
            reply.body.unwrap_or(Value::Null),
        )
    }

    #[test]
    fn a_peek_is_answered_with_messages_and_is_counted() {
        let mut namespace = Namespace::default();
        namespace.create("orders", Options::default());
        for n in 0..300 {
            namespace.send("orders", Message::new(n.to_string()).into_sent(), 0);
        }
        for (name, from, count, limit, expected) in [
            ("all that fit", 1, 1_000, 250, 250),
            ("the rest", 251, 250, 250, 50),
            ("few", 1, 10, 250, 10),
            ("the service's own limit", 1, 250, 20, 20),
        ] {
            namespace.faults.reply_limit = limit;
            let before = namespace.counters.peeked;
            let (status, body) =
                read(answer(&mut namespace, "Orders", &peek(from, count), Rights::LISTEN, 0));
            let messages = body.get("messages").map(Value::items).unwrap_or_default();
            assert_eq!((status, messages.len()), (200, expected), "{name}");
            assert_eq!(namespace.counters.peeked - before, expected as u64, "{name}");
            assert!(
                messages.iter().all(|entry| matches!(entry.get("message"), Some(Value::Binary(_)))),
                "{name}"
            );
        }
        assert_eq!(read(answer(&mut namespace, "orders", &peek(301, 1), Rights::LISTEN, 0)).0, 204);
        assert_eq!(read(answer(&mut namespace, "orders", &peek(1, 1), Rights::SEND, 0)).0, 401);
        assert_eq!(read(answer(&mut namespace, "missing", &peek(1, 1), Rights::LISTEN, 0)).0, 404);
    }

    #[test]
    fn faults_stand_until_they_are_taken_back() {
        let mut namespace = Namespace::default();
        namespace.create("orders", Options::default());
        let mut ask = |change: &dyn Fn(&mut Namespace)| {
            change(&mut namespace);
            answer(&mut namespace, "orders", &peek(1, 1), Rights::LISTEN, 0)
        };
        assert_eq!(read(ask(&|namespace| namespace.faults.busy = Some(Busy::Reply))).0, 503);
        let detached = ask(&|namespace| namespace.faults.busy = Some(Busy::Detach));
        assert!(
            matches!(detached, Answer::Detach { condition: "com.microsoft:server-busy", .. }),
            "{detached:?}"
        );
        assert_eq!(ask(&|namespace| namespace.faults.stall_peeks = true), Answer::Silence);
        let cut = ask(&|namespace| {
            namespace.faults.stall_peeks = false;
            namespace.faults.busy = None;
            namespace.faults.cut_next_reply = true;
        });
        assert!(matches!(cut, Answer::Cut(_)), "{cut:?}");
        assert_eq!(read(ask(&|_| {})).0, 204);
    }
}
