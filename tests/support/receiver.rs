//! An endpoint of events, or a collector of traces, which may misbehave.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::Listener;
use bytes::Bytes;
use http_body_util::BodyExt;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// A request that the endpoint got.
#[derive(Clone, Debug)]
pub struct Posted {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    /// `null` unless the body is JSON.
    pub envelope: Value,
    pub body: Bytes,
}

impl Posted {
    /// Its one event.
    pub fn event(&self) -> &Value {
        let events = self.envelope["events"].as_array().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        &events[0]
    }
}

/// What the endpoint answers to a request.
#[derive(Clone, Debug)]
pub enum Manner {
    Status(u16),
    Redirect(u16, String),
    /// It never answers.
    Hang,
    /// It takes its time.
    Slow(Duration),
}

type Script = dyn Fn(&Posted) -> Manner + Send + Sync;

#[derive(Clone)]
struct Shared {
    script: Arc<Mutex<Arc<Script>>>,
    posted: Arc<Mutex<Vec<Posted>>>,
}

pub struct Receiver {
    pub addr: SocketAddr,
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::over(listener.local_addr().unwrap(), listener)
    }

    /// The same over TLS, with a certificate and the key beside it.
    pub async fn with_tls(certificate: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(certificate.with_extension("key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::over(listener.local_addr().unwrap(), Tls(listener, TlsAcceptor::from(Arc::new(config))))
    }

    fn over<L: Listener<Addr = SocketAddr>>(addr: SocketAddr, listener: L) -> Self {
        let script: Arc<Script> = Arc::new(|_: &Posted| Manner::Status(200));
        let shared = Shared { script: Arc::new(Mutex::new(script)), posted: Arc::default() };
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, shared, task }
    }

    /// From now on, `script` answers.
    pub fn behave(&self, script: impl Fn(&Posted) -> Manner + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// An element of `notifications.endpoints`, with further settings. A machine that is busy may take its time.
    pub fn endpoint(&self, settings: &str) -> String {
        let timeout = if settings.contains("timeout") { "" } else { "timeout: 20s, " };
        format!("{{name: test, url: '{}', {timeout}{settings}}}", self.url("/events"))
    }

    /// All requests so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.shared.posted.lock().unwrap().clone()
    }

    /// All events so far, repeated ones too.
    pub fn events(&self) -> Vec<Value> {
        self.posted().iter().map(|posted| posted.event().clone()).collect()
    }

    /// Waits for so many requests.
    pub async fn until(&self, count: usize) -> Vec<Posted> {
        let began = Instant::now();
        while self.posted().len() < count {
            assert!(began.elapsed() < Duration::from_secs(20), "not {count} requests: {:?}", self.posted());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.posted()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let posted = Posted {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        envelope: serde_json::from_slice(&body).unwrap_or_default(),
        body,
    };
    let script = Arc::clone(&shared.script.lock().unwrap());
    let manner = script(&posted);
    shared.posted.lock().unwrap().push(posted);
    let response = Response::builder();
    let response = match manner {
        Manner::Status(status) => response.status(status),
        Manner::Redirect(status, location) => response.status(status).header("location", location),
        Manner::Hang => std::future::pending().await,
        Manner::Slow(time) => {
            tokio::time::sleep(time).await;
            response.status(200)
        }
    };
    response.body(Body::empty()).unwrap()
}

struct Tls(TcpListener, TlsAcceptor);

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (connection, addr) = self.0.accept().await.unwrap();
            // A client that does not trust the certificate leaves.
            if let Ok(stream) = self.1.accept(connection).await {
                return (stream, addr);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
