//! Connections that clients open and do not use.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::attacks::answers::{connect, unread};
use crate::support::image::digest;
use crate::support::wire::{head, to_the_end};
use crate::support::{Image, Pounce, Upstream};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// pounce with few connections, and the path of a blob that it streams.
async fn streaming(variables: &[(&str, &str)]) -> (Upstream, Pounce, String) {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[16 << 20]);
    upstream.add("a", "1", &image);
    let url = upstream.url();
    let mut all = vec![("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_STORAGE_REDIRECT_DISABLE", "true")];
    all.extend_from_slice(variables);
    let pounce = Pounce::with(&all).await;
    let layer = digest(image.layer());
    assert_eq!(pounce.pull("a", &layer).await.len(), 16 << 20);
    pounce.until_stored(&layer).await;
    (upstream, pounce, format!("/v2/a/blobs/{layer}"))
}

/// A well-behaved request: the whole answer.
async fn ask(pounce: &Pounce, from: Ipv4Addr) -> String {
    let mut connection = connect(pounce.addr, from).await.unwrap();
    let request = head("GET", "/v2/", &["Connection: close"]);
    connection.write_all(request.as_bytes()).await.unwrap();
    to_the_end(connection).await
}

#[tokio::test]
async fn sockets_of_http_1_that_read_nothing_make_room() {
    let (_upstream, pounce, path) = streaming(&[
        ("REGISTRY_HTTP_LIMITS_CONNECTIONS", "100"),
        ("REGISTRY_HTTP_LIMITS_CONNECTIONSPERADDRESS", "0"),
        ("REGISTRY_HTTP_LIMITS_WRITETIMEOUT", "1h"),
    ])
    .await;
    let attack = unread(pounce.addr, ATTACKER, &path, 300).await;
    for _ in 0..5 {
        let reply = ask(&pounce, Ipv4Addr::LOCALHOST).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    assert!(pounce.metric("connections").await <= 100);
    drop(attack);
}

#[tokio::test]
async fn a_client_that_reads_a_little_now_and_then_makes_room() {
    let (_upstream, pounce, path) = streaming(&[
        ("REGISTRY_HTTP_LIMITS_CONNECTIONS", "16"),
        ("REGISTRY_HTTP_LIMITS_HEADERTIMEOUT", "1s"),
        ("REGISTRY_HTTP_LIMITS_WRITETIMEOUT", "1h"),
    ])
    .await;
    let attack = unread(pounce.addr, ATTACKER, &path, 16).await;
    let drip = |mut connection: TcpStream| {
        tokio::spawn(async move {
            let mut bytes = [0; 2000];
            while connection.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        })
    };
    let dripping: Vec<_> = attack.into_iter().map(drip).collect();
    let reply = ask(&pounce, Ipv4Addr::LOCALHOST).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    for task in dripping {
        task.abort();
    }
}

#[tokio::test]
async fn a_slow_client_goes_on_where_no_room_is_needed() {
    let (_upstream, pounce, path) =
        streaming(&[("REGISTRY_HTTP_LIMITS_HEADERTIMEOUT", "1s"), ("REGISTRY_HTTP_LIMITS_WRITETIMEOUT", "20s")]).await;
    let mut slow = unread(pounce.addr, ATTACKER, &path, 1).await;
    let mut bytes = vec![0; 1 << 20];
    let (mut slow, mut read) = (slow.remove(0), 0);
    while read < 16 << 20 {
        // For longer than a full connection table lets a connection stall.
        if read == 0 {
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
        let more = slow.read(&mut bytes).await.unwrap();
        assert!(more > 0, "{read}");
        read += more;
    }
}

#[tokio::test]
async fn one_address_has_a_share_of_the_connections() {
    let (_upstream, pounce, path) =
        streaming(&[("REGISTRY_HTTP_LIMITS_CONNECTIONS", "400"), ("REGISTRY_HTTP_TRUSTEDPROXIES", "[127.0.0.3/32]")])
            .await;
    let attack = unread(pounce.addr, ATTACKER, &path, 110).await;
    // Other clients get in at once, through a proxy too.
    for from in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 3)] {
        let reply = ask(&pounce, from).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    assert!(pounce.metric("connections").await <= 102);
    // Another client of the same address gets in, once one of the stalled connections has timed out.
    let reply = ask(&pounce, ATTACKER).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    drop(attack);
}

#[tokio::test]
async fn one_connection_too_many_is_told_why() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_HTTP_LIMITS_CONNECTIONSPERADDRESS", "1"),
    ])
    .await;
    // This connection is in the middle of a push, and so neither idle nor stalled.
    let begun = pounce.begin("a").await;
    let path = format!("{begun}&digest={}", digest(b"body"));
    let mut busy = connect(pounce.addr, ATTACKER).await.unwrap();
    let request = head("PUT", &path, &["Content-Length: 4", "Connection: close"]) + "bo";
    busy.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let reply = ask(&pounce, ATTACKER).await;
    assert!(reply.starts_with("HTTP/1.1 429"), "{reply}");
    assert!(reply.contains("TOOMANYREQUESTS") && reply.contains("retry-after"), "{reply}");
    busy.write_all(b"dy").await.unwrap();
    let reply = to_the_end(busy).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
}
