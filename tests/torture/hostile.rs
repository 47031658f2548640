//! The attacks of `tests/hostile` in their large form, each beside a fleet that pulls.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use super::siege::{Siege, Target};
use crate::support::attacks::answers::{Windowless, unread};
use crate::support::attacks::headers::half_sent;
use crate::support::attacks::manifests::{self, FULL};
use crate::support::attacks::pushes::silent;
use crate::support::image::digest;
use crate::support::scripted::Scripted;
use crate::support::upstream::Manners;
use crate::support::wire::raise_descriptors;
use crate::support::{Image, Upstream};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// An attacker's upstream, and the variables that name it `evil.example.com`.
fn named(url: &str) -> [(&'static str, &str); 2] {
    [("REGISTRY_PROXY_UPSTREAMS_0_HOST", "evil.example.com"), ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", url)]
}

/// Runs all of them, one after the other, and passes each result to `said`.
pub async fn all(mut said: impl FnMut(&Siege)) -> Vec<Siege> {
    let mut sieges = Vec::new();
    let mut end = |siege: Siege| {
        said(&siege);
        sieges.push(siege);
    };
    // The attacks need thousands of sockets.
    let most = raise_descriptors();
    end(nothing().await);
    end(half_headers(most.min(9_900)).await);
    end(stalled_sockets(300).await);
    end(followers(1_000).await);
    end(large_manifests(70).await);
    end(windowless(100).await);
    end(waiting_requests(5_000).await);
    end(silent_pushes(40).await);
    end(catalogs(32).await);
    sieges
}

async fn nothing() -> Siege {
    let target = Target::start(&[]).await;
    target.besiege("nothing", std::future::pending()).await
}

async fn half_headers(count: usize) -> Siege {
    let target = Target::start(&[]).await;
    let from: Vec<_> = (2..10).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
    let addr = target.addr();
    let attack = async {
        let _held = half_sent(addr, &from, count, 60_000).await;
        std::future::pending::<()>().await;
    };
    target.besiege(format!("{count} half-sent headers"), attack).await
}

/// A blob whose upstream stops sending half way, and its path.
async fn held_blob() -> (Upstream, String) {
    let upstream = Upstream::start().await;
    let image = Image::new(1 << 40, &[16 << 20]);
    upstream.add("a", "1", &image);
    upstream.behave(Manners { holds_after: Some(12 << 20), ..Manners::default() });
    let path = format!("/v2/evil.example.com/a/blobs/{}", digest(image.layer()));
    (upstream, path)
}

async fn stalled_sockets(count: usize) -> Siege {
    let (upstream, path) = held_blob().await;
    let url = upstream.url();
    let mut variables = named(&url).to_vec();
    variables.push(("REGISTRY_HTTP_LIMITS_CONNECTIONS", "300"));
    let target = Target::start(&variables).await;
    let addr = target.addr();
    let attack = async {
        let _held = unread(addr, ATTACKER, &path, count).await;
        std::future::pending::<()>().await;
    };
    let name = format!("{count} sockets that read nothing, of 300 connections");
    target.besiege(name, attack).await
}

async fn followers(count: usize) -> Siege {
    let (upstream, path) = held_blob().await;
    let url = upstream.url();
    let target = Target::start(&named(&url)).await;
    let addr = target.addr();
    let attack = async {
        let _held = unread(addr, ATTACKER, &path, count).await;
        std::future::pending::<()>().await;
    };
    let name = format!("{count} followers of a cold blob that read nothing");
    target.besiege(name, attack).await
}

async fn large_manifests(count: usize) -> Siege {
    let upstream = manifests::upstream(FULL).await;
    let target = Target::start(&named(&upstream.url())).await;
    let addr = target.process.addr.clone();
    let attack = async {
        manifests::pull(&addr, "evil.example.com/a", count).await;
        std::future::pending::<()>().await;
    };
    let name = format!("{count} manifests of {FULL} descriptors");
    target.besiege(name, attack).await
}

async fn windowless(count: usize) -> Siege {
    let upstream = manifests::upstream(FULL).await;
    let target = Target::start(&named(&upstream.url())).await;
    let addr = target.addr();
    let attack = async {
        let path = |tag| format!("/v2/evil.example.com/a/manifests/{tag}");
        let _held = Windowless::ask(addr, ATTACKER, (1..=count).map(path).collect()).await;
        std::future::pending::<()>().await;
    };
    let name = format!("{count} streams without a window, a manifest of 4 MB each");
    target.besiege(name, attack).await
}

async fn waiting_requests(count: usize) -> Siege {
    let upstream = Scripted::start(|_| std::future::pending()).await;
    let target = Target::start(&named(&upstream.url())).await;
    let addr = target.addr();
    let attack = async {
        let ask = |connection| {
            let path = move |tag| format!("/v2/evil.example.com/a{connection}/manifests/{tag}");
            Windowless::ask(addr, ATTACKER, (0..100).map(path).collect())
        };
        let _held = join_all((0..count / 100).map(ask)).await;
        std::future::pending::<()>().await;
    };
    let name = format!("{count} requests that an upstream does not answer");
    target.besiege(name, attack).await
}

async fn silent_pushes(count: u8) -> Siege {
    let target = Target::start(&[]).await;
    let addr = target.addr();
    let from: Vec<_> = (1..=count).map(|last| Ipv4Addr::new(127, 1, 1, last)).collect();
    let attack = async {
        let path = format!("/v2/a/blobs/uploads/?digest=sha256:{}", "0".repeat(64));
        let _held = silent(addr, &from, ("POST", &path)).await;
        std::future::pending::<()>().await;
    };
    let name = format!("{count} pushes that send a byte");
    target.besiege(name, attack).await
}

/// Clients list the whole bucket, again and again.
async fn catalogs(at_once: usize) -> Siege {
    let target = Target::start(&[]).await;
    let url = target.process.url("/v2/_catalog");
    let client = reqwest::Client::new();
    let attack = stream::repeat(()).for_each_concurrent(at_once, |()| async {
        if let Ok(listed) = client.get(&url).send().await {
            let _ = listed.bytes().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    });
    let name = format!("{at_once} clients that list the catalog");
    target.besiege(name, attack).await
}

impl Target {
    fn addr(&self) -> SocketAddr {
        self.process.addr.parse().unwrap()
    }
}
