//! Upstreams by the name under which a client calls pounce, and names as Hugging Face has them.

use crate::mistakes::load;
use crate::support::image::digest;
use crate::support::users::{by, user};
use crate::support::wire::exchange;
use crate::support::{Image, Pounce, Reply, Upstream};

const HUB: &str = "ollama.example.com";

/// A default upstream and one that [`HUB`] stands for, each with its own image under the same name.
struct Two {
    default: Upstream,
    models: Upstream,
    ours: Image,
    theirs: Image,
}

impl Two {
    async fn new() -> Self {
        let two = Self {
            default: Upstream::start().await,
            models: Upstream::start().await,
            ours: Image::new(1, &[1000]),
            theirs: Image::new(2, &[1000]),
        };
        two.default.add("library/app", "v1", &two.ours);
        two.models.add("library/app", "v1", &two.theirs);
        two
    }

    async fn pounce(&self, more: &[(&str, &str)]) -> Pounce {
        let (default, models) = (self.default.url(), self.models.url());
        let variables = [
            ("REGISTRY_PROXY_REMOTEURL", &default[..]),
            ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "registry.ollama.ai"),
            ("REGISTRY_PROXY_UPSTREAMS_0_HOSTNAMES", "Ollama.example.com, models"),
            ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &models[..]),
        ];
        Pounce::with(&[&variables, more].concat()).await
    }
}

async fn call(pounce: &Pounce, host: &str, method: &str, path: &str) -> Reply {
    pounce.send(pounce.request(method, path).header("host", host)).await
}

