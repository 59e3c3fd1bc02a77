//! What can go wrong between us and a namespace, by what is to be done about it.

use std::fmt;

use fe2o3_amqp::connection::{ConnectionStopReason, OpenError};
use fe2o3_amqp::link::{
    DetachError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
    SessionStopReason,
};
use fe2o3_amqp::session::BeginError;
use fe2o3_amqp_management::error::{AttachError, Error as RequestError};
use fe2o3_amqp_types::definitions::{AmqpError, Error as AmqpFault, ErrorCondition};

use crate::amqp::Values;
use crate::identity;
use crate::service_bus::error::steady;

/// Why a peek got no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service_bus) enum Fault {
    /// The link or connection is gone, which is ordinary life: another one may do.
    Lost(String),
    /// The claim is not good, or not any more.
    Unauthorized(String),
    /// There is no such entity.
    NotFound(String),
    /// The namespace is throttled.
    Busy(String),
    /// The reply is longer than the link takes.
    TooLong(String),
    /// The token that a claim is made with cannot be had.
    Token(identity::Error),
    /// It will not do it, or what came is not what the protocol says: another try would come to the
    /// same.
    Final(String),
}

impl Fault {
    /// What a status code of a reply stands for; HTTP's codes.
    pub(super) fn of_status(code: i64, condition: &str, description: &str) -> Fault {
        let words = [description, condition].into_iter().find(|words| !words.is_empty());
        let said = words.map_or_else(|| format!("status {code}"), str::to_owned);
        match code {
            _ if condition == BUSY => Fault::Busy(said),
            401 | 403 => Fault::Unauthorized(said),
            404 => Fault::NotFound(said),
            429 | 503 => Fault::Busy(said),
            408 | 410 | 500.. => Fault::Lost(said),
            _ => Fault::Final(format!("status {code}: {said}")),
        }
    }

    /// How silence is told.
    pub(in crate::service_bus) const SILENT: &str = "it has not answered in time";

    /// Nothing came for too long.
    pub(in crate::service_bus) fn silent() -> Fault {
        Fault::Lost(Self::SILENT.to_owned())
    }

    fn lost(what: &dyn fmt::Display) -> Fault {
        Fault::Lost(what.to_string())
    }
}

/// Wait about ten seconds, it means.
const BUSY: &str = "com.microsoft:server-busy";

/// What no other try changes.
const FINAL: &[&str] = &[
    "com.microsoft:entity-disabled",
    "com.microsoft:argument-error",
    "com.microsoft:argument-out-of-range",
];

