//! Several parts of a blob in one response, as lazy pullers ask for them: `multipart/byteranges` (RFC 9110, section
//! 14.6).
//!
//! Parts are opened one after the other, so a response takes no more memory and no more connections than one part does.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt, future};
use uuid::Uuid;

use super::headers;
use crate::oci::{Digest, RangeRequest, RepositoryName, Slice};
use crate::registry::{BlobAccess, BlobRequest, BlobStream, Blobs};
use crate::telemetry::{InScope, Scope};

type Piece = io::Result<Bytes>;

/// A blob of which several parts are sent.
#[derive(Clone)]
pub(super) struct PartedBlob {
    pub(super) blobs: Arc<Blobs>,
    pub(super) name: RepositoryName,
    pub(super) digest: Digest,
    pub(super) base: String,
    /// In bytes.
    pub(super) size: u64,
}

impl PartedBlob {
    /// Completes a response by its body, with all `slices`, at most [`RangeRequest::MAX_SLICES`]. `first` has the bytes
    /// of the first one.
    pub(super) fn respond(
        self,
        mut response: Response,
        first: BoxStream<'static, Piece>,
        slices: Vec<Slice>,
    ) -> Response {
        // Random, so that no blob can contain it.
        let boundary = Uuid::new_v4().simple().to_string();
        let heads: Vec<Bytes> = slices.iter().map(|slice| head(&boundary, *slice, self.size)).collect();
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let framing = heads.iter().chain([&tail]).map(|text| text.len() as u64);
        let length = framing.chain(slices.iter().map(Slice::len)).sum::<u64>();

        let scope = Scope::current();
        let later = stream::iter(slices.into_iter().skip(1));
        let later = later.then(move |slice| self.clone().open(slice).in_scope(scope.clone()));
        let opened = stream::once(future::ready(Ok(first))).chain(later).zip(stream::iter(heads));
        let parts = opened.map(|(bytes, head)| bytes.map(|bytes| one(head).chain(bytes)));
        let body = Body::from_stream(parts.try_flatten().chain(one(tail)));

        let fields = response.headers_mut();
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let media_type = format!("multipart/byteranges; boundary={boundary}");
        fields.insert(header::CONTENT_TYPE, headers::owned(media_type));
        response.map(|_| body)
    }

    /// Opens a part. It is never a redirect, because the response has begun.
    async fn open(self, slice: Slice) -> io::Result<BoxStream<'static, Piece>> {
        let Self { blobs, name, digest, base, .. } = &self;
        let range = RangeRequest::of(slice, self.size);
        let error = match blobs.open(BlobRequest { name, digest, range, base, redirect: false }).await {
            Ok(BlobAccess::Stream(BlobStream { part: Some(part), bytes, .. })) if part.slice == slice => {
                return Ok(bytes);
            }
            Ok(_) => io::Error::other("another part came than was asked for"),
            Err(error) => io::Error::other(error),
        };
        tracing::warn!(repository = %name, %digest, %error, "a response with several parts of a blob breaks off");
        Err(error)
    }
}

fn one(text: Bytes) -> stream::Once<future::Ready<Piece>> {
    stream::once(future::ready(Ok(text)))
}

/// The delimiter and the header of a part. The line break before the first one is a preamble (RFC 2046, section 5.1.1).
fn head(boundary: &str, slice: Slice, size: u64) -> Bytes {
    let (start, last) = (slice.start, slice.end - 1);
    let text = format!(
        "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{last}/{size}\r\n\r\n"
    );
    text.into()
}
