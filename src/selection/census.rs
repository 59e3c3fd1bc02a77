//! Where messages keep their types, and how many there are of each.
//!
//! A [`Census`] looks at message after message. A place that may hold the type is one that a
//! trigger can name as `eventTypeFrom`, and it is read as a trigger would read it: so what is
//! counted here is what a trigger counts. Places are guessed by what messages hold:
//!
//! - where CloudEvents keeps the type, the key, the subject and the id of the schema, of every
//!   message;
//! - headers and JSON fields whose name says type, event, kind and the like;
//! - other short texts in the JSON body, as long as few of them are told apart.
//!
//! All of it is bounded, because anyone can write a message: so many places, so many types of each,
//! so many bytes of a type.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::body::{BodyPath, Step};
use super::event_type::{Carrier, EventTypeFrom, carrier};
use super::json::{Json, Kind};
use super::message::Message;
use super::reason::Reason;
use super::record::Record;

/// Places that are looked at.
const MAX_PLACES: usize = 48;

/// Places that are remembered as of no use.
const MAX_DROPPED: usize = 1_000;

/// Types that are told apart in one place; the rest is counted together.
const MAX_TYPES: usize = 200;

/// The same in a place whose name does not say that it holds types. With more it is dropped.
const MAX_UNNAMED_TYPES: usize = 24;

/// Bytes of a type. A longer text is no type.
const TYPE_BYTES: usize = 256;

/// Bytes of the name of a header, and of a field.
const NAME_BYTES: usize = 100;

/// Messages in which places are looked for in any case; after that only where no place that says
/// so holds a type.
const EXPLORED: u64 = 1_000;

/// Objects within each other that are looked through, and the members of each.
const DEPTH: usize = 3;
const MEMBERS: usize = 64;

/// What names of places end in, in small letters without punctuation: `ce_type`, `@type`,
/// `eventType`, `MT-MessageType`, `NServiceBus.EnclosedMessageTypes`.
const ENDINGS: [&str; 2] = ["type", "types"];

/// Other names that say the same, whole.
const NAMES: [&str; 12] = [
    "action",
    "command",
    "commandname",
    "event",
    "eventname",
    "kind",
    "messageclass",
    "messagename",
    "op",
    "operation",
    "typeid",
    "typename",
];

/// Names that end so and say the type of something else.
const OTHER_TYPES: [&str; 10] = [
    "bodytype",
    "contenttype",
    "datacontenttype",
    "datatype",
    "encodingtype",
    "keytype",
    "mediatype",
    "mimetype",
    "transporttype",
    "valuetype",
];

/// What has been seen of messages so far.
pub struct Census {
    messages: u64,
    waiting: u64,
    places: Vec<Place>,
    /// Places that hold no types, not to be looked at again.
    dropped: HashSet<EventTypeFrom>,
    /// Whether places are guessed, and not given.
    guesses: bool,
}

/// A place that may hold the type, and what it held.
#[derive(Debug, Clone)]
pub struct Place {
    /// The place.
    pub from: EventTypeFrom,
    /// Whether its name says that it holds types.
    is_named: bool,
    /// Messages that were seen before anything was found there. They are not counted here, though
    /// a few of them may have a type there: another look, with this place given, counts all.
    pub before: u64,
    /// Messages that have a type there.
    pub with: u64,
    /// How many there are of each type. A message with several counts for each.
    pub types: HashMap<Box<str>, TypeCount>,
    /// Messages of types that are not told apart any more.
    pub others: TypeCount,
    /// Messages without one, by the reason.
    pub without: BTreeMap<Reason, u64>,
}

/// What there is of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeCount {
    /// Messages.
    pub messages: u64,
    /// Those of them that wait for the group.
    pub waiting: u64,
    /// The time of the earliest, in milliseconds since 1970.
    pub oldest: Option<i64>,
    /// The same of those that wait.
    pub waiting_since: Option<i64>,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Bytes of the largest body.
    pub largest: u64,
    /// What of the messages had it, where the place is that of CloudEvents.
    pub carriers: BTreeSet<Carrier>,
}

/// What is counted of one message.
struct Seen {
    waits: bool,
    time: Option<i64>,
    size: u64,
}

impl Census {
    /// Nothing has been seen yet. With a place, that one alone is looked at.
    pub fn new(told: Option<EventTypeFrom>) -> Census {
        let guesses = told.is_none();
        let places = match told {
            Some(from) => vec![Place::new(from, true)],
            None => vec![
                Place::new(EventTypeFrom::CloudEvents, true),
                Place::new(EventTypeFrom::Subject, false),
                Place::new(EventTypeFrom::Key, false),
                Place::new(EventTypeFrom::Schema, false),
            ],
        };
        Census { messages: 0, waiting: 0, places, dropped: HashSet::new(), guesses }
    }

