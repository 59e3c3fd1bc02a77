//! Each call of `sift.v1.Diagnostics`: what the scaler knows, as the wire has it.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::access::{Access, Denied};
use super::proto::diagnostics_server::Diagnostics as Calls;
use super::proto::{
    self, ExplainResponse, Fact, ListTriggersRequest, ListTriggersResponse, Measurement,
    TriggerRef, TypeCount, explain_response, poll,
};
use crate::backlog::Backlog;
use crate::scaler::{
    Answer, Entry, Explained, FindError, Overview, Point, Poll, Query, Refusal, Scaler, State,
};
use crate::source::Explanation;

/// Explanations under way at once: each measures, and its reply may be large.
const EXPLANATIONS: usize = 16;

/// Open streams at once.
const STREAMS: usize = 256;

/// How often a stream looks for new answers. KEDA asks once a second at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Triggers on a page, where none is asked for, and at most.
const PAGE: usize = 500;
const LARGEST_PAGE: usize = 1_000;

/// Stands between the parts of a page token; no name has one.
const BETWEEN: char = '\t';

/// The service.
pub struct Diagnostics {
    scaler: Arc<Scaler>,
    access: Access,
    explanations: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Diagnostics {
    /// Says what this scaler knows to whoever may know it.
    pub fn new(scaler: Arc<Scaler>, access: Access) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { scaler, access, explanations: semaphore(EXPLANATIONS), streams: semaphore(STREAMS) }
    }

    /// Lets a caller in, or says why not.
    async fn admit(&self, headers: &MetadataMap) -> Result<(), Status> {
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
        self.access.admit(shown).await.map_err(|denied| match denied {
            Denied::NoToken | Denied::WrongToken => Status::unauthenticated(denied.to_string()),
            Denied::Unreadable => Status::unavailable(denied.to_string()),
        })
    }

    /// The one trigger that is meant, if the caller may see it.
    fn one(&self, asked: TriggerRef) -> Result<Arc<Entry>, Status> {
        let TriggerRef { namespace, name, id } = asked;
        if namespace.is_empty() && name.is_empty() && id.is_empty() {
            return Err(Status::invalid_argument(
                "names no trigger; give id, or namespace and name",
            ));
        }
        let access = &self.access;
        let query = Query { namespace, name, id };
        self.scaler.one(&query, |namespace| access.may_see(namespace)).map_err(|error| {
            let words = error.to_string();
            match error {
                FindError::None(_) => Status::not_found(words),
                FindError::Several { .. } => Status::invalid_argument(words),
            }
        })
    }
}

/// A place among as many as there may be at once.
fn permit(semaphore: &Arc<Semaphore>, of: &str) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(semaphore).try_acquire_owned().map_err(|_| {
        Status::resource_exhausted(format!("as many {of} as there may be are under way; ask again"))
    })
}

#[tonic::async_trait]
impl Calls for Diagnostics {
    async fn list_triggers(
        self: Arc<Self>,
        request: Request<ListTriggersRequest>,
    ) -> Result<Response<ListTriggersResponse>, Status> {
        self.admit(request.metadata()).await?;
        let _permit = permit(&self.explanations, "lists")?;
        let asked = request.into_inner();
        let states: Vec<proto::State> = asked.states().collect();
        let query = Query { namespace: asked.namespace, name: asked.name, id: String::new() };
        let mut all = self.scaler.overviews(&query, |namespace| self.access.may_see(namespace));
        all.retain(|overview| states.is_empty() || states.contains(&overview.state.into()));
        let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
        if !asked.page_token.is_empty() {
            let after = Place::parse(&asked.page_token)
                .ok_or_else(|| Status::invalid_argument("page_token is none of ours"))?;
            all.retain(|overview| Place::of(overview) > after);
        }
        let size = match asked.page_size {
            0 => PAGE,
            size => LARGEST_PAGE.min(size as usize),
        };
        let next_page_token = match all.get(size) {
            Some(_) => all.get(size - 1).map(|last| Place::of(last).token()),
            None => None,
        };
        all.truncate(size);
        Ok(Response::new(ListTriggersResponse {
            triggers: all.into_iter().map(Into::into).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
            total,
        }))
    }

