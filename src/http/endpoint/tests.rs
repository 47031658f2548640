//! Every endpoint, and what is none.

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn ask(method: &str, path: &str) -> Result<Endpoint, ErrorCode> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let method = method.parse().unwrap();
    Endpoint::parse(&method, path, query, &str::parse).map_err(|rejection| match rejection {
        Rejection::Error(error) => error.code(),
        Rejection::Method(_) => ErrorCode::Unsupported,
        Rejection::Unauthorized(_) => ErrorCode::Unauthorized,
    })
}

#[test]
fn every_endpoint_is_found() {
    let name = || "a/blobs/b".parse().unwrap();
    let digest: Digest = DIGEST.parse().unwrap();
    let tag = |text: &str| text.parse::<Tag>().unwrap();
    let encoded = DIGEST.replace(':', "%3A");
    let id = Uuid::max();
    let upload = |state: &str| Upload { name: name(), id, state: state.into() };
    let by_digest = Reference::Digest(digest);
    let by_tag = Reference::Tag(tag("list"));
    let page = Page { n: Some(3), last: Some("a b".into()) };
    let root = "/v2/a/blobs/b";
    let cases = [
        ("GET", "/v2/".into(), Endpoint::Support),
        ("HEAD", "/v2".into(), Endpoint::Support),
        ("GET", format!("{root}/blobs/{DIGEST}"), Endpoint::PullBlob { name: name(), digest }),
        ("DELETE", format!("{root}/blobs/{DIGEST}"), Endpoint::DeleteBlob { name: name(), digest }),
        (
            "GET",
            format!("{root}/manifests/{encoded}"),
            Endpoint::PullManifest { name: name(), reference: by_digest.clone() },
        ),
        ("GET", format!("{root}/manifests/list"), Endpoint::PullManifest { name: name(), reference: by_tag.clone() }),
        (
            "GET",
            "/v2/a%2Fblobs%2fb/manifests/list".into(),
            Endpoint::PullManifest { name: name(), reference: by_tag.clone() },
        ),
        ("DELETE", format!("{root}/manifests/list"), Endpoint::DeleteManifest { name: name(), reference: by_tag }),
        (
            "PUT",
            format!("{root}/manifests/{DIGEST}?tag=x&tag=y"),
            Endpoint::PushManifest { name: name(), reference: by_digest, tags: vec![tag("x"), tag("y")] },
        ),
        (
            "POST",
            format!("{root}/blobs/uploads/"),
            Endpoint::BeginUpload { name: name(), algorithm: Algorithm::Sha256 },
        ),
        (
            "POST",
            format!("{root}/blobs/uploads?digest-algorithm=sha512"),
            Endpoint::BeginUpload { name: name(), algorithm: Algorithm::Sha512 },
        ),
        ("POST", format!("{root}/blobs/uploads/?digest={encoded}"), Endpoint::PushBlob { name: name(), digest }),
        (
            "POST",
            format!("{root}/blobs/uploads/?from=c%2Fd&mount={DIGEST}"),
            Endpoint::Mount { name: name(), digest, from: Some("c/d".parse().unwrap()) },
        ),
        ("POST", format!("{root}/blobs/uploads/?mount={DIGEST}"), Endpoint::Mount { name: name(), digest, from: None }),
        // An empty name is none, and distribution mounts from one that is named only.
        (
            "POST",
            format!("{root}/blobs/uploads/?mount={DIGEST}&from="),
            Endpoint::BeginUpload { name: name(), algorithm: Algorithm::Sha256 },
        ),
        // end-11: "if a registry does not support cross-repository mounting or is unable to mount the requested blob,
        // it SHOULD return a `202`".
        (
            "POST",
            format!("{root}/blobs/uploads/?mount={DIGEST}&from=NO/name"),
            Endpoint::BeginUpload { name: name(), algorithm: Algorithm::Sha256 },
        ),
        (
            "POST",
            format!("{root}/blobs/uploads/?mount=sha256:1&from=c/d"),
            Endpoint::BeginUpload { name: name(), algorithm: Algorithm::Sha256 },
        ),
        ("PATCH", format!("{root}/blobs/uploads/{id}?_state=x"), Endpoint::PushChunk(upload("x"))),
        ("GET", format!("{root}/blobs/uploads/{id}"), Endpoint::UploadStatus(upload(""))),
        ("DELETE", format!("{root}/blobs/uploads/{id}?_state=x"), Endpoint::CancelUpload(upload("x"))),
        (
            "PUT",
            format!("{root}/blobs/uploads/{id}?_state=x&digest={DIGEST}"),
            Endpoint::CloseUpload { upload: upload("x"), digest },
        ),
        ("GET", format!("{root}/tags/list?n=3&last=a%20b&x"), Endpoint::ListTags { name: name(), page }),
        (
            "GET",
            format!("{root}/referrers/{DIGEST}?artifactType=a%2Fb&last={DIGEST}"),
            Endpoint::ListReferrers {
                name: name(),
                subject: digest,
                artifact_type: Some("a/b".into()),
                last: Some(digest),
            },
        ),
        ("GET", format!("{root}/tags/list/"), Endpoint::ListTags { name: name(), page: Page::default() }),
        ("GET", "/v2/_catalog?n=1".into(), Endpoint::Catalog { page: Page { n: Some(1), last: None } }),
        ("GET", "/v2/_catalog/?n=1".into(), Endpoint::Catalog { page: Page { n: Some(1), last: None } }),
        ("GET", "/v2/_pounce/upstreams".into(), Endpoint::Upstreams),
    ];
    for (method, path, endpoint) in cases {
        assert_eq!(ask(method, &path), Ok(endpoint), "{method} {path}");
    }
}

