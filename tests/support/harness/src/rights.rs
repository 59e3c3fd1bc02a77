//! What a user of a secured broker may do: nothing, until a test allows it.

use super::broker::User;
use super::client::{CLIENT_ID, Client};
use super::wire::{Api, Body, Connection};

/// What there are rights on, as Kafka numbers it.
#[derive(Clone, Copy, Debug)]
pub enum Resource {
    /// A topic.
    Topic = 2,
    /// A consumer group.
    Group = 3,
}

/// What there are rights to do, as Kafka numbers it.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// To fetch from a topic, and to commit for a group.
    Read = 3,
    /// To ask what there is.
    Describe = 8,
}

impl Client {
    /// Allows a user one thing on one topic or group. The broker hears of it a moment later.
    pub async fn allow(&self, user: User, resource: Resource, name: &str, operation: Operation) {
        const LITERAL: i8 = 3;
        const ALLOW: i8 = 3;
        let any = self.harness().split(',').next().expect("a broker");
        let mut connection = Connection::open(any, CLIENT_ID).expect("the broker listens");
        let rule = |body: Body, _: &()| {
            let body = body.int8(resource as i8).string(name).int8(LITERAL);
            let body = body.string(&format!("User:{}", user.name)).string("*");
            body.int8(operation as i8).int8(ALLOW)
        };
        let body = Body::default().array(&[()], rule);
        let mut answer = connection.ask(Api::CreateAcls, &body).expect("the broker answers");
        let _throttled = answer.int32().expect("an answer");
        let rules = answer.int32().expect("an answer");
        assert_eq!((rules, answer.int16().expect("an answer a rule")), (1, 0), "{user:?} {name}");
    }
}
