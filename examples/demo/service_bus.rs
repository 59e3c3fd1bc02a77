//! What goes on in the queue: a namespace as the tests have it, senders, and receivers that
//! complete now and then what they handle.

use azure_stand_ins::{Message, ServiceBus};

use super::script::{Events, Job, Rate, Trigger};

const QUEUE: &str = "orders";
const PLACE: &str = "queue orders";

const EVENTS: &[Rate] = &[("order.placed", 30), ("order.paid", 20), ("order.returned", 3)];

const JOBS: &[Job] = &[
    Job { name: "ship", types: "order.paid", target: 5, every: 10 },
    Job { name: "refund", types: "order.returned", target: 1, every: 25 },
    Job { name: "confirm", types: "order.placed,order.paid", target: 20, every: 0 },
];

/// A queue in a namespace of its own.
pub(crate) struct Queue {
    namespace: ServiceBus,
    events: Events,
    received: usize,
}

impl Queue {
    pub(crate) async fn create() -> Queue {
        let namespace = ServiceBus::start().await;
        namespace.queue(QUEUE).create();
        Queue { namespace, events: Events::new(EVENTS), received: 0 }
    }

    /// Sends the events that come until so many seconds have passed.
    pub(crate) fn send(&mut self, seconds: u64) {
        for event_type in self.events.until(seconds) {
            self.namespace.send(QUEUE, Message::new("{}").subject(event_type));
        }
    }

    /// Receives and completes, for each ScaledJob whose turn it is, all that waits for it.
    pub(crate) fn receive(&mut self, seconds: u64) {
        for job in JOBS.iter().filter(|job| job.is_due(seconds)) {
            let is_its_own = |message: &Message| message.subject_text() == Some(job.types);
            self.received += self.namespace.receive_where(QUEUE, is_its_own);
        }
    }

    pub(crate) fn triggers(&self) -> Vec<Trigger> {
        // KEDA reads the variable that a trigger names, and passes on what it holds.
        let connection = self.namespace.connection_string();
        let trigger = |job: &'static Job| {
            let metadata = [
                ("source", "azure-servicebus"),
                ("connectionFromEnv", connection.as_str()),
                ("queueName", QUEUE),
                ("messageCount", &job.target.to_string()),
                ("eventType", job.types),
            ];
            Trigger::new(job, PLACE, metadata)
        };
        JOBS.iter().map(trigger).collect()
    }

    /// What has happened here.
    pub(crate) fn scene(&self) -> String {
        format!("{PLACE}; sent so far: {}; received: {}", self.events.text(), self.received)
    }
}