    /// Messages that were seen.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Those of them that wait for the group.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Takes one message, and whether it waits for the group.
    pub fn add(&mut self, message: &dyn Message, waits: bool) {
        let record = Record::new(message);
        let size = u64::try_from(message.size()).unwrap_or(u64::MAX);
        let seen = Seen { waits, time: message.time(), size };
        let is_told = self.places.iter().any(|place| place.is_named && place.holds(&record));
        if self.guesses && (self.messages < EXPLORED || !is_told) {
            self.explore(&record);
        }
        for place in &mut self.places {
            place.add(&record, &seen);
        }
        if self.guesses {
            let is_of_use = |place: &Place| {
                place.is_named
                    || place.types.len() <= MAX_UNNAMED_TYPES && place.others.messages == 0
            };
            for gone in self.places.extract_if(.., |place| !is_of_use(place)) {
                self.dropped.insert(gone.from);
            }
        }
        self.messages += 1;
        self.waiting += u64::from(waits);
    }

    /// The places that hold types, the one that does so best first. Where a place was given, that
    /// one, whatever it holds.
    pub fn into_places(self) -> Vec<Place> {
        let Census { places, messages, guesses, .. } = self;
        let mut places: Vec<_> =
            places.into_iter().filter(|place| place.with > 0 || !guesses).collect();
        places.sort_by_key(|place| {
            let written = place.from.written().unwrap_or_default();
            (Reverse(place.worth(messages)), written.len(), written)
        });
        places
    }

    /// Looks for places in a message.
    fn explore(&mut self, record: &Record<'_>) {
        let mut found = Vec::new();
        record.message.each_header(&mut |name, _| {
            if found.len() < MAX_PLACES && says_type(name) && !is_of_cloud_events(name) {
                found.push((header(name), true));
            }
        });
        if let Some(json) = record.body.find(&BodyPath::of(Vec::new())).value() {
            explore_json(json, &mut Vec::new(), &mut found);
        }
        // Those whose names say so come first.
        found.sort_by_key(|(_, is_named)| Reverse(*is_named));
        for (from, is_named) in found {
            let is_known =
                self.dropped.contains(&from) || self.places.iter().any(|place| place.from == from);
            let is_full = self.dropped.len() >= MAX_DROPPED;
            if is_known || is_full || !can_be_written(&from) || !self.makes_room(is_named) {
                continue;
            }
            let before = self.messages;
            self.places.push(Place { before, ..Place::new(from, is_named) });
        }
    }

    /// Whether there is room for a place. One whose name says so takes that of one whose name does
    /// not, and any takes that of one that hardly any message has.
    fn makes_room(&mut self, is_named: bool) -> bool {
        if self.places.len() < MAX_PLACES {
            return true;
        }
        let least = (0..).zip(&self.places).filter(|(_, place)| place.is_guess());
        let least = least.min_by_key(|(_, place)| (place.is_named, place.with));
        let gives_way = |place: &Place| {
            (is_named && !place.is_named)
                || self.messages >= 100 && place.with < self.messages / 100
        };
        let Some(at) = least.filter(|(_, place)| gives_way(place)).map(|(at, _)| at) else {
            return false;
        };
        let gone = self.places.remove(at);
        self.dropped.insert(gone.from);
        true
    }
}

impl Place {
    fn new(from: EventTypeFrom, is_named: bool) -> Place {
        Place {
            from,
            is_named,
            before: 0,
            with: 0,
            types: HashMap::new(),
            others: TypeCount::default(),
            without: BTreeMap::new(),
        }
    }

    /// Whether a message made it a place, which another may unmake.
    fn is_guess(&self) -> bool {
        use EventTypeFrom::{Body, BodyList, Header, HeaderList};
        matches!(self.from, Header(_) | HeaderList(..) | Body(_) | BodyList(..))
    }

    fn holds(&self, record: &Record<'_>) -> bool {
        self.from.read(record).is_ok_and(|types| !types.as_slice().is_empty())
    }

    fn add(&mut self, record: &Record<'_>, seen: &Seen) {
        let types = match self.from.read(record) {
            Ok(types) => types,
            Err(reason) => {
                *self.without.entry(reason).or_default() += 1;
                return;
            }
        };
        self.with += 1;
        let carrier = (self.from == EventTypeFrom::CloudEvents).then(|| carrier(record));
        let mut counted = HashSet::new();
        for event_type in types.as_slice().iter().take(MAX_TYPES) {
            if !counted.insert(&**event_type) {
                continue;
            }
            let is_known = self.types.contains_key(&**event_type);
            let is_told_apart =
                is_known || event_type.len() <= TYPE_BYTES && self.types.len() < MAX_TYPES;
            let count = match is_told_apart {
                true => self.types.entry((&**event_type).into()).or_default(),
                false => &mut self.others,
            };
            count.add(seen);
            count.carriers.extend(carrier);
        }
    }

