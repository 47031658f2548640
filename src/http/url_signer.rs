//! Signs URLs of blobs that work without a login, and checks them.
//!
//! Some clients resolve a blob's URL once, and then send many requests to it without credentials. pounce checks their
//! rights when it makes such a URL. The signature covers the repository, the digest and the end of the URL's life, and
//! is good for reading only, because no endpoint but the blob's GET and HEAD takes it. Replicas with the same
//! `http.secret` accept each other's.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::query::Query;
use crate::config::Secret;
use crate::oci::{Digest, RepositoryName};

/// How long a URL is good: a client with 10 Mbit/s fetches 100 GB in that time, and it uses one URL from the first part
/// of a blob to the last.
pub(super) const LIFE: Duration = Duration::from_hours(24);
/// Separates these signatures from any others under the same secret.
const CONTEXT: &[u8] = b"pounce URL to read a blob 1\0";

/// Signs, and checks signatures.
#[derive(Clone)]
pub(super) struct UrlSigner(Hmac<Sha256>);

/// What a signed URL says in its query; not checked yet.
#[derive(PartialEq, Eq)]
pub(super) struct UrlSignature {
    /// In seconds since 1970; 0 if it is no number.
    expires: u64,
    /// The MAC, in unpadded base64 for URLs.
    mac: String,
}

impl UrlSignature {
    /// The signature in a query, if there is one.
    pub(super) fn of(query: &Query<'_>) -> Option<Self> {
        let mac = query.get("_signature")?;
        let expires = query.get("_expires").and_then(|text| text.parse().ok());
        Some(Self { expires: expires.unwrap_or(0), mac })
    }
}

impl UrlSigner {
    /// Any secret will do; a long and random one is better.
    pub(super) fn new(secret: &Secret) -> Self {
        let keyed = Hmac::new_from_slice(secret.reveal().as_bytes());
        Self(keyed.unwrap_or_else(|_| unreachable!("HMAC takes keys of any length")))
    }

    /// The query that makes the blob's URL a signed one, from now on for [`LIFE`].
    pub(super) fn sign(&self, name: &RepositoryName, digest: &Digest) -> String {
        let expires = seconds(SystemTime::now() + LIFE);
        let mac = self.mac(name, digest, expires).finalize().into_bytes();
        format!("_expires={expires}&_signature={}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whether the signature is this signer's, for this blob of this repository, and still good. The comparison takes
    /// the same time wherever the MACs differ.
    pub(super) fn verify(&self, name: &RepositoryName, digest: &Digest, signature: &UrlSignature) -> bool {
        let Ok(mac) = URL_SAFE_NO_PAD.decode(&signature.mac) else {
            return false;
        };
        let is_own = self.mac(name, digest, signature.expires).verify_slice(&mac).is_ok();
        is_own && seconds(SystemTime::now()) < signature.expires
    }

    fn mac(&self, name: &RepositoryName, digest: &Digest, expires: u64) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(CONTEXT);
        // Neither has a zero byte, so they cannot run into what follows.
        mac.update(name.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(digest.text().as_str().as_bytes());
        mac.update(b"\0");
        mac.update(&expires.to_be_bytes());
        mac
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Without the MAC, which is a credential.
impl fmt::Debug for UrlSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlSignature").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::Algorithm;

    fn signer(secret: &str) -> UrlSigner {
        UrlSigner::new(&Secret::from(secret.to_owned()))
    }

    fn parsed(query: &str) -> Option<UrlSignature> {
        UrlSignature::of(&Query::new(Some(query)))
    }

    fn blob(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    #[test]
    fn a_signature_is_good_for_its_own_blob_only() {
        let (name, digest) = ("a/b".parse().unwrap(), blob("x"));
        let query = signer("secret").sign(&name, &digest);
        let signature = parsed(&query).unwrap();
        assert!(signer("secret").verify(&name, &digest, &signature));
        assert!(!signer("secret").verify(&"a/c".parse().unwrap(), &digest, &signature));
        assert!(!signer("secret").verify(&name, &blob("y"), &signature));
        assert!(!signer("another").verify(&name, &digest, &signature));
        let later = UrlSignature { expires: signature.expires + 1, ..signature };
        assert!(!signer("secret").verify(&name, &digest, &later));
        let past = seconds(SystemTime::now()) - 1;
        let mac = signer("secret").mac(&name, &digest, past).finalize().into_bytes();
        let expired = UrlSignature { expires: past, mac: URL_SAFE_NO_PAD.encode(mac) };
        assert!(!signer("secret").verify(&name, &digest, &expired));
        assert!(!format!("{expired:?}").contains(&expired.mac));
    }

    proptest! {
        #[test]
        fn no_other_query_is_a_signature(at: prop::sample::Index, byte in 0..128_u8) {
            let (name, digest) = ("a/b".parse().unwrap(), blob("x"));
            let query = signer("secret").sign(&name, &digest);
            let mut bytes = query.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let changed = String::from_utf8(bytes).unwrap();
            let good = parsed(&changed).is_some_and(|it| signer("secret").verify(&name, &digest, &it));
            // The last letter of 32 bytes in base64 has two bits that the decoder wants to be zero.
            prop_assert_eq!(good, changed == query);
        }

        #[test]
        fn any_query_can_be_tried(query in ".{0,200}") {
            let good = parsed(&query).is_some_and(|it| signer("secret").verify(&"a".parse().unwrap(), &blob("x"), &it));
            prop_assert!(!good);
        }
    }
}
