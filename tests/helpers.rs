//! Credential helpers: programs that print pounce's credentials for an upstream.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::upstream::Manners;
use crate::support::{Auth, Image, Pounce, Upstream};

/// A helper that runs these lines of shell, and counts its runs. The program itself is not written here, because a
/// program that is still being written cannot be run.
fn helper(folder: &Path, lines: &str) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/credential-helper");
    std::fs::write(folder.join("answer"), format!("{lines}\n")).unwrap();
    std::os::unix::fs::symlink(program, folder.join("docker-credential-test")).unwrap();
}

fn runs(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("count")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const RIGHT: &str = r#"echo '{"ServerURL":"x","Username":"user","Secret":"secret"}'"#;

struct Stage {
    upstream: Upstream,
    folder: TempDir,
}

impl Stage {
    async fn new(auth: Auth, lines: &str) -> Self {
        let (upstream, folder) = (Upstream::start().await, TempDir::new().unwrap());
        for tag in ["v1", "v2"] {
            upstream.add("a", tag, &Image::new(1, &[10]));
            upstream.add("b", tag, &Image::new(2, &[10]));
        }
        upstream.behave(Manners { auth, expires_in: 300, ..Manners::default() });
        helper(folder.path(), lines);
        Self { upstream, folder }
    }

    async fn pounce(&self, more: &[(&str, &str)]) -> Pounce {
        let url = self.upstream.url();
        let command = self.folder.path().join("docker-credential-test");
        let variables =
            [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_EXEC_COMMAND", command.to_str().unwrap())];
        Pounce::with(&[&variables, more].concat()).await
    }

    fn runs(&self) -> Vec<String> {
        runs(self.folder.path())
    }
}

#[tokio::test]
async fn a_helper_tells_the_credentials_once() {
    for auth in [Auth::Basic, Auth::Bearer] {
        let stage = Stage::new(auth, RIGHT).await;
        let pounce = stage.pounce(&[]).await;
        for path in ["/v2/a/manifests/v1", "/v2/b/manifests/v1", "/v2/a/manifests/v2"] {
            assert_eq!(pounce.get(path).await.status, 200);
        }
        assert_eq!(stage.runs(), [format!("get {}", stage.upstream.addr)]);
    }
}

#[tokio::test]
async fn a_lifetime_of_zero_is_one_request() {
    let stage = Stage::new(Auth::Basic, RIGHT).await;
    let pounce = stage.pounce(&[("REGISTRY_PROXY_EXEC_LIFETIME", "0")]).await;
    for path in ["/v2/a/manifests/v1", "/v2/b/manifests/v1"] {
        assert_eq!(pounce.get(path).await.status, 200);
    }
    assert!(stage.runs().len() >= 2, "{:?}", stage.runs());
}

#[tokio::test]
async fn a_helper_for_a_further_upstream() {
    let stage = Stage::new(Auth::Basic, RIGHT).await;
    let (url, command) = (stage.upstream.url(), stage.folder.path().join("docker-credential-test"));
    let variables = [
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ecr.example.com"),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &url[..]),
        ("REGISTRY_PROXY_UPSTREAMS_0_EXEC_COMMAND", command.to_str().unwrap()),
        ("REGISTRY_PROXY_UPSTREAMS_0_EXEC_LIFETIME", "1h"),
    ];
    let pounce = Pounce::with(&variables).await;
    assert_eq!(pounce.get("/v2/ecr.example.com/a/manifests/v1").await.status, 200);
    assert_eq!(stage.runs().len(), 1);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let token = r#"echo '{"Username":"<token>","Secret":"refresh me"}'"#;
    let stage = Stage::new(Auth::Identity, token).await;
    let pounce = stage.pounce(&[]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(stage.upstream.count("POST", "/token"), 1);
}

#[tokio::test]
async fn a_helper_that_fails_is_an_outage_and_is_not_run_for_everybody() {
    for lines in ["exit 3", "echo nonsense", "echo '{}'", "head -c 1000000 /dev/zero"] {
        let stage = Stage::new(Auth::Basic, lines).await;
        let pounce = stage.pounce(&[]).await;
        for path in ["/v2/a/manifests/v1", "/v2/b/manifests/v1"] {
            let reply = pounce.get(path).await;
            assert_eq!((reply.status, &reply.code()[..]), (503, "UNAVAILABLE"), "{lines}");
        }
        assert_eq!(stage.runs().len(), 1, "{lines}");
    }
}

#[tokio::test]
async fn a_helper_that_is_not_there_is_an_outage() {
    let stage = Stage::new(Auth::Basic, RIGHT).await;
    let pounce = stage.pounce(&[("REGISTRY_PROXY_EXEC_COMMAND", "/nonexistent/helper")]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 503);
}

#[tokio::test]
async fn credentials_that_the_upstream_refuses_are_denied() {
    let wrong = r#"echo '{"Username":"user","Secret":"wrong"}'"#;
    for auth in [Auth::Basic, Auth::Bearer] {
        let stage = Stage::new(auth, wrong).await;
        let pounce = stage.pounce(&[]).await;
        let reply = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!((reply.status, &reply.code()[..]), (403, "DENIED"));
        assert_eq!(stage.runs().len(), 1);
    }
}

#[tokio::test]
async fn credentials_that_expire_are_asked_for_again() {
    for auth in [Auth::Basic, Auth::Bearer] {
        let stage = Stage::new(auth.clone(), RIGHT).await;
        let pounce = stage.pounce(&[]).await;
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
        // pounce trusts new credentials for five seconds, so that refused requests do not each run the helper.
        tokio::time::sleep(Duration::from_secs(5)).await;
        stage.upstream.behave(Manners { auth, secret: "fresh", expires_in: 300, ..Manners::default() });
        let fresh = RIGHT.replace("\"secret\"", "\"fresh\"");
        std::fs::write(stage.folder.path().join("answer"), fresh).unwrap();
        let paths = ["/v2/b/manifests/v1", "/v2/b/manifests/v2", "/v2/a/manifests/v2"];
        let replies = paths.iter().map(|path| pounce.get(path));
        for reply in futures_util::future::join_all(replies).await {
            assert_eq!(reply.status, 200);
        }
        assert_eq!(stage.runs().len(), 2);
    }
}

#[tokio::test]
async fn an_identity_token_does_not_follow_a_redirect() {
    let token = r#"echo '{"Username":"<token>","Secret":"refresh me"}'"#;
    let (stage, elsewhere) = (Stage::new(Auth::Identity, token).await, Upstream::start().await);
    stage.upstream.behave(Manners {
        auth: Auth::Identity,
        redirects_tokens_to: Some(elsewhere.url()),
        ..Manners::default()
    });
    let pounce = stage.pounce(&[]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 503);
    assert_eq!(elsewhere.requests(), 0);
}
