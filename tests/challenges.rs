//! The challenge: where clients get tokens, and with which scope; and a token server that answers it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Algorithm;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::image::digest;
use crate::support::signer::{Signer, claims, right, trusting};

#[tokio::test]
async fn the_challenge_names_what_the_request_needs() {
    let signer = Signer::new(Algorithm::ES256);
    let pounce = trusting(&signer, &[]).await;
    let blob = digest(b"x");
    let cases = [
        ("GET", "/v2/".to_owned(), ""),
        ("GET", "/v2/_catalog".to_owned(), "registry:catalog:*"),
        ("GET", "/v2/a/b/manifests/v1".to_owned(), "repository:a/b:pull"),
        ("HEAD", format!("/v2/a/b/blobs/{blob}"), "repository:a/b:pull"),
        ("GET", "/v2/a/b/tags/list".to_owned(), "repository:a/b:pull"),
        ("POST", "/v2/a/b/blobs/uploads/".to_owned(), "repository:a/b:pull,push"),
        ("PUT", "/v2/a/b/manifests/v1".to_owned(), "repository:a/b:pull,push"),
        ("DELETE", "/v2/a/b/manifests/v1".to_owned(), "repository:a/b:delete"),
        ("POST", format!("/v2/a/b/blobs/uploads/?mount={blob}&from=c"), "repository:a/b:pull,push repository:c:pull"),
    ];
    let start = "Bearer realm=\"https://auth.example.com/token\",service=\"the registry\"";
    for (method, path, scope) in cases {
        let reply = pounce.send(pounce.request(method, &path)).await;
        assert_eq!(reply.status, 401);
        let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
        assert_eq!(reply.header("www-authenticate"), format!("{start}{scope}"), "{method} {path}");
    }
    // With a token for another repository.
    let token = signer.sign(&claims(&right("c", &["pull"])));
    let asking = pounce.request("GET", "/v2/a/b/manifests/v1");
    let reply = pounce.send(asking.bearer_auth(token)).await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, &*format!("{start},scope=\"repository:a/b:pull\",error=\"insufficient_scope\""))
    );
}

/// A token server as docker's documentation describes it: alice may do everything, every client may pull.
#[derive(Clone)]
struct Server(Arc<Signer>);

async fn issue(State(Server(signer)): State<Server>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    let service = query.iter().find(|(key, _)| key == "service");
    assert_eq!(service.unwrap().1, "the registry");
    let shown = headers.get("authorization").map(|value| value.to_str().unwrap());
    let alices = format!("Basic {}", STANDARD.encode("alice:secret"));
    let user = match shown {
        None => "",
        Some(shown) if shown == alices => "alice",
        Some(_) => return StatusCode::UNAUTHORIZED.into_response(),
    };
    let scopes = query.iter().filter(|(key, _)| key == "scope");
    let scopes = scopes.flat_map(|(_, scopes)| scopes.split(' '));
    let access: Vec<Value> = scopes
        .map(|scope| {
            let parts: Vec<&str> = scope.split(':').collect();
            let actions = parts[2].split(',');
            let actions: Vec<&str> = actions.filter(|action| user == "alice" || *action == "pull").collect();
            json!({"type": parts[0], "name": parts[1], "actions": actions})
        })
        .collect();
    let mut claims = claims(&json!(access));
    claims["sub"] = json!(user);
    json!({"token": signer.sign(&claims)}).to_string().into_response()
}

#[tokio::test]
async fn the_dance_of_a_client_with_a_token_server() {
    let signer = Arc::new(Signer::new(Algorithm::RS256));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let router = Router::new().route("/token", get(issue)).with_state(Server(Arc::clone(&signer)));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let pounce = trusting(&signer, &[("REGISTRY_AUTH_TOKEN_REALM", &realm)]).await;
    let blob = digest(b"x");

    // The client asks, gets the challenge, fetches a token, and asks again with it.
    let dance = |request: RequestBuilder, user: Option<&'static str>| {
        let pounce = &pounce;
        async move {
            let again = request.try_clone().unwrap();
            let challenge = pounce.send(request).await;
            let text = challenge.header("www-authenticate").to_owned();
            let parameter = |key: &str| {
                let rest = text.split_once(&format!("{key}=\"")).map(|(_, rest)| rest);
                rest.map(|rest| rest.split('"').next().unwrap().to_owned())
            };
            let mut query = vec![("service", parameter("service").unwrap())];
            for scope in parameter("scope").unwrap_or_default().split(' ') {
                if !scope.is_empty() {
                    query.push(("scope", scope.to_owned()));
                }
            }
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            let url = format!("{}?{query}", parameter("realm").unwrap());
            let client = reqwest::Client::new();
            let request = match user {
                Some(user) => client.get(url).basic_auth(user, Some("secret")),
                None => client.get(url),
            };
            let answer = request.send().await.unwrap().bytes().await.unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let token = answer["token"].as_str().unwrap();
            pounce.send(again.bearer_auth(token)).await.status
        }
    };
    let ask = |method: &str, path: &str| pounce.request(method, path);
    let mount = format!("/v2/a/blobs/uploads/?mount={blob}&from=b");
    assert_eq!(dance(ask("GET", "/v2/"), Some("alice")).await, 200);
    assert_eq!(dance(ask("POST", "/v2/a/blobs/uploads/"), Some("alice")).await, 202);
    assert_eq!(dance(ask("POST", &mount), Some("alice")).await, 202);
    assert_eq!(dance(ask("POST", "/v2/a/blobs/uploads/"), None).await, 401);
    assert_eq!(dance(ask("GET", "/v2/a/manifests/v1"), None).await, 404);
    server.abort();
}

#[tokio::test]
async fn the_realm_may_be_beside_pounce() {
    let signer = Signer::new(Algorithm::ES256);
    let pounce = trusting(
        &signer,
        &[("REGISTRY_AUTH_TOKEN_AUTOREDIRECT", "true"), ("REGISTRY_AUTH_TOKEN_AUTOREDIRECTPATH", "/who")],
    )
    .await;
    let reply = pounce.get("/v2/").await;
    let expected = format!("Bearer realm=\"http://{}/who\",", pounce.addr);
    assert!(reply.header("www-authenticate").starts_with(&expected), "{reply:?}");
}