#[tokio::test]
async fn the_called_host_selects_where_nothing_else_does() {
    let two = Two::new().await;
    let pounce = two.pounce(&[]).await;
    let app = "/v2/library/app/manifests/v1";
    let cases = [
        (HUB, app, Some(&two.theirs)),
        ("OLLAMA.example.COM", app, Some(&two.theirs)),
        ("ollama.example.com:5000", app, Some(&two.theirs)),
        ("ollama.example.com.", app, Some(&two.theirs)),
        ("models:80", app, Some(&two.theirs)),
        // What names an upstream itself.
        (HUB, "/v2/library/app/manifests/v1?ns=docker.io", Some(&two.ours)),
        (HUB, "/v2/docker.io/library/app/manifests/v1", Some(&two.ours)),
        (HUB, "/v2/registry.ollama.ai/library/app/manifests/v1", Some(&two.theirs)),
        ("registry.example.com", "/v2/library/app/manifests/v1?ns=models", Some(&two.theirs)),
        ("registry.example.com", "/v2/library/app/manifests/v1?ns=ollama.example.com:5000", Some(&two.theirs)),
        (HUB, "/v2/library/app/manifests/v1?ns=quay.io", None),
        // Other hosts.
        ("registry.example.com", app, Some(&two.ours)),
        ("x.ollama.example.com", app, Some(&two.ours)),
        ("example.com", app, Some(&two.ours)),
        ("[::1]:5000", app, Some(&two.ours)),
    ];
    // The second time from memory.
    for (host, path, image) in [cases, cases].concat() {
        let reply = call(&pounce, host, "GET", path).await;
        match image {
            Some(image) => assert_eq!(reply.body, image.manifest, "{host} {path}"),
            None => assert_eq!((reply.status, &reply.code()[..]), (404, "NAME_UNKNOWN"), "{host} {path}"),
        }
    }
    let theirs = format!("/v2/library/app/blobs/{}", digest(two.theirs.layer()));
    assert_eq!(call(&pounce, HUB, "GET", &theirs).await.body, two.theirs.layer());
    pounce.until_stored(&digest(two.theirs.layer())).await;
    assert_eq!(call(&pounce, HUB, "HEAD", &theirs).await.status, 200);
    assert_eq!(call(&pounce, "registry.example.com", "GET", &theirs).await.status, 404);
    // The bucket and the catalog have the whole name; the upstream never sees the host.
    pounce.until_quiet().await;
    let catalog = call(&pounce, HUB, "GET", "/v2/_catalog").await;
    let catalog = String::from_utf8(catalog.body.to_vec()).unwrap();
    assert_eq!(catalog, r#"{"repositories":["library/app","registry.ollama.ai/library/app"]}"#);
    let list = call(&pounce, HUB, "GET", "/v2/library/app/tags/list?n=0").await;
    assert!(list.body.starts_with(br#"{"name":"registry.ollama.ai/library/app""#), "{list:?}");
    assert!(two.models.seen().iter().all(|seen| seen.path.starts_with("/v2/library/app/")));
    // `quay.io` alone has no upstream here.
    assert_eq!(pounce.metric("unknown_host_requests").await, 2);
}

#[tokio::test]
async fn a_proxy_is_believed_only_where_it_is_trusted() {
    let two = Two::new().await;
    let ask = async |pounce: &Pounce| {
        let request = pounce.request("GET", "/v2/library/app/manifests/v1");
        pounce.send(request.header("host", "backend:5000").header("x-forwarded-host", HUB)).await.body
    };
    assert_eq!(ask(&two.pounce(&[]).await).await, two.ours.manifest);
    let trust = ("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.0/8");
    assert_eq!(ask(&two.pounce(&[trust]).await).await, two.theirs.manifest);
    let other = ("REGISTRY_HTTP_FORWARDEDHOST", "Host");
    assert_eq!(ask(&two.pounce(&[trust, other]).await).await, two.ours.manifest);
}

#[tokio::test]
async fn rules_and_scopes_see_the_whole_name() {
    let two = Two::new().await;
    let users = user("alice");
    let pounce = two
        .pounce(&[
            ("REGISTRY_AUTH_HTPASSWD_USERS", &users),
            (
                "REGISTRY_AUTH_RULES",
                "[{users: [alice], repositories: ['registry.ollama.ai/**'], actions: [pull]}, \
                  {users: [anonymous], repositories: ['public/**'], actions: [pull]}]",
            ),
        ])
        .await;
    let ask = |host: &'static str| {
        let request = pounce.request("GET", "/v2/library/app/manifests/v1").header("host", host);
        pounce.send(by("alice", request))
    };
    for _ in 0..2 {
        assert_eq!(ask(HUB).await.body, two.theirs.manifest);
        assert_eq!(ask("registry.example.com").await.status, 403);
    }
    let reply = call(&pounce, HUB, "GET", "/v2/library/app/manifests/v1").await;
    assert_eq!(reply.status, 401);
    let challenge = reply.header("www-authenticate");
    assert!(challenge.contains("scope=\"repository:registry.ollama.ai/library/app:pull\""), "{challenge}");
}

#[tokio::test]
async fn an_upload_goes_on_at_its_location_under_the_same_host() {
    let two = Two::new().await;
    let pounce = two.pounce(&[]).await;
    let begun = call(&pounce, HUB, "POST", "/v2/me/model/blobs/uploads/").await;
    let location = begun.header("location");
    assert!(location.starts_with("/v2/registry.ollama.ai/me/model/blobs/uploads/"), "{location}");
    assert_eq!(call(&pounce, HUB, "GET", location).await.status, 204);
}

#[tokio::test]
async fn a_name_that_gets_too_long_is_refused_with_the_reason() {
    let two = Two::new().await;
    let pounce = two.pounce(&[]).await;
    let path = format!("/v2/{}/manifests/v1", "a".repeat(250));
    assert_eq!(call(&pounce, "registry.example.com", "GET", &path).await.status, 404);
    let reply = call(&pounce, HUB, "GET", &path).await;
    assert_eq!((reply.status, &reply.code()[..]), (400, "NAME_INVALID"));
    assert!(String::from_utf8_lossy(&reply.body).contains("255"), "{reply:?}");
}

#[test]
fn a_name_stands_for_one_upstream() {
    let upstreams = |hostnames: &str| {
        format!(
            "proxy: {{remoteurl: 'https://quay.io', upstreams: [{{host: a.io}}, {{host: 'b.io:5000', hostnames: {hostnames}}}]}}"
        )
    };
    for fine in ["[]", "one", "[one, two.example.com]", "'one, two'", "[b.io]", "10.0.0.7"] {
        load(&upstreams(fine), &[]).unwrap();
    }
    let own = "{http: {host: 'https://Registry.example.com:8443'}, proxy: {upstreams: [{host: a.io, hostnames: [registry.example.com]}]}}";
    let twice = "proxy: {upstreams: [{host: a.io, hostnames: [one]}, {host: b.io, hostnames: [ONE]}]}";
    let wrong = [
        "[a.io]",
        "[A.IO]",
        "[quay.io]",
        "[one, One]",
        "['one:5000']",
        "['*.example.com']",
        "[a_b]",
        "['']",
        "['a..b']",
    ];
    let wrong = wrong.map(upstreams);
    for text in wrong.iter().map(String::as_str).chain([own, twice]) {
        let message = load(text, &[]).err().map(|error| error.to_string());
        let message = message.unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(message.contains("proxy.upstreams.") && message.contains(".hostnames"), "{text}: {message}");
    }
}

const MODEL: &str = "bartowski/Llama-3.2-1B-Instruct-GGUF";
const ESCAPED: &str = "bartowski/llama-3.2-1b-instruct-gguf--x801403c";

/// Hugging Face, and a strict upstream that has the same repositories.
async fn models(more: &[(&str, &str)]) -> (Upstream, Pounce, Image) {
    let upstream = Upstream::start().await;
    let image = Image::new(3, &[1000]);
    for name in [MODEL, "a/b", "A/b", "a/B", "a/_B"] {
        upstream.add(name, "Q4_K_M", &image);
    }
    let url = upstream.url();
    let variables = [
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "hf.co"),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOSTNAMES", HUB),
        ("REGISTRY_PROXY_UPSTREAMS_0_NAMES", "relaxed"),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &url[..]),
        ("REGISTRY_PROXY_UPSTREAMS_1_HOST", "strict.example.com"),
        ("REGISTRY_PROXY_UPSTREAMS_1_REMOTEURL", &url[..]),
    ];
    let pounce = Pounce::with(&[&variables, more].concat()).await;
    (upstream, pounce, image)
}

