//! A Service Bus namespace on a port of its own, and what a test can do to it.
//!
//! What a test asks for has happened when the call returns, except for links and connections: their
//! tasks are told, and act at once.
//!
//! # References
//! - Microsoft Learn: Azure Service Bus messaging overview · Service Bus emulator

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::access::{Rights, sign};
use crate::codec::Value;
use crate::entity::{Counters, Depth, Options, Settlement, Taking};
use crate::faults::{Busy, Empty, Management};
use crate::listener::listen;
use crate::message::{Message, Property, now};
use crate::namespace::{Command, Namespace, Shared};

/// The key every namespace has, with all rights.
const KEY_NAME: &str = "RootManageSharedAccessKey";
const KEY: &str = "c3RhbmQtaW4ga2V5IHRoYXQgb3BlbnMgbm90aGluZyE=";

/// A namespace; it ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub struct ServiceBus {
    shared: Arc<Shared>,
    address: SocketAddr,
    _listener: JoinSet<()>,
}

/// How a namespace is to be started.
#[derive(Debug, Default)]
pub struct Builder {
    tls: Option<(String, String)>,
    hosts: Vec<String>,
    port: u16,
}

/// A queue or subscription that is to be created.
#[derive(Debug)]
#[must_use = "nothing is there before `create`"]
pub struct EntityBuilder<'a> {
    bus: &'a ServiceBus,
    path: String,
    topic: Option<String>,
    options: Options,
}

/// A topic that is to be created, or is there already.
#[derive(Debug)]
pub struct TopicBuilder<'a> {
    bus: &'a ServiceBus,
    name: String,
}

/// What a receiver does with a message that it has locked, other than to complete it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// It keeps it locked.
    Hold,
    /// It gives it back.
    Abandon,
    /// It sets it aside.
    Defer,
    /// It moves it to the dead letters.
    DeadLetter,
}

/// Connections to the namespace, over whatever protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// Opened since the start.
    pub ever: u64,
}

impl ServiceBus {
    /// Starts a namespace without TLS.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// How to start one otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection string with all rights, as Microsoft's emulator gives it: without TLS.
    pub fn connection_string(&self) -> String {
        self.connection_string_for(KEY_NAME)
    }

    /// The connection string of a key that [`ServiceBus::key`] made.
    pub fn connection_string_for(&self, key: &str) -> String {
        format!(
            "Endpoint=sb://{};SharedAccessKeyName={key};SharedAccessKey={KEY};UseDevelopmentEmulator=true;",
            self.address,
        )
    }

    /// The connection string of a signature made with such a key, good for the whole namespace
    /// until then.
    pub fn signed_connection_string(&self, key: &str, ends: SystemTime) -> String {
        let signature = sign(key, KEY, &format!("sb://{}/", self.address.ip()), ends);
        format!(
            "Endpoint=sb://{};SharedAccessSignature={signature};UseDevelopmentEmulator=true;",
            self.address,
        )
    }

    /// The name and the text of the key with all rights.
    pub fn root_key(&self) -> (&'static str, &'static str) {
        (KEY_NAME, KEY)
    }

    /// Makes a key with these rights; its text is that of the root key.
    pub fn key(&self, name: &str, rights: Rights) {
        self.lock().keys.add(name, KEY, rights);
    }

    /// Gives rights to an identity, by its client id.
    pub fn grant(&self, client_id: &str, rights: Rights) {
        self.lock().keys.grant(client_id, rights);
    }

