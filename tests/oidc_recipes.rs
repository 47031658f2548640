//! The recipes of docs/security.md for identities, each run over a stand-in for its issuer, whose tokens have the claims
//! that the issuer documents.

use std::path::Path;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Pounce;
use crate::support::issuer::{OidcIssuer, exchange, issued, sign};
use crate::support::signer::{Signer, now};
use crate::support::tls::Authority;

/// The lines of the recipe below this heading.
fn recipe(heading: &str) -> String {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap();
    let section = document.split(&format!("#### {heading}\n")).nth(1).expect("there is such a heading").to_owned();
    let yaml = section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    assert!(yaml.lines().count() <= 10, "{yaml}");
    yaml
}

/// What an issuer documents of its tokens.
struct Identity {
    heading: &'static str,
    provider: &'static str,
    /// As in the recipe.
    issuer: &'static str,
    claims: Value,
    user: &'static str,
    /// The statuses of a push to `team/app`, and of its tags.
    may: [u16; 2],
}

impl Identity {
    /// Claims for the registry of the recipes, with one of them changed.
    fn claims(&self, issuer: &str, changed: Option<(&str, Value)>) -> Value {
        let mut claims = self.claims.clone();
        claims["iss"] = json!(issuer);
        claims["aud"] = json!("https://registry.example.com");
        claims["iat"] = json!(now());
        claims["nbf"] = json!(now());
        claims["exp"] = json!(now() + 300);
        if let Some((pointer, value)) = changed {
            *claims.pointer_mut(pointer).expect("it has this claim") = value;
        }
        claims
    }

    /// Runs the recipe, with each of these changes refused.
    async fn run(&self, changes: &[(&str, Value)]) {
        let signer = Signer::new(Algorithm::RS256);
        let stand_in = OidcIssuer::start(&[&signer]).await;
        let folder = TempDir::new().unwrap();
        let yaml = recipe(self.heading);
        let yaml = match self.heading {
            "Kubernetes" => in_cluster(&yaml, &stand_in, folder.path()),
            _ => yaml.replace(self.issuer, &stand_in.url()),
        };
        let issuer = if self.heading == "Kubernetes" { self.issuer.to_owned() } else { stand_in.url() };
        let auth: Value = serde_saphyr::from_str::<Value>(&yaml).unwrap()["auth"].clone();
        let pounce = Pounce::with(&[("REGISTRY_AUTH", &auth.to_string())]).await;

        let token = sign(&signer, "0", &self.claims(&issuer, None));
        let (own, _) = issued(&exchange(&pounce, self.provider, &token).await);
        let requests = [("POST", "/v2/team/app/blobs/uploads/"), ("GET", "/v2/team/app/tags/list")];
        for ((method, path), expected) in requests.into_iter().zip(self.may) {
            let reply = pounce.send(pounce.request(method, path).bearer_auth(&own)).await;
            assert_eq!(reply.status, expected, "{}: {method} {reply:?}", self.heading);
        }
        let user = self.user.to_owned();
        let is_named = move |pounce: &Pounce| {
            std::fs::read_to_string(pounce.access_log()).unwrap().contains(&format!("user={user} "))
        };
        pounce.until("the user in the access log", is_named).await;
        for (pointer, value) in changes {
            let token = sign(&signer, "0", &self.claims(&issuer, Some((pointer, value.clone()))));
            let reply = exchange(&pounce, self.provider, &token).await;
            assert_eq!(reply.status, 401, "{}: {pointer} {value}", self.heading);
        }
    }
}

/// The recipe of a pounce in a cluster whose API server is closed.
fn in_cluster(yaml: &str, server: &OidcIssuer, folder: &Path) -> String {
    let authority = Authority::new();
    std::fs::copy(authority.path("root.crt"), folder.join("ca.crt")).unwrap();
    std::fs::write(folder.join("token"), "of-pounce\n").unwrap();
    server.behave(crate::support::issuer::Habit::Closed("Bearer of-pounce".to_owned()));
    yaml.replace("https://kubernetes.default.svc/openid/v1/jwks", &format!("{}/keys", server.url()))
        .replace("/var/run/secrets/kubernetes.io/serviceaccount", folder.to_str().unwrap())
}