#[test]
fn a_name_may_end_in_words_of_the_path() {
    for name in ["a/blobs", "a/uploads", "a/blobs/uploads", "a/manifests", "a/tags"] {
        let named = |endpoint: Endpoint| endpoint.subject().0.map(ToString::to_string);
        for (method, rest) in [
            ("POST", "blobs/uploads/".to_owned()),
            ("PATCH", format!("blobs/uploads/{}", Uuid::max())),
            ("GET", format!("blobs/{DIGEST}")),
            ("GET", "manifests/list".to_owned()),
            ("GET", "tags/list".to_owned()),
        ] {
            let path = format!("/v2/{name}/{rest}");
            assert_eq!(ask(method, &path).map(named), Ok(Some(name.to_owned())), "{path}");
        }
    }
}

#[test]
fn everything_else_is_refused_with_its_code() {
    let id = Uuid::max();
    let session = format!("/v2/a/blobs/uploads/{id}");
    let many = "tag=x&".repeat(101);
    let cases = [
        ("GET /v2/A/manifests/x", ErrorCode::NameInvalid),
        ("GET /v2/a/../b/manifests/x", ErrorCode::NameInvalid),
        ("GET /v2/a%2F..%2Fb/manifests/x", ErrorCode::NameInvalid),
        ("GET /v2/a%252Fb/manifests/x", ErrorCode::NameInvalid),
        ("POST /v2/a%00b/blobs/uploads/", ErrorCode::NameInvalid),
        ("GET /v2//manifests/x", ErrorCode::NameInvalid),
        ("GET /v2/a/manifests/", ErrorCode::NameUnknown),
        ("GET /v2/a/tags/list//", ErrorCode::NameUnknown),
        ("GET /v2/a/manifests/..", ErrorCode::ManifestUnknown),
        ("GET /v2/a/manifests/x%2Fy", ErrorCode::ManifestUnknown),
        ("GET /v2/a/manifests/x%00", ErrorCode::ManifestUnknown),
        ("GET /v2/a/manifests/md5:1", ErrorCode::ManifestUnknown),
        ("HEAD /v2/a/manifests/md5:1", ErrorCode::ManifestUnknown),
        ("PUT /v2/a/manifests/md5:1", ErrorCode::DigestInvalid),
        ("DELETE /v2/a/manifests/md5:1", ErrorCode::DigestInvalid),
        ("DELETE /v2/a/manifests/..", ErrorCode::TagInvalid),
        ("GET /v2/a/blobs/latest", ErrorCode::DigestInvalid),
        ("GET /v2/a/tags/list?n=-1", ErrorCode::PaginationNumberInvalid),
        ("GET /v2/a/tags/list?n=x", ErrorCode::PaginationNumberInvalid),
        ("GET /v2/_catalog?n=0x10", ErrorCode::PaginationNumberInvalid),
        ("GET /v2/a/x/y", ErrorCode::NameUnknown),
        ("GET /v2/manifests/x", ErrorCode::NameUnknown),
        ("GET /v2/a/blobs/uploads/", ErrorCode::Unsupported),
        ("GET /v2/a/blobs/uploads/1", ErrorCode::BlobUploadUnknown),
        ("POST /v2/A/blobs/uploads/", ErrorCode::NameInvalid),
        ("POST /v2/blobs/uploads/", ErrorCode::NameUnknown),
        ("POST /v2/a/blobs/uploads/?digest=x", ErrorCode::DigestInvalid),
        ("POST /v2/a/blobs/uploads/?digest-algorithm=md5", ErrorCode::DigestInvalid),
        (&format!("PUT {session}?_state=x"), ErrorCode::DigestInvalid),
        (&format!("PUT {session}?digest=sha256:1"), ErrorCode::DigestInvalid),
        (&format!("POST {session}"), ErrorCode::Unsupported),
        ("PUT /v2/a/manifests/x?tag=.", ErrorCode::TagInvalid),
        (&format!("PUT /v2/a/manifests/x?{many}"), ErrorCode::TagInvalid),
        ("POST /v2/a/manifests/x", ErrorCode::Unsupported),
        ("GET /v2/a/referrers/x", ErrorCode::DigestInvalid),
        ("DELETE /v2/_catalog", ErrorCode::Unsupported),
    ];
    for (request, code) in cases {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(ask(method, path), Err(code), "{request}");
    }
}
