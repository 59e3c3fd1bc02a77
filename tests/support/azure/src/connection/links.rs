//! The links of a connection: which are granted, what they lead to, and how they end.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frames::{ATTACH, COORDINATOR, DETACH, error, number, sequence};
use super::{
    CREDIT, Connection, Denied, End, Link, MESSAGE, Receiving, SESSION_FILTER, SESSION_WAIT,
    Sending, Terminus, Waiting,
};
use crate::access::Rights;
use crate::codec::Value;
use crate::entity::Taking;
use crate::message::now;
use crate::namespace::Node;

impl Connection {
    /// Answers an attach, unless it has to wait for a session to become free.
    pub(super) fn on_attach(&mut self, channel: u16, attach: &Value, waited: Option<Waiting>) {
        let fields = |at: usize| attach.fields().get(at).cloned().unwrap_or(Value::Null);
        let Some(handle) = number(attach, 1).map(sequence) else { return };
        let (name, receives) = (fields(0), fields(2) == Value::Bool(true));
        let (mut source, target) = (fields(5), fields(6));
        let address = if receives { &source } else { &target };
        let address = address.fields().first().and_then(Value::text).unwrap_or_default().to_owned();
        let terminus = Terminus::of(&address);

        if target.descriptor() == Some(COORDINATOR) {
            let text = "Transactions are not supported by this stand-in.";
            let denied = Denied("amqp:not-implemented", text.into());
            self.refuse(channel, handle, &name, receives, &denied);
            return;
        }

        let mut properties = vec![("com.microsoft:max-message-batch-size", Value::Ulong(MESSAGE))];
        let id = self.shared.next_link();
        let mut held = None;
        let granted = self.grant(&terminus, receives).and_then(|sessions| {
            let filter = source.fields().get(7).and_then(|filter| filter.get(SESSION_FILTER));
            let (Terminus::Entity(path), true) = (&terminus, receives) else { return Ok(true) };
            match (sessions, filter) {
                (false, None) => Ok(true),
                (true, None) => Err(Denied(
                    "amqp:not-allowed",
                    "It is not possible for an entity that requires sessions to create a non-sessionful message receiver."
                        .into(),
                )),
                (false, Some(_)) => Err(Denied(
                    "amqp:not-allowed",
                    "A sessionful message receiver cannot be created on an entity that does not require sessions.".into(),
                )),
                (true, Some(filter)) => {
                    let filter = if let Value::Described(_, filter) = filter { filter } else { filter };
                    let wanted = filter.text();
                    let mut namespace = self.shared.lock();
                    held = namespace.entity(path).and_then(|entity| entity.hold(wanted, id, now()));
                    if held.is_none() && wanted.is_some() {
                        let text = format!("The requested session '{}' cannot be accepted.", wanted.unwrap_or_default());
                        return Err(Denied("com.microsoft:session-cannot-be-locked", text));
                    }
                    Ok(held.is_some())
                }
            }
        });

        let denied = match granted {
            Ok(true) => None,
            Ok(false) => {
                let wait = fields(13)
                    .get("com.microsoft:timeout")
                    .and_then(Value::number)
                    .unwrap_or(SESSION_WAIT);
                let waiting = waited.unwrap_or_else(|| Waiting {
                    channel,
                    attach: attach.clone(),
                    until: now() + wait,
                    flows: Vec::new(),
                });
                if now() < waiting.until {
                    self.waiting.push(waiting);
                    return;
                }
                let text = "The operation did not complete within the allotted timeout: no session is available.";
                self.refuse(
                    channel,
                    handle,
                    &name,
                    receives,
                    &Denied("com.microsoft:timeout", text.into()),
                );
                return;
            }
            Err(denied) => Some(denied),
        };
        if let Some(denied) = denied {
            self.refuse(channel, handle, &name, receives, &denied);
            return;
        }

        if let Some((session, until)) = &held {
            if let Value::Described(_, list) = &mut source
                && let Value::List(fields) = &mut **list
                && let Some(filter) = fields.get_mut(7)
            {
                // Described or bare, as it was sent: each client looks for its own form.
                let name = Value::string(&**session);
                let name = match filter.get(SESSION_FILTER) {
                    Some(Value::Described(descriptor, _)) => {
                        Value::Described(descriptor.clone(), Box::new(name))
                    }
                    _ => name,
                };
                *filter = Value::symbols([(SESSION_FILTER, name)]);
            }
            // .NET's ticks: 100 ns since the year 1.
            properties.push((
                "com.microsoft:locked-until-utc",
                Value::Long((until + 62_135_596_800_000) * 10_000),
            ));
        }
        let taking = if fields(3).number() == Some(1) { Taking::Delete } else { Taking::Lock };
        let end = if receives {
            End::Sending(Sending {
                credit: 0,
                delivery_count: 0,
                drain: false,
                taking,
                session: held.map(|(session, _)| session),
                target: target.fields().first().and_then(Value::text).map(str::to_owned),
                replies: VecDeque::new(),
            })
        } else {
            End::Receiving(Receiving {
                credit: CREDIT,
                delivery_count: number(attach, 9).map_or(0, sequence),
                delivery: None,
                format: 0,
                settled: false,
                payload: Vec::new(),
            })
        };
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let to_entity = matches!(terminus, Terminus::Entity(_));
        let _counted = Arc::clone(&self.shared.link);
        session.links.insert(handle, Link { id, to: terminus, end, _counted });
        // As the service has it: a limit on messages, and none on what is said to a node or by it.
        let longest = if to_entity { MESSAGE } else { self.shared.lock().faults.node_bytes };
        let reply = vec![
            name,
            Value::Uint(handle),
            Value::Bool(!receives),
            fields(3),
            fields(4),
            source,
            target,
            Value::Null,
            Value::Null,
            if receives { Value::Uint(0) } else { Value::Null },
            Value::Ulong(longest),
            Value::Null,
            Value::Null,
            Value::symbols(properties),
        ];
        self.send(channel, 0, ATTACH, reply);
        if !receives {
            self.flow(channel, Some(handle));
        }
        for flow in waited.map(|waited| waited.flows).unwrap_or_default() {
            self.on_flow(channel, &flow);
        }
    }

