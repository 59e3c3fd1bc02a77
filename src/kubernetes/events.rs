//! What is told where `kubectl describe` shows it: a Warning on the ScaledJob whose trigger cannot
//! be counted.
//!
//! KEDA reports only the first error of an object whose status does not change; this tells the
//! later ones too, in the same words. An Event's name follows from the object and the words, so
//! that replicas, and one that was started again, tell of one Event together. The same words are
//! told again after [`AGAIN`], different ones of an object after [`OBJECT_WAIT`], and no more than
//! five a second altogether; what would have to wait longer is left out, as the next poll brings it
//! again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::client::{Kubernetes, Right, Subject, ask};
use super::error::Error;
use super::names::Name;
use super::scaled::ScaledRef;
use crate::coalescer::Tasks;
use crate::telemetry::{EVENTS, Family};

const COMPONENT: &str = "keda-sift";

/// How long the same words are told once.
const AGAIN: Duration = Duration::from_secs(600);

/// Between two Events of one object.
const OBJECT_WAIT: Duration = Duration::from_secs(30);

/// Between two Events at all.
const PAUSE: Duration = Duration::from_millis(200);

/// How long nothing is told in a namespace when telling is refused there.
const REFUSED_WAIT: Duration = Duration::from_secs(600);

/// Events that wait to be told.
const WAITING: usize = 256;

/// What is told of an object.
pub struct Notice {
    /// Of which kind it is.
    pub reason: Reason,
    /// One line.
    pub words: String,
}

/// The kinds of what is told, by the names that an Event has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no count.
    TriggerFailed,
    /// The count is 0, and other messages wait.
    NothingMatches,
    /// KEDA has never asked for the count.
    NeverPolled,
}

/// Tells Events, or none.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Telling>>);

struct Telling {
    queue: mpsc::Sender<(ScaledRef, Notice)>,
    counts: Arc<Counts>,
    tasks: Tasks,
}

/// How telling has ended.
#[derive(Debug, Default)]
struct Counts {
    told: AtomicU64,
    /// Too many waited.
    dropped: AtomicU64,
    /// The API server did not take it.
    failed: AtomicU64,
}

/// What was told, and when.
#[derive(Default)]
struct Told {
    words: HashMap<String, Instant>,
    objects: HashMap<String, Instant>,
    /// Namespaces in which telling was refused.
    refused: HashMap<Name, Instant>,
}

impl Events {
    /// Tells nothing.
    pub fn off() -> Events {
        Events(None)
    }

    /// Tells through this API server, if there is one.
    pub fn new(kubernetes: &Kubernetes) -> Events {
        if !kubernetes.is_there() {
            return Events::off();
        }
        let (queue, told) = mpsc::channel(WAITING);
        let (tasks, counts) = (Tasks::default(), Arc::<Counts>::default());
        tasks.spawn(tell_all(kubernetes.clone(), told, Arc::clone(&counts)));
        Events(Some(Arc::new(Telling { queue, counts, tasks })))
    }

