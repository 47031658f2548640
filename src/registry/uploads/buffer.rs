//! Bytes of a push that wait to be sent on, or are on their way, and the room that they take.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use crate::store::PartSource;

/// Pieces below this size are copied together, into pieces of [`JOINED`]: each piece costs some memory
/// of its own, and a client may send single bytes.
const SMALL: usize = 4 << 10;
const JOINED: usize = 64 << 10;

/// Bytes in the order in which they came; large pieces are not copied.
#[derive(Default)]
pub(super) struct Buffer {
    pieces: VecDeque<Bytes>,
    small: BytesMut,
    len: u64,
    room: Option<OwnedSemaphorePermit>,
}

impl Buffer {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a piece, with the room that was taken for it.
    pub(super) fn push(&mut self, piece: Bytes, room: OwnedSemaphorePermit) {
        match &mut self.room {
            Some(taken) => taken.merge(room),
            none => *none = Some(room),
        }
        self.add(piece);
    }

    fn add(&mut self, piece: Bytes) {
        self.len += piece.len() as u64;
        if piece.len() < SMALL {
            self.small.extend_from_slice(&piece);
            if self.small.len() >= JOINED {
                self.join();
            }
        } else {
            self.join();
            self.pieces.push_back(piece);
        }
    }

    fn join(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }

    /// The first `len` bytes with their room, or as many as there are.
    pub(super) fn take(&mut self, len: u64) -> Self {
        self.join();
        let mut taken = Self::default();
        while taken.len < len
            && let Some(mut piece) = self.pieces.pop_front()
        {
            self.len -= piece.len() as u64;
            // What does not fit into memory does not fit into a piece.
            let wanted = usize::try_from(len - taken.len).unwrap_or(usize::MAX);
            if piece.len() > wanted {
                let rest = piece.split_off(wanted);
                self.len += rest.len() as u64;
                self.pieces.push_front(rest);
            }
            taken.len += piece.len() as u64;
            taken.pieces.push_back(piece);
        }
        let bytes = usize::try_from(taken.len).unwrap_or(usize::MAX);
        taken.room = match &mut self.room {
            Some(room) if room.num_permits() > bytes => room.split(bytes),
            room => room.take(),
        };
        taken
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let small = std::iter::once(&self.small[..]);
        self.pieces.iter().map(|piece| &piece[..]).chain(small)
    }

    /// Yields the bytes anew for every attempt to send them. The room is free when the second value is
    /// dropped, which should be when they are sent.
    pub(super) fn into_source(mut self) -> (PartSource, Option<OwnedSemaphorePermit>) {
        self.join();
        let pieces: Arc<[Bytes]> = self.pieces.into_iter().collect();
        let source: PartSource = Arc::new(move || {
            let pieces = Arc::clone(&pieces);
            stream::iter((0..pieces.len()).map(move |index| Ok(pieces[index].clone()))).boxed()
        });
        (source, self.room)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    proptest! {
        #[test]
        fn bytes_and_room_are_neither_lost_nor_made(
            sizes in prop::collection::vec(0..9_000_usize, 0..30),
            cuts in prop::collection::vec(0..20_000_u64, 0..10),
        ) {
            let budget = Arc::new(Semaphore::new(1 << 20));
            let (mut buffer, mut whole) = (Buffer::default(), Vec::new());
            for (index, size) in sizes.iter().enumerate() {
                let piece = vec![index.to_le_bytes()[0]; *size];
                let room = Arc::clone(&budget).try_acquire_many_owned(u32::try_from(*size).unwrap()).unwrap();
                whole.extend_from_slice(&piece);
                buffer.push(piece.into(), room);
            }
            let mut again = Vec::new();
            for cut in cuts.into_iter().chain([u64::MAX]) {
                let held = budget.available_permits();
                let taken = buffer.take(cut);
                prop_assert!(taken.len() <= cut && (taken.len() == cut || buffer.len() == 0));
                taken.pieces().for_each(|piece| again.extend_from_slice(piece));
                let len = usize::try_from(taken.len()).unwrap();
                drop(taken);
                prop_assert_eq!(budget.available_permits(), held + len);
            }
            prop_assert_eq!(again, whole);
            prop_assert_eq!(budget.available_permits(), 1 << 20);
        }
    }
}
