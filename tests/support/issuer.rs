//! A stand-in for an issuer of OIDC tokens: its documents, its keys, and what may be wrong with them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};

use super::scripted::{Said, Scripted, json as answer, text};
use super::signer::{Signer, now};
use super::upstream::Seen;
use super::{Pounce, Reply};

/// How an issuer answers.
#[derive(Clone, Debug, Default)]
pub enum Habit {
    #[default]
    Good,
    /// With this status.
    Status(u16),
    /// With a redirect to its own documents.
    Redirect,
    /// After a minute.
    Slow,
    /// With a discovery document of another issuer.
    Other(String),
    /// With keys at this URL.
    KeysAt(String),
    /// With a discovery document of more than 64 KiB.
    HugeDiscovery,
    /// With more than 1 MiB of keys.
    HugeKeys,
    /// With a text that is not JSON.
    Nonsense,
    /// Only to this `Authorization`.
    Closed(String),
}

#[derive(Default)]
struct State {
    habit: Habit,
    keys: Vec<Value>,
}

pub struct OidcIssuer {
    server: Scripted,
    state: Arc<Mutex<State>>,
}

impl OidcIssuer {
    /// An issuer with the keys of these signers, whose ids are their positions.
    pub(crate) async fn start(signers: &[&Signer]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Scripted::start(move |request| {
            let (habit, keys) = {
                let state = shared.lock().unwrap();
                (state.habit.clone(), state.keys.clone())
            };
            respond(request, habit, keys)
        })
        .await;
        let issuer = Self { server, state };
        issuer.set_keys(signers.iter().enumerate().map(|(id, signer)| jwk(signer, &id.to_string())).collect());
        issuer
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn behave(&self, habit: Habit) {
        self.state.lock().unwrap().habit = habit;
    }

    pub fn set_keys(&self, keys: Vec<Value>) {
        self.state.lock().unwrap().keys = keys;
    }

    /// How often the discovery document and the keys were asked for.
    pub fn asked(&self) -> (usize, usize) {
        (self.server.count("GET", "openid-configuration"), self.server.count("GET", "/keys"))
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.server.seen()
    }

    /// The claims of a good token.
    pub fn claims(&self) -> Value {
        json!({
            "iss": self.url(), "aud": "the registry", "sub": "repo:org/app", "repository": "org/app",
            "iat": now(), "nbf": now(), "exp": now() + 300,
        })
    }

    /// The settings of a provider for it.
    pub fn provider(&self, name: &str) -> Value {
        json!({
            "name": name, "issuer": self.url(), "audience": "the registry",
            "claims": {"repository": ["org/*"]}, "user": "{repository}",
        })
    }
}

async fn respond(request: Seen, habit: Habit, keys: Vec<Value>) -> Said {
    let url = format!("http://{}", request.headers["host"].to_str().unwrap());
    let is_discovery = request.path == "/.well-known/openid-configuration" || request.path == "/elsewhere";
    let is_keys = request.path.starts_with("/keys");
    let mut issuer = url.clone();
    let mut keys_at = format!("{url}/keys");
    match habit {
        Habit::Status(status) => return answer(status, &json!({})),
        Habit::Redirect if !request.path.ends_with("?again") => {
            let location = ("location", format!("{url}{}?again", request.path));
            return (302, vec![location], bytes::Bytes::new());
        }
        Habit::Slow => tokio::time::sleep(Duration::from_mins(1)).await,
        Habit::Other(other) => issuer = other,
        Habit::KeysAt(at) => keys_at = at,
        Habit::HugeDiscovery if is_discovery => {
            let body = json!({"issuer": issuer, "jwks_uri": keys_at, "filling": "x".repeat(64 << 10)});
            return answer(200, &body);
        }
        Habit::HugeKeys if is_keys => return answer(200, &json!({"keys": keys, "filling": "x".repeat(1 << 20)})),
        Habit::Nonsense => return text(200, "text/html", "<html>"),
        Habit::Closed(wanted) => {
            let sent = request.headers.get("authorization").map(|it| it.to_str().unwrap());
            if sent != Some(&wanted) {
                return answer(401, &json!({}));
            }
        }
        _ => {}
    }
    match (is_discovery, is_keys) {
        (true, _) => answer(200, &json!({"issuer": issuer, "jwks_uri": keys_at, "response_types_supported": []})),
        (_, true) => answer(200, &json!({"keys": keys})),
        _ => answer(404, &json!({})),
    }
}

/// The public key of a signer, with this id.
pub fn jwk(signer: &Signer, id: &str) -> Value {
    let mut jwk = if signer.algorithm == Algorithm::EdDSA {
        let point = URL_SAFE_NO_PAD.encode(signer.key.public_key_raw());
        json!({"kty": "OKP", "crv": "Ed25519", "x": point})
    } else {
        let mut jwk = Jwk::from_encoding_key(&signer.secret(), signer.algorithm).unwrap();
        // One key of RSA may be for all of its algorithms.
        jwk.common.key_algorithm = None;
        serde_json::to_value(jwk).unwrap()
    };
    jwk["kid"] = id.into();
    jwk["use"] = "sig".into();
    jwk
}

/// A token with the id of a key.
pub fn sign(signer: &Signer, id: &str, claims: &Value) -> String {
    let header = Header { kid: Some(id.to_owned()), ..Header::new(signer.algorithm) };
    signer.sign_with(&header, claims)
}

/// A pounce with these providers.
pub(crate) async fn pounce_for(providers: &[Value], more: &[(&str, &str)]) -> Pounce {
    let providers = Value::from(providers.to_vec()).to_string();
    let mut variables = vec![("REGISTRY_AUTH_OIDC", &providers[..])];
    variables.extend(more);
    Pounce::with(&variables).await
}

/// Logs in with a token as the password of a provider.
pub(crate) async fn login(pounce: &Pounce, provider: &str, token: &str) -> Reply {
    pounce.send(pounce.request("GET", "/v2/").basic_auth(provider, Some(token))).await
}

/// The answer to a token in exchange for pounce's own.
pub(crate) async fn exchange(pounce: &Pounce, provider: &str, token: &str) -> Reply {
    pounce.send(pounce.request("GET", "/v2/token").basic_auth(provider, Some(token))).await
}

/// The token in such an answer, and its lifetime in seconds.
pub fn issued(reply: &Reply) -> (String, u64) {
    assert_eq!(reply.status, 200, "{reply:?}");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["token"], body["access_token"]);
    (body["token"].as_str().unwrap().to_owned(), body["expires_in"].as_u64().unwrap())
}

/// How many tokens were verified with this result.
pub(crate) async fn checks(pounce: &Pounce, result: &str) -> u64 {
    let line = format!("pounce_oidc_checks_total{{result=\"{result}\"}} ");
    let page = pounce.metrics().await;
    let found = page.lines().find_map(|it| it.strip_prefix(&line));
    found.unwrap_or_else(|| panic!("{line} is not in {page}")).parse().unwrap()
}
