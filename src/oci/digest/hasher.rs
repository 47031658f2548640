//! Computing a digest, and saving how far that is.

use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use super::{Algorithm, Digest};

/// Computes a [`Digest`] from content that arrives in pieces.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-256 so far.
    Sha256(sha2::Sha256),
    /// SHA-512 so far.
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    /// Takes the next piece of the content.
    pub fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(piece),
            Self::Sha512(state) => state.update(piece),
        }
    }

    /// Which digest it computes.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// What it needs to go on elsewhere: 104 bytes, or 208 for SHA-512. The last few bytes of the content are among
    /// them.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        match self {
            Self::Sha256(state) => state.serialize().to_vec(),
            Self::Sha512(state) => state.serialize().to_vec(),
        }
    }

    /// Goes on from what [`save`](Self::save) returned; `None` when the bytes are something else.
    #[must_use]
    pub fn restore(algorithm: Algorithm, saved: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Sha256 => {
                let saved = SerializedState::<sha2::Sha256>::try_from(saved).ok()?;
                Self::Sha256(sha2::Sha256::deserialize(&saved).ok()?)
            }
            Algorithm::Sha512 => {
                let saved = SerializedState::<sha2::Sha512>::try_from(saved).ok()?;
                Self::Sha512(sha2::Sha512::deserialize(&saved).ok()?)
            }
        })
    }

    /// The digest of everything that was seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut value = [0; 64];
        let algorithm = match self {
            Self::Sha256(state) => {
                value[..32].copy_from_slice(&state.finalize());
                Algorithm::Sha256
            }
            Self::Sha512(state) => {
                value.copy_from_slice(&state.finalize());
                Algorithm::Sha512
            }
        };
        Digest { algorithm, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_digest_as_the_whole() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"");
        assert_eq!(hasher.finish(), Digest::of(Algorithm::Sha256, b""));
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"ab");
        hasher.update(b"c");
        assert_eq!(hasher.finish(), Digest::of(Algorithm::Sha256, b"abc"));
    }

    #[test]
    fn a_saved_hasher_goes_on_where_it_was() {
        for (algorithm, size) in [(Algorithm::Sha256, 104), (Algorithm::Sha512, 208)] {
            for cut in 0..300 {
                let content = [7; 300];
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&content[..cut]);
                let saved = hasher.save();
                assert_eq!(saved.len(), size);
                let mut restored = Hasher::restore(algorithm, &saved).unwrap();
                restored.update(&content[cut..]);
                assert_eq!(restored.finish(), Digest::of(algorithm, &content));
            }
            assert!(Hasher::restore(algorithm, &[0; 3]).is_none());
        }
    }
}
