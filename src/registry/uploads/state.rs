//! The state of an upload, which travels in its URL: POST, PATCH and PUT may each reach another replica, and replicas
//! share nothing but the bucket.
//!
//! It is signed with `http.secret`, together with the repository and the upload that it is of, so no client can forge
//! one, change one, or use one elsewhere. The newest one is in the bucket, too, in front of the last bytes that it
//! vouches for ([`tail`](super::tail)), with the same signature: a client that did not get an answer gets that state at
//! any older URL of the same upload, and goes on from there.
//!
//! Whether a state is superseded is checked before a request is read: two requests that come at the same time may still
//! race on one state, each with bytes of its own under the same part number, of which the store keeps one. So a state
//! vouches for the very parts that were hashed, by a digest chained over their numbers, sizes and `ETag`s, and an
//! upload is only completed with these; the last bytes are under a key that only one request ever writes. (Where the
//! store's `ETag` is an MD5, a client that makes two colliding parts can get the one stored under the digest of the
//! other. Both are its own, and clients verify what they pull.)

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::oci::{Algorithm, Hasher, RepositoryName};
use crate::registry::parts_digest::PartsDigest;

/// Separates these signatures from any others under the same secret, and from those of other versions.
const CONTEXT: &[u8] = b"pounce upload state 2\0";

/// How far an upload is.
#[derive(Clone, Debug)]
pub(super) struct UploadState {
    /// Of the bytes so far.
    pub(super) hasher: Hasher,
    /// How many bytes there are.
    pub(super) offset: u64,
    /// The multipart upload with these bytes, once there are enough for one.
    pub(super) data: Option<Data>,
    /// The last bytes: at most a part.
    pub(super) tail: Option<Tail>,
    /// There are small objects of earlier requests in the bucket.
    pub(super) scratch: bool,
}

/// A multipart upload, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Data {
    /// Its key's own name: what is completed there is what was begun there.
    pub(super) key: Uuid,
    /// The store's name for it.
    pub(super) upload_id: String,
    /// How many parts it has.
    pub(super) parts: i32,
    /// The size of its first part in bytes, which decides on that of the others.
    pub(super) part_len: u64,
    /// Vouches for them.
    pub(super) chain: PartsDigest,
}

/// A small object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Its key's own name: a request that is repeated must not overwrite what another state vouches for.
    pub(super) key: Uuid,
    /// Its size in bytes.
    pub(super) len: u64,
}

/// The signed content.
#[derive(Serialize, Deserialize)]
struct Payload {
    algorithm: String,
    #[serde(with = "const_hex")]
    midstate: Vec<u8>,
    offset: u64,
    data: Option<Data>,
    tail: Option<Tail>,
    scratch: bool,
}

/// Signs states and checks signatures.
#[derive(Clone)]
pub(super) struct StateSigner(Hmac<Sha256>);

impl UploadState {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self { hasher: Hasher::new(algorithm), offset: 0, data: None, tail: None, scratch: false }
    }
}

impl StateSigner {
    /// Any secret will do; a long and random one is better.
    pub(super) fn new(secret: &[u8]) -> Self {
        let keyed = Hmac::new_from_slice(secret);
        Self(keyed.unwrap_or_else(|_| unreachable!("HMAC takes keys of any length")))
    }

    /// The state as text that can stand in a URL, for one upload to one repository.
    pub(super) fn sign(&self, state: &UploadState, name: &RepositoryName, id: &Uuid) -> String {
        let payload = Payload {
            algorithm: state.hasher.algorithm().as_str().to_owned(),
            midstate: state.hasher.save(),
            offset: state.offset,
            data: state.data.clone(),
            tail: state.tail,
            scratch: state.scratch,
        };
        // Texts and numbers always serialize.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        self.signed(&payload, name, id)
    }

    fn signed(&self, payload: &[u8], name: &RepositoryName, id: &Uuid) -> String {
        let mut signed = self.mac(name, id, payload).finalize().into_bytes().to_vec();
        signed.extend_from_slice(payload);
        URL_SAFE_NO_PAD.encode(signed)
    }

