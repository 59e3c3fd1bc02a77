//! What the management endpoint answers.
//!
//! An entity is an Atom entry, a list is a feed of entries in pages of at most 100. All need the
//! right Manage. A missing queue or topic is an empty feed with status 200, as the service has it;
//! a missing subscription is 404.
//!
//! # References
//! - Microsoft Learn: Service Bus Get Queue, List Queues, Get Subscription (REST)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::time::{Sleep, sleep};

use crate::access::{Claim, Refused, Rights};
use crate::entity::{Depth, Entity};
use crate::faults::Management;
use crate::message::now;
use crate::namespace::{Namespace, Node, Shared, Topic};

const SERVICE_BUS: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";
/// `TimeSpan.MaxValue`: forever.
const FOREVER: &str = "P10675199DT2H48M5.4775807S";
/// How many entries a page has at most.
const PAGE: usize = 100;
/// How long the first half of a reply has to get out before the connection ends.
const HALF: Duration = Duration::from_millis(50);

/// The body of a reply, which may end half way.
pub(crate) struct Body {
    bytes: Option<Bytes>,
    length: u64,
    cut: Option<Pin<Box<Sleep>>>,
}

/// What a reply to a request is made from.
struct Asked<'r> {
    /// `127.0.0.1:1234`
    host: &'r str,
    /// Without a slash at either end.
    path: String,
    skip: usize,
    top: usize,
    /// Whether entries have their counts.
    counts: bool,
}

/// Answers a request.
pub(crate) async fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Body> {
    let uri = request.uri();
    let path = percent_decode_str(uri.path().trim_matches('/')).decode_utf8_lossy().into_owned();
    let fault = {
        let mut namespace = shared.lock();
        namespace.count(&path, |counters| counters.management += 1);
        namespace.faults.management.clone()
    };
    let mut asked = Asked {
        host: request
            .headers()
            .get("host")
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost"),
        path,
        skip: query(uri.query(), "$skip").unwrap_or(0),
        top: query(uri.query(), "$top").unwrap_or(PAGE).min(PAGE),
        counts: true,
    };
    let mut cut = false;
    match fault {
        Some(Management::Refuse(status, headers)) => {
            let mut reply = failure(status, "The request was refused.");
            for (name, value) in headers {
                let value =
                    HeaderValue::from_str(&value).expect("a test gives what fits into a header");
                reply.headers_mut().insert(HeaderName::from_static(name), value);
            }
            return reply;
        }
        Some(Management::Redirect(base)) => {
            let mut reply = failure(StatusCode::TEMPORARY_REDIRECT.as_u16(), "Elsewhere.");
            let there = format!("{base}{uri}");
            reply.headers_mut().insert(
                LOCATION,
                HeaderValue::from_str(&there).expect("a test gives a base that fits"),
            );
            return reply;
        }
        Some(Management::EmptyFeed) => {
            return reply(
                200,
                "atom+xml;type=feed",
                asked.feed("Publicly Listed Services", &[], false),
            );
        }
        Some(Management::WithoutCounts) => asked.counts = false,
        Some(Management::CutShort) => cut = true,
        Some(Management::Slow(delay)) => sleep(delay).await,
        None => {}
    }
    if request.method() != Method::GET {
        return failure(405, "The stand-in only reads.");
    }

    let mut namespace = shared.lock();
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let claim = match token {
        Some(token) => match token.strip_prefix("Bearer ") {
            Some(token) => namespace.keys.token(token, now()),
            None => namespace.keys.signature(token, now()),
        },
        None => Err(Refused("MissingToken: The Authorization header is missing.".into())),
    };
    match claim {
        Ok(claim) if asked.allowed(&claim) => {}
        Ok(_) => {
            return failure(
                403,
                "Forbidden: 'Manage,EntityRead' claims required for this operation.",
            );
        }
        Err(Refused(why)) => return failure(401, &why),
    }
    namespace.turn(now());
    let mut reply = asked.answer(&mut namespace);
    drop(namespace);
    if cut {
        reply.body_mut().cut();
    }
    reply
}