    async fn explain(
        self: Arc<Self>,
        request: Request<TriggerRef>,
    ) -> Result<Response<ExplainResponse>, Status> {
        self.admit(request.metadata()).await?;
        let _permit = permit(&self.explanations, "explanations")?;
        let entry = self.one(request.into_inner())?;
        Ok(Response::new(self.scaler.explain(&entry).await.into()))
    }

    type WatchBacklogStream = Pin<Box<dyn Stream<Item = Result<proto::Poll, Status>> + Send>>;

    async fn watch_backlog(
        self: Arc<Self>,
        request: Request<TriggerRef>,
    ) -> Result<Response<Self::WatchBacklogStream>, Status> {
        self.admit(request.metadata()).await?;
        let permit = permit(&self.streams, "streams")?;
        let entry = self.one(request.into_inner())?;
        let polls = Answers::of(&entry).map(move |poll| (poll, &permit).0);
        let end = self.scaler.stop().streams.clone();
        let end = stream::once(end.cancelled_owned())
            .map(|()| Err(Status::unavailable("keda-sift is shutting down; ask again")));
        Ok(Response::new(Box::pin(polls.merge(end))))
    }
}

/// What polls of a trigger are answered.
struct Answers {
    /// Does not keep it: KEDA may have forgotten it.
    entry: Weak<Entry>,
    told: u64,
    ticks: Interval,
}

impl Answers {
    /// From the latest answer on, to the trigger's end.
    fn of(entry: &Arc<Entry>) -> impl Stream<Item = Result<proto::Poll, Status>> + Send + use<> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let told = entry.answers_after(u64::MAX).1.saturating_sub(1);
        let answers = Some(Self { entry: Arc::downgrade(entry), told, ticks });
        let looks = stream::unfold(answers, |answers| async {
            let mut answers = answers?;
            answers.ticks.tick().await;
            match answers.entry.upgrade() {
                Some(entry) => {
                    let new = answers.take_new(&entry).into_iter().map(|poll| Ok(poll.into()));
                    let new = new.collect();
                    Some((new, Some(answers)))
                }
                None => {
                    let gone = Status::not_found("the trigger is known no longer");
                    Some((vec![Err(gone)], None))
                }
            }
        });
        futures_util::StreamExt::flat_map(looks, |new: Vec<_>| stream::iter(new))
    }

    /// Those that have not been told.
    fn take_new(&mut self, entry: &Entry) -> Vec<Poll> {
        let (new, answers) = entry.answers_after(self.told);
        self.told = answers;
        new
    }
}

/// Where a trigger stands among all.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    namespace: String,
    name: String,
    id: String,
}

impl Place {
    fn of(overview: &Overview) -> Self {
        let (namespace, name) = (overview.namespace.to_string(), overview.name.to_string());
        Self { namespace, name, id: overview.id.clone() }
    }

    fn token(&self) -> String {
        [self.namespace.as_str(), &self.name, &self.id].join("\t")
    }

    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.splitn(3, BETWEEN).map(str::to_owned);
        Some(Self { namespace: parts.next()?, name: parts.next()?, id: parts.next()? })
    }
}

impl From<State> for proto::State {
    fn from(state: State) -> Self {
        match state {
            State::Unpolled => Self::Unpolled,
            State::Failing => Self::Failing,
            State::Reading => Self::Reading,
            State::Zero => Self::Zero,
            State::Waiting => Self::Waiting,
        }
    }
}

