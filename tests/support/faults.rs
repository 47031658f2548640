//! A proxy before an S3 that injects and counts faults.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::HeaderMap;
use axum::http::{Method, Request, Response};
use futures_util::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::dice::Dice;
pub use super::fault::Fault;
use super::front::{forward, operation};
use super::trace::Trace;

/// How long a write or a delete stays unseen by other regions; the leader sees it if the write had the header.
#[derive(Clone, Copy)]
struct Unseen {
    until: Instant,
    at_leader: bool,
    /// A delete: a HEAD still finds the object.
    deleted: bool,
}

/// The header that sends a request to the leader.
const CONSISTENT: &str = "x-tigris-consistent";

/// Operations that create an object.
const WRITES: [&str; 3] = ["PutObject", "CopyObject", "CompleteMultipartUpload"];

#[derive(Default)]
struct Mood {
    faults: Vec<Fault>,
    percent: u64,
    /// How many more faults to inject.
    left: usize,
    holds: Vec<(&'static str, &'static str, Arc<Held>)>,
    /// Requests whose URI contains this get a 403.
    refused: Option<&'static str>,
    /// The only S3 operation to fail; `None` for any.
    only: Option<&'static str>,
    /// How many of these operations succeed first.
    after: usize,
    away: bool,
    /// Every write lags as with `Lag`, in addition to its fault.
    lags: bool,
}

/// A held request.
#[derive(Default)]
pub struct Held {
    came: Notify,
    released: Notify,
}

impl Held {
    /// Waits until the request has arrived.
    pub async fn came(&self) {
        let came = tokio::time::timeout(Duration::from_secs(20), self.came.notified());
        came.await.unwrap();
    }

    pub fn release(&self) {
        self.released.notify_one();
    }

    /// Reports the request's arrival, and waits for its release.
    pub async fn wait(&self) {
        self.came.notify_one();
        self.released.notified().await;
    }
}

struct Behind {
    s3: String,
    client: reqwest::Client,
    mood: Mutex<Mood>,
    dice: Dice,
    injected: Mutex<BTreeMap<Fault, usize>>,
    /// By path.
    unseen: Mutex<HashMap<String, Unseen>>,
    /// Where every request is noted.
    trace: Option<Arc<Trace>>,
}

/// The proxy; dropping it stops it.
pub struct Faulty {
    pub addr: SocketAddr,
    behind: Arc<Behind>,
    tasks: JoinSet<()>,
}

impl Faulty {
    /// Starts before the S3 at a host and port, at first without faults.
    pub async fn before(s3: impl ToString, seed: u64) -> Self {
        Self::start(s3.to_string(), seed, None).await
    }

    /// [`before`](Self::before), and notes every request.
    pub async fn noting(s3: impl ToString, seed: u64, trace: &Arc<Trace>) -> Self {
        Self::start(s3.to_string(), seed, Some(Arc::clone(trace))).await
    }

    async fn start(s3: String, seed: u64, trace: Option<Arc<Trace>>) -> Self {
        let behind = Arc::new(Behind {
            s3,
            client: reqwest::Client::new(),
            mood: Mutex::default(),
            dice: Dice::new(seed),
            injected: Mutex::default(),
            unseen: Mutex::default(),
            trace,
        });
        let mut faulty = Self { addr: ([127, 0, 0, 1], 0).into(), behind, tasks: JoinSet::new() };
        faulty.addr = faulty.listen("").await;
        faulty
    }

    /// Listens at one more address, for requests that are noted as this client's.
    pub async fn listen(&mut self, client: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        self.tasks.spawn(accept(listener, Arc::clone(&self.behind), client));
        addr
    }

    /// From now on, injects each of these faults into so many percent of the requests.
    pub fn inject(&self, faults: &[Fault], percent: u64) {
        let mut mood = self.behind.mood.lock().unwrap();
        (mood.faults, mood.percent, mood.left) = (faults.to_vec(), percent, usize::MAX);
        mood.only = None;
    }

