//! The Service Bus source as the scaler has it: what follows triggers, and how all of it ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, TryFutureExt as _};

use super::namespaces::Namespaces;
use super::poller::{self, TriggerPoller};
use super::trigger::ServiceBusTrigger;
use crate::failure::Failure;
use crate::identity::{Hosts, Identities};
use crate::ledger::Account;
use crate::metadata::Table;
use crate::source::{Figures, Measure, ScalingKeys, Source, SurveyPlan, Surveyed, Surveyor};
use crate::web::Web;

/// The Service Bus source. Nothing connects before a trigger is measured.
pub struct ServiceBus(Namespaces);

/// What the operator says of this source.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a namespace may take to answer: the time a measurement has.
    pub request_timeout: Duration,
    /// The hosts that may have our tokens.
    pub hosts: Hosts,
}

impl ServiceBus {
    /// The source, without any namespace yet.
    pub fn new(options: Options, web: Web, identities: Arc<Identities>) -> ServiceBus {
        let Options { request_timeout, hosts } = options;
        ServiceBus(Namespaces::new(request_timeout, hosts, web, identities))
    }
}

impl Source for ServiceBus {
    const NAME: &'static str = "azure-servicebus";
    const TOLD_BY: &'static [&'static str] = &["queueName", "topicName"];
    const TABLE: &'static Table = &super::parameters::TABLE;
    const GROUP: Option<&'static str> = None;
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

    fn follow(&self, trigger: &Arc<ServiceBusTrigger>, _account: &Account) -> Box<dyn Measure> {
        Box::new(TriggerPoller::new(trigger, &self.0))
    }

    fn figures(&self) -> Figures {
        self.0.figures()
    }

    fn survey<'a>(
        &'a self,
        trigger: &'a Arc<ServiceBusTrigger>,
        _account: &'a Account,
        plan: SurveyPlan,
        surveyor: &'a mut dyn Surveyor,
    ) -> BoxFuture<'a, Result<Surveyed, Failure>> {
        poller::survey(trigger, &self.0, plan, surveyor).err_into().boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.0.end().boxed()
    }
}