    /// A queue to be created.
    pub fn queue(&self, name: &str) -> EntityBuilder<'_> {
        EntityBuilder { bus: self, path: name.to_owned(), topic: None, options: Options::default() }
    }

    /// A topic, to be created alone or with subscriptions.
    pub fn topic(&self, name: &str) -> TopicBuilder<'_> {
        TopicBuilder { bus: self, name: name.to_owned() }
    }

    /// Deletes a queue, a topic, or a subscription; its links are detached.
    pub fn delete(&self, path: &str) {
        self.lock().delete(path);
        self.detach_links(path, "amqp:not-found");
    }

    /// Puts `count` messages into a queue or topic, without AMQP.
    ///
    /// # Panics
    /// If there is no such queue or topic.
    pub fn fill(&self, path: &str, count: usize, message: impl Fn(usize) -> Message) {
        let messages: Vec<_> = (0..count).map(|number| message(number).into_sent()).collect();
        let mut namespace = self.lock();
        for sent in messages {
            namespace
                .send(path, sent, now())
                .unwrap_or_else(|| panic!("{path}: there is no such queue or topic"));
        }
        drop(namespace);
        self.shared.wake();
    }

    /// Puts one message into a queue or topic, without AMQP; its sequence number.
    ///
    /// # Panics
    /// If there is no such queue or topic.
    pub fn send(&self, path: &str, message: Message) -> i64 {
        let sent = self.lock().send(path, message.into_sent(), now());
        self.shared.wake();
        sent.unwrap_or_else(|| panic!("{path}: there is no such queue or topic"))
    }

    /// Removes the first `count` messages that a receiver could get, as if one had completed them;
    /// how many there were.
    pub fn receive(&self, path: &str, count: usize) -> usize {
        self.lock().entity(path).map_or(0, |entity| entity.complete(count, |_| true))
    }

    /// Removes all messages that a receiver could get and for which `which` holds; how many there
    /// were.
    pub fn receive_where(&self, path: &str, which: impl Fn(&Message) -> bool) -> usize {
        let which = |sent: &_| which(&Message::read(sent));
        self.lock().entity(path).map_or(0, |entity| entity.complete(usize::MAX, which))
    }

    /// Locks the first `count` messages that a receiver could get and does this with them; how many
    /// there were.
    pub fn handle(&self, path: &str, count: usize, how: Handling) -> usize {
        self.handle_with(path, count, how, &[])
    }

    /// As [`ServiceBus::handle`], by a receiver that sets these application properties as it gives
    /// back or sets aside.
    pub fn handle_with(
        &self,
        path: &str,
        count: usize,
        how: Handling,
        properties: &[(&str, Property)],
    ) -> usize {
        let properties = properties.iter().cloned();
        let properties: Vec<_> =
            properties.map(|(name, value)| (Value::string(name), value.into())).collect();
        let mut namespace = self.lock();
        let Some(entity) = namespace.entity(path) else { return 0 };
        // All are locked before any is given back.
        let locked = (0..count).map_while(|_| entity.take(None, Taking::Lock, now()));
        let locked: Vec<_> = locked.map(|delivered| delivered.token).collect();
        for token in &locked {
            let settlement = match how {
                Handling::Hold => continue,
                Handling::Abandon => Settlement::Abandon(properties.clone()),
                Handling::Defer => Settlement::Defer(properties.clone()),
                Handling::DeadLetter => Settlement::Bury { reason: None, description: None },
            };
            entity.settle(*token, settlement, now()).ok();
        }
        drop(namespace);
        self.shared.wake();
        locked.len()
    }

    /// Removes what is past its time to live, as the service does now and then.
    pub fn sweep_expired(&self, path: &str) {
        if let Some(entity) = self.lock().entity(path) {
            entity.sweep(now());
        }
    }

    /// How many messages a queue or subscription has.
    ///
    /// # Panics
    /// If there is none at this path.
    pub fn depth(&self, path: &str) -> Depth {
        let mut namespace = self.lock();
        namespace.turn(now());
        namespace
            .entity(path)
            .unwrap_or_else(|| panic!("{path}: there is no such queue or subscription"))
            .depth()
    }

    /// Messages that replies to peeks held.
    pub fn peeked(&self) -> u64 {
        self.counters().peeked
    }

    /// Requests to peek.
    pub fn peeks(&self) -> u64 {
        self.counters().peeks
    }

    /// Requests to the management endpoint.
    pub fn management_requests(&self) -> u64 {
        self.counters().management
    }

    /// All that was asked of the namespace.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// What was asked of a queue or subscription.
    pub fn counters_of(&self, path: &str) -> Counters {
        self.lock().entity(path).map(|entity| entity.counters).unwrap_or_default()
    }

    /// Connections, open and ever.
    pub fn connections(&self) -> Connections {
        let namespace = self.lock();
        Connections { open: namespace.connections.len() as u64, ever: namespace.opened }
    }

    /// AMQP sessions that are open.
    pub fn sessions(&self) -> usize {
        Arc::strong_count(&self.shared.session) - 1
    }

    /// AMQP links that are open.
    pub fn links(&self) -> usize {
        Arc::strong_count(&self.shared.link) - 1
    }

    /// AMQP links that were asked for since the start.
    pub fn links_ever(&self) -> u64 {
        self.shared.links_ever()
    }

    /// Detaches the links to a queue, topic or subscription and to its management node.
    pub fn detach_links(&self, path: &str, condition: &str) {
        let description = match condition {
            "amqp:link:detach-forced" => "The link is force detached by the service.",
            "amqp:not-found" => "The messaging entity could not be found.",
            _ => "The link was detached.",
        };
        self.command(&Command::Detach {
            path: Some(path.to_owned()),
            condition: condition.to_owned(),
            description: description.to_owned(),
        });
    }

    /// Closes all AMQP connections with this condition.
    pub fn close_connections(&self, condition: &str) {
        self.command(&Command::Close { condition: condition.to_owned() });
    }

    /// Ends all sockets without a word.
    pub fn cut_sockets(&self) {
        self.command(&Command::Cut);
    }

    /// Ends the socket in the middle of the next reply to a peek.
    pub fn cut_in_the_middle_of_next_reply(&self) {
        self.lock().faults.cut_next_reply = true;
    }

    /// Forgets all tokens that were put, as if they had expired: links are detached with
    /// `amqp:unauthorized-access`.
    pub fn lapse_claims(&self) {
        self.command(&Command::Lapse);
    }

    /// Answers peeks as a throttled namespace does; `None` ends it.
    pub fn busy(&self, how: impl Into<Option<Busy>>) {
        self.lock().faults.busy = how.into();
    }

    /// Takes peeks without ever answering them.
    pub fn stall_peeks(&self, stall: bool) {
        self.lock().faults.stall_peeks = stall;
    }

    /// Accepts connections and reads nothing of what they say.
    pub fn silence(&self, silent: bool) {
        self.shared.silent.send_replace(silent);
    }

    /// Counts peeks of this entity and does not answer them; `None` ends it.
    pub fn stall_peeks_of<'a>(&self, path: impl Into<Option<&'a str>>) {
        self.lock().faults.stalled = path.into().map(str::to_owned);
    }

    /// How a peek that finds no message is answered.
    pub fn answer_empty(&self, how: Empty) {
        self.lock().faults.empty = how;
    }

    /// Answers peeks from this number on as if there were no entity; `None` ends it.
    pub fn missing_from(&self, number: impl Into<Option<i64>>) {
        self.lock().faults.missing_from = number.into().map(|number| (number, false));
    }

    /// Answers the next peek from this number on as if there were no entity, and no peek after
    /// that.
    pub fn missing_and_silent_from(&self, number: i64) {
        self.lock().faults.missing_from = Some((number, true));
    }

    /// How many messages a reply to a peek holds at most.
    pub fn reply_limit(&self, messages: usize) {
        self.lock().faults.reply_limit = messages;
    }

    /// How many bytes links to management nodes say that a message may have at most. Service Bus
    /// sets no such limit.
    pub fn node_limit(&self, bytes: u64) {
        self.lock().faults.node_bytes = bytes;
    }

    /// Answers requests to the management endpoint with this instead; `None` ends it.
    pub fn management(&self, fault: impl Into<Option<Management>>) {
        self.lock().faults.management = fault.into();
    }

    fn command(&self, command: &Command) {
        for connection in self.lock().connections.values() {
            connection.try_send(command.clone()).ok();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Namespace> {
        self.shared.lock()
    }
}

impl Builder {
    /// Serves TLS too, with this certificate chain and key.
    pub fn tls(mut self, certificates: &str, key: &str) -> Self {
        self.tls = Some((certificates.to_owned(), key.to_owned()));
        self
    }

    /// A name by which tokens and addresses may call the namespace, besides that of loopback.
    pub fn host(mut self, name: &str) -> Self {
        self.hosts.push(name.to_owned());
        self
    }

    /// The port to listen on; a free one if not said.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// If the port is taken, or the certificate or key cannot be read.
    pub async fn start(self) -> ServiceBus {
        let tls = self.tls.map(|(certificates, key)| acceptor(&certificates, &key));
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("the port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let mut hosts = self.hosts;
        hosts.extend(["127.0.0.1".to_owned(), "localhost".to_owned()]);
        let shared = Arc::new(Shared::new(hosts));
        shared.lock().keys.add(KEY_NAME, KEY, Rights::ALL);
        let mut task = JoinSet::new();
        task.spawn(listen(listener, tls, shared.clone()));
        ServiceBus { shared, address, _listener: task }
    }
}

impl EntityBuilder<'_> {
    /// Requires a session of every message.
    pub fn sessions(mut self) -> Self {
        self.options.sessions = true;
        self
    }

    /// How long a receiver has a message to itself; a minute if not said.
    pub fn lock_duration(mut self, lock: Duration) -> Self {
        self.options.lock = lock;
        self
    }

    /// Spreads the messages over this many partitions; one if not said.
    pub fn partitions(self, partitions: u16) -> Self {
        let numbers: Vec<u16> = (0..partitions.max(1)).collect();
        self.partitions_numbered(&numbers)
    }

    /// Spreads the messages over partitions with these numbers, which must be below 32,768.
    pub fn partitions_numbered(mut self, numbers: &[u16]) -> Self {
        self.options.partitions = numbers.to_vec();
        self
    }

    /// Has each reply to a peek hold messages of one partition alone.
    pub fn one_partition_a_reply(mut self) -> Self {
        self.options.one_partition = true;
        self
    }

    /// After how many deliveries a message is dead-lettered; 10 if not said.
    pub fn max_delivery_count(mut self, deliveries: u32) -> Self {
        self.options.deliveries = deliveries;
        self
    }

    /// How long messages live that say nothing of it, and at most; forever if not said.
    pub fn default_ttl(mut self, time_to_live: Duration) -> Self {
        self.options.time_to_live = Some(time_to_live);
        self
    }

    /// Dead-letters what is past its time to live, instead of removing it.
    pub fn dead_letters_expired(mut self) -> Self {
        self.options.bury_expired = true;
        self
    }

    /// Creates it, in place of what there may be at the path.
    pub fn create(self) {
        let mut namespace = self.bus.lock();
        if let Some(topic) = &self.topic {
            namespace.create_topic(topic, Options::default());
        }
        namespace.create(&self.path, self.options);
    }
}

impl<'a> TopicBuilder<'a> {
    /// Creates it without subscriptions, unless it is there already.
    pub fn create(self) -> Self {
        self.bus.lock().create_topic(&self.name, Options::default());
        self
    }

    /// A subscription to be created; the topic is, with it.
    pub fn subscription(&self, name: &str) -> EntityBuilder<'a> {
        EntityBuilder {
            bus: self.bus,
            path: format!("{}/Subscriptions/{name}", self.name),
            topic: Some(self.name.clone()),
            options: Options::default(),
        }
    }
}

fn acceptor(certificates: &str, key: &str) -> TlsAcceptor {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes())
        .collect::<Result<_, _>>()
        .expect("the certificates are PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("the key is PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the certificate and the key belong together");
    TlsAcceptor::from(Arc::new(config))
}
