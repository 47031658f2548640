//! Tokens of a server that knows the users: distribution's `auth: token`.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::image::digest;
use crate::support::signer::{Signer, claims, now, right};
use crate::support::{Image, Pounce, Reply};

/// A pounce that trusts what is in these files.
async fn pounce_with(
    folder: &TempDir,
    setting: &str,
    content: &str,
    more: &[(&str, &str)],
) -> Pounce {
    let path: PathBuf = folder.path().join(setting);
    std::fs::write(&path, content).unwrap();
    let setting = format!("REGISTRY_AUTH_TOKEN_{setting}");
    let mut variables = vec![
        ("REGISTRY_AUTH", "token"),
        (
            "REGISTRY_AUTH_TOKEN_REALM",
            "https://auth.example.com/token",
        ),
        ("REGISTRY_AUTH_TOKEN_SERVICE", "the registry"),
        ("REGISTRY_AUTH_TOKEN_ISSUER", "the issuer"),
        (&setting, path.to_str().unwrap()),
    ];
    variables.extend(more);
    Pounce::with(&variables).await
}

async fn trusting(signer: &Signer, more: &[(&str, &str)]) -> Pounce {
    let folder = TempDir::new().unwrap();
    pounce_with(&folder, "ROOTCERTBUNDLE", &signer.certificate.pem(), more).await
}

async fn with(pounce: &Pounce, token: &str, method: &str, path: &str) -> Reply {
    pounce
        .send(pounce.request(method, path).bearer_auth(token))
        .await
}

async fn status(pounce: &Pounce, token: &str) -> u16 {
    with(pounce, token, "GET", "/v2/").await.status
}

#[tokio::test]
async fn every_algorithm_of_public_keys_is_accepted() {
    for algorithm in [
        Algorithm::RS256,
        Algorithm::PS384,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let (signer, other) = (Signer::new(algorithm), Signer::new(algorithm));
        let pounce = trusting(&signer, &[]).await;
        let good = claims(&json!([]));
        assert_eq!(
            status(&pounce, &signer.sign(&good)).await,
            200,
            "{algorithm:?}"
        );
        assert_eq!(
            status(&pounce, &other.sign(&good)).await,
            401,
            "{algorithm:?}"
        );
        // Servers name their keys in several ways.
        let mut header = Header::new(algorithm);
        header.kid = Some("PYYO:TEWU:V7JH:26JV:AQTZ".to_owned());
        assert_eq!(
            status(&pounce, &signer.sign_with(&header, &good)).await,
            200
        );
    }
}

#[tokio::test]
async fn keys_come_as_a_set_too_and_the_named_one_counts() {
    let (signer, other) = (Signer::new(Algorithm::EdDSA), Signer::new(Algorithm::EdDSA));
    let jwk = |signer: &Signer, id: &str| {
        let point =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signer.key.public_key_raw());
        json!({"kty": "OKP", "crv": "Ed25519", "x": point, "kid": id})
    };
    let secret = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s"});
    let set = json!({"keys": [secret, jwk(&signer, "one"), jwk(&other, "other")]});
    let folder = TempDir::new().unwrap();
    let pounce = pounce_with(&folder, "JWKS", &set.to_string(), &[]).await;
    let named = |signer: &Signer, id: &str| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(id.to_owned());
        signer.sign_with(&header, &claims(&json!([])))
    };
    assert_eq!(status(&pounce, &named(&signer, "one")).await, 200);
    assert_eq!(status(&pounce, &named(&other, "other")).await, 200);
    assert_eq!(status(&pounce, &named(&other, "one")).await, 401);
    // A secret that stands in the file is not one.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("s".to_owned());
    let key = EncodingKey::from_secret(b"secret");
    let token = jsonwebtoken::encode(&header, &claims(&json!([])), &key).unwrap();
    assert_eq!(status(&pounce, &token).await, 401);
}

