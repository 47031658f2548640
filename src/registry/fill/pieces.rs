//! What a connection received at once.

use bytes::Bytes;

/// Bytes that arrived one behind the other.
#[derive(Default)]
pub(super) struct Pieces {
    pub(super) pieces: Vec<Bytes>,
    /// In bytes.
    pub(super) len: usize,
}

impl Pieces {
    pub(super) fn add(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// Takes the first `len` bytes out, or all.
    pub(super) fn split_to(&mut self, len: u64) -> Self {
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        if left >= self.len {
            return std::mem::take(self);
        }
        let mut taken = Self::default();
        for piece in &mut self.pieces {
            if left == 0 {
                break;
            }
            let first = piece.split_to(left.min(piece.len()));
            left -= first.len();
            taken.add(first);
        }
        self.len -= taken.len;
        self.pieces.retain(|piece| !piece.is_empty());
        taken
    }

    /// Keeps the first `len` bytes.
    pub(super) fn truncate(&mut self, len: u64) {
        // At most the number of bytes that there are.
        let mut left = usize::try_from(len).unwrap_or(self.len);
        for piece in &mut self.pieces {
            piece.truncate(left);
            left -= piece.len();
        }
        self.len = self.pieces.iter().map(Bytes::len).sum();
    }
}
