//! Which ScaledJobs and ScaledObjects point at us, and what changes about that.
//!
//! Each kind, in each namespace that is watched, is a feed of its own: listed in pages once, then
//! watched from there on. A watch that breaks goes on where it was; it is listed anew only when the
//! API server no longer knows that place. What is kept of an object is its name, and only while it
//! points at us.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::core::DynamicObject;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::client::{Kubernetes, Right, Subject, keda};
use super::error::Error;
use super::names::Name;
use super::scaled::{Addresses, Kind, Scaled};

const COMPONENT: &str = "warm-up";

/// How long a feed must have been refused before that is believed: an API server that is starting
/// refuses for a moment what it grants.
const BELIEVE_AFTER: Duration = Duration::from_secs(5);

/// How long a feed that is refused waits before it asks again: the right may be granted later.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// The same where the right was there, or the refusal is not believed yet.
const REFUSED_SINCE_WAIT: Duration = Duration::from_secs(1);

/// Changes that wait to be looked at; a list waits for them.
const WAITING: usize = 64;

/// What is to be watched.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Whose triggers are ours.
    pub addresses: Addresses,
    /// The only namespaces to look in; none means all.
    pub namespaces: Vec<Name>,
}

/// What has changed.
#[derive(Debug)]
pub enum Change {
    /// An object points at us: it is new, or has changed, or was there when the watch began.
    Applied(Box<Scaled>),
    /// An object does not any more.
    Gone(Kind, Name, Name),
    /// All objects of one feed that were there when the watch began have been told, or will not be.
    Listed,
}

/// The changes, which end with it.
pub struct Changes {
    receiver: mpsc::Receiver<Change>,
    /// How many times [`Change::Listed`] comes before all of it is known.
    pub feeds: usize,
    _feeds: JoinSet<()>,
}

struct Feed {
    kind: Kind,
    namespace: Option<Name>,
    addresses: Arc<Addresses>,
    tell: mpsc::Sender<Change>,
    /// Those that point at us.
    ours: HashSet<(Name, Name)>,
    /// Those of them that the list under way has not come by yet.
    unseen: HashSet<(Name, Name)>,
    listed: bool,
    /// Whether it has ever been told anything.
    granted: bool,
    /// Since when it is told nothing but refusals.
    refused: Option<Instant>,
    troubled: bool,
}

impl Kubernetes {
    /// Begins to watch.
    ///
    /// # Errors
    /// There is no API server.
    pub fn watch(&self, watch: &Watch) -> Result<Changes, Error> {
        let right =
            Right { verb: "list", resource: Kind::ScaledJob.resource(), component: COMPONENT };
        let client = self.client(right)?;
        let (tell, receiver) = mpsc::channel(WAITING);
        let addresses = Arc::new(watch.addresses.clone());
        let namespaces: Vec<_> = match &watch.namespaces[..] {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let mut feeds = JoinSet::new();
        for kind in [Kind::ScaledJob, Kind::ScaledObject] {
            for namespace in namespaces.clone() {
                let feed = Feed {
                    kind,
                    namespace,
                    addresses: Arc::clone(&addresses),
                    tell: tell.clone(),
                    ours: HashSet::new(),
                    unseen: HashSet::new(),
                    listed: false,
                    granted: false,
                    refused: None,
                    troubled: false,
                };
                feeds.spawn(feed.run(client.clone()));
            }
        }
        Ok(Changes { receiver, feeds: feeds.len(), _feeds: feeds })
    }
}

impl Changes {
    /// The next change. `None` only if all feeds have failed, which they do not.
    pub async fn next(&mut self) -> Option<Change> {
        self.receiver.recv().await
    }
}

impl Feed {
    async fn run(mut self, client: kube::Client) {
        let resource = keda(self.kind.as_str());
        let api: Api<DynamicObject> = match &self.namespace {
            None => Api::all_with(client, &resource),
            Some(namespace) => Api::namespaced_with(client, namespace.as_str(), &resource),
        };
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        loop {
            let told = match events.try_next().await {
                Ok(Some(event)) => self.changed(event).await,
                Ok(None) => return,
                Err(error) => self.failed(&error).await,
            };
            // Whoever listened has ended.
            if told.is_err() {
                return;
            }
        }
    }

