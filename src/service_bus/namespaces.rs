//! All namespaces that triggers name, each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::access::TrustedAccess;
use super::amqp::ConnectionSlot;
use super::counts::Counts;
use super::entity::Entity;
use super::gate::Gate;
use super::peek::{self, Peeker};
use super::trigger::{ServiceBusTrigger, Transport};
use crate::coalescer::Tasks;
use crate::identity::{HostError, Hosts, Identities};
use crate::lock::lock;
use crate::source::Figures;
use crate::web::Web;

/// The namespaces that some trigger holds.
pub(super) struct Namespaces {
    /// How long a namespace may take to answer.
    step_timeout: Duration,
    /// The hosts that may have our tokens.
    hosts: Hosts,
    web: Web,
    identities: Arc<Identities>,
    known: Mutex<HashMap<(TrustedAccess, Transport), Weak<Namespace>>>,
}

/// A namespace as one identity or key sees it.
pub(super) struct Namespace {
    access: TrustedAccess,
    step_timeout: Duration,
    pub(super) counts: Counts,
    slot: Arc<ConnectionSlot>,
    gate: Arc<Gate>,
    turns: Arc<Semaphore>,
    tasks: Tasks,
    peekers: Mutex<HashMap<Entity, Weak<Peeker>>>,
}

impl Namespaces {
    /// No namespace yet.
    pub(super) fn new(
        step_timeout: Duration,
        hosts: Hosts,
        web: Web,
        identities: Arc<Identities>,
    ) -> Namespaces {
        Namespaces { step_timeout, hosts, web, identities, known: Mutex::default() }
    }

    /// The namespace that a trigger names.
    ///
    /// # Errors
    /// A token of ours may not go there.
    pub(super) fn get(&self, trigger: &ServiceBusTrigger) -> Result<Arc<Namespace>, HostError> {
        let access = trigger.access.trust(&self.hosts)?;
        let mut known = lock(&self.known);
        let key = (access, trigger.transport);
        if let Some(namespace) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(namespace);
        }
        known.retain(|_, namespace| namespace.strong_count() > 0);
        let namespace = Arc::new(self.open(key.0.clone(), key.1));
        known.insert(key, Arc::downgrade(&namespace));
        Ok(namespace)
    }

    /// How all namespaces are connected now; what is asked over HTTP has no connection of its own.
    pub(super) fn figures(&self) -> Figures {
        let namespaces: Vec<_> = lock(&self.known).values().filter_map(Weak::upgrade).collect();
        let figures = namespaces.iter().map(|namespace| Figures {
            connections: usize::from(namespace.slot.is_open()),
            throttled: usize::from(!namespace.gate.is_open()),
        });
        figures.fold(Figures::default(), Figures::plus)
    }

    /// Ends every connection and task of all namespaces, and waits for it.
    pub(super) async fn end(&self) {
        let namespaces: Vec<_> =
            lock(&self.known).drain().map(|(_, namespace)| namespace).collect();
        for namespace in namespaces.iter().filter_map(Weak::upgrade) {
            namespace.end().await;
        }
    }

    fn open(&self, access: TrustedAccess, transport: Transport) -> Namespace {
        let (web, identities, tasks) = (&self.web, &self.identities, Tasks::default());
        let (gate, step_timeout) = (Arc::new(Gate::default()), self.step_timeout);
        let identities = || Arc::clone(identities);
        let counts =
            Counts::new(access.clone(), web, identities(), Arc::clone(&gate), tasks.clone());
        // Before a call's own deadline, so that it can say what was waited for.
        let step = step_timeout * 3 / 4;
        let slot = ConnectionSlot::new(
            access.clone(),
            transport,
            web.clone(),
            identities(),
            step,
            tasks.clone(),
        );
        let (slot, peekers) = (Arc::new(slot), Mutex::default());
        let turns = Arc::new(Semaphore::new(peek::AT_ONCE));
        Namespace { access, step_timeout, counts, slot, gate, turns, tasks, peekers }
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
        let (slot, gate) = (Arc::clone(&self.slot), Arc::clone(&self.gate));
        let turns = Arc::clone(&self.turns);
        let peeker = Peeker::new(self.access.host(), entity, slot, gate, turns, self.step_timeout);
        let peeker = Arc::new(peeker);
        peekers.insert(entity.clone(), Arc::downgrade(&peeker));
        peeker
    }

    async fn end(&self) {
        let peekers: Vec<_> = lock(&self.peekers).values().filter_map(Weak::upgrade).collect();
        for peeker in peekers {
            peeker.end().await;
        }
        self.slot.hang_up();
        self.tasks.end();
        self.tasks.ended().await;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.tasks.end();
    }
}
