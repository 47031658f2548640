//! The bytes of a lease: a line with its MAC in hex, and a line of JSON. No I/O.
//!
//! Replicas that share `http.secret` sign their leases with it, together with the key that the lease is under, and take
//! no others. Without one, the key of the MAC is a constant, and the MAC a checksum. A secret in the bucket would not
//! be better: what can forge a lease there can read that secret as well, and can write the blob itself.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::lease::{Hashed, Head, Lease, LeaseState};
use super::runs::Run;
use crate::config::Secret;
use crate::oci::{Algorithm, Hasher};
use crate::registry::parts_digest::PartsDigest;

/// Separates these signatures from any others under the same secret, and from those of other versions.
const CONTEXT: &[u8] = b"pounce fill lease 1\0";
/// The key where no secret is configured.
const NO_SECRET: &[u8] = b"no http.secret";
/// The largest lease in bytes: one of 4,096 runs, which is every second chunk of another generation, has fewer.
pub(super) const MAX_LEASE_BYTES: usize = 64 << 10;
/// The least size of a chunk in bytes: that of a part of a multipart upload.
const LEAST_CHUNK: u64 = 5 << 20;

/// The signed content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    write: u64,
    state: LeaseState,
    generations: Vec<Uuid>,
    size: u64,
    chunk: u64,
    stored: Vec<Run>,
    heads: Vec<Head>,
    hashed: u64,
    #[serde(with = "const_hex")]
    midstate: Vec<u8>,
    chain: PartsDigest,
}

/// Writes and reads leases.
#[derive(Clone)]
pub(super) struct LeaseCodec {
    mac: Hmac<Sha256>,
    /// The least size of a chunk in bytes.
    least: u64,
}

impl LeaseCodec {
    /// `secret` is `http.secret`, `chunk` the size of chunks where it does not follow from the blob's.
    pub(super) fn new(secret: Option<&Secret>, chunk: Option<u64>) -> Self {
        let keyed = Hmac::new_from_slice(secret.map_or(NO_SECRET, |secret| secret.reveal().as_bytes()));
        let mac = keyed.unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        Self { mac, least: chunk.unwrap_or(LEAST_CHUNK) }
    }

    /// The bytes of a lease that is written under a key: at most [`MAX_LEASE_BYTES`].
    pub(super) fn encode(&self, lease: &Lease, key: &str) -> Vec<u8> {
        debug_assert!(lease.is_valid(self.least), "{lease:?}");
        let payload = Payload {
            write: lease.write,
            state: lease.state,
            generations: lease.generations.clone(),
            size: lease.size,
            chunk: lease.chunk,
            stored: lease.stored.clone(),
            heads: lease.heads.clone(),
            hashed: lease.hashed.chunks,
            // Nothing hashed needs no state.
            midstate: if lease.hashed.chunks > 0 { lease.hashed.hasher.save() } else { Vec::new() },
            chain: lease.hashed.chain.clone(),
        };
        // Texts and numbers always serialize.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        self.signed(&payload, key)
    }

    fn signed(&self, payload: &[u8], key: &str) -> Vec<u8> {
        let tag = const_hex::encode(self.tag(payload, key).finalize().into_bytes());
        [tag.as_bytes(), b"\n", payload].concat()
    }

    /// The lease of a blob in bytes that [`encode`](Self::encode) made for the same key; `None` for any others.
    pub(super) fn decode(&self, bytes: &[u8], key: &str, algorithm: Algorithm) -> Option<Lease> {
        let bytes = Some(bytes).filter(|bytes| bytes.len() <= MAX_LEASE_BYTES)?;
        let line = bytes.iter().position(|byte| *byte == b'\n')?;
        let (tag, payload) = (bytes.get(..line)?, bytes.get(line + 1..)?);
        let mut expected = [0; 32];
        const_hex::decode_to_slice(tag, &mut expected).ok()?;
        self.tag(payload, key).verify_slice(&expected).ok()?;
        let payload: Payload = serde_json::from_slice(payload).ok()?;
        let hasher = match (payload.hashed, &payload.midstate[..]) {
            (0, []) => Hasher::new(algorithm),
            (0, _) => return None,
            (_, midstate) => Hasher::restore(algorithm, midstate)?,
        };
        let lease = Lease {
            write: payload.write,
            state: payload.state,
            generations: payload.generations,
            size: payload.size,
            chunk: payload.chunk,
            stored: payload.stored,
            heads: payload.heads,
            hashed: Hashed { chunks: payload.hashed, hasher, chain: payload.chain },
        };
        // The number of writes must not come to its end.
        (lease.write < 1 << 63 && lease.is_valid(self.least)).then_some(lease)
    }

    fn tag(&self, payload: &[u8], key: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(CONTEXT);
        // A key has no zero byte, so it cannot run into what follows.
        mac.update(key.as_bytes());
        mac.update(b"\0");
        mac.update(payload);
        mac
    }
}

