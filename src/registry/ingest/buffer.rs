//! Bytes of a push that wait to be sent, or are on their way, and the memory reserved for them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::permits::Pusher;
use crate::fair_semaphore::FairPermit;
use crate::store::PartSource;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;

/// Pieces below this size are copied together, into pieces of [`JOINED`]: each piece costs some memory of its own, and
/// a client may send single bytes.
const SMALL: usize = 4 << 10;
const JOINED: usize = 64 << 10;

/// Bytes in the order in which they came; large pieces are not copied.
#[derive(Default)]
pub(in crate::registry) struct Buffer {
    pieces: VecDeque<Bytes>,
    small: BytesMut,
    len: u64,
    /// The memory that is reserved for it; the first bytes may have none.
    memory: Option<FairPermit<Pusher>>,
}

impl Buffer {
    pub(in crate::registry) fn len(&self) -> u64 {
        self.len
    }

    /// For how many of its bytes memory is reserved.
    pub(super) fn reserved(&self) -> u64 {
        self.memory.as_ref().map_or(0, FairPermit::amount) as u64
    }

    /// Adds a reservation for bytes that are here already.
    pub(super) fn add_memory(&mut self, memory: FairPermit<Pusher>) {
        match &mut self.memory {
            Some(reserved) => reserved.merge(memory),
            none => *none = Some(memory),
        }
    }

    /// Adds a piece, with the memory that was reserved for it.
    pub(super) fn push(&mut self, piece: Bytes, memory: Option<FairPermit<Pusher>>) {
        if let Some(memory) = memory {
            self.add_memory(memory);
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

    /// The first `len` bytes with their memory, or as many as there are.
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
        taken.memory = match &mut self.memory {
            Some(memory) if memory.amount() > bytes => memory.split(bytes),
            memory => memory.take(),
        };
        taken
    }

    pub(in crate::registry) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let small = std::iter::once(&self.small[..]);
        self.pieces.iter().map(|piece| &piece[..]).chain(small)
    }

    /// Yields the bytes anew for every attempt to send them. The caller drops the memory when they are sent.
    pub(in crate::registry) fn into_source(mut self) -> (PartSource, Option<FairPermit<Pusher>>) {
        self.join();
        let pieces: Arc<[Bytes]> = self.pieces.into_iter().collect();
        let source: PartSource = Arc::new(move || {
            let pieces = Arc::clone(&pieces);
            stream::iter((0..pieces.len()).map(move |index| Ok(pieces[index].clone()))).boxed()
        });
        (source, self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair_semaphore::FairSemaphore;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_and_memory_are_neither_lost_nor_made(
            sizes in prop::collection::vec(0..9_000_usize, 0..30),
            cuts in prop::collection::vec(0..20_000_u64, 0..10),
        ) {
            let budget = FairSemaphore::new(1 << 20, 1 << 20);
            let pusher = Pusher::User("a".into());
            let free = || {
                let rest = (0..=20).rev().filter_map(|bit| budget.take_now(&pusher, 1 << bit));
                rest.collect::<Vec<_>>().iter().map(FairPermit::amount).sum::<usize>()
            };
            let (mut buffer, mut whole) = (Buffer::default(), Vec::new());
            for (index, size) in sizes.iter().enumerate() {
                let piece = vec![index.to_le_bytes()[0]; *size];
                let memory = budget.take_now(&pusher, *size).unwrap();
                whole.extend_from_slice(&piece);
                buffer.push(piece.into(), Some(memory));
            }
            let mut again = Vec::new();
            for cut in cuts.into_iter().chain([u64::MAX]) {
                let held = free();
                let taken = buffer.take(cut);
                prop_assert!(taken.len() <= cut && (taken.len() == cut || buffer.len() == 0));
                taken.pieces().for_each(|piece| again.extend_from_slice(piece));
                let len = usize::try_from(taken.len()).unwrap();
                drop(taken);
                prop_assert_eq!(free(), held + len);
            }
            prop_assert_eq!(again, whole);
            prop_assert_eq!(free(), 1 << 20);
        }
    }
}
