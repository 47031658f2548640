//! A client of one blob that goes on at another replica where an answer breaks off, whole and in ranges.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, RequestBuilder, Response};

use super::client::{Outcome, Trouble};
use crate::support::Image;
use crate::support::image::digest;
use crate::support::ranged::Shape;

/// A client moves on to the next replica after this pause.
const PAUSE: Duration = Duration::from_millis(300);
/// It asks so often in all: the deadline of its pull comes first.
const REQUESTS: usize = 2000;
/// It fetches the blob so often, where its bytes had another digest.
const PULLS: usize = 50;

/// Hosts and ports of replicas: one that is restarted has another port.
pub type Addresses = Arc<Mutex<Vec<String>>>;

pub struct Puller {
    pub name: &'static str,
    pub replicas: Addresses,
    /// The index of its replica, modulo their number.
    pub replica: AtomicUsize,
    /// The blob is the image's first layer, whose bytes it knows.
    pub image: Image,
    /// How it cuts the blob, if it does.
    pub shape: Option<Shape>,
    /// How long it waits for the next byte.
    pub patience: Duration,
    /// An upstream may lie: bytes of a broken or a partial answer may be wrong, and the client pulls again.
    pub lies: bool,
    /// Bytes so far.
    pub progress: AtomicUsize,
    /// Answers that broke off, and refusals: the client went on at the next replica.
    pub moved: AtomicUsize,
}

/// Why one answer was not enough.
enum Short {
    /// The client goes on elsewhere.
    Broken,
    /// Bytes of it were wrong, and nothing said that they were right.
    Dirty,
    Failed(Trouble),
}

impl From<reqwest::Error> for Short {
    fn from(_: reqwest::Error) -> Self {
        Self::Broken
    }
}

impl Puller {
    /// The whole blob.
    pub async fn pull(&self) -> Outcome {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).read_timeout(self.patience).build();
        let (http, size) = (http.unwrap(), self.image.layer().len());
        for _ in 0..PULLS {
            let pulled = match self.shape {
                None => self.range(&http, 0..size, true).await,
                Some(shape) => {
                    let chunks = stream::iter(shape.chunks(size)).map(|chunk| self.range(&http, chunk, false));
                    chunks.buffer_unordered(shape.parallel).try_collect().await
                }
            };
            match pulled {
                Ok(()) => return Ok(()),
                Err(Short::Failed(trouble)) => return Err(trouble),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(Trouble::Broken("the bytes never had the digest".to_owned()))
    }

    /// A range, however many answers it takes.
    async fn range(&self, http: &Client, range: Range<usize>, whole: bool) -> Result<(), Short> {
        let (mut at, mut dirty) = (range.start, false);
        for _ in 0..REQUESTS {
            let replica = self.replica.load(Ordering::SeqCst);
            match self.answer(http, &mut at, range.end, whole, replica).await {
                Ok(()) if dirty => return Err(Short::Dirty),
                Err(Short::Broken) => {}
                // The rest of the bytes is fetched, as by a client that verifies the whole only.
                Err(Short::Dirty) if at < range.end => dirty = true,
                ended => return ended,
            }
            self.moved.fetch_add(1, Ordering::SeqCst);
            let _ = self.replica.compare_exchange(replica, replica + 1, Ordering::SeqCst, Ordering::SeqCst);
            tokio::time::sleep(PAUSE).await;
        }
        Err(Short::Failed(Trouble::Broken("too many answers broke off".to_owned())))
    }

    /// What one answer of a replica brings, from `at` on.
    async fn answer(
        &self,
        http: &Client,
        at: &mut usize,
        end: usize,
        whole: bool,
        replica: usize,
    ) -> Result<(), Short> {
        let addr = {
            let replicas = self.replicas.lock().unwrap();
            replicas[replica % replicas.len()].clone()
        };
        let from_start = whole && *at == 0;
        let from = *at;
        let ranged = |request: RequestBuilder| match self.shape {
            _ if from_start => request,
            Some(shape) => request.header("range", shape.form.header(&(from..end))),
            None => request.header("range", format!("bytes={from}-")),
        };
        let url = format!("http://{addr}/v2/{}/blobs/{}", self.name, digest(self.image.layer()));
        let mut response = ranged(http.get(url)).send().await?;
        let redirected = response.status() == 307;
        if redirected {
            let location = response.headers()["location"].to_str().unwrap().to_owned();
            response = ranged(http.get(location)).send().await?;
        }
        match response.status().as_u16() {
            200 | 206 => {}
            429 | 500..=599 => return Err(Short::Broken),
            // A lagging region does not see the object yet.
            404 if redirected => return Err(Short::Broken),
            status => {
                let text = response.text().await.unwrap_or_default();
                return Err(Short::Failed(Trouble::Odd(status, text)));
            }
        }
        let mut position = begin(&response).unwrap_or_default();
        if position > *at {
            return Err(Short::Failed(Trouble::Wrong(format!("bytes from {position} on, not from {at}"))));
        }
        let (bytes, mut dirty) = (self.image.layer(), false);
        while *at < end {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                // The body is shorter than what was asked for.
                Ok(None) | Err(_) if dirty => return Err(Short::Dirty),
                Ok(None) | Err(_) => return Err(Short::Broken),
            };
            let same = bytes.get(position..position + piece.len()) == Some(&piece[..]);
            if !same && (redirected || !self.lies) {
                return Err(Short::Failed(Trouble::Wrong(format!("at {position}, redirected: {redirected}"))));
            }
            dirty |= !same;
            position += piece.len();
            let new = position.min(end).saturating_sub(*at);
            *at += new;
            self.progress.fetch_add(new, Ordering::SeqCst);
        }
        match (dirty, from_start) {
            (false, _) => Ok(()),
            (true, false) => Err(Short::Dirty),
            (true, true) => Err(Short::Failed(Trouble::Wrong("one answer brought a whole wrong blob".to_owned()))),
        }
    }
}

/// The first position of a 206.
fn begin(response: &Response) -> Option<usize> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