#[tokio::test]
async fn a_relaxed_name_is_escaped_here_and_whole_at_the_upstream() {
    let (upstream, pounce, image) = models(&[]).await;
    let blob = digest(image.layer());
    for (host, name) in [
        ("r", format!("hf.co/{MODEL}")),
        (HUB, MODEL.to_owned()),
        (HUB, format!("hf.co/{MODEL}")),
        ("r", format!("hf.co/{ESCAPED}")),
        (HUB, ESCAPED.to_owned()),
    ] {
        for path in [format!("/v2/{name}/manifests/Q4_K_M"), format!("/v2/{name}/manifests/{}", image.digest())] {
            assert_eq!(call(&pounce, host, "GET", &path).await.body, image.manifest, "{host} {path}");
        }
        let reply = call(&pounce, host, "HEAD", &format!("/v2/{name}/blobs/{blob}")).await;
        assert_eq!((reply.status, reply.header("content-length")), (200, "1000"));
    }
    let by_ns = format!("/v2/{MODEL}/manifests/Q4_K_M?ns=hf.co");
    assert_eq!(pounce.get(&by_ns).await.body, image.manifest);
    assert_eq!(call(&pounce, HUB, "GET", &format!("/v2/{MODEL}/blobs/{blob}")).await.body, image.layer());
    pounce.until_stored(&blob).await;
    // One repository, however it is named; distribution can read its name.
    pounce.until_quiet().await;
    let catalog = pounce.get("/v2/_catalog").await;
    let expected = format!("{{\"repositories\":[\"hf.co/{ESCAPED}\"]}}");
    assert_eq!(String::from_utf8_lossy(&catalog.body), expected);
    let list = call(&pounce, HUB, "GET", &format!("/v2/{MODEL}/tags/list")).await;
    assert_eq!(String::from_utf8_lossy(&list.body), format!("{{\"name\":\"hf.co/{ESCAPED}\",\"tags\":[\"Q4_K_M\"]}}"));
    assert!(upstream.seen().iter().all(|seen| seen.path.starts_with(&format!("/v2/{MODEL}/"))));
}

