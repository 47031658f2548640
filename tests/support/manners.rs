//! How the tests' upstream behaves, well or badly.

use std::time::Duration;

/// The credentials that it demands before it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    Nothing,
    /// `user`, `secret`
    Basic,
    /// A token for the repository, from `/token`, for `user` and `secret`.
    Bearer,
    /// A token for the repository, in exchange for the identity token `refresh me`.
    Identity,
    /// A token for the repository, without credentials.
    AnonymousBearer,
}

/// How it misbehaves.
#[expect(clippy::struct_excessive_bools, reason = "each is one way, and they combine")]
#[derive(Clone, Debug)]
pub struct Manners {
    pub auth: Auth,
    /// Every request gets this status.
    pub status: Option<u16>,
    pub retry_after: Option<String>,
    /// HEADs for blobs are refused, as public.ecr.aws does.
    pub refuses_blob_heads: bool,
    /// HEADs for blobs get this status.
    pub blob_heads_get: Option<u16>,
    /// Blobs have a wrong first byte.
    pub corrupts: bool,
    /// Bodies of the first `cuts` GETs for blobs break off after so many bytes.
    pub cuts_after: Option<usize>,
    pub cuts: usize,
    /// Bodies of the first `holds` GETs for blobs stop at this byte of the blob, until `release`.
    pub holds_after: Option<usize>,
    pub holds: usize,
    /// The first body that has this byte of the blob stops before it, until `release`.
    pub holds_first_at: Option<usize>,
    /// The first `first` GETs for blobs get this status, with this `Retry-After`.
    pub first_blobs_get: Option<(u16, &'static str)>,
    pub first: usize,
    /// It answers Range requests for blobs with a part; without it, it ignores the range.
    pub ranges: bool,
    /// A range is an error.
    pub refuses_ranges: bool,
    /// A Range request is answered with the wrong `Content-Range`.
    pub shifts_ranges: bool,
    /// So many Range requests for blobs get a part, and the next one the whole.
    pub ignores_every: Option<usize>,
    /// A Range request for a blob gets another range, of which the `Content-Range` tells.
    pub wanders: bool,
    /// Each response with a blob has an `ETag` of its own.
    pub etags: bool,
    /// After so many GETs for blobs, their content is another.
    pub changes_after: Option<usize>,
    /// While so many blobs are being sent, another GET gets this status, with this `Retry-After`.
    pub busy: Option<(usize, u16, &'static str)>,
    /// The pause before each 64 KiB of a blob, which caps the rate of a connection.
    pub pace: Option<Duration>,
    /// The `Content-Length` that blobs claim.
    pub claims: Option<usize>,
    /// Token requests are redirected there.
    pub redirects_tokens_to: Option<String>,
    /// The password for `user`.
    pub secret: &'static str,
    /// An HTML page comes in place of a blob.
    pub sends_html: bool,
    /// Blobs come without a Content-Length.
    pub chunked: bool,
    /// Manifests come without a Docker-Content-Digest.
    pub hides_digests: bool,
    /// Requests for blobs are redirected there.
    pub redirects_blobs_to: Option<String>,
    pub expires_in: u64,
    /// Requests are not answered, until `release`.
    pub stalls: bool,
    /// This repository demands a token from a realm that does not exist.
    pub broken_realm_for: Option<String>,
    /// An `Accept` longer than this gets a 400, as from servers that limit headers.
    pub longest_accept: Option<usize>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            auth: Auth::default(),
            status: None,
            retry_after: None,
            refuses_blob_heads: false,
            blob_heads_get: None,
            corrupts: false,
            cuts_after: None,
            cuts: usize::MAX,
            holds_after: None,
            holds_first_at: None,
            holds: usize::MAX,
            first_blobs_get: None,
            first: 1,
            ranges: false,
            refuses_ranges: false,
            shifts_ranges: false,
            ignores_every: None,
            wanders: false,
            etags: false,
            changes_after: None,
            busy: None,
            pace: None,
            claims: None,
            redirects_tokens_to: None,
            secret: "secret",
            sends_html: false,
            chunked: false,
            hides_digests: false,
            redirects_blobs_to: None,
            expires_in: 0,
            stalls: false,
            broken_realm_for: None,
            longest_accept: None,
        }
    }
}
