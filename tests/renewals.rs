//! Credentials and tokens that become invalid before their announced expiry.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json as object;
use tempfile::TempDir;

use crate::support::scripted::{json, manifest, refusal};
use crate::support::upstream::Seen;
use crate::support::{Image, Pounce, Said, Scripted};

/// An upstream with numbered tokens, of which only number `valid` is accepted. Paths with `secret` are forbidden. It
/// refuses with `status`, and with the challenge if it `demands`.
async fn with_tokens(valid: &Arc<AtomicUsize>, status: u16, demands: bool) -> Scripted {
    let valid = Arc::clone(valid);
    let image = Image::new(1, &[10]);
    Scripted::start(move |seen: Seen| {
        let (valid, image) = (valid.load(Ordering::SeqCst), image.clone());
        async move {
            let host = seen.headers["host"].to_str().unwrap().to_owned();
            if seen.path.starts_with("/token") {
                let token = format!("t{valid}");
                return json(200, &object!({"token": token, "expires_in": 43_200}));
            }
            let challenge = || {
                let text = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
                vec![("www-authenticate", text)]
            };
            match seen.headers.get("authorization") {
                None => (401, challenge(), "{}".into()),
                Some(given) if given != &format!("Bearer t{valid}") || seen.path.contains("secret") => {
                    let (status, mut headers, body) = refusal(status, "DENIED");
                    if demands {
                        headers.extend(challenge());
                    }
                    (status, headers, body)
                }
                Some(_) if seen.path.contains("/manifests/v") => manifest(&image),
                Some(_) => refusal(404, "MANIFEST_UNKNOWN"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_token_that_died_early_is_fetched_anew_however_it_is_refused() {
    for (status, demands) in [(400, false), (401, true), (401, false), (403, false)] {
        let valid = Arc::new(AtomicUsize::new(1));
        let upstream = with_tokens(&valid, status, demands).await;
        let pounce =
            Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]).await;
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
        pounce.until_quiet().await;
        for tag in ["v2", "v1", "v3"] {
            valid.fetch_add(1, Ordering::SeqCst);
            let reply = pounce.get(&format!("/v2/a/manifests/{tag}")).await;
            assert_eq!(reply.status, 200, "{status} {tag}");
            assert_eq!(reply.header("warning"), "");
        }
        assert_eq!(upstream.count("GET", "/token"), 4, "{status}");
    }
}

#[tokio::test]
async fn a_forbidden_repository_does_not_cost_a_token_a_request() {
    for status in [401, 403] {
        let upstream = with_tokens(&Arc::new(AtomicUsize::new(1)), status, status == 401).await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
        for tag in 0..10 {
            let path = format!("/v2/secret/manifests/v{tag}");
            assert_eq!(pounce.get(&path).await.status, 404);
        }
        // One token for each repository, and one more after the first refusal.
        assert!(upstream.count("GET", "/token") <= 3, "{status}");
        assert_eq!(pounce.get("/v2/a/manifests/v2").await.status, 200);
    }
}

/// A helper that prints the password in `folder`, and counts its runs.
fn helper(folder: &TempDir, password: &str) -> String {
    let path = folder.path().join("helper");
    std::fs::write(folder.path().join("password"), password).unwrap();
    let at = folder.path().display();
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\necho run >> {at}/runs\n\
         printf '{{\"Username\":\"AWS\",\"Secret\":\"%s\"}}' \"$(cat {at}/password)\"\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn basic(seen: &Seen, password: &str) -> Option<bool> {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let given = seen.headers.get("authorization")?.to_str().unwrap();
    let right = BASE64_STANDARD.encode(format!("AWS:{password}"));
    Some(given == format!("Basic {right}"))
}

#[tokio::test]
async fn a_helper_is_asked_again_when_what_it_told_has_expired() {
    for status in [400, 403] {
        let image = Image::new(1, &[10]);
        let generation = Arc::new(AtomicUsize::new(1));
        let upstream = {
            let generation = Arc::clone(&generation);
            Scripted::start(move |seen| {
                let (password, image) = (generation.load(Ordering::SeqCst), image.clone());
                async move { with_password(&seen, &password.to_string(), status, &image) }
            })
            .await
        };
        let folder = TempDir::new().unwrap();
        let pounce = Pounce::with(&[
            ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
            ("REGISTRY_PROXY_EXEC_COMMAND", &helper(&folder, "1")),
        ])
        .await;
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
        generation.store(2, Ordering::SeqCst);
        std::fs::write(folder.path().join("password"), "2").unwrap();
        // pounce trusts a helper's fresh answer for five seconds.
        tokio::time::sleep(std::time::Duration::from_millis(5200)).await;
        assert_eq!(pounce.get("/v2/a/manifests/v2").await.status, 200, "{status}");
        let runs = || {
            let runs = std::fs::read_to_string(folder.path().join("runs")).unwrap();
            runs.lines().count()
        };
        assert_eq!(runs(), 2, "{status}");
        // Requests to a forbidden repository do not each run the helper.
        for tag in 0..5 {
            let path = format!("/v2/secret/manifests/v{tag}");
            let reply = pounce.get(&path).await;
            assert!([403, 503].contains(&reply.status), "{reply:?}");
        }
        assert_eq!(runs(), 2, "{status}");
    }
}

fn with_password(seen: &Seen, password: &str, status: u16, image: &Image) -> Said {
    match basic(seen, password) {
        None => (401, vec![("www-authenticate", "Basic realm=\"x\"".to_owned())], "".into()),
        Some(true) if !seen.path.contains("secret") => manifest(image),
        Some(_) => refusal(status, "DENIED"),
    }
}

#[tokio::test]
async fn one_forbidden_resource_does_not_stop_the_renewal_for_others() {
    for status in [400, 401, 403] {
        for first in ["v0", "secret"] {
            let valid = Arc::new(AtomicUsize::new(1));
            let upstream = with_tokens(&valid, status, status == 401).await;
            let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
            for tag in [first, "v1"] {
                pounce.get(&format!("/v2/a/manifests/{tag}")).await;
            }
            for tag in 0..5 {
                let secret = format!("/v2/a/manifests/secret{tag}");
                assert_ne!(pounce.get(&secret).await.status, 200);
            }
            // One token for the repository, one more after the first refusal.
            assert!(upstream.count("GET", "/token") <= 3, "{status} {first}");
            assert_eq!(pounce.get("/v2/a/manifests/v2").await.status, 200);
            pounce.get("/v2/a/manifests/secret").await;
            valid.fetch_add(1, Ordering::SeqCst);
            let reply = pounce.get("/v2/a/manifests/v3").await;
            assert_eq!(reply.status, 200, "{status} {first}");
        }
    }
}

#[tokio::test]
async fn tokens_as_servers_write_them() {
    for (answer, is_good) in [
        (object!({"token": " t1\n"}), true),
        (object!({"token": " ", "access_token": "t1"}), true),
        (object!({"token": "", "access_token": "\tt1 "}), true),
        (object!({"token": null, "access_token": "t1"}), true),
        (object!({"token": "t\n1"}), false),
        (object!({"token": " "}), false),
    ] {
        let image = Image::new(1, &[10]);
        let said = answer.clone();
        let upstream = Scripted::start(move |seen: Seen| {
            let (said, image) = (said.clone(), image.clone());
            async move {
                if seen.path.starts_with("/token") {
                    return json(200, &said);
                }
                let host = seen.headers["host"].to_str().unwrap().to_owned();
                let challenge = format!("Bearer realm=\"http://{host}/token\"");
                match seen.headers.get("authorization") {
                    Some(given) if given == "Bearer t1" => manifest(&image),
                    _ => (401, vec![("www-authenticate", challenge)], "{}".into()),
                }
            }
        })
        .await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
        let reply = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!(reply.status == 200, is_good, "{answer}: {reply:?}");
        // An unusable token is not requested again.
        assert_eq!(upstream.count("GET", "/token"), 1, "{answer}");
        let plain = |seen: &Seen| seen.headers["accept-encoding"] == "identity";
        assert!(upstream.seen().iter().all(plain));
    }
}
