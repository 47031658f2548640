//! Method and URL of a request, parsed once into an endpoint of the spec.

mod kind;
mod scope;
mod subject;

use std::borrow::Cow;

use axum::http::Method;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

pub(super) use subject::Subject;

use super::query::{Page, Query, parse_tag};
use super::rejection::{Rejection, not_an_endpoint};
use super::url_signer::UrlSignature;
use crate::oci::{Algorithm, Digest, DigestError, Error, ErrorCode, NameError, Reference, RepositoryName, Tag};

/// One variant for each endpoint of the spec. HEAD is GET without a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// end-1: `GET /v2/`
    Support,
    /// end-2: `GET /v2/<name>/blobs/<digest>`
    PullBlob { name: RepositoryName, digest: Digest },
    /// pounce's own: the same without a login, `?_expires=<seconds>&_signature=<MAC>`
    PullSignedBlob { name: RepositoryName, digest: Digest, signature: UrlSignature },
    /// end-3: `GET /v2/<name>/manifests/<tag-or-digest>`
    PullManifest { name: RepositoryName, reference: Reference },
    /// end-4a, end-4c: `POST /v2/<name>/blobs/uploads/`
    BeginUpload { name: RepositoryName, algorithm: Algorithm },
    /// end-4b: `POST /v2/<name>/blobs/uploads/?digest=<digest>`
    PushBlob { name: RepositoryName, digest: Digest },
    /// end-5: `PATCH <blob-push-location>`
    PushChunk(Upload),
    /// end-6: `PUT <blob-push-location>?digest=<digest>`
    CloseUpload { upload: Upload, digest: Digest },
    /// end-7a, end-7b: `PUT /v2/<name>/manifests/<tag-or-digest>?tag=<tag>`
    PushManifest { name: RepositoryName, reference: Reference, tags: Vec<Tag> },
    /// end-8a, end-8b: `GET /v2/<name>/tags/list`
    ListTags { name: RepositoryName, page: Page },
    /// end-9: `DELETE /v2/<name>/manifests/<tag-or-digest>`
    DeleteManifest { name: RepositoryName, reference: Reference },
    /// end-10: `DELETE /v2/<name>/blobs/<digest>`
    DeleteBlob { name: RepositoryName, digest: Digest },
    /// end-11: `POST /v2/<name>/blobs/uploads/?mount=<digest>&from=<other_name>`
    Mount { name: RepositoryName, digest: Digest, from: Option<RepositoryName> },
    /// end-12a, end-12b: `GET /v2/<name>/referrers/<digest>`
    ListReferrers { name: RepositoryName, subject: Digest, artifact_type: Option<String>, last: Option<Digest> },
    /// end-13: `GET <blob-push-location>`
    UploadStatus(Upload),
    /// end-14: `DELETE <blob-push-location>`
    CancelUpload(Upload),
    /// distribution's: `GET /v2/_catalog`
    Catalog { page: Page },
    /// pounce's own: `GET /v2/_pounce/upstreams`
    Upstreams,
    /// distribution's token server, where pounce is one itself: `GET /v2/token`
    Token,
}

/// The path of [`Endpoint::Upstreams`], below `/v2/`.
pub(crate) const UPSTREAM_LIST: &str = "_pounce/upstreams";

/// The methods of an endpoint that can only be read.
pub(super) const READS: &str = "GET, HEAD, OPTIONS";

/// Reads the name of a repository.
pub(super) type ParseName<'a> = &'a dyn Fn(&str) -> Result<RepositoryName, NameError>;

/// A `<blob-push-location>`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) name: RepositoryName,
    pub(super) id: Uuid,
    pub(super) state: String,
}

