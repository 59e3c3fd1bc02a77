//! What a test does to consumer groups: their committed offsets, moved from outside while nobody is
//! in them.
//!
//! librdkafka takes 0.1 s for a commit, because it learns of the coordinator once more for each
//! group. Tests have thousands of groups, so commits go over a plain connection, at some thousands
//! a second. All groups have one coordinator: see `cluster.rs`.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use test_basics::{LOOK, PATIENCE};
use tokio::time::{Instant, sleep};

use super::client::{CLIENT_ID, Client, admin_options};
use super::wire::{Answer, Api, Body, Connection};

/// How long a broker may take to answer before another one is asked: it may stand still.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What a group has read of a topic.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The group, made by its first commit.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// By partition, the next offset to read.
    pub offsets: Vec<(i32, i64)>,
}

impl Client {
    /// Commits offsets for a group that nobody is in, forward or back: partition and next offset to
    /// read. Makes the group if need be.
    pub async fn commit(
        &self,
        group: &str,
        topic: &str,
        offsets: impl IntoIterator<Item = (i32, i64)>,
    ) {
        let offsets = offsets.into_iter().collect();
        self.commit_all([Commit { group: group.into(), topic: topic.into(), offsets }]).await;
    }

    /// Commits for many groups, one after another.
    pub async fn commit_all(&self, commits: impl IntoIterator<Item = Commit>) {
        let mut coordinator = None;
        for commit in commits {
            let deadline = Instant::now() + PATIENCE;
            while let Err(why) = self.try_commit(&mut coordinator, &commit) {
                assert!(Instant::now() < deadline, "the coordinator takes no {commit:?}: {why}");
                coordinator = None;
                sleep(LOOK).await;
            }
        }
    }

    /// Commits the end of every partition, as a group does that has read everything.
    pub async fn catch_up(&self, group: &str, topic: &str) {
        let ends = (0..).zip(self.offsets(topic)).map(|(partition, (_, end))| (partition, end));
        self.commit(group, topic, ends).await;
    }

    /// The committed offsets of a group, by partition; a partition without one is not there.
    pub async fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let mut list = TopicPartitionList::new();
        for partition in (0..).take(self.leaders(topic).len()) {
            list.add_partition(topic, partition);
        }
        let outsider: BaseConsumer =
            self.own_config().set("group.id", group).create().expect("a consumer");
        let ask = move || outsider.committed_offsets(list, PATIENCE);
        let answer = tokio::task::spawn_blocking(ask).await.expect("the call ends");
        let answer = answer.expect("the coordinator answers");
        let committed =
            answer.elements().into_iter().filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            });
        committed.collect()
    }

    /// Reads so many messages from the beginning of a topic as a share group, and acknowledges
    /// them. The broker has to have share groups: see
    /// [`Broker::start_with_share_groups`](super::Broker::start_with_share_groups).
    pub async fn share(&self, group: &str, topic: &str, messages: usize) {
        self.run_java("ShareGroup", [group.into(), topic.into(), messages.to_string()]).await;
    }

    /// Deletes a group with its committed offsets.
    pub async fn delete_group(&self, group: &str) {
        let answers = self.admin.delete_groups(&[group], &admin_options()).await;
        let answer = answers.expect("the cluster answers").into_iter().next();
        answer.expect("an answer a group").expect("the group can be deleted");
    }

    /// Commits once, and keeps the connection in `coordinator`.
    fn try_commit(&self, coordinator: &mut Option<Connection>, commit: &Commit) -> io::Result<()> {
        const NOBODY: (i32, &str) = (-1, "");
        const BROKERS_RETENTION: i64 = -1;
        let connection = match coordinator {
            Some(connection) => connection,
            None => coordinator.insert(self.coordinator(&commit.group)?),
        };
        let body = Body::default().string(&commit.group).int32(NOBODY.0).string(NOBODY.1);
        let body = body.int64(BROKERS_RETENTION).array(&[&commit.topic], |body, topic| {
            body.string(topic).array(&commit.offsets, |body, (partition, offset)| {
                body.int32(*partition).int64(*offset).string("")
            })
        });
        let mut answer = connection.ask(Api::OffsetCommit, &body)?;
        let of_partition = |answer: &mut Answer| answer.int32().and_then(|_| accepted(answer));
        answer.array(|topic| topic.string().and_then(|_| topic.array(of_partition)))?;
        Ok(())
    }

    fn coordinator(&self, group: &str) -> io::Result<Connection> {
        let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
        for broker in self.harness().split(',') {
            let asked = Connection::open_for(broker, CLIENT_ID, ANSWERS_WITHIN)
                .and_then(|mut any| any.ask(Api::FindCoordinator, &Body::default().string(group)));
            match asked {
                Ok(mut answer) => {
                    accepted(&mut answer)?;
                    let _node = answer.int32()?;
                    let broker = format!("{}:{}", answer.string()?, answer.int32()?);
                    // What was sent to one that is given up may yet be done, after what came later:
                    // so only where another one may have taken over.
                    let has_others = self.harness().contains(',');
                    return if has_others {
                        Connection::open_for(&broker, CLIENT_ID, ANSWERS_WITHIN)
                    } else {
                        Connection::open(&broker, CLIENT_ID)
                    };
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Reads an error code that is to be 0.
fn accepted(answer: &mut Answer) -> io::Result<()> {
    match answer.int16()? {
        0 => Ok(()),
        code => Err(io::Error::other(format!("error code {code}"))),
    }
}
