//! What a broker remembers of what is fetched from it, so that a question names only what has
//! changed, and a reply only what has something to say: a thousand quiet topics then cost nothing
//! but the wait.
//!
//! A session that the broker does not know any more, or that may have missed a question, is begun
//! anew. Within one the broker gives partitions their turns.
//!
//! # References
//! - KIP-227: incremental fetch sessions

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desk::TopicPartition;
use crate::kafka::wire::requests::{
    FetchPartition, FetchReply, FetchSession, FetchTopic, ForgottenTopic, InSession, TopicId,
};

/// A partition to fetch, and the id of its topic if there is one.
pub(super) type Wanted = (TopicPartition, Option<TopicId>, FetchPartition);

/// The session of one broker.
pub(super) struct Session {
    at: FetchSession,
    /// What the broker remembers.
    known: BTreeMap<TopicPartition, (Option<TopicId>, FetchPartition)>,
    names: Arc<InSession>,
}

/// What to ask a broker.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) session: FetchSession,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
    /// What the reply may name.
    pub(super) names: Arc<InSession>,
}

impl Default for Session {
    fn default() -> Session {
        Session { at: FetchSession::NEW, known: BTreeMap::new(), names: Arc::default() }
    }
}

impl Question {
    /// About these alone, outside of any session. Partitions of a topic come one after the other.
    pub(super) fn without_session(wanted: &[Wanted]) -> Question {
        let topics = by_topic(wanted);
        let names = Arc::new(InSession::of(&topics));
        Question { session: FetchSession::NONE, topics, forgotten: Vec::new(), names }
    }
}

impl Session {
    /// About these and no others. Partitions of a topic come one after the other.
    pub(super) fn question(&mut self, wanted: &[Wanted]) -> Question {
        let is_remade =
            |(place, id, _): &Wanted| self.known.get(place).is_some_and(|of| of.0 != *id);
        if wanted.iter().any(is_remade) {
            // Before version 13 a topic that was made again cannot be told from the one that is to
            // be forgotten.
            *self = Session::default();
        }
        let before = std::mem::take(&mut self.known);
        self.known =
            wanted.iter().map(|(place, id, asked)| (place.clone(), (*id, *asked))).collect();
        if !self.at.is_incremental() {
            let question = Question::without_session(wanted);
            self.names = Arc::clone(&question.names);
            return Question { session: self.at, ..question };
        }
        let is_new = |(place, id, asked): &&Wanted| before.get(place) != Some(&(*id, *asked));
        let changed: Vec<Wanted> = wanted.iter().filter(is_new).cloned().collect();
        let gone = before.iter().filter(|(place, _)| !self.known.contains_key(*place));
        let gone: Vec<_> = gone.map(|(place, (id, _))| (place.clone(), *id)).collect();
        if !gone.is_empty() || before.len() != self.known.len() {
            self.names = Arc::new(InSession::of(&by_topic(wanted)));
        }
        let (topics, forgotten) = (by_topic(&changed), forgotten(gone));
        Question { session: self.at, topics, forgotten, names: Arc::clone(&self.names) }
    }

    /// What the broker said to the last question; `None` where it said nothing, or that it knows no
    /// such session.
    pub(super) fn answered(&mut self, reply: Option<&FetchReply>) {
        self.at = match reply.and_then(|reply| reply.session) {
            Some(id) if !self.at.is_incremental() => FetchSession::begun(id),
            Some(id) if id == self.at.id => self.at.next(),
            // It keeps none, or another one.
            _ => FetchSession::NEW,
        };
    }
}

fn by_topic(wanted: &[Wanted]) -> Vec<FetchTopic> {
    let of_topics = wanted.chunk_by(|(one, ..), (next, ..)| one.0 == next.0);
    let topic = |of_topic: &[Wanted]| {
        let ((name, _), id, _) = of_topic.first()?;
        let partitions = of_topic.iter().map(|(_, _, asked)| *asked).collect();
        Some(FetchTopic { name: name.clone(), id: *id, partitions })
    };
    of_topics.filter_map(topic).collect()
}