impl Asked<'_> {
    fn allowed(&self, claim: &Claim) -> bool {
        claim.rights.include(Rights::MANAGE) && claim.covers(&self.path)
    }

    fn answer(&self, namespace: &mut Namespace) -> Response<Body> {
        let path = self.path.to_lowercase();
        match path.as_str() {
            "$resources/queues" => {
                let queues = |node: &Node| matches!(node, Node::Entity(entity) if !entity.path.contains("/Subscriptions/"));
                self.list(namespace, "Queues", "", queues)
            }
            "$resources/topics" => {
                self.list(namespace, "Topics", "", |node| matches!(node, Node::Topic(_)))
            }
            _ => {
                if let Some(topic) = path.strip_suffix("/subscriptions") {
                    return match namespace.node(topic) {
                        Some(Node::Topic(_)) => {
                            self.list(namespace, "Subscriptions", &format!("{path}/"), |_| true)
                        }
                        _ => failure(404, &format!("Topic {topic} was not found.")),
                    };
                }
                match namespace.node(&path) {
                    Some(node) => reply(200, "atom+xml;type=entry", self.entry(node, true)),
                    None if path.contains("/subscriptions/") => {
                        failure(404, &format!("Entity '{path}' was not found."))
                    }
                    None => reply(
                        200,
                        "atom+xml;type=feed",
                        self.feed("Publicly Listed Services", &[], false),
                    ),
                }
            }
        }
    }

    /// A page of the nodes below a path for which `which` holds.
    fn list(
        &self,
        namespace: &mut Namespace,
        title: &str,
        below: &str,
        which: impl Fn(&Node) -> bool,
    ) -> Response<Body> {
        let below = namespace.nodes().filter(|(path, node)| path.starts_with(below) && which(node));
        let mut entries: Vec<String> = below
            .skip(self.skip)
            .take(self.top + 1)
            .map(|(_, node)| self.entry(node, false))
            .collect();
        let more = entries.len() > self.top;
        entries.truncate(self.top);
        reply(200, "atom+xml;type=feed", self.feed(title, &entries, more))
    }

    fn feed(&self, title: &str, entries: &[String], more: bool) -> String {
        let (host, path, updated) = (self.host, escaped(&self.path), timestamp(now()));
        let next = if more {
            let (skip, top) = (self.skip + self.top, self.top);
            format!(
                r#"<link rel="next" href="https://{host}/{path}?api-version=2021-05&amp;$skip={skip}&amp;$top={top}"/>"#
            )
        } else {
            String::new()
        };
        format!(
            r#"<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">{title}</title><id>https://{host}/{path}</id><updated>{updated}</updated><link rel="self" href="https://{host}/{path}"/>{next}{entries}</feed>"#,
            entries = entries.concat(),
        )
    }

    fn entry(&self, node: &Node, alone: bool) -> String {
        let (path, created, description) = match node {
            Node::Entity(entity) => match entity.path.split_once("/Subscriptions/") {
                Some(_) => (&entity.path, entity.created, self.subscription(entity)),
                None => (&entity.path, entity.created, self.queue(entity)),
            },
            Node::Topic(topic) => (&topic.inbox.path, topic.inbox.created, self.topic(topic)),
        };
        let title = escaped(path.rsplit_once("/Subscriptions/").map_or(path, |(_, name)| name));
        let (host, path, created) = (self.host, escaped(path), timestamp(created));
        let namespace = if alone { r#" xmlns="http://www.w3.org/2005/Atom""# } else { "" };
        format!(
            r#"<entry{namespace}><id>https://{host}/{path}?api-version=2021-05</id><title type="text">{title}</title><published>{created}</published><updated>{created}</updated><author><name>stand-in</name></author><link rel="self" href="https://{host}/{path}?api-version=2021-05"/><content type="application/xml">{description}</content></entry>"#,
        )
    }

    fn queue(&self, entity: &Entity) -> String {
        let depth = entity.depth();
        let options = &entity.options;
        described(
            "QueueDescription",
            &[
                ("LockDuration", duration(options.lock)),
                ("MaxSizeInMegabytes", "1024".into()),
                ("RequiresDuplicateDetection", "false".into()),
                ("RequiresSession", options.sessions.to_string()),
                ("DefaultMessageTimeToLive", options.time_to_live.map_or(FOREVER.into(), duration)),
                ("DeadLetteringOnMessageExpiration", options.bury_expired.to_string()),
                ("DuplicateDetectionHistoryTimeWindow", "PT10M".into()),
                ("MaxDeliveryCount", options.deliveries.to_string()),
                ("EnableBatchedOperations", "true".into()),
                ("SizeInBytes", depth.bytes.to_string()),
                ("MessageCount", (depth.active + depth.scheduled + depth.dead).to_string()),
                ("IsAnonymousAccessible", "false".into()),
                ("AuthorizationRules", String::new()),
                ("Status", "Active".into()),
                ("CreatedAt", timestamp(entity.created)),
                ("UpdatedAt", timestamp(entity.created)),
                ("AccessedAt", timestamp(entity.created)),
                ("SupportOrdering", "true".into()),
                ("CountDetails", self.counts(depth)),
                ("AutoDeleteOnIdle", FOREVER.into()),
                ("EnablePartitioning", (options.partitions.len() > 1).to_string()),
                ("EntityAvailabilityStatus", "Available".into()),
                ("EnableExpress", "false".into()),
            ],
        )
    }

    fn subscription(&self, entity: &Entity) -> String {
        let depth = entity.depth();
        let options = &entity.options;
        described(
            "SubscriptionDescription",
            &[
                ("LockDuration", duration(options.lock)),
                ("RequiresSession", options.sessions.to_string()),
                ("DefaultMessageTimeToLive", options.time_to_live.map_or(FOREVER.into(), duration)),
                ("DeadLetteringOnMessageExpiration", options.bury_expired.to_string()),
                ("DeadLetteringOnFilterEvaluationExceptions", "true".into()),
                ("MessageCount", (depth.active + depth.scheduled + depth.dead).to_string()),
                ("MaxDeliveryCount", options.deliveries.to_string()),
                ("EnableBatchedOperations", "true".into()),
                ("Status", "Active".into()),
                ("CreatedAt", timestamp(entity.created)),
                ("UpdatedAt", timestamp(entity.created)),
                ("AccessedAt", timestamp(entity.created)),
                ("CountDetails", self.counts(depth)),
                ("AutoDeleteOnIdle", FOREVER.into()),
                ("EntityAvailabilityStatus", "Available".into()),
            ],
        )
    }

    fn topic(&self, topic: &Topic) -> String {
        let depth = topic.inbox.depth();
        let created = timestamp(topic.inbox.created);
        described(
            "TopicDescription",
            &[
                ("DefaultMessageTimeToLive", FOREVER.into()),
                ("MaxSizeInMegabytes", "1024".into()),
                ("RequiresDuplicateDetection", "false".into()),
                ("DuplicateDetectionHistoryTimeWindow", "PT10M".into()),
                ("EnableBatchedOperations", "true".into()),
                ("SizeInBytes", depth.bytes.to_string()),
                ("FilteringMessagesBeforePublishing", "false".into()),
                ("IsAnonymousAccessible", "false".into()),
                ("AuthorizationRules", String::new()),
                ("Status", "Active".into()),
                ("CreatedAt", created.clone()),
                ("UpdatedAt", created.clone()),
                ("AccessedAt", created),
                ("SupportOrdering", "true".into()),
                ("CountDetails", self.counts(depth)),
                ("SubscriptionCount", topic.subscriptions.to_string()),
                ("AutoDeleteOnIdle", FOREVER.into()),
                ("EnablePartitioning", "false".into()),
                ("EntityAvailabilityStatus", "Available".into()),
                ("EnableSubscriptionPartitioning", "false".into()),
                ("EnableExpress", "false".into()),
            ],
        )
    }

    /// The content of `CountDetails`; nothing of a throttled namespace.
    fn counts(&self, depth: Depth) -> String {
        if !self.counts {
            return String::new();
        }
        let Depth { active, dead, scheduled, .. } = depth;
        [
            ("ActiveMessageCount", active),
            ("DeadLetterMessageCount", dead),
            ("ScheduledMessageCount", scheduled),
            ("TransferMessageCount", 0),
            ("TransferDeadLetterMessageCount", 0),
        ]
        .map(|(name, count)| format!("<d2p1:{name}>{count}</d2p1:{name}>"))
        .concat()
    }
}

