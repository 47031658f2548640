//! Attacks on logins by OIDC: tokens that are none, and keys that are not the issuer's.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::Pounce;
use crate::support::issuer::{OidcIssuer, checks, exchange, jwk, login, pounce_for, sign};
use crate::support::signer::{Signer, now};

/// The statuses of a token as a password, in exchange, and as a token in exchange: each from an address of its own,
/// because failures are limited.
async fn statuses(pounce: &Pounce, token: &str, number: usize) -> [u16; 3] {
    let address = format!("10.{}.{}.1", number / 250, number % 250);
    let from = |request: reqwest::RequestBuilder| request.header("x-forwarded-for", &address);
    let basic = |path: &str| from(pounce.request("GET", path).basic_auth("ci", Some(token)));
    let bearer = from(pounce.request("GET", "/v2/token").bearer_auth(token));
    let mut statuses = [0; 3];
    for (status, request) in statuses.iter_mut().zip([basic("/v2/"), basic("/v2/token"), bearer]) {
        *status = pounce.send(request).await.status;
    }
    statuses
}

const BEHIND: [(&str, &str); 1] = [("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.0/8")];

#[tokio::test]
async fn what_is_no_good_token_is_refused() {
    let signer = Signer::new(Algorithm::RS256);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let pounce = pounce_for(&[issuer.provider("ci")], &BEHIND).await;
    let good = issuer.claims();
    let changed = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        sign(&signer, "0", &claims)
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        sign(&signer, "0", &claims)
    };
    // A minute of skew, either way; several audiences.
    let accepted = [
        sign(&signer, "0", &good),
        changed("exp", json!(now() - 40)),
        changed("nbf", json!(now() + 40)),
        changed("iat", json!(now() + 40)),
        changed("iat", json!(1_700_000_000.5)),
        changed("aud", json!(["another", "the registry"])),
        without("nbf"),
        without("iat"),
    ];
    for (number, token) in accepted.iter().enumerate() {
        assert_eq!(statuses(&pounce, token, number).await, [200; 3], "{token}");
    }
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = |alg: &str| format!("{}.{}.", encoded(&json!({"alg": alg, "typ": "JWT", "kid": "0"})), encoded(&good));
    let mut critical = Header { kid: Some("0".to_owned()), ..Header::new(Algorithm::RS256) };
    critical.crit = Some(vec!["b64".to_owned()]);
    // The public key in every form that a verifier might take for an HMAC secret.
    let hmac = |secret: &[u8]| {
        let header = Header { kid: Some("0".to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(secret)).unwrap()
    };
    let genuine = sign(&signer, "0", &good);
    let (head, signature) = genuine.rsplit_once('.').unwrap();
    let (head, _) = head.split_once('.').unwrap();
    let mut more = good.clone();
    more["repository"] = json!("org/other");
    let mut long = good.clone();
    long["filling"] = json!("x".repeat(16 << 10));
    let refused = [
        changed("exp", json!(now() - 90)),
        changed("exp", json!("soon")),
        changed("nbf", json!(now() + 90)),
        changed("iat", json!(now() + 90)),
        changed("iat", json!("today")),
        changed("iss", json!("https://issuer.example.com")),
        changed("iss", json!(format!("{}/", issuer.url()))),
        changed("iss", json!([issuer.url()])),
        changed("iss", json!([issuer.url(), "another"])),
        changed("aud", json!("another registry")),
        changed("aud", json!(["another registry"])),
        changed("aud", json!([])),
        changed("aud", json!({"the registry": 1})),
        changed("repository", json!("evil/app")),
        changed("repository", json!("evil/org/app")),
        changed("repository", json!("org/*")),
        changed("repository", json!(["org/app"])),
        changed("repository", json!({"org/app": "org/app"})),
        changed("repository", Value::Null),
        without("repository"),
        without("exp"),
        without("iss"),
        without("aud"),
        none("none"),
        none("None"),
        format!("{}{signature}", none("none")),
        format!("{}{signature}", none("RS256")),
        signer.sign_with(&critical, &good),
        hmac(signer.certificate.pem().as_bytes()),
        hmac(signer.key.public_key_pem().as_bytes()),
        hmac(signer.certificate.der()),
        hmac(jwk(&signer, "0").to_string().as_bytes()),
        hmac(&[]),
        // The key is RSA's.
        sign(&Signer::new(Algorithm::ES256), "0", &good),
        sign(&Signer::new(Algorithm::RS256), "0", &good),
        format!("{head}.{}.{signature}", encoded(&more)),
        format!("{genuine}x"),
        format!("{genuine}."),
        sign(&signer, "0", &long),
        "x".repeat(20_000),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "{}".to_owned(),
    ];
    for (number, token) in refused.iter().enumerate() {
        assert_eq!(statuses(&pounce, token, 100 + number).await, [401; 3], "{number}: {token}");
    }
    // None of them is a reason to ask the issuer again.
    assert_eq!(issuer.asked(), (1, 1));
    assert_eq!(checks(&pounce, "unavailable").await, 0);
    assert_eq!(checks(&pounce, "accepted").await, accepted.len() as u64);
}

