//! A broker that lies: it speaks as much of Kafka's protocol as is asked of it, and bends what it
//! says.
//!
//! It has one topic of three partitions, in each of which 6 messages wait for any group, 3 of them
//! of one [`TYPE`]. What a [`Scenario`] does not bend is honest, so that a client gets as far as
//! the lie.
//!
//! | file | job |
//! |---|---|
//! | `batches.rs` | record batches |
//! | `honest.rs` | the replies, before they are bent |
//! | `login.rs` | SASL, from the broker's side |

pub mod batches;
mod honest;
mod login;

use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, FetchRequest, FetchResponse, FindCoordinatorResponse,
    ListOffsetsResponse, MetadataResponse, OffsetFetchResponse, ShareGroupDescribeResponse,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificates::Identity;
pub use honest::{Answer, COMMITTED, END, NEW, NULL, OF_TYPE, PARTITIONS, TOPIC, TRUTH, TYPE, log};
pub use login::{Login, PASSWORD, USER};

/// What a giant is made of.
static CHUNK: [u8; 64 << 10] = [b'x'; 64 << 10];

/// The pause of what trickles.
const TRICKLE: Duration = Duration::from_secs(1);

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// The largest request that is read.
const LARGEST_REQUEST: usize = 1 << 20;

/// Listens on a free port and answers by its scenario. Dropping it ends every connection.
#[derive(Debug)]
pub struct Hostile {
    port: u16,
    told: Arc<Told>,
    _tasks: JoinSet<()>,
}

/// What a broker has done so far.
#[derive(Debug, Default)]
struct Told {
    connections: AtomicUsize,
    /// How often it has lied.
    lies: AtomicUsize,
    /// How often it could not, which is a fault of the test.
    faults: AtomicUsize,
}

/// What a reply to a fetch becomes.
pub type Bend = Arc<dyn Fn(&FetchRequest, &mut FetchResponse) + Send + Sync>;

/// How a broker lies. All but what a scenario names is honest.
#[derive(Clone)]
pub enum Scenario {
    /// It does not.
    Honest,
    /// The replies of a kind say what this makes of them.
    Versions(fn(&mut ApiVersionsResponse)),
    /// Likewise.
    Metadata(fn(&mut MetadataResponse)),
    /// Likewise.
    ListOffsets(fn(&mut ListOffsetsResponse)),
    /// Likewise.
    OffsetFetch(fn(&mut OffsetFetchResponse)),
    /// Likewise. Where there is something to fetch, it is told at once.
    Fetch(Bend),
    /// Likewise, and the topic has so many partitions.
    Wide(i32, Bend),
    /// Likewise.
    Coordinator(fn(&mut FindCoordinatorResponse)),
    /// Likewise. Asked of [`NEW`].
    ShareGroups(fn(&mut ShareGroupDescribeResponse)),
    /// It bends the login.
    Login(Login),
    /// The bytes of the replies of a kind, length and correlation id included, are what this makes
    /// of them. None of them: silence.
    Frames(ApiKey, fn(Vec<u8>) -> Vec<u8>),
    /// In the replies of a kind these bytes stand at this place, counted from the length on.
    Overwritten(ApiKey, usize, &'static [u8]),
    /// The replies of a kind come a byte a second.
    Trickled(ApiKey),
    /// A reply of a kind has this length before it; of its bytes one a second follows.
    Announced(ApiKey, u32),
    /// A reply of a kind has this length before it; of its bytes so many are sent at once, and then
    /// one a second.
    Stalled(ApiKey, u32, usize),
    /// A reply of a kind is this long, and all of it is sent.
    Giant(ApiKey, usize),
    /// Two replies of a kind are answered in the wrong order.
    Swapped(ApiKey),
    /// From the first request of a kind on nothing is said any more.
    SilentAt(ApiKey),
    /// At a request of a kind the connection is closed.
    ClosedAt(ApiKey),
    /// Connections are taken and closed.
    Closed,
    /// Connections are taken, and nothing is read or said.
    Silent,
    /// The first that is said, before anything is asked: these bytes. Then silence.
    Greeting(&'static [u8]),
    /// Likewise, and then it goes on honestly.
    GreetingFirst(&'static [u8]),
}

/// Counts a panic of whoever holds it.
struct Fault<'a>(&'a Told);

/// A request that has been read.
struct Asked {
    api: ApiKey,
    version: i16,
    correlation: i32,
    body: bytes::Bytes,
}

impl Hostile {
    /// Listens without TLS.
    pub async fn start(scenario: Scenario) -> Self {
        Self::listening(scenario, None).await
    }

    /// Listens with TLS; the scenario is that of what is within.
    pub async fn with_tls(scenario: Scenario, identity: &Identity) -> Self {
        let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("a key that fits");
        Self::listening(scenario, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listening(scenario: Scenario, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let told = Arc::new(Told::default());
        let telling = Arc::clone(&told);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                telling.connections.fetch_add(1, Ordering::Relaxed);
                let (scenario, tls, told) = (scenario.clone(), tls.clone(), Arc::clone(&telling));
                carried.spawn(async move {
                    let _fault = Fault(&told);
                    // Either side may end it at any time.
                    drop(carry(stream, tls, scenario, port, &told).await);
                });
                while carried.try_join_next().is_some() {}
            }
        });
        Self { port, told, _tasks: tasks }
    }

    /// What a client is given, as `host:port`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many connections have been made to it.
    pub fn connections(&self) -> usize {
        self.told.connections.load(Ordering::Relaxed)
    }

    /// How often it has lied.
    ///
    /// # Panics
    /// If it could not, because the scenario does not fit what was asked.
    pub fn lies(&self) -> usize {
        assert_eq!(self.told.faults.load(Ordering::Relaxed), 0, "the scenario cannot be told");
        self.told.lies.load(Ordering::Relaxed)
    }
}

impl Scenario {
    /// Whether it is told before anything is asked.
    fn is_about_connections(&self) -> bool {
        use Scenario::{Closed, Greeting, GreetingFirst, Silent};
        matches!(self, Closed | Silent | Greeting(_) | GreetingFirst(_))
    }