impl From<AmqpFault> for Fault {
    fn from(fault: AmqpFault) -> Fault {
        let condition = condition(&fault.condition);
        let said = match &fault.description {
            Some(description) => format!("{condition}: {}", steady(description)),
            None => condition.clone(),
        };
        match fault.condition {
            ErrorCondition::AmqpError(AmqpError::UnauthorizedAccess) => Fault::Unauthorized(said),
            ErrorCondition::AmqpError(AmqpError::NotFound) => Fault::NotFound(said),
            ErrorCondition::AmqpError(
                AmqpError::NotAllowed | AmqpError::NotImplemented | AmqpError::InvalidField,
            ) => Fault::Final(said),
            _ if condition == BUSY => Fault::Busy(said),
            _ if FINAL.contains(&&*condition) => Fault::Final(said),
            _ => Fault::Lost(said),
        }
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Fault {
        match error {
            OpenError::RemoteClosedWithError(fault) => fault.into(),
            error => Fault::lost(&error),
        }
    }
}

impl From<BeginError> for Fault {
    fn from(error: BeginError) -> Fault {
        match error {
            BeginError::RemoteEndedWithError(fault) => fault.into(),
            BeginError::ConnectionStopped(reason) => reason.into(),
            error => Fault::lost(&error),
        }
    }
}

impl From<ConnectionStopReason> for Fault {
    fn from(reason: ConnectionStopReason) -> Fault {
        match reason {
            ConnectionStopReason::RemoteClosedWithError(fault)
            | ConnectionStopReason::ClosedWithError(fault) => fault.into(),
            ConnectionStopReason::RemoteClosed => {
                Fault::lost(&"the namespace closed the connection")
            }
            ConnectionStopReason::Closed => Fault::lost(&"the connection broke"),
        }
    }
}

impl From<SessionStopReason> for Fault {
    fn from(reason: SessionStopReason) -> Fault {
        match reason {
            SessionStopReason::RemoteEndedWithError(fault)
            | SessionStopReason::EndedWithError(fault) => fault.into(),
            SessionStopReason::ConnectionStopped(reason) => reason.into(),
            SessionStopReason::RemoteEnded | SessionStopReason::Ended => {
                Fault::lost(&"the namespace ended the session")
            }
        }
    }
}

impl From<LinkStateError> for Fault {
    fn from(error: LinkStateError) -> Fault {
        match error {
            LinkStateError::RemoteDetachedWithError(fault)
            | LinkStateError::RemoteClosedWithError(fault) => fault.into(),
            LinkStateError::SessionStopped(reason) => reason.into(),
            error => Fault::lost(&error),
        }
    }
}

impl From<DetachError> for Fault {
    fn from(error: DetachError) -> Fault {
        match error {
            DetachError::RemoteDetachedWithError(fault)
            | DetachError::RemoteClosedWithError(fault) => fault.into(),
            DetachError::SessionStopped(reason) => reason.into(),
            error => Fault::lost(&error),
        }
    }
}

impl From<SendError> for Fault {
    fn from(error: SendError) -> Fault {
        match error {
            SendError::LinkStateError(error) => error.into(),
            SendError::Detached(error) => error.into(),
            error => Fault::lost(&error),
        }
    }
}

impl From<RecvError> for Fault {
    fn from(error: RecvError) -> Fault {
        match error {
            RecvError::LinkStateError(error) => error.into(),
            RecvError::MessageSizeExceeded(error) => Fault::TooLong(error.to_string()),
            RecvError::MessageDecode(_) => {
                Fault::Final("a reply that is no AMQP message".to_owned())
            }
            error => Fault::lost(&error),
        }
    }
}

impl From<SenderAttachError> for Fault {
    fn from(error: SenderAttachError) -> Fault {
        match error {
            SenderAttachError::RemoteClosedWithError(fault) => fault.into(),
            SenderAttachError::SessionStopped(reason) => reason.into(),
            error => Fault::lost(&error),
        }
    }
}

impl From<ReceiverAttachError> for Fault {
    fn from(error: ReceiverAttachError) -> Fault {
        match error {
            ReceiverAttachError::RemoteClosedWithError(fault) => fault.into(),
            ReceiverAttachError::SessionStopped(reason) => reason.into(),
            error => Fault::lost(&error),
        }
    }
}

impl From<AttachError> for Fault {
    fn from(error: AttachError) -> Fault {
        match error {
            AttachError::Sender(error) => error.into(),
            AttachError::Receiver(error) => error.into(),
        }
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Fault {
        match error {
            RequestError::Send(error) => error.into(),
            RequestError::Recv(error) => error.into(),
            RequestError::Status(status) => {
                let description = status.description.unwrap_or_default();
                Fault::of_status(status.code.0.get().into(), "", &steady(&description))
            }
            error => Fault::lost(&error),
        }
    }
}

/// A condition by the name that it has on the wire.
fn condition(condition: &ErrorCondition) -> String {
    let bytes = serde_amqp::to_vec(condition).unwrap_or_default();
    let name = Values::new(&bytes).next().and_then(|value| value.text().map(str::to_owned));
    name.unwrap_or_else(|| "an error without a name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_its_name_and_its_cure() {
        let fault = |condition: ErrorCondition| {
            Fault::from(AmqpFault::new(condition, Some("Gone. TrackingId:1".to_owned()), None))
        };
        let custom = |name: &str| ErrorCondition::Custom(name.into());
        let rows = [
            (AmqpError::NotFound.into(), Fault::NotFound("amqp:not-found: Gone".to_owned())),
            (
                AmqpError::UnauthorizedAccess.into(),
                Fault::Unauthorized("amqp:unauthorized-access: Gone".to_owned()),
            ),
            (custom(BUSY), Fault::Busy("com.microsoft:server-busy: Gone".to_owned())),
            (
                fe2o3_amqp_types::definitions::LinkError::DetachForced.into(),
                Fault::Lost("amqp:link:detach-forced: Gone".to_owned()),
            ),
            (
                custom("com.microsoft:timeout"),
                Fault::Lost("com.microsoft:timeout: Gone".to_owned()),
            ),
        ];
        for (condition, expected) in rows {
            assert_eq!(fault(condition), expected);
        }
    }
}
