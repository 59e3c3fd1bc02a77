//! Stand-ins for a broker: one that passes everything on until it is told to hold replies back or
//! to cut them, and one that never answers.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use test_basics::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::narrow::{API_VERSIONS, Judged, Offer, version_of};

/// Kafka's number of ListOffsets.
pub const LIST_OFFSETS: i16 = 2;

/// Kafka's number of Fetch.
const FETCH: i16 = 1;

/// Stands before a broker. Clients that are given its address never learn the broker's own.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    // Dropped with this, which ends every connection.
    _tasks: JoinSet<()>,
}

/// Takes connections and reads nothing from them.
#[derive(Debug)]
pub struct Mute {
    port: u16,
    _tasks: JoinSet<()>,
}

/// What becomes of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// They are passed on.
    Pass,
    /// They wait for another word.
    Hold,
    /// Those with records wait for another word.
    HoldRecords,
    /// Of so many one is cut in the middle, and its connection with it.
    CutOneIn(usize),
}

#[derive(Debug)]
struct Shared {
    broker: u16,
    port: u16,
    replies: watch::Sender<Replies>,
    /// How often the network has forgotten its connections.
    forgotten: watch::Sender<usize>,
    /// Requests passed on, by their number in the protocol.
    asked: watch::Sender<BTreeMap<i16, usize>>,
    answered: AtomicUsize,
    cut: AtomicUsize,
    /// What the broker seems to offer; none, what it does.
    offer: Option<Offer>,
    /// Requests that were not offered.
    refused: Mutex<Vec<String>>,
}

/// A request that has been passed on and has no answer yet.
#[derive(Clone, Copy, Debug)]
struct Owed {
    api: i16,
    version: i16,
    /// Whether it was put in the place of one in a version that is not offered.
    older: bool,
}

impl Proxy {
    /// Stands before the broker on this port of 127.0.0.1.
    pub async fn before(broker: u16) -> Self {
        Self::offering(broker, None).await
    }

    /// Stands before the broker on this port of 127.0.0.1 and lets it offer less than it knows.
    /// [`Proxy::refused`] tells what was asked for all the same.
    pub async fn narrow(broker: u16, offer: Offer) -> Self {
        Self::offering(broker, Some(offer)).await
    }

    async fn offering(broker: u16, offer: Option<Offer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            broker,
            port,
            replies: watch::Sender::new(Replies::Pass),
            forgotten: watch::Sender::new(0),
            asked: watch::Sender::default(),
            answered: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            offer,
            refused: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let shared = Arc::clone(&shared);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let shared = Arc::clone(&shared);
                    // Either side may end it at any time.
                    connections.spawn(async move { drop(shared.carry(client).await) });
                    while connections.try_join_next().is_some() {}
                }
            }
        });
        Self { port, shared, _tasks: tasks }
    }

    /// What a client is given, as `host:port`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What becomes of replies from now on, those that are held included.
    pub fn replies(&self, replies: Replies) {
        self.shared.replies.send_replace(replies);
    }

    /// Forgets the connections there are, as a load balancer does: nothing passes on them any more,
    /// and neither side is told. New ones work.
    pub fn forget(&self) {
        self.shared.forgotten.send_modify(|times| *times += 1);
    }

    /// How many requests of this kind have been passed on.
    pub fn asked(&self, api: i16) -> usize {
        self.shared.asked.borrow().get(&api).copied().unwrap_or_default()
    }

    /// Waits until more requests of this kind have been passed on than these.
    pub async fn until_asked(&self, api: i16, more_than: usize) {
        let mut asked = self.shared.asked.subscribe();
        let asked = asked.wait_for(|asked| asked.get(&api).is_some_and(|count| *count > more_than));
        timeout(PATIENCE, asked).await.expect("a request in time").expect("the proxy lives");
    }

    /// The requests that came though they are not offered; each has ended its connection.
    pub fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().expect("no panic").clone()
    }

    /// How many replies have been cut.
    pub fn cut(&self) -> usize {
        self.shared.cut.load(Ordering::Relaxed)
    }
}

impl Mute {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                taken.push(client);
            }
        });
        Self { port, _tasks: tasks }
    }

    /// What a client is given, as `host:port`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Shared {
    /// Carries one connection until either side ends it, or a reply is cut.
    async fn carry(&self, client: TcpStream) -> io::Result<()> {
        let broker = TcpStream::connect(("127.0.0.1", self.broker)).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_broker, mut to_broker) = broker.into_split();
        // A broker answers a connection in order.
        let owed = Mutex::new(VecDeque::new());
        let requests = async {
            loop {
                let mut request = frame(&mut from_client).await?;
                let api = i16::from_be_bytes([request[4], request[5]]);
                let mut older = false;
                match self.offer.map(|offer| offer.judge(&request)) {
                    None | Some(Judged::Offered) => {}
                    Some(Judged::Older(instead)) => (request, older) = (instead, true),
                    Some(Judged::Refused(what)) => {
                        // For the test that fails before it has asked what was refused.
                        eprintln!("the proxy refuses what is not offered: {what}");
                        self.refused.lock().expect("no panic").push(what.clone());
                        return Err(io::Error::other(what));
                    }
                }
                let version = version_of(&request);
                owed.lock().expect("no panic").push_back(Owed { api, version, older });
                self.asked.send_modify(|asked| *asked.entry(api).or_default() += 1);
                to_broker.write_all(&request).await?;
            }
        };
        let replies = async {
            let mut told = self.replies.subscribe();
            loop {
                let mut reply = frame(&mut from_broker).await?;
                self.redirect(&mut reply);
                let owed = owed.lock().expect("no panic").pop_front();
                let api = owed.map(|owed| owed.api);
                if let (Some(offer), Some(Owed { api: API_VERSIONS, version, older })) =
                    (self.offer, owed)
                {
                    reply = offer.narrow(&reply, version, older);
                }
                let held = told.wait_for(|replies| match replies {
                    Replies::Hold => false,
                    Replies::HoldRecords => api != Some(FETCH),
                    Replies::Pass | Replies::CutOneIn(_) => true,
                });
                let told = *held.await.map_err(io::Error::other)?;
                let number = self.answered.fetch_add(1, Ordering::Relaxed);
                if matches!(told, Replies::CutOneIn(many) if number % many == many - 1) {
                    self.cut.fetch_add(1, Ordering::Relaxed);
                    return to_client.write_all(&reply[..reply.len() / 2]).await;
                }
                to_client.write_all(&reply).await?;
            }
        };
        let mut forgotten = self.forgotten.subscribe();
        forgotten.mark_unchanged();
        tokio::select! {
            ended = requests => return ended,
            ended = replies => return ended,
            _ = forgotten.changed() => {}
        }
        // Both connections stay open until the proxy goes.
        std::future::pending().await
    }

    /// Puts this port where a reply names the broker's.
    fn redirect(&self, reply: &mut [u8]) {
        let place = |port: u16| [b"127.0.0.1", &u32::from(port).to_be_bytes()[..]].concat();
        let (broker, own) = (place(self.broker), place(self.port));
        let mut at = 0;
        while at + broker.len() <= reply.len() {
            if reply[at..].starts_with(&broker) {
                reply[at..at + own.len()].copy_from_slice(&own);
            }
            at += 1;
        }
    }
}

/// A request or a reply with the length before it.
async fn frame(from: &mut tokio::net::tcp::OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + usize::try_from(length).map_err(io::Error::other)?, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}
