//! All namespaces that triggers name, each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::Semaphore;

use super::access::Site;
use super::amqp::Line;
use super::counts::Counts;
use super::entity::Entity;
use super::follower::Follower;
use super::gate::Gate;
use super::peek::{self, Peeker};
use super::trigger::{ServiceBusTrigger, Transport};
use crate::coalescer::Tasks;
use crate::identity::{HostError, Hosts, Identities};
use crate::ledger::Account;
use crate::lock::lock;
use crate::metadata::{Reader, Table};
use crate::selection::Selection;
use crate::source::{Measure, Scaling, ScalingKeys, Source};
use crate::web::Web;

/// The Service Bus source. Nothing connects before a trigger is measured.
pub struct ServiceBus(Arc<Namespaces>);

/// What the operator says of this source.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a namespace may take to answer: the time a measurement has.
    pub request_timeout: Duration,
    /// The hosts that may have our tokens.
    pub hosts: Hosts,
}

/// The namespaces that some follower holds.
pub(super) struct Namespaces {
    options: Options,
    web: Web,
    identities: Arc<Identities>,
    known: Mutex<HashMap<(Site, Transport), Weak<Namespace>>>,
}

/// A namespace as one identity or key sees it.
pub(super) struct Namespace {
    site: Site,
    patience: Duration,
    pub(super) counts: Counts,
    line: Arc<Line>,
    gate: Arc<Gate>,
    turns: Arc<Semaphore>,
    tasks: Tasks,
    peekers: Mutex<HashMap<Entity, Weak<Peeker>>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { request_timeout: Duration::from_secs(10), hosts: Hosts::default() }
    }
}

impl ServiceBus {
    /// The source, without any namespace yet.
    pub fn new(options: Options, web: Web, identities: Arc<Identities>) -> ServiceBus {
        ServiceBus(Arc::new(Namespaces { options, web, identities, known: Mutex::default() }))
    }

    async fn end(&self) {
        let namespaces: Vec<_> =
            lock(&self.0.known).drain().map(|(_, namespace)| namespace).collect();
        for namespace in namespaces.iter().filter_map(Weak::upgrade) {
            namespace.end().await;
        }
    }
}

impl Source for ServiceBus {
    const NAME: &'static str = "azure-servicebus";
    const TOLD_BY: &'static [&'static str] = &["queueName", "topicName"];
    const TABLE: &'static Table = &super::parameters::TABLE;
    const FILTER_VARIABLES: &'static [&'static str] = &[
        "sessionId",
        "messageId",
        "correlationId",
        "contentType",
        "to",
        "replyTo",
        "partitionKey",
        "timeToLive",
        "deliveryCount",
        "sequenceNumber",
        "properties",
    ];
    const SCALING: ScalingKeys = ScalingKeys {
        target: "messageCount",
        default_target: 5,
        activation: "activationMessageCount",
    };

    type Trigger = ServiceBusTrigger;

    fn metric_name(reader: &mut Reader<'_>) -> String {
        ServiceBusTrigger::metric_name(reader)
    }

    fn decode(
        reader: &mut Reader<'_>,
        scaling: Scaling,
        selection: Selection,
    ) -> Option<ServiceBusTrigger> {
        ServiceBusTrigger::decode(reader, scaling, selection)
    }

    fn follow(&self, trigger: &Arc<ServiceBusTrigger>, _account: &Account) -> Box<dyn Measure> {
        Box::new(Follower::new(trigger, &self.0))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }
}

impl Namespaces {
    /// The namespace that a trigger names.
    ///
    /// # Errors
    /// A token of ours may not go there.
    pub(super) fn get(&self, trigger: &ServiceBusTrigger) -> Result<Arc<Namespace>, HostError> {
        let site = trigger.access.trust(&self.options.hosts)?;
        let mut known = lock(&self.known);
        let key = (site, trigger.transport);
        if let Some(namespace) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(namespace);
        }
        known.retain(|_, namespace| namespace.strong_count() > 0);
        let namespace = Arc::new(self.open(key.0.clone(), key.1));
        known.insert(key, Arc::downgrade(&namespace));
        Ok(namespace)
    }

    fn open(&self, site: Site, transport: Transport) -> Namespace {
        let (web, identities, tasks) = (&self.web, &self.identities, Tasks::default());
        let (gate, patience) = (Arc::new(Gate::default()), self.options.request_timeout);
        let identities = || Arc::clone(identities);
        let counts = Counts::new(site.clone(), web, identities(), Arc::clone(&gate), tasks.clone());
        // Before a call's own deadline, so that it can say what was waited for.
        let step = patience * 3 / 4;
        let line =
            Line::new(site.clone(), transport, web.clone(), identities(), step, tasks.clone());
        let (line, peekers) = (Arc::new(line), Mutex::default());
        let turns = Arc::new(Semaphore::new(peek::AT_ONCE));
        Namespace { site, patience, counts, line, gate, turns, tasks, peekers }
    }
}

impl Namespace {
    /// The entity as it is peeked.
    pub(super) fn peeker(&self, entity: &Entity) -> Arc<Peeker> {
        let mut peekers = lock(&self.peekers);
        if let Some(peeker) = peekers.get(entity).and_then(Weak::upgrade) {
            return peeker;
        }
        peekers.retain(|_, peeker| peeker.strong_count() > 0);
        let (line, gate) = (Arc::clone(&self.line), Arc::clone(&self.gate));
        let turns = Arc::clone(&self.turns);
        let peeker = Peeker::new(self.site.host(), entity, line, gate, turns, self.patience);
        let peeker = Arc::new(peeker);
        peekers.insert(entity.clone(), Arc::downgrade(&peeker));
        peeker
    }

    async fn end(&self) {
        let peekers: Vec<_> = lock(&self.peekers).values().filter_map(Weak::upgrade).collect();
        for peeker in peekers {
            peeker.end().await;
        }
        self.line.hang_up();
        self.tasks.end();
        self.tasks.ended().await;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.tasks.end();
    }
}