impl Body {
    pub(crate) fn of(text: String) -> Self {
        Self { length: text.len() as u64, bytes: Some(text.into()), cut: None }
    }

    /// Half of it is not to come.
    fn cut(&mut self) {
        if let Some(bytes) = &mut self.bytes {
            bytes.truncate(bytes.len() / 2);
        }
        self.cut = Some(Box::pin(sleep(HALF)));
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut self.cut {
            Some(half) => {
                half.as_mut().poll(context).map(|()| Some(Err(io::Error::other("cut short"))))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// A description with its elements in this order, which the service's own deserialiser insists on.
fn described(name: &str, elements: &[(&str, String)]) -> String {
    let elements = elements.iter().map(|(element, value)| match *element {
        "CountDetails" if value.is_empty() => String::new(),
        "CountDetails" => format!(r#"<CountDetails xmlns:d2p1="{COUNTS}">{value}</CountDetails>"#),
        element => format!("<{element}>{value}</{element}>"),
    });
    let elements: String = elements.collect();
    format!(
        r#"<{name} xmlns="{SERVICE_BUS}" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">{elements}</{name}>"#
    )
}

fn reply(status: u16, content: &str, body: String) -> Response<Body> {
    let mut reply = Response::new(Body::of(body));
    *reply.status_mut() = StatusCode::from_u16(status).expect("a test gives a status that is one");
    let content = HeaderValue::from_str(&format!("application/{content};charset=utf-8"));
    reply.headers_mut().insert(CONTENT_TYPE, content.expect("a content type fits into a header"));
    reply
}

fn failure(status: u16, detail: &str) -> Response<Body> {
    let body = format!("<Error><Code>{status}</Code><Detail>{}</Detail></Error>", escaped(detail));
    reply(status, "xml", body)
}

/// A number in the query, in whichever way `$` is written.
fn query(query: Option<&str>, key: &str) -> Option<usize> {
    query?.split('&').filter_map(|pair| pair.split_once('=')).find_map(|(name, value)| {
        let name = percent_decode_str(name).decode_utf8_lossy();
        if name == key { value.parse().ok() } else { None }
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// ISO 8601, as `PT60S`.
fn duration(duration: Duration) -> String {
    format!("PT{}S", duration.as_secs_f64())
}

/// RFC 3339 in UTC, from milliseconds since 1970.
fn timestamp(milliseconds: i64) -> String {
    let (seconds, fraction) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of the year 0 in eras of 400 years: Howard Hinnant's `civil_from_days`.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(timestamp(milliseconds), text);
        }
    }
}
