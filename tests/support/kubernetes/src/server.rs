//! The server: kube-apiserver over etcd, started, stopped, paused, and what it is told.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::KeyPair;
use tempfile::TempDir;
use test_basics::{free_port, holds_within};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::access::{Contact, Credentials};
use crate::authority::Authority;
use crate::definitions;
use crate::process::{Plan, Process};
use crate::programs::Program;
use crate::requests;
use crate::tokens;

/// How long a server may take to start. It takes 5 to 10 s on an idle machine; others may be
/// building on this one.
const START: Duration = Duration::from_secs(240);

/// How often a start is tried, in case a port was taken between finding it free and listening on
/// it.
const TRIES: usize = 3;

/// An API server with its etcd and its data in a temporary folder. Dropping it ends it, and so does
/// the end of this process, however that comes.
pub struct ApiServer {
    // Dropped in this order: the server before its store, and the folder last.
    server: Mutex<Process>,
    etcd: Mutex<Process>,
    authority: Authority,
    token_key: KeyPair,
    contact: Contact,
    users: Mutex<HashMap<String, Credentials>>,
    names: AtomicUsize,
    folder: TempDir,
}

impl ApiServer {
    /// The server of this test binary, started by the first test that asks.
    ///
    /// # Panics
    /// As [`ApiServer::start`] does.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A server of the test's own: to stop it, to pause it, to define KEDA's kinds in another way,
    /// or to count its requests.
    ///
    /// # Panics
    /// If it does not start, its programs cannot be made, or KEDA's definitions are missing.
    pub async fn start() -> Self {
        definitions::check();
        // Minutes at first, during which the test's other tasks go on.
        let made = tokio::task::spawn_blocking(|| {
            for program in [Program::Kubectl, Program::Etcd, Program::ApiServer] {
                program.path();
            }
        });
        if let Err(error) = made.await {
            std::panic::resume_unwind(error.into_panic());
        }
        let mut failure = String::new();
        for _ in 0..TRIES {
            match Self::try_start().await {
                Ok(server) => {
                    server.define_all().await;
                    return server;
                }
                Err(why) if why.contains("address already in use") => failure = why,
                Err(why) => panic!("kube-apiserver does not start:\n{why}"),
            }
        }
        panic!("kube-apiserver found its ports taken {TRIES} times:\n{failure}");
    }

    async fn try_start() -> Result<Self, String> {
        let folder = TempDir::with_prefix("keda-sift-kubernetes-").expect("a temporary folder");
        let [port, etcd, peer] = [(); 3].map(|()| free_port());
        let authority = Authority::new();
        let token_key = tokens::key();
        let identity = authority.server();
        for (name, text) in [
            ("ca.crt", authority.cert()),
            ("server.crt", identity.cert),
            ("server.key", identity.key),
            ("token.key", token_key.serialize_pem()),
            ("token.pub", token_key.public_key_pem()),
            ("audit.yaml", requests::POLICY.to_owned()),
        ] {
            fs::write(folder.path().join(name), text).expect("a temporary folder can be written");
        }
        let contact = Contact {
            url: format!("https://127.0.0.1:{port}"),
            ca_pem: authority.cert(),
            ca_der: authority.cert_der(),
        };
        let plan = |program, arguments| Plan {
            program,
            arguments,
            environment: Vec::new(),
            folder: folder.path().to_owned(),
        };
        let mut store =
            Process::start(plan(Program::Etcd, etcd_arguments(folder.path(), etcd, peer)));
        // The server gives up on a store that is late.
        wait_for_port(&mut store, etcd).await?;
        let server =
            plan(Program::ApiServer, server_arguments(folder.path(), port, etcd, &contact.url));
        let api = Self {
            server: Mutex::new(Process::start(server)),
            etcd: Mutex::new(store),
            authority,
            token_key,
            contact,
            users: Mutex::default(),
            names: AtomicUsize::new(0),
            folder,
        };
        api.wait_until_ready().await?;
        Ok(api)
    }

