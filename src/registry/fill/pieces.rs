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

    /// Keeps the first `len` bytes.
    pub(super) fn truncate(&mut self, len: u64) {
        // At most the number of bytes that there are.
        let mut left = usize::try_from(len).unwrap_or(self.len);
        for piece in &mut self.pieces {
            piece.truncate(left);
            left -= piece.len();
        }
    }
}