#[tokio::test]
async fn a_certificate_that_comes_along_must_lead_to_a_trusted_one() {
    let root = Signer::new(Algorithm::ES256);
    let pounce = trusting(&root, &[]).await;
    let mut parameters = CertificateParams::new(vec!["token".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::from_params(&parameters, root.key);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let parameters = CertificateParams::new(vec!["leaf".to_owned()]).unwrap();
    let leaf = Signer {
        algorithm: Algorithm::ES256,
        certificate: parameters.signed_by(&key, &issuer).unwrap(),
        key,
    };
    let alone = Signer::new(Algorithm::ES256);
    let token = |signer: &Signer| {
        let mut header = Header::new(Algorithm::ES256);
        header.x5c = Some(vec![STANDARD.encode(signer.certificate.der())]);
        signer.sign_with(&header, &claims(&json!([])))
    };
    assert_eq!(status(&pounce, &token(&leaf)).await, 200);
    assert_eq!(status(&pounce, &token(&alone)).await, 401);
    // Somebody else's certificate does not make it their token.
    let mut header = Header::new(Algorithm::ES256);
    header.x5c = Some(vec![STANDARD.encode(leaf.certificate.der())]);
    let forged = alone.sign_with(&header, &claims(&json!([])));
    assert_eq!(status(&pounce, &forged).await, 401);
}

#[tokio::test]
async fn what_is_no_good_token_is_refused() {
    let signer = Signer::new(Algorithm::RS256);
    let pounce = trusting(
        &signer,
        &[("REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS", "RS256,ES256")],
    )
    .await;
    let good = claims(&json!([]));
    let changed = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        signer.sign(&claims)
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        signer.sign(&claims)
    };
    // A minute of skew, either way; several audiences.
    for token in [
        changed("exp", json!(now() - 40)),
        changed("nbf", json!(now() + 40)),
        changed("aud", json!(["another", "the registry"])),
        changed("access", Value::Null),
        without("access"),
        without("nbf"),
    ] {
        assert_eq!(status(&pounce, &token).await, 200, "{token}");
    }
    let encoded =
        |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!(
        "{}.{}.",
        encoded(&json!({"alg": "none", "typ": "JWT"})),
        encoded(&good)
    );
    let mut critical = Header::new(Algorithm::RS256);
    critical.crit = Some(vec!["b64".to_owned()]);
    let critical = signer.sign_with(&critical, &good);
    // The public key, in the forms in which somebody may have taken it for a secret.
    let hmac = |secret: &[u8]| {
        let key = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good, &key).unwrap()
    };
    let genuine = signer.sign(&good);
    let (head, signature) = genuine.rsplit_once('.').unwrap();
    let (head, _) = head.split_once('.').unwrap();
    let mut more = good.clone();
    more["access"] = right("a", &["pull"]);
    for token in [
        changed("exp", json!(now() - 90)),
        changed("exp", json!("soon")),
        changed("nbf", json!(now() + 90)),
        changed("iss", json!("somebody else")),
        changed("aud", json!("another registry")),
        changed("aud", json!([])),
        changed("access", json!("everything")),
        without("exp"),
        without("iss"),
        without("aud"),
        none.clone(),
        critical,
        format!("{none}{signature}"),
        hmac(signer.certificate.pem().as_bytes()),
        hmac(signer.key.public_key_pem().as_bytes()),
        hmac(signer.certificate.der()),
        hmac(&[]),
        // The algorithm is a good one, and is not among those that are configured.
        signer.sign_with(&Header::new(Algorithm::RS512), &good),
        format!("{head}.{}.{signature}", encoded(&more)),
        format!("{genuine}x"),
        "..".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
    ] {
        let reply = with(&pounce, &token, "GET", "/v2/").await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "UNAUTHORIZED"),
            "{token}"
        );
        let challenge = reply.header("www-authenticate");
        assert!(
            challenge.ends_with("error=\"invalid_token\""),
            "{challenge}"
        );
    }
    // A password is for the token server.
    let request = pounce.request("GET", "/v2/").basic_auth("alice", Some("x"));
    assert_eq!(pounce.send(request).await.status, 401);
}

