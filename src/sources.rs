//! The sources that there are: the one place that names them all. Another one is a folder, a line
//! here, and a line where it is started.

use std::num::NonZeroU64;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use crate::backlog::Backlog;
use crate::failure::Failure;
use crate::kafka::Kafka;
use crate::ledger::Account;
#[cfg(test)]
use crate::memory::Memory;
use crate::metadata::{Reader, Table};
use crate::selection::Selection;
use crate::service_bus::ServiceBus;
use crate::source::{Figures, Measure, Scaling, Source, SurveyPlan, Surveyed, Surveyor, Wanted};

/// A source as it is known without any connection.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) told_by: &'static [&'static str],
    pub(crate) table: &'static Table,
    pub(crate) group: Option<&'static str>,
    pub(crate) filter_variables: &'static [&'static str],
    pub(crate) scaling: fn(&mut Reader<'_>) -> Scaling,
    pub(crate) decode: fn(&mut Reader<'_>, Selection) -> Option<Trigger>,
}

/// Makes the types below of a list of sources, each with the name of its field.
macro_rules! sources {
    ($($(#[$only:meta])* $Name:ident { $field:ident },)+) => {
        /// One trigger of a ScaledJob or ScaledObject, decoded: what it asks of which source.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Trigger {
            $(
                $(#[$only])*
                #[doc = concat!("Of [`", stringify!($Name), "`].")]
                $Name(Arc<<$Name as Source>::Trigger>),
            )+
        }

        /// All that triggers can be measured by. None connects to anything before a trigger needs
        /// it.
        pub struct Sources {
            $(
                $(#[$only])*
                #[doc = concat!("[`", stringify!($Name), "`].")]
                pub $field: $Name,
            )+
        }

        /// Every source.
        pub(crate) const KINDS: &[Kind] = &[
            $(
                $(#[$only])*
                Kind {
                    name: $Name::NAME,
                    told_by: $Name::TOLD_BY,
                    table: $Name::TABLE,
                    group: $Name::GROUP,
                    filter_variables: $Name::FILTER_VARIABLES,
                    scaling: Scaling::decode::<$Name>,
                    decode: |reader, selection| {
                        let decoded = $Name::read(reader, selection);
                        decoded.map(|decoded| Trigger::$Name(Arc::new(decoded)))
                    },
                },
            )+
        ];

        impl Trigger {
            fn wanted(&self) -> &dyn Wanted {
                match self {
                    $($(#[$only])* Self::$Name(trigger) => &**trigger,)+
                }
            }

            /// The name of its source.
            pub fn source(&self) -> &'static str {
                match self {
                    $($(#[$only])* Self::$Name(_) => $Name::NAME,)+
                }
            }
        }

        impl Sources {
            /// Begins to follow what a trigger counts; `account` pays for what that makes the
            /// process hold.
            pub(crate) fn follow(&self, trigger: &Trigger, account: &Account) -> Box<dyn Measure> {
                match trigger {
                    $(
                        $(#[$only])*
                        Trigger::$Name(trigger) => Source::follow(&self.$field, trigger, account),
                    )+
                }
            }

            /// How each is connected now, by its name.
            pub fn figures(&self) -> Vec<(&'static str, Figures)> {
                vec![
                    $($(#[$only])* ($Name::NAME, Source::figures(&self.$field)),)+
                ]
            }

            /// Shows a surveyor the messages where a trigger counts; `account` pays for what that
            /// makes the process hold.
            pub(crate) fn survey<'a>(
                &'a self,
                trigger: &'a Trigger,
                account: &'a Account,
                plan: SurveyPlan,
                surveyor: &'a mut dyn Surveyor,
            ) -> BoxFuture<'a, Result<Surveyed, Failure>> {
                match trigger {
                    $(
                        $(#[$only])*
                        Trigger::$Name(trigger) => {
                            Source::survey(&self.$field, trigger, account, plan, surveyor)
                        }
                    )+
                }
            }

            /// Ends every connection and task of the sources.
            pub async fn shutdown(&self) {
                join_all([$($(#[$only])* Source::shutdown(&self.$field),)+]).await;
            }
        }
    };
}

sources! {
    Kafka { kafka },
    ServiceBus { service_bus },
    #[cfg(test)]
    Memory { memory },
}

impl Sources {
    /// The parameters of each, by its name.
    pub fn tables() -> impl Iterator<Item = (&'static str, &'static Table)> {
        KINDS.iter().map(|kind| (kind.name, kind.table))
    }

    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|kind| kind.name)
    }
}

impl Trigger {
    /// What KEDA is told of it.
    pub fn scaling(&self) -> &Scaling {
        self.wanted().scaling()
    }

    /// Which messages count.
    pub fn selection(&self) -> &Selection {
        self.wanted().selection()
    }

    /// Its source, and where the messages wait, in words for a person.
    pub fn place(&self) -> String {
        format!("{} {}", self.source(), self.wanted().place())
    }

    /// How far a count must go where KEDA starts no more than `max_jobs` Jobs. `None` where it must
    /// go on to the end, or to the trigger's own `countLimit`.
    pub fn enough(&self, max_jobs: NonZeroU64) -> Option<NonZeroU64> {
        let scaling = self.scaling();
        if scaling.count_limit.is_some() || self.wanted().is_reckoned() {
            return None;
        }
        // At or below the activation threshold a count would never tell whether that is passed.
        let above = NonZeroU64::MIN.saturating_add(scaling.activation);
        Some(max_jobs.saturating_mul(NonZeroU64::new(scaling.target)?).max(above))
    }

    /// Whether a count that was told to go as far as `enough` has ended because it need not go
    /// further.
    pub fn stops_at(&self, backlog: Backlog, enough: Option<NonZeroU64>) -> bool {
        let limit = self.scaling().count_limit.or(enough).or(self.wanted().default_limit());
        matches!(backlog, Backlog::AtLeast(bound) if limit.is_some_and(|limit| bound >= limit))
    }
}