    /// How well the place does for a type, of 1,000: how many messages have one there, whether its
    /// name says so, and whether the types repeat.
    fn worth(&self, messages: u64) -> u64 {
        let share = 1_000u64.saturating_mul(self.with) / messages.max(1);
        let kinds = u64::try_from(self.types.len()).unwrap_or(u64::MAX);
        let repeats = self.others.messages == 0 && kinds.saturating_mul(2) <= self.with;
        let of_100 = match (&self.from, self.is_named) {
            (EventTypeFrom::CloudEvents, _) => 100,
            (EventTypeFrom::Header(_) | EventTypeFrom::HeaderList(..), true) => 98,
            (_, true) => 95,
            (EventTypeFrom::Subject, _) => 70,
            // Whatever is the same in all tells nothing.
            _ if kinds <= 1 => 10,
            (EventTypeFrom::Schema, _) => 50,
            _ => 40,
        };
        let worth = share.saturating_mul(of_100) / 100;
        if repeats || self.with < 4 { worth } else { worth / 4 }
    }
}

impl TypeCount {
    fn add(&mut self, seen: &Seen) {
        let earlier = |than: Option<i64>| than.into_iter().chain(seen.time).min();
        self.messages += 1;
        self.oldest = earlier(self.oldest);
        if seen.waits {
            self.waiting += 1;
            self.waiting_since = earlier(self.waiting_since);
        }
        self.bytes = self.bytes.saturating_add(seen.size);
        self.largest = self.largest.max(seen.size);
    }
}

/// Looks for places in a value that `path` leads to.
fn explore_json(json: Json<'_>, path: &mut Vec<Step>, found: &mut Vec<(EventTypeFrom, bool)>) {
    if let Some(mut elements) = json.elements() {
        explore_list(elements.next().flatten(), path, found);
        return;
    }
    let Some(members) = json.members() else { return };
    for member in members.take(MEMBERS) {
        let Some((name, json)) = member else { return };
        if name.len() > NAME_BYTES || found.len() >= 4 * MAX_PLACES {
            continue;
        }
        let is_named = says_type(&name);
        path.push(Step::Field(name.into_owned()));
        match json.kind() {
            Some(Kind::String | Kind::Number | Kind::Boolean)
                if is_named || is_short_text(json) =>
            {
                found.push((EventTypeFrom::Body(BodyPath::of(path.clone())), is_named));
            }
            Some(Kind::List) if is_named && first(json).is_some_and(is_short_text) => {
                let list = BodyPath::of(path.clone());
                found.push((EventTypeFrom::BodyList(list, BodyPath::of(Vec::new())), true));
            }
            Some(Kind::Object | Kind::List) if path.len() < DEPTH => {
                explore_json(json, path, found);
            }
            _ => {}
        }
        path.pop();
    }
}

/// Looks for fields that say type in the first element of a list that `path` leads to.
fn explore_list(element: Option<Json<'_>>, path: &[Step], found: &mut Vec<(EventTypeFrom, bool)>) {
    let Some(members) = element.and_then(Json::members) else { return };
    for member in members.take(MEMBERS) {
        let Some((name, json)) = member else { return };
        if name.len() <= NAME_BYTES && says_type(&name) && is_short_text(json) {
            let of = BodyPath::of(vec![Step::Field(name.into_owned())]);
            found.push((EventTypeFrom::BodyList(BodyPath::of(path.to_vec()), of), true));
        }
    }
}

fn first(json: Json<'_>) -> Option<Json<'_>> {
    json.elements()?.next().flatten()
}

fn is_short_text(json: Json<'_>) -> bool {
    json.kind() == Some(Kind::String) && json.text().len() <= TYPE_BYTES
}

/// The place that a header is; several types where its name says so.
fn header(name: &str) -> EventTypeFrom {
    match plain(name).ends_with("types") || plain(name) == "mtmessagetype" {
        true => EventTypeFrom::HeaderList(name.to_owned(), ';'),
        false => EventTypeFrom::Header(name.to_owned()),
    }
}

/// Whether a name says that it is of a type.
fn says_type(name: &str) -> bool {
    if name.len() > NAME_BYTES {
        return false;
    }
    let plain = plain(name);
    let ends = ENDINGS.iter().any(|ending| plain.ends_with(ending));
    (ends && !OTHER_TYPES.contains(&&*plain)) || NAMES.contains(&&*plain)
}

/// Whether a header is the attribute that [`EventTypeFrom::CloudEvents`] looks at.
fn is_of_cloud_events(name: &str) -> bool {
    matches!(name, "ce_type" | "cloudEvents:type" | "cloudEvents_type")
}

/// A name in small letters, without punctuation.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a trigger can name the place.
fn can_be_written(from: &EventTypeFrom) -> bool {
    from.written().is_none_or(|text| {
        !text.contains(char::is_control)
            && EventTypeFrom::parse(&text).is_ok_and(|parsed| parsed == *from)
    })
}

#[cfg(test)]
mod tests;