#[tokio::test]
async fn the_challenge_names_what_the_request_needs() {
    let signer = Signer::new(Algorithm::ES256);
    let pounce = trusting(&signer, &[]).await;
    let blob = digest(b"x");
    let cases = [
        ("GET", "/v2/".to_owned(), ""),
        ("GET", "/v2/_catalog".to_owned(), "registry:catalog:*"),
        (
            "GET",
            "/v2/a/b/manifests/v1".to_owned(),
            "repository:a/b:pull",
        ),
        (
            "HEAD",
            format!("/v2/a/b/blobs/{blob}"),
            "repository:a/b:pull",
        ),
        ("GET", "/v2/a/b/tags/list".to_owned(), "repository:a/b:pull"),
        (
            "POST",
            "/v2/a/b/blobs/uploads/".to_owned(),
            "repository:a/b:pull,push",
        ),
        (
            "PUT",
            "/v2/a/b/manifests/v1".to_owned(),
            "repository:a/b:pull,push",
        ),
        (
            "DELETE",
            "/v2/a/b/manifests/v1".to_owned(),
            "repository:a/b:delete",
        ),
        (
            "POST",
            format!("/v2/a/b/blobs/uploads/?mount={blob}&from=c"),
            "repository:a/b:pull,push repository:c:pull",
        ),
    ];
    let start = "Bearer realm=\"https://auth.example.com/token\",service=\"the registry\"";
    for (method, path, scope) in cases {
        let reply = pounce.send(pounce.request(method, &path)).await;
        assert_eq!(reply.status, 401);
        let scope = if scope.is_empty() {
            String::new()
        } else {
            format!(",scope=\"{scope}\"")
        };
        assert_eq!(
            reply.header("www-authenticate"),
            format!("{start}{scope}"),
            "{method} {path}"
        );
    }
    // With a token that is good for something else.
    let token = signer.sign(&claims(&right("c", &["pull"])));
    let reply = with(&pounce, &token, "GET", "/v2/a/b/manifests/v1").await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (
            401,
            &*format!("{start},scope=\"repository:a/b:pull\",error=\"insufficient_scope\"")
        )
    );
}