    /// Whether it bends the replies of this kind.
    fn is_about(&self, api: ApiKey) -> bool {
        match self {
            Self::Versions(_) => api == ApiKey::ApiVersions,
            Self::Metadata(_) => api == ApiKey::Metadata,
            Self::ListOffsets(_) => api == ApiKey::ListOffsets,
            Self::OffsetFetch(_) => api == ApiKey::OffsetFetch,
            Self::Fetch(_) | Self::Wide(..) => api == ApiKey::Fetch,
            Self::ShareGroups(_) => api == ApiKey::ShareGroupDescribe,
            Self::Coordinator(_) => api == ApiKey::FindCoordinator,
            Self::Login(login) => login.is_told_by(api),
            Self::Frames(of, _)
            | Self::Overwritten(of, ..)
            | Self::Trickled(of)
            | Self::Announced(of, _)
            | Self::Stalled(of, ..)
            | Self::Giant(of, _)
            | Self::Swapped(of)
            | Self::SilentAt(of)
            | Self::ClosedAt(of) => api == *of,
            Self::Honest
            | Self::Closed
            | Self::Silent
            | Self::Greeting(_)
            | Self::GreetingFirst(_) => false,
        }
    }
}

impl Debug for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scenario")
    }
}

impl Told {
    fn lie(&self) {
        self.lies.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.faults.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn carry(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    scenario: Scenario,
    port: u16,
    told: &Told,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => converse(stream, scenario, port, told).await,
        Some(tls) => converse(tls.accept(stream).await?, scenario, port, told).await,
    }
}

/// Answers the requests of one connection until either side ends it.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    scenario: Scenario,
    port: u16,
    told: &Told,
) -> io::Result<()> {
    if scenario.is_about_connections() {
        told.lie();
    }
    match &scenario {
        Scenario::Closed => return Ok(()),
        Scenario::Silent => sleep(FOR_EVER).await,
        Scenario::Greeting(bytes) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
            sleep(FOR_EVER).await;
        }
        Scenario::GreetingFirst(bytes) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
        }
        _ => {}
    }
    let mut login = login::Session::new(match &scenario {
        Scenario::Login(login) => *login,
        _ => Login::Honest,
    });
    let mut held: Option<Vec<u8>> = None;
    loop {
        let asked = read_request(&mut stream).await?;
        let api = asked.api;
        let Some(mut answer) = honest::answer(&asked, port, &mut login) else { return Ok(()) };
        if let Some((request, Answer::Fetch(reply))) = asked.fetch().zip(Some(&answer))
            && !says_something(reply)
        {
            let wait = u64::try_from(request.max_wait_ms).unwrap_or_default();
            sleep(Duration::from_millis(wait)).await;
        }
        if scenario.is_about(api) {
            told.lie();
        }
        match (&scenario, &mut answer) {
            (Scenario::SilentAt(at), _) if *at == api => sleep(FOR_EVER).await,
            (Scenario::ClosedAt(at), _) if *at == api => return Ok(()),
            (Scenario::Versions(bend), Answer::Versions(reply)) => bend(reply),
            (Scenario::Metadata(bend), Answer::Metadata(reply)) => bend(reply),
            (Scenario::ListOffsets(bend), Answer::ListOffsets(reply)) => bend(reply),
            (Scenario::OffsetFetch(bend), Answer::OffsetFetch(reply)) => bend(reply),
            (Scenario::ShareGroups(bend), Answer::ShareGroups(reply)) => bend(reply),
            (Scenario::Coordinator(bend), Answer::Coordinator(reply)) => bend(reply),
            (Scenario::Fetch(bend) | Scenario::Wide(_, bend), Answer::Fetch(reply)) => {
                bend(&asked.fetch().expect("it was answered"), reply);
            }
            (Scenario::Wide(partitions, _), Answer::Metadata(reply)) => widen(reply, *partitions),
            _ => {}
        }
        let mut frame = answer.frame(&asked);
        match &scenario {
            Scenario::Frames(of, bend) if *of == api => frame = bend(frame),
            Scenario::Overwritten(of, at, bytes) if *of == api => {
                let end = (at + bytes.len()).min(frame.len());
                let at = (*at).min(end);
                frame[at..end].copy_from_slice(&bytes[..end - at]);
            }
            Scenario::Trickled(of) if *of == api => {
                for byte in frame {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    sleep(TRICKLE).await;
                }
                continue;
            }
            Scenario::Announced(of, length) | Scenario::Stalled(of, length, _) if *of == api => {
                stream.write_all(&length.to_be_bytes()).await?;
                stream.write_all(&asked.correlation.to_be_bytes()).await?;
                if let Scenario::Stalled(.., at_once) = &scenario {
                    stream.write_all(&vec![0; *at_once]).await?;
                }
                loop {
                    stream.write_all(&[0]).await?;
                    stream.flush().await?;
                    sleep(TRICKLE).await;
                }
            }
            Scenario::Giant(of, length) if *of == api => {
                let announced = u32::try_from(*length).expect("a length");
                stream.write_all(&announced.to_be_bytes()).await?;
                stream.write_all(&asked.correlation.to_be_bytes()).await?;
                let mut left = length.saturating_sub(4);
                while left > 0 {
                    let some = left.min(CHUNK.len());
                    stream.write_all(&CHUNK[..some]).await?;
                    left -= some;
                }
                continue;
            }
            Scenario::Swapped(of) if *of == api => match held.take() {
                None => {
                    held = Some(frame);
                    continue;
                }
                Some(first) => frame.extend(first),
            },
            _ => {}
        }
        stream.write_all(&frame).await?;
        stream.flush().await?;
        if login.is_over() {
            return Ok(());
        }
    }
}