    /// Injects this fault into the next `times` suitable requests.
    pub fn inject_few(&self, fault: Fault, times: usize) {
        let mut mood = self.behind.mood.lock().unwrap();
        (mood.faults, mood.percent, mood.left) = (vec![fault], 100, times);
        mood.only = None;
    }

    /// Injects this fault once, after `after` of these operations.
    pub fn inject_at(&self, fault: Fault, operation: &'static str, after: usize) {
        let mut mood = self.behind.mood.lock().unwrap();
        (mood.faults, mood.percent, mood.left) = (vec![fault], 100, 1);
        mood.after = after;
        mood.only = Some(operation);
    }

    /// Holds the next one of these operations until it is released.
    pub fn hold(&self, operation: &'static str) -> Arc<Held> {
        self.hold_of(operation, "")
    }

    /// [`hold`](Self::hold), of the operations whose URI contains `part`.
    pub fn hold_of(&self, operation: &'static str, part: &'static str) -> Arc<Held> {
        let held = Arc::new(Held::default());
        self.behind.mood.lock().unwrap().holds.push((operation, part, Arc::clone(&held)));
        held
    }

    /// Refuses every request whose URI contains this, once it is no longer held.
    pub fn refuse(&self, part: Option<&'static str>) {
        self.behind.mood.lock().unwrap().refused = part;
    }

    /// Closes every connection at its first request, while `away`.
    pub fn away(&self, away: bool) {
        self.behind.mood.lock().unwrap().away = away;
    }

    /// Hides every write and delete for a second, as with [`Fault::Lag`], even if the answer is lost.
    pub fn lag(&self, lags: bool) {
        self.behind.mood.lock().unwrap().lags = lags;
    }

    /// How often each fault was injected since the last `take`.
    pub fn take(&self) -> BTreeMap<Fault, usize> {
        std::mem::take(&mut self.behind.injected.lock().unwrap())
    }
}

async fn accept(listener: TcpListener, behind: Arc<Behind>, client: &'static str) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(connection, Arc::clone(&behind), client));
    }
}

async fn serve(connection: TcpStream, behind: Arc<Behind>, client: &'static str) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let behind = Arc::clone(&behind);
        async move { behind.note_and_answer(request.map(Body::new), client).await }
    });
    // Connections end in errors on purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
}

impl Behind {
    /// A request whose client leaves is not noted as answered.
    async fn note_and_answer(&self, request: Request<Body>, client: &str) -> io::Result<Response<Body>> {
        let Some(trace) = &self.trace else {
            return self.answer(request).await;
        };
        let condition = ["if-match", "if-none-match"].iter().find_map(|name| request.headers().get(*name));
        let condition = condition.map(|value| format!(" if {value:?}")).unwrap_or_default();
        let request_line = format!("{client} {} {}{condition}", request.method(), request.uri());
        trace.note(format!("{request_line} …"));
        let answer = self.answer(request).await;
        let outcome = answer.as_ref().map_or_else(ToString::to_string, |answer| answer.status().to_string());
        trace.note(format!("{request_line}: {outcome}"));
        answer
    }