#[tokio::test]
async fn no_token_brings_its_own_key() {
    let (signer, own) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let issuer = OidcIssuer::start(&[&signer]).await;
    let other = OidcIssuer::start(&[&own]).await;
    let pounce = pounce_for(&[issuer.provider("ci")], &BEHIND).await;
    assert_eq!(login(&pounce, "ci", &sign(&signer, "0", &issuer.claims())).await.status, 200);
    let public: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk(&own, "0")).unwrap();
    for (number, id) in [Some("0"), None].into_iter().enumerate() {
        let plain = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        let headers = [
            Header { jwk: Some(public.clone()), ..plain.clone() },
            Header { jku: Some(format!("{}/keys", other.url())), ..plain.clone() },
            Header { x5u: Some(format!("{}/keys", other.url())), ..plain.clone() },
            Header { x5c: Some(vec![STANDARD.encode(own.certificate.der())]), ..plain },
        ];
        for (kind, header) in headers.iter().enumerate() {
            let token = own.sign_with(header, &issuer.claims());
            assert_eq!(statuses(&pounce, &token, 10 * number + kind).await, [401; 3], "{header:?}");
        }
    }
    assert_eq!((issuer.asked(), other.asked()), ((1, 1), (0, 0)));
}

#[tokio::test]
async fn a_key_that_is_not_for_signatures_or_of_another_algorithm_signs_nothing() {
    let signer = Signer::new(Algorithm::RS256);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let with = |name: &str, value: Value| {
        let mut key = jwk(&signer, name);
        key[name] = value;
        key
    };
    issuer.set_keys(vec![
        with("use", json!("enc")),
        with("key_ops", json!(["encrypt"])),
        with("alg", json!("PS256")),
        json!({"kty": "oct", "k": STANDARD.encode("secret"), "kid": "oct"}),
        json!({"kty": "RSA", "kid": "broken"}),
        jwk(&signer, "good"),
    ]);
    let pounce = pounce_for(&[issuer.provider("ci")], &BEHIND).await;
    for (number, id) in ["use", "key_ops", "alg", "oct"].into_iter().enumerate() {
        assert_eq!(statuses(&pounce, &sign(&signer, id, &issuer.claims()), number).await, [401; 3], "{id}");
    }
    assert_eq!(login(&pounce, "ci", &sign(&signer, "good", &issuer.claims())).await.status, 200);
    let header = Header { kid: Some("oct".to_owned()), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&header, &issuer.claims(), &EncodingKey::from_secret(b"secret")).unwrap();
    assert_eq!(statuses(&pounce, &token, 9).await, [401; 3]);
}

#[tokio::test]
async fn failed_tokens_are_limited_as_wrong_passwords_are() {
    let signer = Signer::new(Algorithm::EdDSA);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let pounce = pounce_for(&[issuer.provider("ci")], &[]).await;
    let wrong = |number: usize| {
        let mut claims = issuer.claims();
        claims["aud"] = json!("another registry");
        claims["jti"] = json!(number);
        sign(&signer, "0", &claims)
    };
    let mut statuses = Vec::new();
    for number in 0..15 {
        // A client that sends it again at once makes no further attempt.
        let token = wrong(number);
        let twice = [login(&pounce, "ci", &token).await.status, login(&pounce, "ci", &token).await.status];
        assert_eq!(twice[0], twice[1]);
        statuses.push(twice[0]);
    }
    assert_eq!(statuses[..10], [401; 10]);
    let limited = exchange(&pounce, "ci", &wrong(99)).await;
    assert_eq!((limited.status, limited.code().as_str()), (429, "TOOMANYREQUESTS"));
    assert!(limited.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    // Many jobs may share the address: their tokens go on to be good.
    for number in 0..20 {
        let mut claims = issuer.claims();
        claims["jti"] = json!(number);
        assert_eq!(login(&pounce, "ci", &sign(&signer, "0", &claims)).await.status, 200);
    }
}
