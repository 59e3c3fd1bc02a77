//! What a running keda-sift knows of a trigger: `--server`, by `sift.v1.Diagnostics`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::finding::{Finding, Mark, See};
use super::inspect::Found;
use super::object::Object;
use crate::diagnostics::proto::diagnostics_client::DiagnosticsClient;
use crate::diagnostics::proto::{ListTriggersRequest, Poll, State, Trigger, poll};
use crate::metadata::one_line;
use crate::scaler::{self, proto::ScaledObjectRef};

/// Triggers of one object that are asked for.
const TRIGGERS: u32 = 1_000;

/// Bytes of a text of the server's.
const SHOWN_BYTES: usize = 600;

/// Which server is asked, and how it lets in.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Also ask a running keda-sift what KEDA has asked it and what it answered, such as
    /// http://localhost:9090 behind kubectl port-forward. It must serve --diagnostics.
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// A file with the token that its diagnostics ask for.
    #[arg(long, value_name = "FILE", requires = "server")]
    server_token_file: Option<PathBuf>,

    /// The authority that signed its certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "server")]
    server_ca_file: Option<PathBuf>,

    /// A client certificate to show it, as PEM.
    #[arg(long, value_name = "FILE", requires = "server_key_file")]
    server_cert_file: Option<PathBuf>,

    /// The private key of that certificate.
    #[arg(long, value_name = "FILE", requires = "server_cert_file")]
    server_key_file: Option<PathBuf>,

    /// The name in its certificate, such as keda-sift.keda-sift.
    #[arg(long, value_name = "HOST", requires = "server")]
    server_name: Option<String>,
}

/// A server that is asked.
pub(super) struct Server {
    channel: Channel,
    token: Option<AsciiMetadataValue>,
    timeout: Duration,
}

impl Options {
    /// The server, if one is named. It is connected to by the first question.
    ///
    /// # Errors
    /// The URL is none, or a file cannot be used.
    pub(super) fn server(&self, timeout: Duration) -> Result<Option<Server>, String> {
        let Some(url) = &self.server else { return Ok(None) };
        let of = |option: &str, error: &dyn std::fmt::Display| format!("{option}: {error}");
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| of("--server", &error))?
            .connect_timeout(timeout)
            .timeout(timeout);
        let endpoint = match url.starts_with("https:") {
            true => endpoint.tls_config(self.tls()?).map_err(|error| of("--server", &error))?,
            false => endpoint,
        };
        let token = match &self.server_token_file {
            None => None,
            Some(file) => {
                let token = format!("Bearer {}", read("--server-token-file", file)?.trim());
                let token = AsciiMetadataValue::try_from(token);
                Some(token.map_err(|error| of("--server-token-file", &error))?)
            }
        };
        Ok(Some(Server { channel: endpoint.connect_lazy(), token, timeout }))
    }

    fn tls(&self) -> Result<ClientTlsConfig, String> {
        let mut tls = ClientTlsConfig::new().with_native_roots();
        if let Some(file) = &self.server_ca_file {
            tls = tls.ca_certificate(Certificate::from_pem(read("--server-ca-file", file)?));
        }
        if let (Some(cert), Some(key)) = (&self.server_cert_file, &self.server_key_file) {
            let (cert, key) = (read("--server-cert-file", cert)?, read("--server-key-file", key)?);
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name.clone());
        }
        Ok(tls)
    }
}

fn read(option: &str, file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map_err(|error| format!("{option} {}: cannot be read: {error}", file.display()))
}

impl Server {
    /// What the server says of a trigger.
    pub(super) async fn look(&self, object: &Object<'_>, found: &Found<'_>) -> Finding {
        let (mark, words) = match self.triggers(object).await {
            Ok(known) => judge(&known, &self::id(object, found), SystemTime::now()),
            Err(status) => (Mark::Unknown, refused(&status)),
        };
        found.finding(mark, "server", one_line(&words, SHOWN_BYTES), See::Keda)
    }

    /// The triggers of an object that it knows.
    async fn triggers(&self, object: &Object<'_>) -> Result<Vec<Trigger>, Status> {
        let mut request = Request::new(ListTriggersRequest {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            page_size: TRIGGERS,
            ..ListTriggersRequest::default()
        });
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        let mut client = DiagnosticsClient::new(self.channel.clone());
        match tokio::time::timeout(self.timeout, client.list_triggers(request)).await {
            Ok(listed) => Ok(listed?.into_inner().triggers),
            Err(_) => Err(Status::deadline_exceeded("no answer in time; see --timeout")),
        }
    }
}

