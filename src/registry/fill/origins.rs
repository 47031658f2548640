//! From which processes a client's bytes came. No I/O.
//!
//! Where one process takes over from another, a client may have the beginning of a blob from the first one, whose bytes
//! were wrong, and wait for the rest from the second one, whose bytes are right. That the digest of the second one's is
//! right says nothing about what the client has. So a client gets the last bytes only if all it has came from the
//! generations whose chunks were verified.

use uuid::Uuid;

/// Bytes of a chunk came from several generations.
const SEVERAL: u8 = u8::MAX;

/// Of each chunk, the generation that its bytes came from: a byte a chunk, up to 4 KiB.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// The generations, as many as there are.
    generations: Vec<Uuid>,
    /// By the number of the chunk: 0 is none, and others the place of a generation in the list, from 1.
    chunks: Vec<u8>,
}

impl Origins {
    /// The client gets bytes of a chunk from a generation.
    pub(super) fn add(&mut self, number: u64, generation: Uuid) {
        let known = self.generations.iter().position(|known| *known == generation);
        let place = known.unwrap_or_else(|| {
            self.generations.push(generation);
            self.generations.len() - 1
        });
        let place = u8::try_from(place + 1).unwrap_or(SEVERAL);
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        if number >= self.chunks.len() {
            self.chunks.resize(number.saturating_add(1), 0);
        }
        if let Some(of_chunk) = self.chunks.get_mut(number) {
            *of_chunk = if *of_chunk == 0 || *of_chunk == place { place } else { SEVERAL };
        }
    }

    /// Whether the client has bytes that cannot be of one verified blob: of a chunk that several generations sent, or that
    /// another one has stored. `None` is a chunk that none has stored yet.
    pub(super) fn contradict(&self, of: impl Fn(u64) -> Option<Uuid>) -> bool {
        (0..).zip(&self.chunks).filter(|(_, place)| **place != 0).any(|(number, place)| {
            let generation = self.generations.get(usize::from(*place) - 1);
            *place == SEVERAL || of(number).is_some_and(|stored| generation != Some(&stored))
        })
    }

    /// Whether all bytes that the client has came from these generations.
    pub(super) fn agree(&self, of: impl Fn(u64) -> Option<Uuid>) -> bool {
        (0..).zip(&self.chunks).filter(|(_, place)| **place != 0).all(|(number, place)| {
            let generation = self.generations.get(usize::from(*place) - 1);
            *place != SEVERAL && generation.is_some() && generation.copied() == of(number)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_a_generation_that_was_not_verified_gets_no_end() {
        let [first, second] = [1, 2].map(Uuid::from_u128);
        let mut origins = Origins::default();
        assert!(origins.agree(|_| Some(first)));
        origins.add(0, first);
        origins.add(2, second);
        origins.add(2, second);
        let verified = |number| Some(if number == 2 { second } else { first });
        assert!(origins.agree(verified) && !origins.agree(|_| Some(first)) && !origins.agree(|_| Some(second)));
        assert!(!origins.contradict(|_| None) && !origins.contradict(verified) && origins.contradict(|_| Some(second)));
        // Half of the chunk came from another process.
        origins.add(2, first);
        assert!(!origins.agree(verified) && !origins.agree(|_| Some(first)));
        assert!(origins.contradict(verified));
    }

    #[test]
    fn more_generations_than_there_can_be_agree_with_nothing() {
        let mut origins = Origins::default();
        (0..300_u64).for_each(|number| origins.add(number, Uuid::from_u128(u128::from(number))));
        assert!(!origins.agree(|number| Some(Uuid::from_u128(u128::from(number)))));
    }
}
