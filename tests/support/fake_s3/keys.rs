//! Key pairs of the store, whose signatures it verifies (Signature Version 4), and what each may do.

use axum::http::request::Parts;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{Said, xml};

/// A key pair, and what it may do.
#[derive(Clone, Debug)]
pub struct KeyPair {
    pub id: &'static str,
    pub secret: &'static str,
    pub may: &'static [May],
}

/// What keys may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    Read,
    List,
    Write,
    Delete,
}

impl May {
    pub const ALL: &[Self] = &[Self::Read, Self::List, Self::Write, Self::Delete];

    fn of(operation: &str) -> Self {
        match operation {
            "GetObject" | "HeadObject" => Self::Read,
            "HeadBucket" | "ListObjectsV2" | "ListMultipartUploads" | "GetBucketLifecycle" => Self::List,
            "DeleteObject" | "DeleteObjects" => Self::Delete,
            _ => Self::Write,
        }
    }
}

/// Refuses a request whose keys are wrong, or may not do it. Presigned ones are not looked at.
pub fn refuse(pairs: &[KeyPair], operation: &str, parts: &Parts) -> Option<Said> {
    let header = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
    if pairs.is_empty() || parts.uri.query().unwrap_or_default().contains("X-Amz-Signature=") {
        return None;
    }
    let fields = header("authorization").strip_prefix("AWS4-HMAC-SHA256 ").unwrap_or_default();
    let field = |name: &str| fields.split(", ").find_map(|it| it.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    let (id, scope) = field("Credential").split_once('/').unwrap_or_default();
    let Some(pair) = pairs.iter().find(|pair| pair.id == id) else {
        let message = format!("The AWS Access Key Id {id} does not exist in our records.");
        return Some(xml::error(403, "InvalidAccessKeyId", &message));
    };
    let signed = field("SignedHeaders").split(';').map(|name| format!("{name}:{}\n", header(name)));
    let signed = signed.collect::<Vec<_>>().concat();
    let mut query: Vec<String> = parts.uri.query().unwrap_or_default().split('&').map(str::to_owned).collect();
    query.iter_mut().filter(|it| !it.is_empty() && !it.contains('=')).for_each(|it| it.push('='));
    query.sort();
    let (method, path, query) = (&parts.method, parts.uri.path(), query.join("&"));
    let (names, payload) = (field("SignedHeaders"), header("x-amz-content-sha256"));
    let request = format!("{method}\n{path}\n{query}\n{signed}\n{names}\n{payload}");
    let hash = const_hex::encode(Sha256::digest(request));
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", header("x-amz-date"));
    let key = scope.split('/').fold(format!("AWS4{}", pair.secret).into_bytes(), |key, part| mac(&key, part));
    if const_hex::encode(mac(&key, &to_sign)) != field("Signature") {
        return Some(xml::error(403, "SignatureDoesNotMatch", "The signature we calculated does not match."));
    }
    (!pair.may.contains(&May::of(operation))).then(|| xml::error(403, "AccessDenied", "Access Denied"))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