#[tokio::test]
async fn github_actions() {
    let identity = Identity {
        heading: "GitHub Actions",
        provider: "github",
        issuer: "https://token.actions.githubusercontent.com",
        claims: json!({
            "jti": "example-id",
            "sub": "repo:octo-org/octo-repo:environment:prod",
            "environment": "prod",
            "ref": "refs/heads/main",
            "sha": "example-sha",
            "repository": "octo-org/octo-repo",
            "repository_owner": "octo-org",
            "actor_id": "12",
            "repository_visibility": "private",
            "repository_id": "74",
            "repository_owner_id": "65",
            "run_id": "example-run-id",
            "run_number": "10",
            "run_attempt": "2",
            "runner_environment": "github-hosted",
            "actor": "octocat",
            "workflow": "example-workflow",
            "head_ref": "",
            "base_ref": "",
            "event_name": "workflow_dispatch",
            "ref_type": "branch",
            "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
        }),
        user: "github:octo-org/octo-repo@refs/heads/main",
        may: [202, 404],
    };
    // The organization's name was given up, and registered by others; or one repository was, by a member.
    let changes = [
        ("/repository_owner_id", json!("66")),
        ("/repository_id", json!("75")),
        ("/repository", json!("evil-org/octo-repo")),
        ("/ref", json!("refs/heads/x@refs/heads/main")),
        ("/aud", json!("https://github.com/octo-org")),
    ];
    identity.run(&changes).await;
    // Other branches pull.
    let mut claims = identity.claims.clone();
    claims["ref"] = json!("refs/pull/7/merge");
    Identity { claims, user: "github:octo-org/octo-repo@refs/pull/7/merge", may: [403, 404], ..identity }
        .run(&[])
        .await;
}

#[tokio::test]
async fn gitlab() {
    let identity = Identity {
        heading: "GitLab",
        provider: "gitlab",
        issuer: "https://gitlab.example.com",
        claims: json!({
            "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
            "sub": "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
            "namespace_id": "72",
            "namespace_path": "my-group",
            "project_id": "20",
            "project_path": "my-group/my-project",
            "user_id": "1",
            "user_login": "sample-user",
            "user_email": "sample-user@example.com",
            "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
            "pipeline_id": "574",
            "pipeline_source": "push",
            "job_id": "302",
            "ref": "feature-branch-1",
            "ref_type": "branch",
            "ref_path": "refs/heads/feature-branch-1",
            "ref_protected": "false",
            "groups_direct": ["mygroup/mysubgroup", "myothergroup/myothersubgroup"],
            "runner_id": 1,
            "runner_environment": "self-hosted",
            "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
            "project_visibility": "public",
            "ci_config_ref_uri": "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
        }),
        user: "gitlab:my-group/my-project@false",
        may: [403, 404],
    };
    let changes = [
        ("/namespace_id", json!("73")),
        // The pipeline of a merge request from a fork has the fork's project.
        ("/project_id", json!("21")),
        ("/project_path", json!("evil/my-project")),
        ("/ref_protected", json!("maybe")),
        ("/aud", json!("https://vault.example.com")),
    ];
    identity.run(&changes).await;
    let mut claims = identity.claims.clone();
    claims["ref_protected"] = json!("true");
    Identity { claims, user: "gitlab:my-group/my-project@true", may: [202, 404], ..identity }.run(&[]).await;
}

#[tokio::test]
async fn kubernetes() {
    let identity = Identity {
        heading: "Kubernetes",
        provider: "kubernetes",
        issuer: "https://kubernetes.default.svc.cluster.local",
        claims: json!({
            "jti": "aed34954-b33a-4142-b1ec-389d6bbb4936",
            "sub": "system:serviceaccount:gpu:puller",
            "kubernetes.io": {
                "namespace": "gpu",
                "node": {"name": "my-node", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
                "pod": {"name": "my-pod", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
                "serviceaccount": {"name": "puller", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
            },
        }),
        user: "kubernetes:gpu",
        may: [202, 404],
    };
    let changes = [
        ("/kubernetes.io/namespace", json!("kube-system")),
        ("/kubernetes.io/serviceaccount/name", json!("default")),
        ("/kubernetes.io", json!("gpu")),
        ("/kubernetes.io/namespace", Value::Null),
        ("/aud", json!(["https://kubernetes.default.svc.cluster.local"])),
    ];
    identity.run(&changes).await;
}

#[tokio::test]
async fn fly() {
    let identity = Identity {
        heading: "Fly.io",
        provider: "fly",
        issuer: "https://oidc.fly.io/example-org",
        claims: json!({
            "jti": "dce7a4c4-7f4b-4e0f-a3f5-0b1f2b6e4f7d",
            "sub": "example-org:example-app:ancient-snow-4824",
            "app_id": "3671581",
            "app_name": "example-app",
            "image": "image:latest",
            "image_digest": "sha256:dff79c6da8dd4e282ecc6c57052f7cfbd684039b652f481ca2e3324a413ee43f",
            "machine_id": "3d8d377ce9e398",
            "machine_name": "ancient-snow-4824",
            "machine_version": "01HZJXGTQ084DX0G0V92QH3XW4",
            "org_id": "29873298",
            "org_name": "example-org",
            "region": "yyz",
        }),
        user: "fly:example-app",
        may: [403, 404],
    };
    let changes = [
        ("/org_id", json!("29873299")),
        ("/app_id", json!("3671582")),
        ("/app_name", json!("other-app")),
        ("/app_name", json!("*")),
        ("/aud", json!("https://fly.io/example-org")),
    ];
    identity.run(&changes).await;
}
