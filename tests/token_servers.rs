//! The upstreams' challenges, in every form, and their token servers' answers.

use crate::support::scripted::{manifest, refusal, text};
use crate::support::{Image, Pounce, Scripted};

/// Whether pounce gets a manifest from an upstream with these challenges, if its token server gives this answer.
async fn is_let_in(challenges: &'static [&'static str], answer: &'static str) -> bool {
    let image = Image::new(1, &[10]);
    let upstream = Scripted::start(move |seen| {
        let image = image.clone();
        async move {
            let host = seen.headers["host"].to_str().unwrap().to_owned();
            if seen.path.starts_with("/token") {
                return text(200, "application/json", answer);
            }
            let given = seen.headers.get("authorization");
            if given.is_some_and(|given| given == "Bearer good") {
                return manifest(&image);
            }
            let (status, _, body) = refusal(401, "UNAUTHORIZED");
            let filled = |line: &&str| {
                let line = line.replace("REALM", &format!("realm=\"http://{host}/token\""));
                ("www-authenticate", line)
            };
            (status, challenges.iter().map(filled).collect(), body)
        }
    })
    .await;
    let pounce = Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_USERNAME", "u"),
        ("REGISTRY_PROXY_PASSWORD", "p"),
    ])
    .await;
    pounce.get("/v2/a/b/manifests/v1").await.status == 200
}

#[tokio::test]
async fn a_token_is_preferred_wherever_it_is_offered() {
    let challenges: [&[&str]; 6] = [
        &["Bearer REALM,service=\"s\""],
        &["Bearer REALM", "Basic realm=\"x\""],
        &["Basic realm=\"x\"", "Bearer REALM"],
        &["Basic realm=\"a, Bearer b\", Bearer REALM"],
        &["Negotiate", "Basic realm=x", "BEARER REALM , Service = s"],
        &["Bearer service=\"none\"", "Basic realm=\"\u{fc}\"", "Bearer REALM"],
    ];
    for challenges in challenges {
        let answer = "{\"token\":\"good\"}";
        assert!(is_let_in(challenges, answer).await, "{challenges:?}");
    }
}

#[tokio::test]
async fn a_token_is_found_wherever_it_stands() {
    for answer in [
        r#"{"token":"good"}"#,
        r#"{"token":"","access_token":"good"}"#,
        r#"{"token":null,"access_token":"good"}"#,
        r#"{"access_token":"","token":"good"}"#,
        r#"{"access_token":"good","expires_in":"300"}"#,
        r#"{"token":"good","expires_in":300.5}"#,
        r#"{"token":"good","expires_in":null}"#,
        r#"{"token":"good","expires_in":-1}"#,
        r#"{"token":"good","expires_in":1e300}"#,
        r#"{"token":"good","expires_in":{}}"#,
    ] {
        assert!(is_let_in(&["Bearer REALM"], answer).await, "{answer}");
    }
    for answer in [r#"{"token":"","access_token":""}"#, "{}", "[]", ""] {
        assert!(!is_let_in(&["Bearer REALM"], answer).await, "{answer}");
    }
}
