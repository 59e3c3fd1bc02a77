//! What of Kubernetes a poll meets: the parameters of its TriggerAuthentication, and the object
//! that its errors are told on.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::proto::ScaledObjectRef;
use super::status::{Error, fit, words};
use crate::failure::Class;
use crate::kubernetes::{
    Authentication, Authentications, Events, Kubernetes, Name, Notice, Reason, ScaledRef,
};
use crate::telemetry::Family;
use crate::trigger::Trigger;

/// The cluster's part in answering KEDA; by default there is none.
pub struct KubernetesContext {
    pub(super) kubernetes: Kubernetes,
    authentications: Authentications,
    events: Events,
    /// The objects that point at us, by namespace and name.
    objects: RwLock<HashMap<(Name, Name), Vec<ScaledRef>>>,
}

impl Default for KubernetesContext {
    fn default() -> Self {
        Self::new(Kubernetes::none(), Events::off())
    }
}

impl KubernetesContext {
    /// Asks this API server, and tells these Events.
    pub fn new(kubernetes: Kubernetes, events: Events) -> Self {
        let authentications = Authentications::new(kubernetes.clone());
        Self { kubernetes, authentications, events, objects: RwLock::default() }
    }

    /// What the trigger's TriggerAuthentication gives, if it names one.
    pub(super) async fn authentication(
        &self,
        asked: &ScaledObjectRef,
    ) -> Result<Option<Arc<Authentication>>, Error> {
        let Some(name) = Trigger::authentication(&asked.scaler_metadata) else {
            return Ok(None);
        };
        let namespace =
            Name::parse(&asked.namespace).map_err(|_| Error::Namespace(asked.namespace.clone()))?;
        Ok(Some(self.authentications.get(&namespace, &name, &asked.name).await?))
    }

    /// Has parameters that a source has refused read again by the next call: KEDA repeats a failed
    /// one at once.
    pub(super) fn refused(&self, asked: &ScaledObjectRef, error: &Error) {
        if !matches!(error.class(), Class::Unauthenticated | Class::Denied) {
            return;
        }
        let name = Trigger::authentication(&asked.scaler_metadata);
        if let (Some(name), Ok(namespace)) = (name, Name::parse(&asked.namespace)) {
            self.authentications.forget(&namespace, &name);
        }
    }

    /// Tells an error on the object that the trigger is of, in the words that KEDA gets.
    pub(super) fn tell(&self, asked: &ScaledObjectRef, error: &Error) {
        // What passes with the process, or with the reading, is no fault of the object's; how far a
        // reading has come would be other words each time.
        if matches!(error, Error::ShuttingDown | Error::Full { .. })
            || error.class() == Class::Reading
        {
            return;
        }
        self.warn(asked, Notice { reason: Reason::TriggerFailed, words: words(error) });
    }

    /// Tells on the object that other messages than the trigger's wait.
    pub(super) fn tell_nothing_matches(&self, asked: &ScaledObjectRef, words: &str) {
        self.warn(asked, Notice { reason: Reason::NothingMatches, words: fit(words) });
    }

    /// Tells on an object that KEDA has never asked about one of its triggers.
    pub(super) fn tell_never_polled(&self, of: &ScaledRef, words: &str) {
        self.events.warn(of, Notice { reason: Reason::NeverPolled, words: fit(words) });
    }

    fn warn(&self, asked: &ScaledObjectRef, notice: Notice) {
        let Some(key) = Name::parse(&asked.namespace).ok().zip(Name::parse(&asked.name).ok())
        else {
            return;
        };
        let objects = self.objects.read().expect(UNPOISONED);
        if let Some(of) = objects.get(&key).and_then(|found| found.first()) {
            self.events.warn(of, notice);
        }
    }

    /// An object that points at us. A request does not say the kind; a ScaledJob comes first.
    pub(super) fn found(&self, of: &ScaledRef) {
        let mut objects = self.objects.write().expect(UNPOISONED);
        let found = objects.entry((of.namespace.clone(), of.name.clone())).or_default();
        found.retain(|other| other.kind != of.kind);
        found.push(of.clone());
        found.sort_by_key(|of| of.kind);
    }

    /// One that does not any more.
    pub(super) fn lost(&self, of: &ScaledRef) {
        let mut objects = self.objects.write().expect(UNPOISONED);
        let key = (of.namespace.clone(), of.name.clone());
        if let Some(found) = objects.get_mut(&key) {
            found.retain(|other| other.kind != of.kind);
            if found.is_empty() {
                objects.remove(&key);
            }
        }
    }

    /// How many Events there were.
    pub(super) fn figures(&self) -> Family {
        self.events.figures()
    }

    /// Ends what is under way.
    pub(super) async fn shutdown(&self) {
        tokio::join!(self.authentications.shutdown(), self.events.shutdown());
    }
}

const UNPOISONED: &str = "nothing panics while it is held";