impl From<Overview> for proto::Trigger {
    fn from(overview: Overview) -> Self {
        let scaling = overview.trigger.as_ref().map(|trigger| trigger.scaling().clone());
        let source = overview.trigger.as_ref().map(|trigger| trigger.source().to_owned());
        Self {
            place: overview.place(),
            selection: overview.selection(),
            id: overview.id,
            namespace: overview.namespace.to_string(),
            name: overview.name.to_string(),
            source: source.unwrap_or_default(),
            state: proto::State::from(overview.state).into(),
            target: scaling.as_ref().map_or(0, |scaling| scaling.target),
            activation: scaling.as_ref().map_or(0, |scaling| scaling.activation),
            metric_name: scaling.map(|scaling| scaling.metric_name).unwrap_or_default(),
            max_jobs: overview.max_jobs.unwrap_or(0),
            polls: overview.polls,
            last_poll: overview.last.map(Into::into),
            failing_since: overview.failing_since.map(Into::into),
            known_since: Some(overview.known_since.into()),
            note: overview.note.unwrap_or_default(),
        }
    }
}

impl From<Poll> for proto::Poll {
    fn from(poll: Poll) -> Self {
        let answer = match poll.answer {
            Ok(answer) => poll::Answer::Value(answer.into()),
            Err(refusal) => poll::Answer::Error(refusal.into()),
        };
        Self { at: Some(poll.at.into()), took: poll.took.try_into().ok(), answer: Some(answer) }
    }
}

impl From<Answer> for proto::Value {
    fn from(Answer { backlog, is_limit }: Answer) -> Self {
        let is_lower_bound = matches!(backlog, Backlog::AtLeast(_));
        Self { count: backlog.count(), is_lower_bound, is_limit }
    }
}

impl From<Refusal> for proto::Refusal {
    fn from(refusal: Refusal) -> Self {
        Self { code: format!("{:?}", refusal.code), message: refusal.words.to_string() }
    }
}

impl From<Point> for proto::Point {
    fn from(point: Point) -> Self {
        Self { at: Some(point.at().into()), count: point.most() }
    }
}

impl From<Explained> for ExplainResponse {
    fn from(explained: Explained) -> Self {
        let Explained { overview, metadata, polls, points, measured, by_type, sight } = explained;
        let measured = match measured {
            Ok(explanation) => explain_response::Measured::Measurement(measurement(
                explanation,
                by_type,
                &overview,
            )),
            Err(refusal) => explain_response::Measured::SourceError(refusal.into()),
        };
        let sight = sight.unwrap_or_default();
        let types = sight
            .types()
            .into_iter()
            .map(|(name, count)| TypeCount { r#type: name.unwrap_or_default().to_owned(), count });
        let indeterminate = sight
            .indeterminate()
            .into_iter()
            .map(|(reason, count)| proto::ReasonCount { reason: reason.to_string(), count });
        Self {
            trigger: Some(overview.into()),
            metadata: metadata.into_iter().collect(),
            polls: polls.into_iter().map(Into::into).collect(),
            measured: Some(measured),
            types: types.collect(),
            indeterminate: indeterminate.collect(),
            other_types: sight.others(),
            history: points.into_iter().map(Into::into).collect(),
        }
    }
}

fn measurement(
    explanation: Explanation,
    by_type: Vec<(String, u64)>,
    overview: &Overview,
) -> Measurement {
    let Explanation { measured, facts, partitions, more_partitions } = explanation;
    let by_type = by_type.into_iter().map(|(r#type, count)| TypeCount { r#type, count });
    let activation = overview.trigger.as_ref().map_or(0, |trigger| trigger.scaling().activation);
    Measurement {
        value: Some(overview.answer(measured.metric).into()),
        is_active: measured.activity.exceeds(activation),
        jobs_wanted: overview.jobs_wanted(measured.metric.count()).unwrap_or(0),
        facts: facts.into_iter().map(|(name, text)| Fact { name: name.to_owned(), text }).collect(),
        partitions: partitions
            .into_iter()
            .map(|partition| proto::Partition {
                topic: partition.topic,
                number: partition.number,
                start: partition.start,
                end: partition.end,
                committed: partition.committed,
                from: partition.from,
                tail: partition.tail,
                waiting: partition.waiting,
                persistent: partition.persistent,
            })
            .collect(),
        more_partitions: u32::try_from(more_partitions).unwrap_or(u32::MAX),
        by_type: by_type.collect(),
    }
}
