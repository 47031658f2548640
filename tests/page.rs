//! The page for browsers.

mod hostile;
mod large;
mod rights;
mod sessions;

use reqwest::RequestBuilder;
use serde_json::json;

use crate::check::run;
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest, noise};
use crate::support::{FakeS3, Image, Pounce, Reply, Upstream, borrowed};

/// What browsers send.
const ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn as_browser(request: RequestBuilder) -> RequestBuilder {
    request.header("accept", ACCEPT)
}

async fn view(pounce: &Pounce, path: &str) -> Reply {
    pounce.send(as_browser(pounce.request("GET", path))).await
}

/// The document at a path, which is there.
async fn document(pounce: &Pounce, path: &str) -> String {
    let reply = view(pounce, path).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    text(&reply)
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// A form that a browser sends from a view of this registry.
fn post(pounce: &Pounce, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = as_browser(pounce.request("POST", path)).header("sec-fetch-site", "same-origin");
    request.header("content-type", "application/x-www-form-urlencoded").body(form)
}

/// An image with a configuration that says how it was built.
fn built() -> Image {
    let layers = [noise(1, 4000), noise(2, 6000)];
    let config = json!({
        "os": "linux", "architecture": "arm64", "variant": "v8", "created": "2020-02-03T04:05:06Z",
        "config": {"Cmd": ["serve", "--port", "80 80"], "Env": ["MODE=fast"], "Labels": {"org.example.team": "cats"}},
        "history": [
            {"created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
            {"created_by": "/bin/sh -c #(nop)  ENV MODE=fast", "empty_layer": true},
            {"created_by": "RUN /bin/sh -c make install # buildkit"},
        ],
    });
    let config = bytes::Bytes::from(config.to_string());
    let of = |kind: &str, blob: &bytes::Bytes| json!({"mediaType": kind, "digest": digest(blob), "size": blob.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": of("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(|it| of("application/vnd.oci.image.layer.v1.tar", it)).collect::<Vec<_>>(),
        "annotations": {"org.opencontainers.image.source": "https://example.org/cats"},
    });
    let [first, second] = layers;
    Image { manifest: manifest.to_string().into(), media_type: OCI_MANIFEST.into(), blobs: vec![config, first, second] }
}

#[tokio::test]
async fn repositories_tags_and_images_are_shown() {
    let pounce = Pounce::with(&[]).await;
    let empty = document(&pounce, "/").await;
    assert!(
        empty.contains("Nothing is here yet") && empty.contains(&format!("docker push {}/", pounce.addr)),
        "{empty}"
    );
    let image = built();
    pounce.push_image("team/app", "v1", &image).await;
    pounce.push_image("team/app", "v2", &Image::new(2, &[10])).await;
    let overview = document(&pounce, "/").await;
    assert!(overview.contains("href=\"/-/repositories/team/app\""), "{overview}");
    assert!(overview.contains("data-label=\"Tags\">2<"), "{overview}");
    assert!(overview.contains("none has run"), "{overview}");

    let repository = document(&pounce, "/-/repositories/team/app").await;
    for part in ["href=\"/-/repositories/team/app/-/v1\"", "linux/arm64/v8", "linux/amd64", "pushed", &image.digest()] {
        assert!(repository.contains(part), "{part}: {repository}");
    }
    let shown = document(&pounce, "/-/repositories/team/app/-/v1").await;
    let host = pounce.addr;
    for part in [
        &format!("docker pull {host}/team/app:v1"),
        &format!("podman pull --tls-verify=false {host}/team/app:v1"),
        &format!("nerdctl pull --insecure-registry {host}/team/app:v1"),
        &format!("ctr images pull --plain-http {host}/team/app:v1"),
        &image.digest(),
        &digest(&image.blobs[1]),
        "4.00 kB",
        "<bdi>ADD file:1 in /</bdi>",
        "<bdi>ENV MODE=fast</bdi>",
        "<bdi>RUN /bin/sh -c make install</bdi>",
        "serve --port &quot;80 80&quot;",
        "org.example.team",
        "href=\"https://example.org/cats\" rel=\"noopener noreferrer nofollow\"",
        "years ago",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let by_digest = document(&pounce, &format!("/-/repositories/team/app/-/{}", image.digest())).await;
    assert!(by_digest.contains(&format!("docker pull {host}/team/app@{}", image.digest())), "{by_digest}");
    for path in ["/-/x", "/-/repositories/team/app/-/v3", "/-/repositories/A", "/-/repositories/team/app/-/sha256:1"] {
        let reply = view(&pounce, path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(text(&reply).contains("There is nothing here"), "{path}");
    }
}

#[tokio::test]
async fn an_index_shows_its_images_and_what_refers_to_them() {
    let pounce = Pounce::with(&[]).await;
    let (one, other) = (built(), Image::new(3, &[100]));
    pounce.push_image("a", "arm", &one).await;
    pounce.push_image("a", "amd", &other).await;
    let entry = |image: &Image, architecture: &str, os: &str| {
        json!({"mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(),
            "platform": {"os": os, "architecture": architecture}})
    };
    let entries = [entry(&one, "arm64", "linux"), entry(&other, "unknown", "unknown")];
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
    put(&pounce, "a", "multi", OCI_INDEX, &index).await;
    let subject = json!({"mediaType": OCI_INDEX, "digest": digest(index.as_bytes()), "size": index.len()});
    let mut sbom: serde_json::Value = serde_json::from_slice(&Image::new(4, &[]).manifest).unwrap();
    (sbom["subject"], sbom["artifactType"]) = (subject, "application/spdx+json".into());
    pounce.push_image("a", "sbom-parts", &Image::new(4, &[])).await;
    put(&pounce, "a", "sbom", OCI_MANIFEST, &sbom.to_string()).await;
    let cosign = format!("{}.sig", digest(index.as_bytes()).replace(':', "-"));
    pounce.push_image("a", &cosign, &Image::new(5, &[10])).await;
    let shown = document(&pounce, "/-/repositories/a/-/multi").await;
    for part in ["<bdi>linux/arm64</bdi>", "attestation", "SBOM", "application/spdx+json", "Signature", &cosign] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains(&format!("/-/repositories/a/-/{}", one.digest())), "{shown}");
    let artifact = document(&pounce, "/-/repositories/a/-/sbom").await;
    assert!(artifact.contains("Refers to") && artifact.contains(&digest(index.as_bytes())), "{artifact}");
    let tags = document(&pounce, "/-/repositories/a").await;
    assert!(tags.contains("linux/arm64") && !tags.contains("unknown/unknown"), "{tags}");
}

pub(crate) async fn put(pounce: &Pounce, name: &str, reference: &str, media_type: &str, manifest: &str) {
    let request = pounce.request("PUT", &format!("/v2/{name}/manifests/{reference}"));
    let reply = pounce.send(request.header("content-type", media_type).body(manifest.to_owned())).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[tokio::test]
async fn no_view_asks_an_upstream() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("org/app", "v1", &image);
    let pounce = Pounce::before(&upstream).await;
    assert!(document(&pounce, "/").await.contains("docker pull "));
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 200);
    pounce.until_quiet().await;
    let before = upstream.requests();
    document(&pounce, "/?q=app").await;
    let tags = document(&pounce, "/-/repositories/org/app").await;
    let host = upstream.url().replace("http://", "");
    assert!(tags.contains(&host) && tags.contains("within the hour"), "{tags}");
    // Its configuration was never pulled.
    let shown = document(&pounce, "/-/repositories/org/app/-/v1").await;
    assert!(shown.contains("it is not stored here"), "{shown}");
    assert_eq!(view(&pounce, "/-/repositories/org/app/-/v2").await.status, 404);
    document(&pounce, "/-/repositories/org/other").await;
    assert_eq!(upstream.requests(), before);
    assert!(pounce.objects().iter().all(|key| !key.contains("/_layers/")), "{:?}", pounce.objects());
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_of_the_last_garbage_collection() {
    let s3 = FakeS3::start(&[]).await;
    let variables = s3.variables();
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let (one, other) = (Image::new(1, &[4000]), Image::new(1, &[4000]).with_layer(&noise(9, 2000)));
    pounce.push_image("one", "v1", &one).await;
    pounce.push_image("other", "v1", &other).await;
    let (status, _, said) = run(&["gc"], &borrowed(&variables), "").await;
    assert_eq!(status, 0, "{said}");
    let fresh = Pounce::with(&borrowed(&variables)).await;
    let overview = document(&fresh, "/").await;
    assert!(overview.contains("of the last garbage collection, <time"), "{overview}");
    let bytes = |image: &Image| image.blobs.iter().map(bytes::Bytes::len).sum::<usize>() + image.manifest.len();
    let shown = |bytes: usize| {
        let hundredths = (bytes + 5) / 10;
        format!("data-label=\"Size\">{}.{:02} kB<", hundredths / 100, hundredths % 100)
    };
    for image in [&one, &other] {
        assert!(overview.contains(&shown(bytes(image))), "{}: {overview}", shown(bytes(image)));
    }
    let repository = document(&fresh, "/-/repositories/one").await;
    assert!(repository.contains("Shared with others") && repository.contains("Measured"), "{repository}");
}

#[tokio::test]
async fn every_response_forbids_what_a_page_does_not_need() {
    let pounce = Pounce::with(&[]).await;
    let overview = document(&pounce, "/").await;
    let (_, sheet) = overview.split_once("rel=\"stylesheet\" href=\"").unwrap();
    let sheet = sheet.split('"').next().unwrap();
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    for (path, status, kept) in [
        ("/", 200, "no-store"),
        ("/-/login", 200, "no-store"),
        ("/-/nothing", 404, "no-store"),
        (sheet, 200, "public, max-age=31536000, immutable"),
        ("/-/static/page.0000000000000000.css", 404, "no-store"),
    ] {
        let reply = view(&pounce, path).await;
        assert_eq!((reply.status, reply.header("cache-control")), (status, kept), "{path}");
        assert_eq!(reply.header("content-security-policy"), policy, "{path}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("referrer-policy"), "no-referrer", "{path}");
        let head = pounce.send(as_browser(pounce.request("HEAD", path))).await;
        assert_eq!((head.status, head.body.len()), (status, 0), "{path}");
        assert_eq!(head.header("content-length"), reply.body.len().to_string(), "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let reply = pounce.send(as_browser(pounce.request(method, "/-/repositories/a"))).await;
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD, OPTIONS"), "{method}");
    }
    // Neither styles nor scripts stand in a document.
    assert!(
        !overview.contains("style=") && !overview.contains("<style") && !overview.contains(" onclick"),
        "{overview}"
    );
}

#[tokio::test]
async fn probes_get_one_line() {
    let pounce = Pounce::with(&[("REGISTRY_HTTP_PREFIX", "/registry")]).await;
    for path in ["/", "/registry", "/registry/"] {
        let bare = pounce.get(path).await;
        let curl = pounce.send(pounce.request("GET", path).header("accept", "*/*")).await;
        let kubernetes = pounce.send(pounce.request("GET", path).header("user-agent", "kube-probe/1.30")).await;
        for reply in [bare, curl, kubernetes] {
            assert_eq!((reply.status, reply.header("cache-control")), (200, "no-cache"), "{path}");
            assert!(reply.header("content-type").starts_with("text/plain"), "{reply:?}");
            assert!(reply.body.strip_suffix(b"\n").is_some_and(|line| !line.contains(&b'\n')), "{reply:?}");
        }
    }
    // Outside of the prefix there is no page.
    assert!(view(&pounce, "/").await.header("content-type").starts_with("text/plain"));
    assert_eq!(view(&pounce, "/-/login").await.status, 404);
    let overview = document(&pounce, "/registry/").await;
    assert!(
        overview.contains("href=\"/registry/-/static/page.") && overview.contains("action=\"/registry/\""),
        "{overview}"
    );
    let repository = document(&pounce, "/registry/-/repositories/a/b").await;
    assert!(repository.contains("No tag is stored here") && repository.contains("href=\"/registry/\""), "{repository}");
}

#[tokio::test]
async fn without_the_page_there_is_none() {
    let pounce = Pounce::with(&[("REGISTRY_HTTP_PAGE_ENABLED", "false")]).await;
    let root = view(&pounce, "/").await;
    assert_eq!((root.status, root.header("content-security-policy")), (200, ""));
    assert!(root.header("content-type").starts_with("text/plain"), "{root:?}");
    for path in ["/-/", "/-/login", "/-/repositories/a"] {
        let reply = view(&pounce, path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "NAME_UNKNOWN"), "{path}");
    }
}

#[tokio::test]
async fn a_tag_is_deleted_after_it_was_confirmed() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a/b", "v1", &image).await;
    let path = "/-/repositories/a/b/-/v1/delete";
    assert!(document(&pounce, "/-/repositories/a/b/-/v1").await.contains(&format!("href=\"{path}\"")));
    assert!(document(&pounce, path).await.contains(&image.digest()));
    let there = async || pounce.get("/v2/a/b/manifests/v1").await.status;
    // From another site, and without a site.
    let digest = image.digest();
    for site in ["cross-site", "same-site", "none", ""] {
        let forged = pounce.request("POST", path).header("sec-fetch-site", site);
        let forged = forged.header("origin", pounce.url("")).body(format!("digest={digest}"));
        assert_eq!(pounce.send(forged).await.status, 403, "{site}");
    }
    assert_eq!(pounce.send(pounce.request("POST", path).body(format!("digest={digest}"))).await.status, 403);
    // The user saw another image.
    let reply = pounce.send(post(&pounce, path, &[("digest", "sha256:0")])).await;
    assert_eq!((reply.status, text(&reply).contains("names another image")), (409, true));
    assert_eq!(there().await, 200);
    let reply = pounce.send(post(&pounce, path, &[("digest", &digest)])).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/-/repositories/a/b"));
    assert_eq!(there().await, 404);
    assert_eq!(pounce.get(&format!("/v2/a/b/manifests/{digest}")).await.status, 200);
    assert_eq!(pounce.send(post(&pounce, path, &[("digest", &digest)])).await.status, 404);
}

#[tokio::test]
async fn nothing_is_deleted_where_the_registry_does_not_allow_it() {
    for (variable, value) in
        [("REGISTRY_STORAGE_DELETE_ENABLED", "false"), ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")]
    {
        let pounce = Pounce::with(&[]).await;
        let image = Image::new(1, &[10]);
        pounce.push_image("a", "v1", &image).await;
        let pounce = pounce.restart(&[(variable, value)]).await;
        assert!(!document(&pounce, "/-/repositories/a/-/v1").await.contains("delete"), "{variable}");
        let path = "/-/repositories/a/-/v1/delete";
        assert_eq!(view(&pounce, path).await.status, 403, "{variable}");
        let digest = image.digest();
        assert_eq!(pounce.send(post(&pounce, path, &[("digest", &digest)])).await.status, 403, "{variable}");
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200, "{variable}");
    }
}
