//! Users, their rules and their requests.

use pounce::auth;
use reqwest::RequestBuilder;

use super::image::{Image, digest};
use super::{Pounce, Reply};

/// A line of an htpasswd file, with the lowest bcrypt cost.
pub fn user(name: &str) -> String {
    auth::htpasswd_line(name, &password(name), 4).unwrap()
}

pub fn password(name: &str) -> String {
    format!("{name}'s")
}

/// A registry with users, which may do everything.
pub(crate) async fn with_users(names: &[&str]) -> Pounce {
    let lines: Vec<String> = names.iter().map(|name| user(name)).collect();
    Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines.join(","))]).await
}

/// A registry with users and rules.
pub(crate) async fn with_rules(names: &[&str], rules: &str) -> Pounce {
    let lines: Vec<String> = names.iter().map(|name| user(name)).collect();
    Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines.join(",")), ("REGISTRY_AUTH_RULES", rules)]).await
}

pub fn by(name: &str, request: RequestBuilder) -> RequestBuilder {
    request.basic_auth(name, Some(password(name)))
}

pub(crate) async fn ask(pounce: &Pounce, name: &str, method: &str, path: &str) -> Reply {
    let request = pounce.request(method, path);
    pounce.send(by(name, request)).await
}

/// Pushes a blob and a manifest; returns the digests of both.
pub(crate) async fn push(pounce: &Pounce, name: &str, repository: &str, seed: u64) -> (String, String) {
    let image = Image::new(seed, &[1000]);
    for blob in &image.blobs {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
        let request = pounce.request("POST", &path).body(blob.clone());
        assert_eq!(pounce.send(by(name, request)).await.status, 201);
    }
    let path = format!("/v2/{repository}/manifests/v1");
    let request = pounce.request("PUT", &path);
    let request = request.header("content-type", &image.media_type);
    let reply = pounce.send(by(name, request.body(image.manifest.clone()))).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    (digest(&image.blobs[0]), digest(&image.manifest))
}

/// Waits until a user gets this status.
pub(crate) async fn until(pounce: &Pounce, name: &str, status: u16) {
    for _ in 0..200 {
        if ask(pounce, name, "GET", "/v2/").await.status == status {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{name} never gets {status}");
}