/// The id that the server has for a trigger: no secret is part of it.
fn id(object: &Object<'_>, found: &Found<'_>) -> String {
    scaler::id(&ScaledObjectRef {
        name: object.name.clone(),
        namespace: object.namespace.clone(),
        scaler_metadata: found.metadata(),
    })
}

/// What follows from what the server knows of the triggers of an object.
fn judge(known: &[Trigger], id: &str, now: SystemTime) -> (Mark, String) {
    let Some(trigger) = known.iter().find(|trigger| trigger.id == id) else {
        return match known.len() {
            0 => (Mark::Error, "KEDA has not asked it about this trigger lately".to_owned()),
            others => (
                Mark::Note,
                format!(
                    "it knows {others} triggers of the object and none like this one: the cluster \
                     has another version, or a FromEnv variable is empty there"
                ),
            ),
        };
    };
    let polls = trigger.polls;
    let last = trigger.last_poll.as_ref();
    let when = last.map(|poll| age(poll, now)).unwrap_or_default();
    let answer = last.and_then(|poll| poll.answer.as_ref());
    match (trigger.state(), answer) {
        (State::Failing, Some(poll::Answer::Error(refusal))) => {
            (Mark::Error, format!("{when} it answered {}: {}", refusal.code, refusal.message))
        }
        (State::Reading, Some(poll::Answer::Error(refusal))) => {
            (Mark::Note, format!("{when} it was still reading: {}", refusal.message))
        }
        (State::Zero | State::Waiting, Some(poll::Answer::Value(value))) => {
            let or_more = if value.is_lower_bound { " or more" } else { "" };
            let words = format!("{when} it answered {}{or_more}; {polls} polls", value.count);
            match trigger.note.as_str() {
                "" => (Mark::Fine, words),
                note => (Mark::Note, format!("{words}; {note}")),
            }
        }
        _ => (Mark::Error, "KEDA has never asked it for the count, or not for long".to_owned()),
    }
}

/// How long ago a poll was answered.
fn age(poll: &Poll, now: SystemTime) -> String {
    let at = poll.at.and_then(|at| SystemTime::try_from(at).ok());
    let age = at.and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
    format!("{} s ago", age.as_secs())
}

/// Why it says nothing.
fn refused(status: &Status) -> String {
    match status.code() {
        Code::Unimplemented => {
            "serves no diagnostics; start it with --diagnostics token or client-certificate".into()
        }
        Code::Unauthenticated => format!("{}; see --server-token-file", status.message()),
        Code::Unavailable => format!("cannot be reached: {}", status.message()),
        _ => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::diagnostics::proto::{Refusal, Value};

    fn trigger(state: State, answer: Option<poll::Answer>, note: &str) -> Trigger {
        let at = Some(UNIX_EPOCH.into());
        Trigger {
            id: "1".to_owned(),
            state: state.into(),
            polls: 3,
            last_poll: answer.map(|answer| Poll { at, took: None, answer: Some(answer) }),
            note: note.to_owned(),
            ..Trigger::default()
        }
    }

    #[test]
    fn what_it_knows_is_told() {
        let value = |count, is_lower_bound| {
            Some(poll::Answer::Value(Value { count, is_lower_bound, is_limit: false }))
        };
        let error = || {
            let (code, message) = ("Unavailable".to_owned(), "no broker".to_owned());
            Some(poll::Answer::Error(Refusal { code, message }))
        };
        let rows = [
            (State::Waiting, value(7, false), "", Mark::Fine, "9 s ago it answered 7; 3 polls"),
            (
                State::Waiting,
                value(7, true),
                "",
                Mark::Fine,
                "9 s ago it answered 7 or more; 3 polls",
            ),
            (
                State::Zero,
                value(0, false),
                "others",
                Mark::Note,
                "9 s ago it answered 0; 3 polls; others",
            ),
            (
                State::Failing,
                error(),
                "",
                Mark::Error,
                "9 s ago it answered Unavailable: no broker",
            ),
            (State::Reading, error(), "", Mark::Note, "9 s ago it was still reading: no broker"),
            (
                State::Unpolled,
                None,
                "",
                Mark::Error,
                "KEDA has never asked it for the count, or not for long",
            ),
        ];
        let now = UNIX_EPOCH + Duration::from_secs(9);
        for (state, answer, note, mark, words) in rows {
            let known = [trigger(state, answer, note)];
            assert_eq!(judge(&known, "1", now), (mark, words.to_owned()), "{state:?}");
            assert_eq!(judge(&known, "2", now).0, Mark::Note, "another version");
        }
        assert_eq!(judge(&[], "1", now).0, Mark::Error);
    }
}