    async fn changed(
        &mut self,
        event: watcher::Event<DynamicObject>,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        // The first event says only that it begins to ask.
        if !matches!(event, watcher::Event::Init) {
            self.granted = true;
            self.refused = None;
            if std::mem::take(&mut self.troubled) {
                info!(kind = self.kind.as_str(), "watching again");
            }
        }
        match event {
            watcher::Event::Init => self.unseen = self.ours.clone(),
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                if let Some(scaled) = Scaled::of(self.kind, &object, &self.addresses) {
                    let key = (scaled.of.namespace.clone(), scaled.of.name.clone());
                    self.unseen.remove(&key);
                    self.ours.insert(key);
                    self.tell.send(Change::Applied(Box::new(scaled))).await?;
                } else if let Some(key) = key(&object) {
                    self.gone(key).await?;
                }
            }
            watcher::Event::Delete(object) => {
                if let Some(key) = key(&object) {
                    self.gone(key).await?;
                }
            }
            watcher::Event::InitDone => {
                for key in std::mem::take(&mut self.unseen) {
                    self.gone(key).await?;
                }
                self.listed().await?;
            }
        }
        Ok(())
    }

    async fn gone(&mut self, key: (Name, Name)) -> Result<(), mpsc::error::SendError<Change>> {
        if !self.ours.remove(&key) {
            return Ok(());
        }
        self.unseen.remove(&key);
        self.tell.send(Change::Gone(self.kind, key.0, key.1)).await
    }

    async fn listed(&mut self) -> Result<(), mpsc::error::SendError<Change>> {
        if std::mem::replace(&mut self.listed, true) {
            return Ok(());
        }
        self.tell.send(Change::Listed).await
    }

    /// Says once what is wrong. What is known stays: an API server that is away changes nothing.
    async fn failed(
        &mut self,
        error: &watcher::Error,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        let kind = self.kind.as_str();
        if is_expired(error) {
            // What it was told is too long ago for a watch to go on from, which is no trouble: it
            // lists again.
            debug!(kind, %error, "watching begins anew");
            return Ok(());
        }
        let Some(refusal) = self.refusal(error) else {
            debug!(kind, %error, "watching failed");
            if !std::mem::replace(&mut self.troubled, true) {
                warn!(
                    kind,
                    "the Kubernetes API does not answer; triggers stay as they are known until it does"
                );
            }
            return Ok(());
        };
        let refused = self.refused.get_or_insert_with(Instant::now).elapsed();
        if refused < BELIEVE_AFTER {
            sleep(REFUSED_SINCE_WAIT).await;
            return Ok(());
        }
        if !std::mem::replace(&mut self.troubled, true) {
            info!(kind, %refusal, "triggers are not warmed, or followed, until this is granted");
        }
        self.listed().await?;
        sleep(if self.granted { REFUSED_SINCE_WAIT } else { REFUSED_WAIT }).await;
        Ok(())
    }

    /// What does not pass by itself: a right that is missing, or KEDA's definitions that are not
    /// there.
    fn refusal(&self, error: &watcher::Error) -> Option<Error> {
        let (verb, error) = match error {
            watcher::Error::InitialListFailed(error) => ("list", error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                ("watch", error)
            }
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return None,
        };
        let right = Right { verb, resource: self.kind.resource(), component: COMPONENT };
        let namespace = self.namespace.as_ref().map_or("any", Name::as_str);
        let about =
            Subject { kind: "CustomResourceDefinition", name: self.kind.resource(), namespace };
        Some(right.failed(about, error)).filter(|error| !error.passes())
    }
}

/// Whether the API server no longer knows the place in its history, or in a list, that was asked
/// for.
fn is_expired(error: &watcher::Error) -> bool {
    const GONE: u16 = 410;
    match error {
        watcher::Error::WatchError(status) => status.code == GONE,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == GONE,
        _ => false,
    }
}

fn key(object: &DynamicObject) -> Option<(Name, Name)> {
    let name = |text: &Option<String>| Name::parse(text.as_deref()?).ok();
    Some((name(&object.metadata.namespace)?, name(&object.metadata.name)?))
}