/// Whether there is something in a reply, so that a broker does not wait for it.
fn says_something(reply: &FetchResponse) -> bool {
    let mut partitions = reply.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|it| it.error_code != 0 || it.records.as_ref().is_some_and(|it| !it.is_empty()))
}

/// Gives the topic so many partitions.
fn widen(reply: &mut MetadataResponse, partitions: i32) {
    for all in reply.topics.iter_mut().map(|topic| &mut topic.partitions) {
        if let Some(first) = all.first().cloned() {
            all.extend((PARTITIONS..partitions).map(|n| first.clone().with_partition_index(n)));
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Asked> {
    let length = usize::try_from(stream.read_u32().await?).map_err(io::Error::other)?;
    if length > LARGEST_REQUEST {
        return Err(io::Error::other("a request that is none"));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    honest::read(frame.into()).ok_or_else(|| io::Error::other("a request that is none"))
}

/// A frame: its length, the correlation id, and what follows.
fn framed(correlation: i32, tagged: bool, body: &BytesMut) -> Vec<u8> {
    let length = 4 + usize::from(tagged) + body.len();
    let mut frame = Vec::with_capacity(4 + length);
    frame.put_u32(u32::try_from(length).expect("a length"));
    frame.put_i32(correlation);
    if tagged {
        frame.put_u8(0);
    }
    frame.extend_from_slice(body);
    frame
}