#[tokio::test]
async fn a_token_is_good_for_what_it_says() {
    let signer = Signer::new(Algorithm::EdDSA);
    let pounce = trusting(&signer, &[]).await;
    let image = Image::new(1, &[1000]);
    let pusher = signer.sign(&claims(&json!([
        {"type": "repository", "name": "a", "actions": ["pull", "push"]},
        // The same once more, with another right.
        {"type": "repository", "name": "a", "actions": ["delete"]},
        {"type": "repository", "name": "b", "actions": ["push"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
    ])));
    for (repository, blob) in image.blobs.iter().map(|blob| ("a", blob)) {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
        let request = pounce.request("POST", &path).bearer_auth(&pusher);
        assert_eq!(pounce.send(request.body(blob.clone())).await.status, 201);
    }
    let request = pounce
        .request("PUT", "/v2/a/manifests/v1")
        .bearer_auth(&pusher);
    let request = request.header("content-type", &image.media_type);
    assert_eq!(
        pounce
            .send(request.body(image.manifest.clone()))
            .await
            .status,
        201
    );

    let puller = signer.sign(&claims(&right("a", &["pull"])));
    let everything = signer.sign(&claims(&right("a", &["*"])));
    let nobody = signer.sign(&{
        let mut claims = claims(&right("a", &["pull"]));
        claims["sub"] = json!("");
        claims
    });
    let manifest = "/v2/a/manifests/v1";
    let blob = digest(&image.blobs[0]);
    let mount = format!("/v2/b/blobs/uploads/?mount={blob}&from=a");
    let anywhere = format!("/v2/b/blobs/uploads/?mount={blob}");
    let cases = [
        (&puller, "GET", manifest, 200),
        (&nobody, "GET", manifest, 200),
        (&puller, "PUT", manifest, 401),
        (&puller, "DELETE", manifest, 401),
        (&puller, "GET", "/v2/b/tags/list", 401),
        (&puller, "GET", "/v2/_catalog", 401),
        (&pusher, "GET", "/v2/_catalog", 200),
        (&puller, "GET", "/v2/", 200),
        // From a repository that may be pulled; from anywhere, on the strength of a digest alone, never.
        (&pusher, "POST", &anywhere, 202),
        (&pusher, "POST", &mount, 201),
        (&everything, "DELETE", manifest, 202),
    ];
    for (token, method, path, expected) in cases {
        let reply = with(&pounce, token, method, path).await;
        assert_eq!(reply.status, expected, "{method} {path} {reply:?}");
    }
}

#[tokio::test]
async fn rules_may_say_less_than_the_token() {
    let signer = Signer::new(Algorithm::ES256);
    let rules = "
- {users: [anonymous], repositories: ['public/*'], actions: [pull]}
- {users: [alice], repositories: [team/*], actions: [pull, push]}";
    let pounce = trusting(&signer, &[("REGISTRY_AUTH_RULES", rules)]).await;
    let token = signer.sign(&claims(&json!([
        {"type": "repository", "name": "team/app", "actions": ["pull", "push"]},
        {"type": "repository", "name": "other", "actions": ["pull", "push"]},
    ])));
    let begin = |name: &str| format!("/v2/{name}/blobs/uploads/");
    assert_eq!(
        with(&pounce, &token, "POST", &begin("team/app"))
            .await
            .status,
        202
    );
    assert_eq!(
        with(&pounce, &token, "POST", &begin("other")).await.status,
        403
    );
    assert_eq!(
        with(&pounce, &token, "POST", &begin("team/other"))
            .await
            .status,
        401
    );
    // No token at all is needed for what everybody may do: there is none by this name.
    assert_eq!(pounce.get("/v2/public/app/manifests/v1").await.status, 404);
    assert_eq!(pounce.get("/v2/team/app/manifests/v1").await.status, 401);
}

/// A token server as docker's documentation describes it: alice may do everything, everybody may pull.
#[derive(Clone)]
struct Server(Arc<Signer>);

async fn issue(
    State(Server(signer)): State<Server>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let service = query.iter().find(|(key, _)| key == "service");
    assert_eq!(service.unwrap().1, "the registry");
    let shown = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap());
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
            let actions: Vec<&str> = actions
                .filter(|action| user == "alice" || *action == "pull")
                .collect();
            json!({"type": parts[0], "name": parts[1], "actions": actions})
        })
        .collect();
    let mut claims = claims(&json!(access));
    claims["sub"] = json!(user);
    json!({"token": signer.sign(&claims)})
        .to_string()
        .into_response()
}

#[tokio::test]
async fn the_dance_of_a_client_with_a_token_server() {
    let signer = Arc::new(Signer::new(Algorithm::RS256));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/token", get(issue))
        .with_state(Server(Arc::clone(&signer)));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let pounce = trusting(&signer, &[("REGISTRY_AUTH_TOKEN_REALM", &realm)]).await;
    let blob = digest(b"x");

    // A client asks, is told where to get a token, and asks again with it.
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
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(query)
                .finish();
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
    assert_eq!(
        dance(ask("POST", "/v2/a/blobs/uploads/"), Some("alice")).await,
        202
    );
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
        &[
            ("REGISTRY_AUTH_TOKEN_AUTOREDIRECT", "true"),
            ("REGISTRY_AUTH_TOKEN_AUTOREDIRECTPATH", "/who"),
        ],
    )
    .await;
    let reply = pounce.get("/v2/").await;
    let expected = format!("Bearer realm=\"http://{}/who\",", pounce.addr);
    assert!(
        reply.header("www-authenticate").starts_with(&expected),
        "{reply:?}"
    );
}
