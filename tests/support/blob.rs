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
    /// GETs that were refused because too many bodies were being sent.
    pub refused: Arc<AtomicUsize>,
    /// Bodies with the byte of `holds_first_at`.
    pub held: Arc<AtomicUsize>,
}

/// Counts a body from its first byte to its end.
struct Open(Counts);

impl Open {
    /// `None` if there are `most` already.
    fn new(counts: &Counts, most: usize) -> Option<Self> {
        let more = |open| (open < most).then_some(open + 1);
        let before = counts.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        counts.most_open.fetch_max(before + 1, Ordering::SeqCst);
        Some(Self(counts.clone()))
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
    /// Until the last piece, so that a client that has all of it finds the body closed.
    open: Option<Open>,
}

pub fn serve(
    blob: Bytes,
    request: &Request,
    manners: &Manners,
    counts: &Counts,
    gate: watch::Receiver<usize>,
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
    let (most, status, after) = manners.busy.unwrap_or((usize::MAX, 200, ""));
    let Some(open) = Open::new(counts, most) else {
        counts.refused.fetch_add(1, Ordering::SeqCst);
        return (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, after)]).into_response();
    };
    let mut blob = blob;
    let changed = manners.changes_after.is_some_and(|after| nth >= after);
    if changed {
        let mut other = blob.to_vec();
        other.iter_mut().step_by(64 * 1024).for_each(|byte| *byte ^= 1);
        blob = other.into();
    }
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
    let ignored = manners.ignores_every.is_some_and(|every| nth % (every + 1) == every);
    let range = range.filter(|_| manners.ranges && !ignored).map(|text| part(&text, size));
    // A MiB before it, or after.
    let other = |(start, end): (usize, usize)| match start.checked_sub(1 << 20) {
        Some(before) => (before, end - (1 << 20)),
        None => (size.min(start + (1 << 20)), size.min(end + (1 << 20))),
    };
    let range = range.map(|range| if manners.wanders { other(range) } else { range });
    let (start, end) = range.unwrap_or((0, size));
    if start >= end && size > 0 {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut response = send(blob.slice(start..end), start, (nth, open), manners, counts, gate);
    let headers = response.headers_mut();
    if manners.etags || manners.changes_after.is_some() {
        let version = if manners.etags { nth } else { usize::from(changed) };
        headers.insert(header::ETAG, format!("\"{version}\"").parse().unwrap());
    }
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
    (nth, open): (usize, Open),
    manners: &Manners,
    counts: &Counts,
    gate: watch::Receiver<usize>,
) -> Response {
    let (size, pace) = (blob.len(), manners.pace);
    let cut = manners.cuts_after.filter(|_| nth < manners.cuts);
    let hold = manners.holds_after.filter(|_| nth < manners.holds);
    // The hold is an offset in the blob, so that it is the same one for every range.
    let hold = hold.map_or(size, |at| at.saturating_sub(start).min(size));
    let first_at = manners.holds_first_at.and_then(|at| at.checked_sub(start)).filter(|at| *at < size);
    let hold = first_at.filter(|_| counts.held.fetch_add(1, Ordering::SeqCst) == 0).unwrap_or(hold);
    let sending = Sending { blob, at: 0, sent: 0, counts: counts.clone(), open: Some(open) };
    let pieces = stream::unfold(sending, move |mut sending| {
        let mut gate = gate.clone();
        async move {
            let at = sending.at;
            if at >= size {
                return None;
            }
            if cut.is_some_and(|cut| sending.sent >= cut) {
                (sending.at, sending.open) = (size, None);
                return Some((Err(io::Error::other("cut")), sending));
            }
            let mut upto = if at < hold { hold } else { size };
            if at >= hold {
                let released = *gate.wait_for(|released| start + at < *released).await.ok()?;
                upto = size.min(released - start);
            }
            if let Some(pace) = pace {
                tokio::time::sleep(pace).await;
            }
            let mut end = size.min(at + 64 * 1024);
            for stop in [cut.unwrap_or(size), upto] {
                end = end.min(stop);
            }
            let piece = sending.blob.slice(at..end);
            sending.counts.bytes.fetch_add(end - at, Ordering::SeqCst);
            sending.sent += end - at;
            sending.at = end;
            sending.open = sending.open.filter(|_| end < size);
            Some((Ok(piece), sending))
        }
    });
    Body::from_stream(pieces).into_response()
}