    /// The state in a text that [`sign`](Self::sign) made for the same upload to the same repository; `None` for any
    /// other text.
    pub(super) fn verify(&self, text: &str, name: &RepositoryName, id: &Uuid) -> Option<UploadState> {
        let signed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, payload) = signed.split_at_checked(32)?;
        self.mac(name, id, payload).verify_slice(tag).ok()?;
        let payload: Payload = serde_json::from_slice(payload).ok()?;
        let algorithm = Algorithm::named(&payload.algorithm)?;
        Some(UploadState {
            hasher: Hasher::restore(algorithm, &payload.midstate)?,
            offset: payload.offset,
            data: payload.data,
            tail: payload.tail,
            scratch: payload.scratch,
        })
    }

    fn mac(&self, name: &RepositoryName, id: &Uuid, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(CONTEXT);
        // A name has no zero byte, so it cannot run into what follows.
        mac.update(name.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(id.as_bytes());
        mac.update(payload);
        mac
    }
}

/// What a PATCH does to a state: it is read, and a new one is written; how long that is.
#[cfg(feature = "internals")]
pub(crate) fn measured() -> usize {
    let (signer, id) = (StateSigner::new(b"secret"), Uuid::nil());
    let Ok(name) = "bench/micro".parse() else {
        return 0;
    };
    let data = Data {
        key: id,
        upload_id: "an upload".to_owned(),
        parts: 7,
        part_len: 10 << 20,
        chain: PartsDigest::default(),
    };
    let state = UploadState { data: Some(data), ..UploadState::new(Algorithm::Sha256) };
    let text = signer.sign(&state, &name, &id);
    signer.verify(&text, &name, &id).map_or(0, |_| text.len())
}

/// Opens a text, and a payload that is signed as it should be, whatever is in it.
#[cfg(feature = "internals")]
pub(crate) fn fuzz(data: &[u8]) {
    let (signer, id) = (StateSigner::new(b"secret"), Uuid::nil());
    let Ok(name) = "a/b".parse() else { return };
    if let Ok(text) = str::from_utf8(data) {
        assert!(signer.verify(text, &name, &id).is_none());
    }
    if let Some(state) = signer.verify(&signer.signed(data, &name, &id), &name, &id) {
        let again = signer.sign(&state, &name, &id);
        assert!(signer.verify(&again, &name, &id).is_some());
    }
}

impl std::fmt::Debug for StateSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Part;

    fn state() -> impl Strategy<Value = UploadState> {
        let chain = ".{0,40}".prop_map(|etag| PartsDigest::over(&[Part { number: 1, len: 5 << 20, etag }]));
        let data = (any::<u128>(), ".{0,200}", 1..10_000, chain).prop_map(|(key, upload_id, parts, chain)| Data {
            key: Uuid::from_u128(key),
            upload_id,
            parts,
            part_len: 5 << 20,
            chain,
        });
        let tail = (any::<u128>(), any::<u64>()).prop_map(|(key, len)| Tail { key: Uuid::from_u128(key), len });
        let parts = (any::<bool>(), any::<Vec<u8>>(), any::<u64>());
        (parts, prop::option::of(data), prop::option::of(tail)).prop_map(|((long, seen, offset), data, tail)| {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&seen);
            UploadState { hasher, offset, data, tail, scratch: long }
        })
    }

    proptest! {
        #[test]
        fn a_state_comes_back_as_it_was(state in state(), id: u128) {
            let (signer, name, id) = (StateSigner::new(b"secret"), "a/b".parse().unwrap(), Uuid::from_u128(id));
            let text = signer.sign(&state, &name, &id);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            let opened = signer.verify(&text, &name, &id).unwrap();
            prop_assert_eq!(opened.offset, state.offset);
            prop_assert_eq!(opened.data, state.data);
            prop_assert_eq!(opened.tail, state.tail);
            prop_assert_eq!(opened.hasher.finish(), state.hasher.finish());
        }

        #[test]
        fn no_other_text_is_a_state(state in state(), at: prop::sample::Index, bit in 0..8_u8, cut: prop::sample::Index) {
            let (signer, name, id) = (StateSigner::new(b"secret"), "a/b".parse().unwrap(), Uuid::nil());
            let text = signer.sign(&state, &name, &id);
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(signer.verify(&URL_SAFE_NO_PAD.encode(&bytes), &name, &id).is_none());
            prop_assert!(signer.verify(&text[..cut.index(text.len())], &name, &id).is_none());
            prop_assert!(signer.verify(&text, &"a/c".parse().unwrap(), &id).is_none());
            prop_assert!(signer.verify(&text, &name, &Uuid::max()).is_none());
            prop_assert!(StateSigner::new(b"another").verify(&text, &name, &id).is_none());
        }

        #[test]
        fn any_text_can_be_tried(text in ".{0,300}") {
            let signer = StateSigner::new(b"secret");
            prop_assert!(signer.verify(&text, &"a".parse().unwrap(), &Uuid::nil()).is_none());
        }
    }
}
