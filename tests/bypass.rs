//! Bypassed mirrors: a host in `?ns=` without an upstream.

use crate::support::{Process, Upstream, borrowed};

/// containerd falls back to the origin when a mirror answers 404, so only the log and the metrics show the bypass.
#[tokio::test]
async fn a_mirror_of_an_unknown_host_is_warned_of() {
    let upstream = Upstream::start().await;
    let variables = [
        ("REGISTRY_PROXY_REMOTEURL", upstream.url()),
        ("REGISTRY_PROXY_HOST", "quay.io,docker.io".into()),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io".into()),
    ];
    let mut process = Process::start(&borrowed(&variables));
    let upstreams = process.seen.lines().find(|line| line.contains("content comes from upstreams")).unwrap();
    let names = format!("quay.io or docker.io at {}, ghcr.io", upstream.url());
    assert!(upstreams.contains(&names), "{upstreams}");
    let asked = [
        "ns=registry.internal:5000",
        "ns=Registry.internal:5000",
        "ns=10.0.0.7:5000",
        // An operator cannot fix these, so they are not logged as bypasses.
        "ns=%0aERROR+forged",
        "ns=",
        "ns=quay.io",
    ];
    for query in asked {
        for _ in 0..3 {
            let path = format!("/v2/org/app/manifests/v1?{query}");
            let status = reqwest::get(process.url(&path)).await.unwrap().status();
            assert_eq!(status, 404, "{query}");
        }
    }
    assert_eq!(process.metric("unknown_host_requests").await, 12);
    let line = process.until("10.0.0.7:5000");
    assert!(line.contains("proxy.upstreams") && line.contains("proxy.host"), "{line}");
    process.terminate();
    let (_, log) = process.end();
    let warned = |host: &str| {
        let about = log.lines().filter(|line| line.contains("\"WARN\"") && line.contains("pull past it"));
        about.filter(|line| line.contains(host)).count()
    };
    let counts = ["registry.internal:5000", "10.0.0.7:5000", "forged", "quay.io"].map(warned);
    assert_eq!(counts, [1, 1, 0, 0], "{log}");
}
