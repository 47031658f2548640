//! A process's client reads, from memory, the chunks or the stored blob.

use super::guards::Guard;
use super::world::{CHUNKS, Client, Piece, Role, State, Version, World};

/// From which generation each chunk has to come, if the digest is known to be right.
type Verified = [Option<u8>; CHUNKS];

impl<const N: usize> World<N> {
    pub fn read(&self, number: usize, steps: &mut Vec<(String, Self)>) {
        let process = &self.processes[number];
        let Some(chunk) = process.read.iter().position(Option::is_none).filter(|_| process.reads()) else { return };
        let tail = chunk + 1 == CHUNKS;
        let verified = self.verified(number);
        let first = process.read[0].and_then(|piece| piece.of);
        // A chunk of the stored blob is right.
        let fits = |known: &Verified| first.is_none() || known[0] == first;
        let mut get = |name: &str, piece: Piece| {
            let mut next = *self;
            let process = &mut next.processes[number];
            process.read[chunk] = Some(piece);
            if tail {
                process.client = Client::HasAll;
            }
            steps.push((format!("reads {chunk} {name}"), next));
        };
        for (name, piece) in self.sources(number, chunk) {
            let record = |known: &Verified| fits(known) && known[chunk] == piece.of;
            let released =
                !self.keeps(Guard::Tail) || verified.iter().any(|known| !self.keeps(Guard::Record) || record(known));
            if !tail || released {
                get(name, piece);
            }
        }
        let going_on = !self.keeps(Guard::RecordAtBlob) || first.is_none() || verified.iter().any(fits);
        if let Some(right) = self.blob.filter(|_| !tail || going_on) {
            get("of the blob", Piece { of: None, right, exchanged: false });
        }
        // Its bytes are of another generation, or of one of which it cannot know it: it resumes by Range elsewhere.
        let failed = process.view.is_some_and(|lease| lease.state == State::Failed) && process.role == Role::Follows;
        let unknown = verified.is_empty() && (failed || (process.view.is_none() && self.blob.is_some()));
        let other = !verified.is_empty() && !verified.iter().any(fits);
        if first.is_some() && (unknown || other) {
            let mut next = *self;
            next.processes[number].client = Client::Broken;
            steps.push(("breaks the stream".to_owned(), next));
        }
    }

    /// Where the chunk is to be had beside the blob.
    fn sources(&self, number: usize, chunk: usize) -> Vec<(&'static str, Piece)> {
        let process = &self.processes[number];
        let mut sources = Vec::new();
        if let Some((of, right)) = process.window[chunk] {
            sources.push(("from memory", Piece { of: Some(of), right, exchanged: false }));
        }
        let followed = process.view.filter(|lease| process.role == Role::Follows && lease.state != State::Failed);
        let own = process.map[chunk].filter(|_| process.role != Role::Follows || process.is_verified());
        let named = [own.map(|(of, _)| of), followed.and_then(|lease| lease.stored[chunk])];
        for of in named.into_iter().flatten() {
            if let Some(object) = self.object(of, chunk) {
                let exchanged = object.version == Version::Exchanged;
                sources.push(("from its object", Piece { of: Some(of), right: object.right, exchanged }));
            }
        }
        sources
    }

    fn verified(&self, number: usize) -> Vec<Verified> {
        let process = &self.processes[number];
        let own = process.is_verified().then(|| process.map.map(|chunk| chunk.map(|(of, _)| of)));
        own.into_iter().chain(process.known).collect()
    }
}
