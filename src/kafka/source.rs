//! The Kafka source as the scaler has it: what polls triggers, and how all of it ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, TryFutureExt as _};

use super::broker::Logins;
use super::clusters::Clusters;
use super::poll::TriggerPoller;
use super::survey;
use super::trigger::KafkaTrigger;
use crate::failure::Failure;
use crate::ledger::Account;
use crate::metadata::Table;
use crate::source::{Figures, Measure, ScalingKeys, Source, SurveyPlan, Surveyed, Surveyor};

/// The Kafka source. Nothing connects before a trigger is measured.
pub struct Kafka(Arc<Clusters>);

/// What the operator says of this source.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long a request to a broker may take: the time a measurement has.
    pub request_timeout: Duration,
}

impl Kafka {
    /// The source, without any cluster yet, and without logins by token.
    pub fn new(options: Options) -> Kafka {
        Kafka::open(options, None)
    }

    /// The source, without any cluster yet.
    pub fn with_logins(options: Options, logins: Logins) -> Kafka {
        Kafka::open(options, Some(logins))
    }

    fn open(options: Options, logins: Option<Logins>) -> Kafka {
        Kafka(Arc::new(Clusters::new(options.request_timeout, logins)))
    }

    /// Begins to follow a trigger, which connects when it is first measured; `account` pays for
    /// what that makes the process hold.
    pub fn follow(&self, trigger: Arc<KafkaTrigger>, account: Account) -> TriggerPoller {
        TriggerPoller::new(trigger, Arc::clone(&self.0), account)
    }
}

impl Source for Kafka {
    const NAME: &'static str = "kafka";
    const TOLD_BY: &'static [&'static str] = &["bootstrapServers"];
    const TABLE: &'static Table = &super::parameters::TABLE;
    const GROUP: Option<&'static str> = Some("consumerGroup");
    const FILTER_VARIABLES: &'static [&'static str] = &["topic", "partition", "offset"];
    const SCALING: ScalingKeys = ScalingKeys {
        target: "lagThreshold",
        default_target: 10,
        activation: "activationLagThreshold",
    };

    type Trigger = KafkaTrigger;

    fn follow(&self, trigger: &Arc<KafkaTrigger>, account: &Account) -> Box<dyn Measure> {
        Box::new(Kafka::follow(self, Arc::clone(trigger), account.clone()))
    }

    fn figures(&self) -> Figures {
        self.0.figures()
    }

    fn survey<'a>(
        &'a self,
        trigger: &'a Arc<KafkaTrigger>,
        account: &'a Account,
        plan: SurveyPlan,
        surveyor: &'a mut dyn Surveyor,
    ) -> BoxFuture<'a, Result<Surveyed, Failure>> {
        survey::survey(&self.0, trigger, account, plan, surveyor).err_into().boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.0.shutdown().boxed()
    }
}

impl Default for Options {
    fn default() -> Options {
        Options { request_timeout: Duration::from_secs(10) }
    }
}
