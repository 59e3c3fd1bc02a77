//! What a namespace holds: its queues and topics, who may use them, and the faults it has been told
//! to show.
//!
//! One lock guards all of it, and nothing is awaited under it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::access::Keys;
use crate::entity::{Counters, Entity, Options};
use crate::faults::Faults;
use crate::message::{Sent, now};

/// What the listener, the connections and the test share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Names a token or an address may give for this namespace.
    pub(crate) hosts: Vec<String>,
    /// Rises when a receiver may find something new.
    pub(crate) changed: watch::Sender<u64>,
    /// While it is true nothing that comes in is looked at.
    pub(crate) silent: watch::Sender<bool>,
    /// Held by each session, and by each link, for as long as there is one.
    pub(crate) session: Arc<()>,
    pub(crate) link: Arc<()>,
    namespace: Mutex<Namespace>,
    links: AtomicU64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    pub(crate) keys: Keys,
    pub(crate) faults: Faults,
    /// Whom to tell what the test wants of the connections that are open, by number.
    pub(crate) connections: HashMap<u64, mpsc::Sender<Command>>,
    /// How many connections there were.
    pub(crate) opened: u64,
    pub(crate) counters: Counters,
    /// By path, lower case: `orders`, `events`, `events/subscriptions/billing`.
    nodes: BTreeMap<String, Node>,
}

/// What a path names.
#[derive(Debug)]
pub(crate) enum Node {
    Entity(Box<Entity>),
    Topic(Box<Topic>),
}

/// Hands each message on to every subscription.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Where messages wait until they are due.
    pub(crate) inbox: Entity,
    pub(crate) subscriptions: usize,
}

/// What a test wants of a connection that is open.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Detach the links to this entity, or all.
    Detach { path: Option<String>, condition: String, description: String },
    /// Close in the protocol's own way.
    Close { condition: String },
    /// End the socket without a word.
    Cut,
    /// Forget all claims.
    Lapse,
}

impl Shared {
    pub(crate) fn new(hosts: Vec<String>) -> Self {
        Self {
            hosts,
            changed: watch::Sender::new(0),
            silent: watch::Sender::new(false),
            namespace: Mutex::default(),
            session: Arc::default(),
            link: Arc::default(),
            links: AtomicU64::new(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Namespace> {
        self.namespace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the receivers that there may be something for them.
    pub(crate) fn wake(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// A number no other link has.
    pub(crate) fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed)
    }

    /// How many numbers were given.
    pub(crate) fn links_ever(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// Whether the name is one of this namespace's.
    pub(crate) fn is_at(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

impl Namespace {
    pub(crate) fn create(&mut self, path: &str, options: Options) {
        let entity = Entity::new(path.to_owned(), options, now());
        self.nodes.insert(path.to_lowercase(), Node::Entity(Box::new(entity)));
        self.count_subscriptions(&path.to_lowercase());
    }

    pub(crate) fn create_topic(&mut self, name: &str, options: Options) {
        let inbox = Entity::new(name.to_owned(), options, now());
        self.nodes
            .entry(name.to_lowercase())
            .or_insert_with(|| Node::Topic(Box::new(Topic { inbox, subscriptions: 0 })));
    }

    /// Removes what the path names, a topic with its subscriptions.
    pub(crate) fn delete(&mut self, path: &str) {
        let path = path.to_lowercase();
        let below = format!("{path}/");
        self.nodes.retain(|name, _| *name != path && !name.starts_with(&below));
        self.count_subscriptions(&path);
    }

    /// Notes how many subscriptions the topic has that this path may lie below.
    fn count_subscriptions(&mut self, path: &str) {
        let Some((topic, _)) = path.split_once("/subscriptions/") else { return };
        let below = format!("{topic}/subscriptions/");
        let count = self
            .nodes
            .range(below.clone()..)
            .take_while(|(name, _)| name.starts_with(&below))
            .count();
        if let Some(Node::Topic(topic)) = self.nodes.get_mut(topic) {
            topic.subscriptions = count;
        }
    }

    pub(crate) fn node(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(&path.to_lowercase())
    }

    /// All there is, in order of the names.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter()
    }

    /// What messages can be read from: a queue, a subscription, or the dead letters of one.
    pub(crate) fn entity(&mut self, path: &str) -> Option<&mut Entity> {
        let path = path.to_lowercase();
        let (path, dead) = match path.strip_suffix("/$deadletterqueue") {
            Some(path) => (path, true),
            None => (path.as_str(), false),
        };
        match self.nodes.get_mut(path)? {
            Node::Entity(entity) => Some(if dead { entity.dead() } else { entity }),
            Node::Topic(_) => None,
        }
    }

    /// What messages can be sent to, and scheduled in: a queue, or a topic's inbox.
    pub(crate) fn inbox(&mut self, path: &str) -> Option<&mut Entity> {
        match self.nodes.get_mut(&path.to_lowercase())? {
            Node::Entity(entity) => Some(entity),
            Node::Topic(topic) => Some(&mut topic.inbox),
        }
    }

    /// Takes a message in; its sequence number, or `None` where there is no such queue or topic.
    pub(crate) fn send(&mut self, path: &str, sent: Sent, now: i64) -> Option<i64> {
        let sequence = self.inbox(path)?.enqueue(sent, now);
        self.distribute(path, now);
        Some(sequence)
    }

    /// Hands on what has reached a topic.
    fn distribute(&mut self, path: &str, now: i64) {
        let path = path.to_lowercase();
        let Some(Node::Topic(topic)) = self.nodes.get_mut(&path) else { return };
        let arrived = topic.inbox.drain();
        let below = format!("{path}/subscriptions/");
        for (_, node) in
            self.nodes.range_mut(below.clone()..).take_while(|(name, _)| name.starts_with(&below))
        {
            if let Node::Entity(subscription) = node {
                for sent in &arrived {
                    subscription.enqueue(sent.clone(), now);
                }
            }
        }
    }

    /// Lets happen what has come due; whether a receiver may find something new.
    pub(crate) fn turn(&mut self, now: i64) -> bool {
        let mut changed = false;
        let mut arrived = Vec::new();
        for (path, node) in &mut self.nodes {
            match node {
                Node::Entity(entity) => changed |= entity.turn(now),
                Node::Topic(topic) => {
                    if topic.inbox.turn(now) {
                        arrived.push(path.clone());
                    }
                }
            }
        }
        for topic in &arrived {
            self.distribute(topic, now);
        }
        changed || !arrived.is_empty()
    }

    /// Counts for the namespace, and for the entity where there is one.
    pub(crate) fn count(&mut self, path: &str, count: impl Fn(&mut Counters)) {
        count(&mut self.counters);
        if let Some(entity) = self.entity(path) {
            count(&mut entity.counters);
        }
    }
}