impl std::fmt::Debug for LeaseCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Opens bytes, and a payload that is signed as it should be, whatever is in it.
#[cfg(feature = "internals")]
pub(crate) fn fuzz(data: &[u8]) {
    let (codec, key, algorithm) = (LeaseCodec::new(None, None), "key", Algorithm::Sha256);
    let _ = codec.decode(data, key, algorithm);
    if let Some(lease) = codec.decode(&codec.signed(data, key), key, algorithm) {
        let again = codec.decode(&codec.encode(&lease, key), key, algorithm);
        assert!(again.is_some());
        let taken = lease.taken_over(Uuid::nil());
        assert!(codec.decode(&codec.encode(&taken, key), key, algorithm).is_some());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lease::tests::leases;
    use super::super::lease::{MAX_GENERATIONS, MAX_HEADS};
    use super::*;

    const KEY: &str = "pounce/fills/sha256/00/0/lease";

    fn codec() -> LeaseCodec {
        LeaseCodec::new(Some(&Secret::from("secret".to_owned())), None)
    }

    proptest! {
        #[test]
        fn a_lease_comes_back_as_it_was(lease in leases()) {
            prop_assume!(lease.write < 1 << 63);
            let algorithm = lease.hashed.hasher.algorithm();
            let bytes = codec().encode(&lease, KEY);
            let read = codec().decode(&bytes, KEY, algorithm).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{lease:?}"));
            prop_assert_eq!(codec().encode(&read, KEY), bytes);
        }

        #[test]
        fn no_other_bytes_are_a_lease(lease in leases(), at: prop::sample::Index, bit in 0..8_u8, cut: prop::sample::Index) {
            let algorithm = lease.hashed.hasher.algorithm();
            let bytes = codec().encode(&lease, KEY);
            let decode = |bytes: &[u8]| codec().decode(bytes, KEY, algorithm);
            let mut other = bytes.clone();
            let at = at.index(other.len());
            other[at] ^= 1 << bit;
            // The digits of the MAC may be in upper case.
            if !other.eq_ignore_ascii_case(&bytes) {
                prop_assert!(decode(&other).is_none());
            }
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_none());
            prop_assert!(codec().decode(&bytes, "pounce/fills/sha256/01/0/lease", algorithm).is_none());
            prop_assert!(LeaseCodec::new(None, None).decode(&bytes, KEY, algorithm).is_none());
        }

        #[test]
        fn any_bytes_can_be_tried(bytes: Vec<u8>) {
            prop_assert!(codec().decode(&bytes, KEY, Algorithm::Sha256).is_none());
            prop_assert!(codec().decode(&codec().signed(&bytes, KEY), KEY, Algorithm::Sha256).is_none());
        }
    }

    #[test]
    fn what_is_signed_must_be_a_valid_lease() {
        let lease = Lease::asking(Uuid::nil(), 25 << 20, 8 << 20, Algorithm::Sha256);
        let bytes = codec().encode(&lease, KEY);
        let payload = str::from_utf8(&bytes[65..]).unwrap();
        let decode = |payload: &str| codec().decode(&codec().signed(payload.as_bytes(), KEY), KEY, Algorithm::Sha256);
        assert!(decode(payload).is_some(), "{payload}");
        for (from, to) in [
            ("\"write\":0", "\"write\":9223372036854775808"),
            ("\"write\":0", "\"write\":-1"),
            ("\"write\":0", "\"wrote\":0"),
            ("\"write\":0", "\"write\":0,\"more\":1"),
            ("\"asking\"", "\"verified\""),
            ("\"asking\"", "\"resting\""),
            ("\"size\":26214400", "\"size\":0"),
            ("\"size\":26214400", "\"size\":18446744073709551615"),
            ("\"chunk\":8388608", "\"chunk\":0"),
            ("\"chunk\":8388608", "\"chunk\":1048576"),
            ("\"stored\":[]", "\"stored\":[[0,1,1]]"),
            ("\"stored\":[]", "\"stored\":[[0,5,0]]"),
            ("\"hashed\":0", "\"hashed\":1"),
            ("\"midstate\":\"", "\"midstate\":\"00"),
        ] {
            let other = payload.replacen(from, to, 1);
            assert!(other != payload && decode(&other).is_none(), "{other}");
        }
        assert!(decode(&format!("{payload}{}", " ".repeat(MAX_LEASE_BYTES))).is_none());
    }

    #[test]
    fn the_largest_lease_fits() {
        let size = 4096 << 30;
        let mut lease = Lease::asking(Uuid::nil(), size, 1 << 30, Algorithm::Sha512);
        lease.generations = vec![Uuid::max(); MAX_GENERATIONS];
        lease.stored =
            (0..4096).map(|from| Run { from, to: from + 1, generation: 14 + u8::from(from % 2 == 0) }).collect();
        let (start, end) = (size - 2, size - 1);
        lease.heads = vec![Head { start, end, etag: "x".repeat(64) }; MAX_HEADS];
        (lease.hashed.chunks, lease.write, lease.state) = (4096, u64::MAX >> 1, LeaseState::Verified);
        let bytes = codec().encode(&lease, KEY);
        assert!(bytes.len() <= MAX_LEASE_BYTES, "{}", bytes.len());
        assert!(codec().decode(&bytes, KEY, Algorithm::Sha512).is_some());
    }
}
