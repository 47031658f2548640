//! What an upstream sends: content in memory, or content that is made up on the fly.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The longest piece, in bytes.
pub const PIECE: usize = 256 << 10;
/// One zero for each byte of the longest piece.
static ZEROS: [u8; PIECE] = [0; PIECE];
/// Every so many bytes of made up content, a stamp tells which content this is, and where in it.
const STAMPED: u64 = 1 << 20;
const STAMP: usize = 16;

/// Content of any size that takes no memory: zeros, and a stamp at the beginning of every MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Other contents have other seeds.
    pub seed: u64,
    /// In bytes.
    pub size: u64,
}

impl Made {
    /// The bytes from a position on: `len` of them, at most [`PIECE`], and no more than there are.
    pub fn piece(self, from: u64, len: usize) -> Bytes {
        let left = usize::try_from(self.size.saturating_sub(from)).unwrap_or(PIECE);
        let len = len.min(left).min(PIECE);
        // The first stamp that ends behind `from`: a piece is shorter than their distance.
        let (number, within) = (from / STAMPED, from % STAMPED);
        let (number, at) =
            if within < STAMP as u64 { (number, 0) } else { (number + 1, (number + 1) * STAMPED - from) };
        if at >= len as u64 {
            return Bytes::from_static(&ZEROS[..len]);
        }
        let mut bytes = vec![0; len];
        let mut stamp = [0; STAMP];
        stamp[..8].copy_from_slice(&self.seed.to_le_bytes());
        // From 1 on, so that a stamp is never all zeros.
        stamp[8..].copy_from_slice(&(number + 1).to_le_bytes());
        let skipped = if at == 0 { usize::try_from(within).unwrap_or_default() } else { 0 };
        let at = usize::try_from(at).unwrap_or_default();
        for (to, from) in bytes[at..].iter_mut().zip(&stamp[skipped..]) {
            *to = *from;
        }
        bytes.into()
    }

    pub fn digest(self) -> String {
        let (mut hasher, mut at) = (Sha256::new(), 0);
        while at < self.size {
            let piece = self.piece(at, PIECE);
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        format!("sha256:{}", const_hex::encode(hasher.finalize()))
    }
}

/// A body.
pub enum Content {
    Bytes(Bytes),
    Made(Made),
}

impl Content {
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Made(made) => made.size,
        }
    }

    /// The bytes from a position on: at most `len` of them, and at most [`PIECE`].
    pub fn piece(&self, from: u64, len: usize) -> Bytes {
        match self {
            Self::Made(made) => made.piece(from, len),
            Self::Bytes(bytes) => {
                let from = usize::try_from(from).map_or(bytes.len(), |from| from.min(bytes.len()));
                bytes.slice(from..bytes.len().min(from + len.min(PIECE)))
            }
        }
    }
}