    /// Warns of an object. Does not wait.
    pub fn warn(&self, of: &ScaledRef, notice: Notice) {
        if let Some(telling) = &self.0 {
            // A full queue leaves it to the next poll.
            if telling.queue.try_send((of.clone(), notice)).is_err() {
                telling.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many there were, and what became of them.
    pub fn figures(&self) -> Family {
        let mut events = Family::of(&EVENTS);
        if let Some(telling) = &self.0 {
            let Counts { told, dropped, failed } = &*telling.counts;
            for (result, count) in [("told", told), ("dropped", dropped), ("failed", failed)] {
                let labels = vec![("result", result.to_owned())];
                events.push(labels, count.load(Ordering::Relaxed));
            }
        }
        events
    }

    /// Ends what is under way, and waits for it.
    pub async fn shutdown(&self) {
        if let Some(telling) = &self.0 {
            telling.tasks.end();
            telling.tasks.ended().await;
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

async fn tell_all(
    kubernetes: Kubernetes,
    mut queue: mpsc::Receiver<(ScaledRef, Notice)>,
    counts: Arc<Counts>,
) {
    let mut told = Told::default();
    while let Some((of, notice)) = queue.recv().await {
        let name = name(&of, &notice.words);
        if !told.is_due(&name, &of, Instant::now()) {
            continue;
        }
        let answer = kubernetes.tell(&of, &name, &notice).await;
        let count = if answer.is_ok() { &counts.told } else { &counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(()) => told.note(name, &of, Instant::now()),
            Err(error @ Error::Forbidden { .. }) => {
                warn!(%error, "nothing is told there on ScaledJobs for a while");
                told.refused.insert(of.namespace, Instant::now());
            }
            // The next poll brings it again.
            Err(error) => debug!(%of, %error, "an Event was not told"),
        }
        sleep(PAUSE).await;
    }
}

impl Told {
    /// Whether it is to be told now.
    fn is_due(&mut self, name: &str, of: &ScaledRef, now: Instant) -> bool {
        self.words.retain(|_, at| now - *at < AGAIN);
        self.objects.retain(|_, at| now - *at < OBJECT_WAIT);
        self.refused.retain(|_, at| now - *at < REFUSED_WAIT);
        !self.words.contains_key(name)
            && !self.objects.contains_key(&of.uid)
            && !self.refused.contains_key(&of.namespace)
    }

    /// It has been told.
    fn note(&mut self, name: String, of: &ScaledRef, now: Instant) {
        self.words.insert(name, now);
        self.objects.insert(of.uid.clone(), now);
    }
}

impl Kubernetes {
    async fn tell(&self, of: &ScaledRef, name: &str, notice: &Notice) -> Result<(), Error> {
        let namespace = of.namespace.as_str();
        let right = |verb| Right { verb, resource: "events", component: "events" };
        let events: Api<Event> = Api::namespaced(self.client(right("create"))?, namespace);
        let about = Subject { kind: "Event", name, namespace };
        let now = Time(Timestamp::now());
        let event = event(of, name, notice, &now);
        // Waits for a right that is missing once; that it is there already is no failure.
        let params = PostParams::default();
        let create = async {
            match events.create(&params, &event).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                created => created.map(|_| true),
            }
        };
        if ask(right("create"), about, create).await? {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "lastTimestamp": now }));
        let params = PatchParams::default();
        ask(right("patch"), about, events.patch(name, &params, &patch)).await?;
        Ok(())
    }
}

/// Follows from the object and the words.
fn name(of: &ScaledRef, words: &str) -> String {
    let digest = Sha256::new_with_prefix(&of.uid).chain_update([0]).chain_update(words).finalize();
    let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = of.name.as_str();
    let name = name[..name.len().min(200)].trim_end_matches(['.', '-']);
    format!("{name}.{digest}")
}

fn event(of: &ScaledRef, name: &str, notice: &Notice, now: &Time) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(of.namespace.to_string()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("keda.sh/v1alpha1".to_owned()),
            kind: Some(of.kind.as_str().to_owned()),
            name: Some(of.name.to_string()),
            namespace: Some(of.namespace.to_string()),
            uid: Some(of.uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(format!("{:?}", notice.reason)),
        message: Some(notice.words.clone()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now.clone()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scaled::Kind;
    use super::*;

    fn of(name: &str, uid: &str) -> ScaledRef {
        let name = Name::parse(name).expect("a name");
        let namespace = Name::parse("media").expect("a name");
        ScaledRef { kind: Kind::ScaledJob, namespace, name, uid: uid.to_owned() }
    }

    #[test]
    fn an_event_s_name_follows_from_the_object_and_the_words() {
        let job = of("thumbnails", "1");
        assert_eq!(name(&job, "no topic"), name(&job, "no topic"));
        assert_ne!(name(&job, "no topic"), name(&job, "no group"));
        assert_ne!(name(&job, "no topic"), name(&of("thumbnails", "2"), "no topic"));
        let long = of(&"a".repeat(253), "1");
        assert!(Name::parse(&name(&long, "no topic")).is_ok());
        let odd = of(&format!("{}.b", "a".repeat(199)), "1");
        assert!(Name::parse(&name(&odd, "no topic")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_and_an_object_is_not_flooded() {
        let mut told = Told::default();
        let mut due = |name: &str, uid: &str| {
            let of = of("thumbnails", uid);
            let due = told.is_due(name, &of, Instant::now());
            if due {
                told.note(name.to_owned(), &of, Instant::now());
            }
            due
        };
        assert!(due("a", "1"));
        assert!(!due("a", "1"));
        assert!(!due("b", "1"), "another one of the object at once");
        assert!(due("c", "2"));
        tokio::time::advance(OBJECT_WAIT).await;
        assert!(!due("a", "1"));
        assert!(due("b", "1"));
        tokio::time::advance(AGAIN).await;
        assert!(due("a", "1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_refuses_silences_itself_alone() {
        let mut told = Told::default();
        let job = of("thumbnails", "1");
        let elsewhere = Name::parse("tools").expect("a name");
        told.refused.insert(elsewhere.clone(), Instant::now());
        assert!(told.is_due("a", &job, Instant::now()));
        assert!(told.is_due("a", &job, Instant::now()), "not told yet, so still due");
        told.refused.insert(job.namespace.clone(), Instant::now());
        assert!(!told.is_due("a", &job, Instant::now()));
        tokio::time::advance(REFUSED_WAIT).await;
        assert!(told.is_due("a", &job, Instant::now()));
    }
}