    /// Whether the peer may have the link, and whether the entity has sessions.
    fn grant(&self, to: &Terminus, receives: bool) -> Result<bool, Denied> {
        let (path, needed) = match to {
            Terminus::Claims => return Ok(false),
            Terminus::Node(path) => (path, Rights::LISTEN | Rights::SEND),
            Terminus::Entity(path) => (path, if receives { Rights::LISTEN } else { Rights::SEND }),
        };
        if !self.rights(to).touch(needed) {
            let claim = if needed == Rights::SEND { Rights::SEND } else { Rights::LISTEN };
            let text = format!(
                "Unauthorized access. '{}' claim(s) are required to perform this operation. Resource: 'sb://{}/{path}'.",
                claim.name(),
                self.shared.hosts[0],
            );
            return Err(Denied("amqp:unauthorized-access", text));
        }
        let mut namespace = self.shared.lock();
        let there = match to {
            Terminus::Entity(_) if !receives => {
                namespace.inbox(path).map(|inbox| inbox.options.sessions)
            }
            Terminus::Node(_) if matches!(namespace.node(path), Some(Node::Topic(_))) => {
                Some(false)
            }
            _ => namespace.entity(path).map(|entity| entity.options.sessions),
        };
        there.ok_or_else(|| {
            let host = &self.shared.hosts[0];
            Denied(
                "amqp:not-found",
                format!("The messaging entity 'sb://{host}/{path}' could not be found."),
            )
        })
    }

    /// What the claims that are alive allow on what the link leads to.
    pub(super) fn rights(&self, to: &Terminus) -> Rights {
        let path = to.path();
        let alive = self.claims.values().filter(|claim| claim.ends > now() && claim.covers(&path));
        alive.fold(Rights::NONE, |all, claim| all | claim.rights)
    }

    /// An attach with nothing at the other end, and the detach that says why.
    fn refuse(
        &mut self,
        channel: u16,
        handle: u32,
        name: &Value,
        receives: bool,
        Denied(condition, text): &Denied,
    ) {
        let mut reply = vec![name.clone(), Value::Uint(handle), Value::Bool(!receives)];
        if receives {
            reply.resize(9, Value::Null);
            reply.push(Value::Uint(0));
        }
        self.send(channel, 0, ATTACH, reply);
        self.send(
            channel,
            0,
            DETACH,
            vec![Value::Uint(handle), Value::Bool(true), error(condition, text)],
        );
    }

    pub(super) fn on_detach(&mut self, channel: u16, detach: &Value) {
        let Some(handle) = number(detach, 0).map(sequence) else { return };
        self.waiting.retain(|waiting| {
            waiting.channel != channel || number(&waiting.attach, 1).map(sequence) != Some(handle)
        });
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let Some(link) = session.links.remove(&handle) else { return };
        session.unsettled.retain(|_, (of, _)| *of != handle);
        self.let_go(&link);
        self.send(channel, 0, DETACH, vec![Value::Uint(handle), Value::Bool(true)]);
    }

    /// Detaches the links for which `which` holds.
    pub(super) fn detach(
        &mut self,
        which: impl Fn(&Link) -> bool,
        condition: &str,
        description: &str,
    ) {
        let mut gone = Vec::new();
        for (channel, session) in &mut self.sessions {
            let handles: Vec<u32> = session
                .links
                .iter()
                .filter(|(_, link)| which(link))
                .map(|(handle, _)| *handle)
                .collect();
            for handle in handles {
                session.unsettled.retain(|_, (of, _)| *of != handle);
                gone.extend(session.links.remove(&handle).map(|link| (*channel, handle, link)));
            }
        }
        for (channel, handle, link) in gone {
            self.let_go(&link);
            let fields =
                vec![Value::Uint(handle), Value::Bool(true), error(condition, description)];
            self.send(channel, 0, DETACH, fields);
        }
    }

    /// What a link held is free again.
    pub(super) fn let_go(&self, link: &Link) {
        if let (Terminus::Entity(path), End::Sending(Sending { session: Some(session), .. })) =
            (&link.to, &link.end)
        {
            if let Some(entity) = self.shared.lock().entity(path) {
                entity.let_go(session, link.id, now());
            }
            self.shared.wake();
        }
    }

    /// Detaches links whose claim has lapsed, and answers who waits for a session.
    pub(super) fn look_after(&mut self) {
        let lapsed: Vec<Terminus> = self
            .sessions
            .values()
            .flat_map(|session| session.links.values())
            .filter(|link| link.to != Terminus::Claims && self.rights(&link.to) == Rights::NONE)
            .map(|link| link.to.clone())
            .collect();
        if !lapsed.is_empty() {
            let text = "Unauthorized access. The claim has expired: ExpiredToken.";
            self.detach(|link| lapsed.contains(&link.to), "amqp:unauthorized-access", text);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.on_attach(waiting.channel, &waiting.attach.clone(), Some(waiting));
        }
    }
}
