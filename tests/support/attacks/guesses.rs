//! Many clients that guess passwords at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::future::join_all;

/// Logs in once from this address, with this password; the status.
pub(crate) async fn login(addr: SocketAddr, from: Ipv4Addr, user: &str, password: &str) -> u16 {
    let client = reqwest::Client::builder().local_address(IpAddr::V4(from));
    let request = client.build().unwrap().get(format!("http://{addr}/v2/"));
    let sent = request.basic_auth(user, Some(password)).send().await;
    sent.map_or(0, |response| response.status().as_u16())
}

/// A guess from each address, all at once; the statuses.
pub(crate) async fn guess(addr: SocketAddr, from: &[Ipv4Addr], user: &str) -> Vec<u16> {
    let guesses = from
        .iter()
        .enumerate()
        .map(|(number, from)| async move { login(addr, *from, user, &format!("guess {number}")).await });
    join_all(guesses).await
}