    /// An error closes the connection.
    async fn answer(&self, request: Request<Body>) -> io::Result<Response<Body>> {
        if self.mood.lock().unwrap().away {
            return Err(reset());
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let named = operation(&method, request.uri(), request.headers());
        if let Some(stale) = self.stale(&method, &path, request.headers()) {
            return Ok(stale);
        }
        let uri = request.uri().to_string();
        let held = {
            let holds = &mut self.mood.lock().unwrap().holds;
            let held = holds.iter().position(|(operation, part, _)| *operation == named && uri.contains(part));
            held.map(|held| holds.remove(held))
        };
        if let Some((_, _, held)) = held {
            held.wait().await;
        }
        if self.mood.lock().unwrap().refused.is_some_and(|part| uri.contains(part)) {
            return Ok(refusal(403, "AccessDenied"));
        }
        let deletes = named == "DeleteObject";
        if (deletes || WRITES.contains(&named)) && self.mood.lock().unwrap().lags {
            self.hide(&path, request.headers(), deletes);
        }
        let Some(fault) = self.choose(named) else {
            return self.forward(request).await;
        };
        *self.injected.lock().unwrap().entry(fault).or_default() += 1;
        if let Some(trace) = &self.trace {
            trace.note(format!("{} of {method} {uri}", fault.describe()));
        }
        match fault {
            Fault::SlowDown => Ok(refusal(503, "SlowDown")),
            Fault::Internal => Ok(refusal(500, "InternalError")),
            Fault::LostRequest => Err(reset()),
            Fault::LostAnswer | Fault::LostComplete => {
                self.forward(request).await?;
                Err(reset())
            }
            Fault::Hang => {
                // Longer than any client waits.
                tokio::time::sleep(Duration::from_mins(4)).await;
                Err(reset())
            }
            Fault::Cut if method == Method::GET => Ok(self.forward(request).await?.map(half)),
            Fault::Cut => {
                let _ = self.forward(request.map(half)).await;
                Err(reset())
            }
            Fault::Delay => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                self.forward(request).await
            }
            Fault::Lag => {
                let headers = request.headers().clone();
                let written = self.forward(request).await?;
                self.hide(&path, &headers, false);
                Ok(written)
            }
        }
    }

    fn choose(&self, operation: &str) -> Option<Fault> {
        let mut mood = self.mood.lock().unwrap();
        let happens = |fault: &&Fault| {
            let applies = match fault {
                Fault::LostComplete => operation == "CompleteMultipartUpload",
                Fault::Lag => WRITES.contains(&operation),
                _ => true,
            };
            let applies = applies && mood.only.is_none_or(|only| only == operation);
            applies && self.dice.percent(mood.percent)
        };
        // A random start, so that no fault is always the first.
        let (before, after) = mood.faults.split_at(self.dice.index(mood.faults.len()));
        let chosen = after.iter().chain(before).find(happens).copied()?;
        if mood.after > 0 {
            mood.after -= 1;
            return None;
        }
        mood.left = mood.left.checked_sub(1)?;
        Some(chosen)
    }

    fn hide(&self, path: &str, headers: &HeaderMap, deleted: bool) {
        let unseen = Unseen {
            until: Instant::now() + Duration::from_secs(1),
            at_leader: headers.contains_key(CONSISTENT),
            deleted,
        };
        self.unseen.lock().unwrap().insert(path.to_owned(), unseen);
    }

    /// The answer of a region that does not see the change yet.
    fn stale(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let unseen = self.unseen.lock().unwrap().get(path).copied()?;
        let sees = unseen.at_leader && headers.contains_key(CONSISTENT);
        if sees || Instant::now() >= unseen.until {
            return None;
        }
        match (method, unseen.deleted) {
            (&Method::HEAD, true) => Some(Response::new(Body::empty())),
            (&Method::HEAD | &Method::GET, false) => Some(refusal(404, "NoSuchKey")),
            _ => None,
        }
    }

    async fn forward(&self, request: Request<Body>) -> io::Result<Response<Body>> {
        forward(&self.client, &self.s3, request).await.map_err(io::Error::other)
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn refusal(status: u16, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status.try_into().unwrap();
    response
}

/// Half of the body's first chunk, then an error.
fn half(body: Body) -> Body {
    let pieces = body.into_data_stream().map(|piece| {
        let piece = piece.map_err(io::Error::other)?;
        Ok(piece.slice(..piece.len() / 2))
    });
    // hyper sends what it has when the body has nothing more yet, and drops it when the body fails at once.
    let cut = stream::once(async {
        tokio::task::yield_now().await;
        Err(reset())
    });
    Body::from_stream(pieces.take(1).chain(cut))
}
