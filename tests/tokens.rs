//! Tokens of an external token server: distribution's `auth: token`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::image::digest;
use crate::support::signer::{Signer, claims, now, pounce_with, right, trusting};
use crate::support::{Image, Pounce, Reply};

async fn with(pounce: &Pounce, token: &str, method: &str, path: &str) -> Reply {
    pounce.send(pounce.request(method, path).bearer_auth(token)).await
}

async fn status(pounce: &Pounce, token: &str) -> u16 {
    with(pounce, token, "GET", "/v2/").await.status
}

#[tokio::test]
async fn every_algorithm_of_public_keys_is_accepted() {
    for algorithm in [Algorithm::RS256, Algorithm::PS384, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let (signer, other) = (Signer::new(algorithm), Signer::new(algorithm));
        let pounce = trusting(&signer, &[]).await;
        let good = claims(&json!([]));
        assert_eq!(status(&pounce, &signer.sign(&good)).await, 200, "{algorithm:?}");
        assert_eq!(status(&pounce, &other.sign(&good)).await, 401, "{algorithm:?}");
        // Servers identify their keys in several ways.
        let mut header = Header::new(algorithm);
        header.kid = Some("PYYO:TEWU:V7JH:26JV:AQTZ".to_owned());
        assert_eq!(status(&pounce, &signer.sign_with(&header, &good)).await, 200);
    }
}

#[tokio::test]
async fn keys_come_as_a_set_too_and_the_named_one_counts() {
    let (signer, other) = (Signer::new(Algorithm::EdDSA), Signer::new(Algorithm::EdDSA));
    let jwk = |signer: &Signer, id: &str| {
        let point = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signer.key.public_key_raw());
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
    // A symmetric key in the file is no valid key.
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
    let leaf = Signer { algorithm: Algorithm::ES256, certificate: parameters.signed_by(&key, &issuer).unwrap(), key };
    let alone = Signer::new(Algorithm::ES256);
    let token = |signer: &Signer| {
        let mut header = Header::new(Algorithm::ES256);
        header.x5c = Some(vec![STANDARD.encode(signer.certificate.der())]);
        signer.sign_with(&header, &claims(&json!([])))
    };
    assert_eq!(status(&pounce, &token(&leaf)).await, 200);
    assert_eq!(status(&pounce, &token(&alone)).await, 401);
    // A signer cannot use another signer's certificate.
    let mut header = Header::new(Algorithm::ES256);
    header.x5c = Some(vec![STANDARD.encode(leaf.certificate.der())]);
    let forged = alone.sign_with(&header, &claims(&json!([])));
    assert_eq!(status(&pounce, &forged).await, 401);
}

#[tokio::test]
async fn what_is_no_good_token_is_refused() {
    let signer = Signer::new(Algorithm::RS256);
    let pounce = trusting(&signer, &[("REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS", "RS256,ES256")]).await;
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
    let encoded = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", encoded(&json!({"alg": "none", "typ": "JWT"})), encoded(&good));
    let mut critical = Header::new(Algorithm::RS256);
    critical.crit = Some(vec!["b64".to_owned()]);
    let critical = signer.sign_with(&critical, &good);
    // The public key in every form that a verifier might take for an HMAC secret.
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
        // A good algorithm that is not among the configured ones.
        signer.sign_with(&Header::new(Algorithm::RS512), &good),
        format!("{head}.{}.{signature}", encoded(&more)),
        format!("{genuine}x"),
        "..".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
    ] {
        let reply = with(&pounce, &token, "GET", "/v2/").await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{token}");
        let challenge = reply.header("www-authenticate");
        assert!(challenge.ends_with("error=\"invalid_token\""), "{challenge}");
    }
    // Passwords belong to the token server.
    let request = pounce.request("GET", "/v2/").basic_auth("alice", Some("x"));
    assert_eq!(pounce.send(request).await.status, 401);
}

#[tokio::test]
async fn a_token_is_good_for_what_it_says() {
    let signer = Signer::new(Algorithm::EdDSA);
    let pounce = trusting(&signer, &[]).await;
    let image = Image::new(1, &[1000]);
    let pusher = signer.sign(&claims(&json!([
        {"type": "repository", "name": "a", "actions": ["pull", "push"]},
        // The same repository again, with another right.
        {"type": "repository", "name": "a", "actions": ["delete"]},
        {"type": "repository", "name": "b", "actions": ["push"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
    ])));
    for (repository, blob) in image.blobs.iter().map(|blob| ("a", blob)) {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
        let request = pounce.request("POST", &path).bearer_auth(&pusher);
        assert_eq!(pounce.send(request.body(blob.clone())).await.status, 201);
    }
    let request = pounce.request("PUT", "/v2/a/manifests/v1").bearer_auth(&pusher);
    let request = request.header("content-type", &image.media_type);
    assert_eq!(pounce.send(request.body(image.manifest.clone())).await.status, 201);

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
        // A mount from a repository that the client may pull succeeds; one from anywhere, by a digest alone, never
        // does.
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
    assert_eq!(with(&pounce, &token, "POST", &begin("team/app")).await.status, 202);
    assert_eq!(with(&pounce, &token, "POST", &begin("other")).await.status, 403);
    assert_eq!(with(&pounce, &token, "POST", &begin("team/other")).await.status, 401);
    // A public repository needs no token: the 404 means that it has no such tag.
    assert_eq!(pounce.get("/v2/public/app/manifests/v1").await.status, 404);
    assert_eq!(pounce.get("/v2/team/app/manifests/v1").await.status, 401);
}
