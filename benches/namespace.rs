//! A Service Bus namespace in a process of its own, so that its work is not counted as ours.
//!
//! The process is this program again. It is told what to do line by line on its standard input,
//! answers each with a line, and ends with the input.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Lines, Write as _, stdin};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use azure_stand_ins::{Message, ServiceBus};

/// What the program is told to become one.
pub(crate) const ARGUMENT: &str = "namespace";
/// The type of the messages that are wanted: one in so many.
pub(crate) const WANTED_TYPE: &str = "order.placed";
const WANTED_OF: usize = 10_000;

/// A namespace that runs; it ends when it is dropped.
pub(crate) struct Namespace {
    pub(crate) connection_string: String,
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What the namespace has done since it was asked last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peeked {
    pub(crate) messages: u64,
    pub(crate) requests: u64,
}

impl Namespace {
    pub(crate) fn start() -> Namespace {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let orders = child.stdin.take().expect("its input");
        let mut answers = BufReader::new(child.stdout.take().expect("its output")).lines();
        let connection_string = answers.next().expect("a line").expect("a connection string");
        Namespace { connection_string, child, orders, answers }
    }

    /// Makes a queue, unless it is there, and sends it so many messages, of which one in 10,000 is
    /// wanted.
    pub(crate) fn fill(&mut self, queue: &str, messages: usize) {
        self.ask(&format!("fill {queue} {messages}"));
    }

    pub(crate) fn delete(&mut self, queue: &str) {
        self.ask(&format!("delete {queue}"));
    }

    pub(crate) fn peeked(&mut self) -> Peeked {
        let answer = self.ask("peeked");
        let mut figures = answer.split(' ').map(|figure| figure.parse().expect("a figure"));
        let mut figure = || figures.next().expect("two figures");
        Peeked { messages: figure(), requests: figure() }
    }

    fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("it listens");
        self.answers.next().expect("an answer").expect("a line")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Is a namespace, until standard input ends.
pub(crate) async fn serve() {
    let bus = ServiceBus::start().await;
    println!("{}", bus.connection_string());
    let mut queues = HashSet::new();
    let mut before = Peeked { messages: 0, requests: 0 };
    for order in stdin().lines() {
        let order = order.expect("a line");
        match order.split(' ').collect::<Vec<_>>()[..] {
            ["fill", queue, messages] => {
                if queues.insert(queue.to_owned()) {
                    bus.queue(queue).create();
                }
                bus.fill(queue, messages.parse().expect("a number"), message);
                println!("filled");
            }
            ["delete", queue] => {
                queues.remove(queue);
                bus.delete(queue);
                println!("deleted");
            }
            ["peeked"] => {
                let now = Peeked { messages: bus.peeked(), requests: bus.peeks() };
                let (messages, requests) =
                    (now.messages - before.messages, now.requests - before.requests);
                println!("{messages} {requests}");
                before = now;
            }
            _ => panic!("{order}: no such order"),
        }
    }
}

/// A message of some 400 bytes, as an SDK sends them.
fn message(number: usize) -> Message {
    let wanted = number % WANTED_OF == WANTED_OF / 2;
    Message::new(format!(r#"{{"id":{number},"note":"{}"}}"#, "x".repeat(120)))
        .id(number.to_string())
        .content_type("application/json")
        .subject("order")
        .property("cloudEvents:type", if wanted { WANTED_TYPE } else { "order.paid" })
        .property("cloudEvents:source", "/shop/orders")
        .property("tenant", 42_i64)
}