impl Endpoint {
    /// Parses a path that begins with `/v2`. The name and the last segment may be percent-encoded: some clients escape
    /// the slashes of a name, or the colon of a digest, and distribution takes both.
    /// `names` reads repository names.
    pub(super) fn parse(
        method: &Method,
        path: &str,
        query: Option<&str>,
        names: ParseName<'_>,
    ) -> Result<Self, Rejection> {
        let path = path.strip_prefix("/v2").unwrap_or_default();
        let query = Query::new(query);
        let path = path.strip_prefix('/').unwrap_or_default();
        // Many scripts ask for `_catalog/` and `tags/list/`, which distribution redirects.
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            reads(method)?;
            return Ok(Self::Support);
        }
        if path == "token" {
            reads(method)?;
            return Ok(Self::Token);
        }
        if path == "_catalog" {
            reads(method)?;
            return Ok(Self::Catalog { page: query.page()? });
        }
        // Spec, "Extensions": no name of a repository begins with an underscore.
        if path == UPSTREAM_LIST {
            reads(method)?;
            return Ok(Self::Upstreams);
        }
        if let Some(name) = path.strip_suffix("/blobs/uploads") {
            return Self::parse_post(method, name, &query, names);
        }
        let mut segments = path.rsplitn(3, '/');
        let (last, kind, name) = (segments.next(), segments.next(), segments.next());
        let (Some(name), Some(kind), Some(last)) = (name, kind, last) else {
            return Err(not_an_endpoint().into());
        };
        match kind {
            "uploads" if name.ends_with("/blobs") => {
                let name = name.strip_suffix("/blobs").unwrap_or(name);
                Self::parse_upload(method, name, last, &query, names)
            }
            "blobs" => Self::parse_blob(method, name, last, &query, names),
            "manifests" => Self::parse_manifest(method, name, last, &query, names),
            "tags" if last == "list" => {
                reads(method)?;
                let name = parse_name(name, names)?;
                let page = query.page()?;
                Ok(Self::ListTags { name, page })
            }
            "referrers" => {
                reads(method)?;
                Ok(Self::ListReferrers {
                    name: parse_name(name, names)?,
                    subject: parse_digest(&decode(last))?,
                    // A media type has no blank: it was a + that the client did not escape.
                    artifact_type: query
                        .get("artifactType")
                        .filter(|text| !text.is_empty())
                        .map(|text| text.replace(' ', "+")),
                    last: query.parsed("last", parse_digest)?,
                })
            }
            _ => Err(not_an_endpoint().into()),
        }
    }

    fn parse_blob(
        method: &Method,
        name: &str,
        last: &str,
        query: &Query<'_>,
        names: ParseName<'_>,
    ) -> Result<Self, Rejection> {
        let deletes = *method == Method::DELETE;
        if !deletes && !is_read(method) {
            return Err(Rejection::Method("GET, HEAD, DELETE, OPTIONS"));
        }
        let (name, digest) = (parse_name(name, names)?, parse_digest(&decode(last))?);
        if deletes {
            return Ok(Self::DeleteBlob { name, digest });
        }
        Ok(match UrlSignature::of(query) {
            Some(signature) => Self::PullSignedBlob { name, digest, signature },
            None => Self::PullBlob { name, digest },
        })
    }

    fn parse_manifest(
        method: &Method,
        name: &str,
        last: &str,
        query: &Query<'_>,
        names: ParseName<'_>,
    ) -> Result<Self, Rejection> {
        if !is_read(method) && ![Method::PUT, Method::DELETE].contains(method) {
            return Err(Rejection::Method("GET, HEAD, PUT, DELETE, OPTIONS"));
        }
        let name = parse_name(name, names)?;
        let reference = parse_reference(&decode(last));
        if is_read(method) {
            let reference = reference.map_err(|error| no_such_manifest(&name, &error))?;
            return Ok(Self::PullManifest { name, reference });
        }
        let reference = reference?;
        Ok(if *method == Method::PUT {
            let tags = query.tags()?;
            Self::PushManifest { name, reference, tags }
        } else {
            Self::DeleteManifest { name, reference }
        })
    }

    fn parse_post(method: &Method, name: &str, query: &Query<'_>, names: ParseName<'_>) -> Result<Self, Rejection> {
        if *method != Method::POST {
            return Err(Rejection::Method("POST, OPTIONS"));
        }
        let name = parse_name(name, names)?;
        // A mount that is not valid becomes an upload, as in distribution, because the client has the blob.
        let mount = query.parsed("mount", parse_digest);
        let from = query.get("from").map(|from| decoded_name(&from, names)).transpose();
        if let (Ok(Some(digest)), Ok(from)) = (mount, from) {
            return Ok(Self::Mount { name, digest, from });
        }
        if let Some(digest) = query.parsed("digest", parse_digest)? {
            return Ok(Self::PushBlob { name, digest });
        }
        let algorithm = query.parsed("digest-algorithm", |text| {
            Algorithm::named(text).ok_or_else(|| digest_invalid(DigestError::Algorithm))
        })?;
        let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
        Ok(Self::BeginUpload { name, algorithm })
    }

    fn parse_upload(
        method: &Method,
        name: &str,
        id: &str,
        query: &Query<'_>,
        names: ParseName<'_>,
    ) -> Result<Self, Rejection> {
        let methods = [Method::PATCH, Method::PUT, Method::DELETE];
        if !is_read(method) && !methods.contains(method) {
            return Err(Rejection::Method("GET, HEAD, PATCH, PUT, DELETE, OPTIONS"));
        }
        let name = parse_name(name, names)?;
        let Ok(id) = Uuid::parse_str(id) else {
            let message = format!("{name} has no such upload");
            return Err(Error::new(ErrorCode::BlobUploadUnknown, message).into());
        };
        let state = query.get("_state").unwrap_or_default();
        let upload = Upload { name, id, state };
        Ok(match *method {
            Method::PATCH => Self::PushChunk(upload),
            Method::DELETE => Self::CancelUpload(upload),
            Method::PUT => {
                let digest = query.parsed("digest", parse_digest)?;
                let digest = digest.ok_or_else(|| {
                    let message = "an upload is closed with ?digest=";
                    Error::new(ErrorCode::DigestInvalid, message)
                })?;
                Self::CloseUpload { upload, digest }
            }
            _ => Self::UploadStatus(upload),
        })
    }
}

