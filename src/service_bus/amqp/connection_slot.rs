//! The one connection of a namespace: opened when a link is needed, and again when it is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::fault::Fault;
use super::link::Link;
use crate::coalescer::{Coalescer, ENDED, Tasks};
use crate::identity::Identities;
use crate::lock::lock;
use crate::service_bus::access::TrustedAccess;
use crate::service_bus::trigger::Transport;
use crate::web::Web;

/// The way to a namespace.
pub(in crate::service_bus) struct ConnectionSlot {
    way: Arc<Way>,
    opening: Arc<Coalescer<(), Result<Arc<Connection>, Fault>>>,
}

struct Way {
    access: TrustedAccess,
    transport: Transport,
    web: Web,
    identities: Arc<Identities>,
    step_timeout: Duration,
    tasks: Tasks,
    open: Mutex<Option<Arc<Connection>>>,
}

impl ConnectionSlot {
    /// A connection that is not open yet. Each step of opening it, and of a link, may take
    /// `step_timeout`.
    pub(in crate::service_bus) fn new(
        access: TrustedAccess,
        transport: Transport,
        web: Web,
        identities: Arc<Identities>,
        step_timeout: Duration,
        tasks: Tasks,
    ) -> ConnectionSlot {
        let open = Mutex::default();
        let way = Way { access, transport, web, identities, step_timeout, tasks, open };
        ConnectionSlot { way: Arc::new(way), opening: Coalescer::new() }
    }

    /// A link to an entity, with a new claim.
    pub(in crate::service_bus) async fn link(&self, entity: &Arc<str>) -> Result<Link, Fault> {
        let connection = match self.way.current() {
            Some(connection) => connection,
            None => {
                let way = Arc::clone(&self.way);
                let open = move |()| Arc::clone(&way).open();
                let opened = self.opening.ask(&self.way.tasks, |()| (), open);
                opened.await.ok_or_else(ended)??
            }
        };
        connection.link(entity, self.way.step_timeout).await
    }

    /// Whether there is a connection now.
    pub(in crate::service_bus) fn is_open(&self) -> bool {
        self.way.current().is_some()
    }

    /// Gives a connection up that nothing has come over since `then`, while something was due. One
    /// that others hear from is left to them.
    pub(in crate::service_bus) fn give_up(&self, connection: &Arc<Connection>, then: Instant) {
        let mut open = lock(&self.way.open);
        let is_open = open.as_ref().is_some_and(|open| Arc::ptr_eq(open, connection));
        if is_open && !connection.has_heard_since(then) {
            *open = None;
        }
    }

    /// Gives up the connection there is.
    pub(in crate::service_bus) fn hang_up(&self) {
        lock(&self.way.open).take();
    }
}

impl Way {
    fn current(&self) -> Option<Arc<Connection>> {
        lock(&self.open).as_ref().filter(|connection| !connection.is_over()).cloned()
    }

    /// Opens the connection, unless another round has just done so.
    async fn open(self: Arc<Self>) -> Result<Arc<Connection>, Fault> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let Way { access, transport, web, identities, step_timeout, tasks, open } = &*self;
        let opening = Connection::open(web, access, *transport, identities, *step_timeout, tasks);
        let connection =
            timeout(*step_timeout, opening).await.unwrap_or_else(|_| Err(Fault::silent()))?;
        let connection = Arc::new(connection);
        *lock(open) = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

fn ended() -> Fault {
    Fault::Lost(ENDED.to_owned())
}
