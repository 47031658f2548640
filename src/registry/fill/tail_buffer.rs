//! The latest bytes of a fill, in memory: clients that keep up with the download need not read them back from the
//! spool. Reading back is most of the cost of a client, and a fill may have many.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The most bytes that one fill keeps.
const MAX_BYTES: usize = 4 << 20;
/// The most bytes that all fills keep together.
const MAX_IN_ALL: usize = 16 << 20;

/// How many bytes all fills keep.
#[derive(Debug, Default)]
pub(super) struct TailBytes(AtomicUsize);

/// Pieces that lie one behind the other in the blob.
#[derive(Debug)]
pub(super) struct TailBuffer {
    pieces: VecDeque<(u64, Bytes)>,
    bytes: usize,
    kept: Arc<TailBytes>,
}

impl TailBuffer {
    pub(super) fn new(kept: Arc<TailBytes>) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, kept }
    }

    /// Adds a piece that lies at `position`, in place of older ones.
    pub(super) fn push(&mut self, position: u64, piece: &Bytes) {
        let follows = |(start, last): &(u64, Bytes)| start + last.len() as u64 == position;
        if !self.pieces.back().is_none_or(follows) {
            self.drop_until(0);
        }
        self.drop_until(MAX_BYTES.saturating_sub(piece.len()));
        let before = self.kept.0.fetch_add(piece.len(), Ordering::Relaxed);
        self.bytes += piece.len();
        self.pieces.push_back((position, piece.clone()));
        if before + piece.len() > MAX_IN_ALL {
            // The fill that adds gives bytes up, but keeps those that came just now.
            let less = self.bytes.saturating_sub(2 * piece.len());
            self.drop_until(less.max(piece.len()));
        }
    }

    /// The bytes from `position` on, as far as one piece goes.
    pub(super) fn get(&self, position: u64) -> Option<Bytes> {
        let behind = self.pieces.partition_point(|(start, _)| *start <= position);
        let (start, piece) = self.pieces.get(behind.checked_sub(1)?)?;
        let offset = usize::try_from(position - start).ok()?;
        (offset < piece.len()).then(|| piece.slice(offset..))
    }

    fn drop_until(&mut self, most: usize) {
        while self.bytes > most
            && let Some((_, piece)) = self.pieces.pop_front()
        {
            self.bytes -= piece.len();
            self.kept.0.fetch_sub(piece.len(), Ordering::Relaxed);
        }
    }
}

impl Drop for TailBuffer {
    fn drop(&mut self) {
        self.drop_until(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first: u8, len: usize) -> Bytes {
        let mut bytes = vec![0; len];
        bytes[0] = first;
        bytes.into()
    }

    #[test]
    fn what_came_last_is_there_and_what_came_before_is_not() {
        let kept = Arc::new(TailBytes::default());
        let mut tail = TailBuffer::new(Arc::clone(&kept));
        assert_eq!(tail.get(0), None);
        for index in 0..10_u8 {
            tail.push(u64::from(index) << 20, &piece(index, 1 << 20));
        }
        assert_eq!(kept.0.load(Ordering::Relaxed), MAX_BYTES);
        assert_eq!((tail.get(0), tail.get(10 << 20)), (None, None));
        assert_eq!(tail.get(7 << 20).unwrap()[0], 7);
        let rest = tail.get((8 << 20) - 5).unwrap();
        assert_eq!(rest.len(), 5);
        // Behind a gap, nothing of before is kept.
        tail.push(1 << 30, &piece(1, 100));
        assert_eq!((tail.get(9 << 20), tail.bytes), (None, 100));
        drop(tail);
        assert_eq!(kept.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_together_keep_no_more_than_they_may() {
        let kept = Arc::new(TailBytes::default());
        let mut all: Vec<_> = (0..40).map(|_| TailBuffer::new(Arc::clone(&kept))).collect();
        for round in 0..64 {
            for tail in &mut all {
                tail.push(round << 18, &piece(0, 256 << 10));
            }
        }
        let bytes = kept.0.load(Ordering::Relaxed);
        assert!(bytes <= MAX_IN_ALL + 40 * (256 << 10), "{bytes}");
        assert!(all.iter().all(|tail| tail.get(63 << 18).is_some()));
    }
}
