//! Headers that clients never finish.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::support::Process;
use crate::support::attacks::headers::half_sent;
use crate::support::wire::raise_descriptors;

#[tokio::test]
async fn thousands_of_half_headers_take_little_and_give_it_back() {
    let most = raise_descriptors();
    let process = Process::start(&[("REGISTRY_LOG_ACCESSLOG_DISABLED", "true")]);
    // Each address stays within its own limit.
    let from: Vec<_> = (2..10).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
    let addr = process.addr.parse().unwrap();
    let attack = half_sent(addr, &from, most.min(9_900), 60_000).await;
    for _ in 0..20 {
        let reply = reqwest::get(process.url("/v2/")).await.unwrap();
        assert_eq!(reply.status(), 200);
    }
    println!("{} MiB", process.peak());
    assert!(process.peak() < 256, "{} MiB", process.peak());
    drop(attack);
    let began = Instant::now();
    while process.metric("connections").await > 2 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{} MiB afterwards", process.resident());
    assert!(process.resident() < 192, "{} MiB", process.resident());
}