/// Whether a GET is for an endpoint.
#[cfg(feature = "internals")]
pub(crate) fn is_endpoint(path: &str, query: Option<&str>) -> bool {
    Endpoint::parse(&Method::GET, path, query, &str::parse).is_ok()
}

/// Parses a method, a path and a query with blanks between them, and checks the results.
#[cfg(feature = "internals")]
pub(crate) fn fuzz(text: &str) {
    let mut words = text.splitn(3, ' ');
    let method = words.next().unwrap_or_default().parse();
    let (path, query) = (words.next().unwrap_or_default(), words.next());
    let Ok(Ok(endpoint)) = method.map(|method| Endpoint::parse(&method, path, query, &str::parse)) else {
        return;
    };
    let (name, _) = endpoint.subject();
    if let Some(name) = name {
        let name = name.as_str();
        let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        assert!(name.chars().all(safe) && !name.contains("..") && !name.contains("//"));
    }
    let scope = endpoint.scope().map(|scope| scope.to_string());
    assert!(scope.is_none_or(|scope| !scope.contains(['"', '\r', '\n'])));
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// For endpoints that can only be read.
fn reads(method: &Method) -> Result<(), Rejection> {
    if is_read(method) { Ok(()) } else { Err(Rejection::Method(READS)) }
}

fn decode(segment: &str) -> Cow<'_, str> {
    if segment.contains('%') { percent_decode_str(segment).decode_utf8_lossy() } else { segment.into() }
}

/// A name in the path.
fn parse_name(text: &str, names: ParseName<'_>) -> Result<RepositoryName, Error> {
    decoded_name(&decode(text), names)
}

fn decoded_name(text: &str, names: ParseName<'_>) -> Result<RepositoryName, Error> {
    names(text).map_err(|error| Error::new(ErrorCode::NameInvalid, error.to_string()))
}

fn parse_digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(digest_invalid)
}

fn digest_invalid(error: DigestError) -> Error {
    Error::new(ErrorCode::DigestInvalid, error.to_string())
}

/// No tag has a colon, and every digest has one.
fn parse_reference(text: &str) -> Result<Reference, Error> {
    if text.contains(':') {
        return Ok(Reference::Digest(parse_digest(text)?));
    }
    parse_tag(text).map(Reference::Tag)
}

/// Spec, "Pulling manifests": "If the manifest is not found in the repository, the response code MUST be `404 Not
/// Found`", and no manifest has a reference that is not valid; 404 is also the only failure of end-3.
fn no_such_manifest(name: &RepositoryName, error: &Error) -> Error {
    let message = format!("{name} has no such manifest: {}", error.message());
    Error::new(ErrorCode::ManifestUnknown, message)
}

#[cfg(test)]
mod tests;