    /// Waits until the server says that it is ready.
    async fn wait_until_ready(&self) -> Result<(), String> {
        let client = self.admin();
        let mut dead = None;
        let done = holds_within(START, async || {
            dead = [self.etcd(), self.server()]
                .into_iter()
                .find_map(|mut process| (!process.is_running()).then(|| process.last_words()));
            if dead.is_some() {
                return true;
            }
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a valid request");
            // A request that begins before the server listens must not hold up those after.
            let answer = timeout(Duration::from_secs(5), client.request_text(request)).await;
            answer.is_ok_and(|answer| answer.is_ok())
        });
        let done = done.await;
        match dead {
            Some(words) => Err(words),
            None if done => Ok(()),
            None => Err(format!("not ready after {START:?}:\n{}", self.server().last_words())),
        }
    }

    /// Ends the server as a power cut would; what it keeps stays. Its port answers nobody until
    /// [`ApiServer::restart`].
    pub fn stop(&self) {
        self.server().kill();
    }

    /// Starts the server again, stopped or not, at the same address with the same data, and waits
    /// until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&self) {
        self.stop();
        self.server().restart();
        if let Err(why) = self.wait_until_ready().await {
            panic!("kube-apiserver does not start again:\n{why}");
        }
    }

    /// Makes the server hang: connections are taken and kept, and nothing is answered.
    pub fn pause(&self) {
        self.server().pause();
    }

    /// Ends the hanging.
    pub fn resume(&self) {
        self.server().resume();
    }

    /// Where it listens: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.contact.url
    }

    /// The certificate of its authority, as PEM.
    pub fn ca(&self) -> &str {
        &self.contact.ca_pem
    }

    /// Who its tokens are from (`iss`).
    pub fn issuer(&self) -> &str {
        // Its address, as a cluster's issuer is where its keys are published.
        &self.contact.url
    }

    /// Where everything of it is: its data, its logs. It goes with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A name that nothing here has yet.
    pub(crate) fn new_name(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The path of a file that is not there yet.
    pub(crate) fn new_file(&self, prefix: &str) -> PathBuf {
        self.folder.path().join(self.new_name(prefix))
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        audit_log(self.folder.path())
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn contact(&self) -> &Contact {
        &self.contact
    }

    pub(crate) fn token_key(&self) -> &KeyPair {
        &self.token_key
    }

    pub(crate) fn users(&self) -> MutexGuard<'_, HashMap<String, Credentials>> {
        lock(&self.users)
    }

    fn server(&self) -> MutexGuard<'_, Process> {
        lock(&self.server)
    }

    fn etcd(&self) -> MutexGuard<'_, Process> {
        lock(&self.etcd)
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiServer").field("url", &self.contact.url).finish_non_exhaustive()
    }
}

/// A test that panicked while it held the value has left it as usable as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a process listens on its port.
pub(crate) async fn wait_for_port(process: &mut Process, port: u16) -> Result<(), String> {
    let listens = holds_within(START, async || {
        !process.is_running() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
    });
    if listens.await && process.is_running() { Ok(()) } else { Err(process.last_words()) }
}

fn audit_log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

fn etcd_arguments(folder: &Path, port: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // The data need not outlive the machine.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn server_arguments(folder: &Path, port: u16, etcd: u16, url: &str) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--authorization-mode=RBAC".to_owned(),
        format!("--service-account-issuer={url}"),
        format!("--service-account-signing-key-file={}", file("token.key")),
        format!("--service-account-key-file={}", file("token.pub")),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        // There are no nodes to send anyone to, and nobody gives namespaces their default service
        // account.
        "--endpoint-reconciler-type=none".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        format!("--audit-policy-file={}", file("audit.yaml")),
        format!("--audit-log-path={}", audit_log(folder).display()),
        // In one file, however long it gets.
        "--audit-log-maxsize=100000".to_owned(),
    ]
}
