//! Which source measures a trigger: the one place of the scaler that names them all.
//!
//! A further source is one field, one variant and one line in each `match`.

use std::sync::Arc;

use tokio::time::Instant;

#[cfg(test)]
use super::script::Script;
use super::status::Error;
pub(crate) use crate::backlog::{Measured, Purpose, Scope};
use crate::kafka::{self, Kafka};
use crate::ledger::Account;
use crate::selection::Sight;
use crate::service_bus::{self, ServiceBus};
use crate::trigger::Source;
#[cfg(test)]
use crate::{
    identity::{self, Identities},
    kubernetes::Kubernetes,
    web::{self, Web},
};

/// All that triggers can be measured by.
pub struct Sources {
    kafka: Kafka,
    service_bus: ServiceBus,
    #[cfg(test)]
    script: Option<Arc<Script>>,
}

/// One trigger's hold on its source; dropping it lets go of what nobody else needs.
pub(crate) enum Follower {
    Kafka(Box<kafka::TriggerPoller>),
    ServiceBus(Box<service_bus::Follower>),
    #[cfg(test)]
    Scripted(Arc<Script>),
}

impl Sources {
    /// The sources, none of which connects to anything before a trigger needs it.
    pub fn new(kafka: Kafka, service_bus: ServiceBus) -> Self {
        Self {
            kafka,
            service_bus,
            #[cfg(test)]
            script: None,
        }
    }

    /// Sources that measure whatever the script says.
    #[cfg(test)]
    pub(crate) fn scripted(script: Arc<Script>) -> Self {
        let web = Web::new(&web::Options::default()).expect("no authorities of its own");
        let identities = Identities::new(identity::Options::default(), &web, Kubernetes::none());
        let service_bus = ServiceBus::new(service_bus::Options::default(), web, identities);
        let kafka = Kafka::new(kafka::Options::default());
        Self { kafka, service_bus, script: Some(script) }
    }

    /// Begins to follow what a trigger counts; `account` pays for what that makes the process hold.
    pub(crate) fn follow(&self, source: &Source, account: &Account) -> Follower {
        #[cfg(test)]
        if let Some(script) = &self.script {
            return Follower::Scripted(Arc::clone(script));
        }
        match source {
            Source::Kafka(trigger) => {
                Follower::Kafka(Box::new(self.kafka.follow(Arc::clone(trigger), account.clone())))
            }
            Source::ServiceBus(trigger) => {
                Follower::ServiceBus(Box::new(self.service_bus.follow(trigger)))
            }
        }
    }

    /// What a source is called in metrics.
    pub(crate) fn name(source: &Source) -> &'static str {
        match source {
            Source::Kafka(_) => "kafka",
            Source::ServiceBus(_) => "azure-servicebus",
        }
    }

    /// The names of all sources.
    pub(crate) const NAMES: [&str; 2] = ["kafka", "azure-servicebus"];

    /// Ends every connection and task of the sources.
    pub async fn shutdown(&self) {
        tokio::join!(self.kafka.shutdown(), self.service_bus.shutdown());
    }
}

impl Follower {
    /// How many messages wait, now; of a trigger without a `countLimit` no further than the scope says.
    ///
    /// Dropping the future gives up this caller's wait and nothing that others wait for.
    ///
    /// # Errors
    /// When the count cannot be had by the deadline; an unknown is never 0.
    pub(crate) async fn measure(
        &self,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> Result<Measured, Error> {
        match self {
            Self::Kafka(poller) => Ok(poller.measure(deadline, purpose, scope).await?),
            Self::ServiceBus(follower) => Ok(follower.measure(deadline, scope).await?),
            #[cfg(test)]
            Self::Scripted(script) => Ok(script.measure(purpose).await?),
        }
    }

    /// What was seen of late of the messages that wait; `None` where every message counts, or none is looked at.
    pub(crate) fn sight(&self) -> Option<Sight> {
        match self {
            Self::Kafka(poller) => poller.sight(),
            Self::ServiceBus(follower) => follower.sight(),
            #[cfg(test)]
            Self::Scripted(script) => script.sight(),
        }
    }
}