fn forgotten(gone: Vec<(TopicPartition, Option<TopicId>)>) -> Vec<ForgottenTopic> {
    let mut topics: Vec<ForgottenTopic> = Vec::new();
    for ((name, partition), id) in gone {
        match topics.last_mut() {
            Some(topic) if topic.name == name => topic.partitions.push(partition),
            _ => topics.push(ForgottenTopic { name, id, partitions: vec![partition] }),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::names::{Partition, Topic};

    /// A topic, a partition, and from where on it is wanted.
    type Row = (&'static str, Partition, u64);

    fn wanted(all: &[Row]) -> Vec<Wanted> {
        let each = all.iter().map(|(topic, partition, fetch_offset)| {
            let asked = FetchPartition {
                partition: *partition,
                leader_epoch: None,
                fetch_offset: *fetch_offset,
                last_fetched_epoch: None,
                max_bytes: 1,
            };
            ((Topic::from(*topic), *partition), None, asked)
        });
        each.collect()
    }

    fn reply(session: Option<i32>) -> FetchReply {
        FetchReply { error: None, session, partitions: Vec::new() }
    }

    /// A question in short: `a0@5` asks for partition 0 of topic a from offset 5 on, `-a0` forgets
    /// it.
    fn told(question: &Question) -> String {
        let FetchSession { id, epoch } = question.session;
        let asked = question.topics.iter().flat_map(|topic| {
            let of = |asked: &FetchPartition| {
                format!(" {}{}@{}", topic.name, asked.partition, asked.fetch_offset)
            };
            topic.partitions.iter().map(of)
        });
        let gone = question.forgotten.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| format!(" -{}{partition}", topic.name))
        });
        format!("{id}/{epoch}:{}", asked.chain(gone).collect::<String>())
    }

    #[test]
    fn a_question_names_what_has_changed() {
        let mut session = Session::default();
        let (a, b) =
            ([("a", 0, 5), ("a", 1, 7), ("b", 0, 1)], [("a", 0, 5), ("a", 1, 9), ("c", 3, 0)]);
        let rows: [(&[Row], Option<FetchReply>, &str); 9] = [
            (&a, Some(reply(Some(4))), "0/0: a0@5 a1@7 b0@1"),
            (&a, Some(reply(Some(4))), "4/1:"),
            (&b, Some(reply(Some(4))), "4/2: a1@9 c3@0 -b0"),
            (&b, None, "4/3:"),
            // It may have come or not.
            (&b, Some(reply(None)), "0/0: a0@5 a1@9 c3@0"),
            // The broker has no room for a session.
            (&b, Some(reply(Some(6))), "0/0: a0@5 a1@9 c3@0"),
            (&[], Some(reply(Some(6))), "6/1: -a0 -a1 -c3"),
            (&a, Some(reply(Some(7))), "6/2: a0@5 a1@7 b0@1"),
            (&a, Some(reply(Some(7))), "0/0: a0@5 a1@7 b0@1"),
        ];
        for (asked, reply, expected) in rows {
            let question = session.question(&wanted(asked));
            assert_eq!(told(&question), expected);
            for (topic, ..) in asked {
                let named = (0..).map_while(|place| question.names.topic(place));
                assert!(named.into_iter().any(|name| name.as_str() == *topic), "{expected}");
            }
            session.answered(reply.as_ref());
        }
    }

    #[test]
    fn a_topic_that_was_made_again_begins_a_session() {
        let mut session = Session::default();
        let mut asked = wanted(&[("a", 0, 5)]);
        for expected in ["0/0: a0@5", "4/1:"] {
            assert_eq!(told(&session.question(&asked)), expected);
            session.answered(Some(&reply(Some(4))));
        }
        asked[0].1 = Some([1; 16]);
        assert_eq!(told(&session.question(&asked)), "0/0: a0@5");
    }
}
