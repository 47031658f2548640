//! Method and URL of a request, parsed once into what it asks for.

use axum::http::Method;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::oci::{Digest, Error, ErrorCode, Reference, RepositoryName, Tag};

/// One variant for each endpoint of the spec that pounce has. HEAD is GET without a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// end-1: `/v2/`
    Support,
    /// end-2: `/v2/<name>/blobs/<digest>`
    Blob {
        name: RepositoryName,
        digest: Digest,
    },
    /// end-3: `/v2/<name>/manifests/<tag-or-digest>`
    Manifest {
        name: RepositoryName,
        reference: Reference,
    },
    /// end-8a, end-8b: `/v2/<name>/tags/list`
    Tags { name: RepositoryName, page: Page },
}

/// `n` and `last`
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) n: Option<usize>,
    pub(super) last: Option<String>,
}

/// Why a request is for no endpoint.
#[derive(Debug)]
pub(super) enum Refused {
    Error(Error),
    /// The endpoint has only these methods.
    Method(&'static str),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Endpoint {
    /// Parses a path that begins with `/v2`. Only the last segment may be percent-encoded, as some
    /// clients do with the colon of a digest; a name has no character that needs it.
    pub(super) fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Refused> {
        let path = path.strip_prefix("/v2").unwrap_or_default();
        let reads = |allowed| {
            if matches!(*method, Method::GET | Method::HEAD) {
                Ok(())
            } else {
                Err(Refused::Method(allowed))
            }
        };
        let Some(path) = path.strip_prefix('/').filter(|path| !path.is_empty()) else {
            reads("GET, HEAD")?;
            return Ok(Self::Support);
        };
        if let Some(name) = path.strip_suffix("/tags/list") {
            reads("GET, HEAD")?;
            return Ok(Self::Tags {
                name: parse_name(name)?,
                page: Page::parse(query)?,
            });
        }
        if path.contains("/blobs/uploads/") || path.ends_with("/blobs/uploads") {
            // Pushes are not taken, by any method.
            return Err(Refused::Method(""));
        }
        let mut segments = path.rsplitn(3, '/');
        let (last, kind, name) = (segments.next(), segments.next(), segments.next());
        match (name, kind, last) {
            (Some(name), Some("blobs"), Some(last)) => {
                reads("GET, HEAD")?;
                Ok(Self::Blob {
                    name: parse_name(name)?,
                    digest: parse_digest(&decode(last))?,
                })
            }
            (Some(name), Some("manifests"), Some(last)) => {
                reads("GET, HEAD")?;
                Ok(Self::Manifest {
                    name: parse_name(name)?,
                    reference: parse_reference(&decode(last))?,
                })
            }
            _ => Err(super::not_an_endpoint().into()),
        }
    }
}

impl Page {
    fn parse(query: Option<&str>) -> Result<Self, Error> {
        let mut page = Self::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "n" if value.is_empty() => {}
                "n" => {
                    let n = value.parse().map_err(|_| {
                        Error::new(
                            ErrorCode::PaginationNumberInvalid,
                            "n must be a number, zero or more",
                        )
                    })?;
                    page.n = Some(n);
                }
                "last" => page.last = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(page)
    }
}

fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn parse_name(text: &str) -> Result<RepositoryName, Error> {
    text.parse().map_err(|error: crate::oci::NameError| {
        Error::new(ErrorCode::NameInvalid, error.to_string())
    })
}

fn parse_digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error: crate::oci::DigestError| {
        Error::new(ErrorCode::DigestInvalid, error.to_string())
    })
}

/// No tag has a colon, and every digest has one.
fn parse_reference(text: &str) -> Result<Reference, Error> {
    if text.contains(':') {
        return Ok(Reference::Digest(parse_digest(text)?));
    }
    let tag: Result<Tag, _> = text.parse();
    tag.map(Reference::Tag)
        .map_err(|error| Error::new(ErrorCode::TagInvalid, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn get(path: &str) -> Result<Endpoint, ErrorCode> {
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        Endpoint::parse(&Method::GET, path, query).map_err(|refused| match refused {
            Refused::Error(error) => error.code(),
            Refused::Method(_) => ErrorCode::Unsupported,
        })
    }

    #[test]
    fn every_endpoint_is_found() {
        let name = || "a/blobs/b".parse().unwrap();
        assert_eq!(get("/v2/"), Ok(Endpoint::Support));
        assert_eq!(get("/v2"), Ok(Endpoint::Support));
        let digest: Digest = DIGEST.parse().unwrap();
        assert_eq!(
            get(&format!("/v2/a/blobs/b/blobs/{DIGEST}")),
            Ok(Endpoint::Blob {
                name: name(),
                digest
            })
        );
        let encoded = DIGEST.replace(':', "%3A");
        let reference = Reference::Digest(digest);
        assert_eq!(
            get(&format!("/v2/a/blobs/b/manifests/{encoded}")),
            Ok(Endpoint::Manifest {
                name: name(),
                reference
            })
        );
        let reference = Reference::Tag("list".parse().unwrap());
        assert_eq!(
            get("/v2/a/blobs/b/manifests/list"),
            Ok(Endpoint::Manifest {
                name: name(),
                reference
            })
        );
        let page = Page {
            n: Some(3),
            last: Some("a b".into()),
        };
        assert_eq!(
            get("/v2/a/blobs/b/tags/list?n=3&last=a%20b&x"),
            Ok(Endpoint::Tags { name: name(), page })
        );
    }

    #[test]
    fn everything_else_is_refused_with_its_code() {
        let cases = [
            ("/v2/A/manifests/x", ErrorCode::NameInvalid),
            ("/v2/a/../b/manifests/x", ErrorCode::NameInvalid),
            ("/v2/a%2Fb/manifests/x", ErrorCode::NameInvalid),
            ("/v2//manifests/x", ErrorCode::NameInvalid),
            ("/v2/a/manifests/", ErrorCode::TagInvalid),
            ("/v2/a/manifests/..", ErrorCode::TagInvalid),
            ("/v2/a/manifests/x%2Fy", ErrorCode::TagInvalid),
            ("/v2/a/manifests/x%00", ErrorCode::TagInvalid),
            ("/v2/a/manifests/md5:1", ErrorCode::DigestInvalid),
            ("/v2/a/blobs/latest", ErrorCode::DigestInvalid),
            ("/v2/a/tags/list?n=-1", ErrorCode::PaginationNumberInvalid),
            ("/v2/a/tags/list?n=x", ErrorCode::PaginationNumberInvalid),
            ("/v2/a/x/y", ErrorCode::NameUnknown),
            ("/v2/manifests/x", ErrorCode::NameUnknown),
            ("/v2/a/blobs/uploads/", ErrorCode::Unsupported),
        ];
        for (path, code) in cases {
            assert_eq!(get(path), Err(code), "{path}");
        }
    }
}
