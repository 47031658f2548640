//! Blobs of the upstream, served well or badly.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;

use super::upstream::Manners;

/// Counters of blob requests.
#[derive(Clone, Default)]
pub struct Counts {
    /// GETs for blobs so far.
    pub gets: Arc<AtomicUsize>,
    /// Bytes of blobs that were handed to connections.
    pub bytes: Arc<AtomicUsize>,
    /// Bodies that are being sent, and the largest number at once.
    pub open: Arc<AtomicUsize>,
    pub most_open: Arc<AtomicUsize>,
}

/// Counts a body from its first byte to its end.
struct Open(Counts);

impl Open {
    fn new(counts: &Counts) -> Self {
        let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most_open.fetch_max(open, Ordering::SeqCst);
        Self(counts.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Sending {
    blob: Bytes,
    at: usize,
    sent: usize,
    counts: Counts,
    _open: Open,
}

pub fn serve(
    blob: Bytes,
    request: &Request,
    manners: &Manners,
    counts: &Counts,
    gate: watch::Receiver<bool>,
) -> Response {
    if request.method() == "HEAD" {
        return ([(header::CONTENT_LENGTH, blob.len())], Body::empty()).into_response();
    }
    let nth = counts.gets.fetch_add(1, Ordering::SeqCst);
    if let Some((status, after)) = manners.first_blobs_get.filter(|_| nth < manners.first) {
        let after = [(header::RETRY_AFTER, after)];
        return (StatusCode::from_u16(status).unwrap(), after).into_response();
    }
    if manners.sends_html {
        let page = "<html>".to_owned() + &" ".repeat(blob.len().max(100_000));
        return ([(header::CONTENT_TYPE, "text/html")], page).into_response();
    }
    let mut blob = blob;
    if manners.corrupts {
        let mut wrong = blob.to_vec();
        wrong[0] ^= 1;
        blob = wrong.into();
    }
    let size = blob.len();
    let range = request.headers().get(header::RANGE);
    let range = range.map(|value| value.to_str().unwrap().to_owned());
    if range.is_some() && manners.refuses_ranges {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let range = range.filter(|_| manners.ranges).map(|text| part(&text, size));
    let (start, end) = range.unwrap_or((0, size));
    if start >= end && size > 0 {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut response = send(blob.slice(start..end), start, nth, manners, counts, gate);
    let headers = response.headers_mut();
    if !manners.chunked {
        let length = manners.claims.unwrap_or(end - start);
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if range.is_some() {
        let start = if manners.shifts_ranges { start + 1 } else { start };
        let text = format!("bytes {start}-{}/{size}", end - 1);
        headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn part(text: &str, size: usize) -> (usize, usize) {
    let (start, end) = text.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let start = start.parse().unwrap();
    (start, (end.parse::<usize>().unwrap() + 1).min(size))
}

fn send(
    blob: Bytes,
    start: usize,
    nth: usize,
    manners: &Manners,
    counts: &Counts,
    gate: watch::Receiver<bool>,
) -> Response {
    let size = blob.len();
    let cut = manners.cuts_after.filter(|_| nth < manners.cuts);
    let hold = manners.holds_after.filter(|_| nth < manners.holds);
    // The hold is an offset in the blob, so that it is the same one for every range.
    let hold = hold.map_or(size, |at| at.saturating_sub(start).min(size));
    let sending = Sending { blob, at: 0, sent: 0, counts: counts.clone(), _open: Open::new(counts) };
    let pieces = stream::unfold(sending, move |mut sending| {
        let mut gate = gate.clone();
        async move {
            let at = sending.at;
            if at >= size {
                return None;
            }
            if cut.is_some_and(|cut| sending.sent >= cut) {
                sending.at = size;
                return Some((Err(io::Error::other("cut")), sending));
            }
            if at >= hold {
                gate.wait_for(|open| *open).await.ok()?;
            }
            let mut end = size.min(at + 64 * 1024);
            for stop in [cut.unwrap_or(size), if at < hold { hold } else { size }] {
                end = end.min(stop);
            }
            let piece = sending.blob.slice(at..end);
            sending.counts.bytes.fetch_add(end - at, Ordering::SeqCst);
            sending.sent += end - at;
            sending.at = end;
            Some((Ok(piece), sending))
        }
    });
    Body::from_stream(pieces).into_response()
}