#[tokio::test]
async fn names_that_differ_in_case_are_different_repositories() {
    let (upstream, pounce, _) = models(&[]).await;
    for name in ["a/b", "A/b", "a/B", "a/_B"] {
        assert_eq!(pounce.get(&format!("/v2/hf.co/{name}/manifests/Q4_K_M")).await.status, 200, "{name}");
        assert_eq!(upstream.count("GET", &format!("/v2/{name}/")), 1, "{name}");
    }
    // Another spelling of no name.
    for name in ["a/b--x", "a/b--x4", "a/b--x80"] {
        assert_eq!(pounce.get(&format!("/v2/hf.co/{name}/manifests/Q4_K_M")).await.status, 404, "{name}");
        assert_eq!(upstream.count("GET", &format!("/v2/{name}/")), 1, "{name}");
    }
    pounce.until_quiet().await;
    let catalog = pounce.get("/v2/_catalog").await;
    let expected = r#"{"repositories":["hf.co/a--x8/b","hf.co/a/1b--xc","hf.co/a/b","hf.co/a/b--x8"]}"#;
    assert_eq!(String::from_utf8_lossy(&catalog.body), expected);
}

#[tokio::test]
async fn other_upstreams_stay_strict() {
    let (upstream, pounce, _) = models(&[]).await;
    let model = format!("{MODEL}/manifests/Q4_K_M");
    for (host, path) in [
        ("r", format!("/v2/{model}")),
        ("r", format!("/v2/strict.example.com/{model}")),
        (HUB, format!("/v2/strict.example.com/{model}")),
        (HUB, format!("/v2/{model}?ns=strict.example.com")),
        (HUB, format!("/v2/{model}?ns=quay.io")),
        (HUB, "/v2/../A/manifests/x".into()),
        (HUB, "/v2/A/%2e%2e/B/manifests/x".into()),
        (HUB, "/v2/A%2f%2fB/manifests/x".into()),
        (HUB, format!("/v2/{}/manifests/x", "A".repeat(256))),
        (HUB, format!("/v2/{}/manifests/x", "A".repeat(210))),
        // Escaped, it has 255 characters, without the upstream's host.
        (HUB, format!("/v2/{}/manifests/x", "A".repeat(201))),
        ("r", format!("/v2/hf.co/{}/manifests/x", "A".repeat(201))),
    ] {
        let reply = raw(&pounce, host, &path).await;
        assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("NAME_INVALID"), "{host} {path}: {reply}");
    }
    assert_eq!(upstream.requests(), 0);
}

/// A request whose path no client library has tidied up.
async fn raw(pounce: &Pounce, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    exchange(pounce.addr, request.as_bytes()).await
}

#[tokio::test]
async fn a_push_to_a_relaxed_name_goes_to_the_escaped_one() {
    let (_, pounce, _) = models(&[]).await;
    let begun = call(&pounce, HUB, "POST", "/v2/me/My-Model/blobs/uploads/").await;
    let location = begun.header("location");
    assert!(location.starts_with("/v2/hf.co/me/my-model--x9/blobs/uploads/"), "{location}");
    let blob = bytes::Bytes::from_static(b"content");
    assert_eq!(pounce.close(location, &digest(&blob), blob.clone()).await.status, 201);
    let path = format!("/v2/me/My-Model/blobs/{}", digest(&blob));
    assert_eq!(call(&pounce, HUB, "HEAD", &path).await.status, 200);
}

#[test]
fn a_grammar_is_strict_or_relaxed() {
    let upstream = |names: &str| format!("proxy: {{upstreams: [{{host: hf.co, names: {names}}}]}}");
    for fine in ["strict", "relaxed", "Relaxed"] {
        load(&upstream(fine), &[]).unwrap();
    }
    let message = load(&upstream("loose"), &[]).err().unwrap().to_string();
    assert!(message.contains("proxy.upstreams.0.names"), "{message}");
}
