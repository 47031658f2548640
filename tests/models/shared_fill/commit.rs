//! An owner hashes the chunks, composes the blob and deletes what is left; and what it does about lost chunks.

use super::guards::Guard;
use super::steps::Steps;
use super::world::{CHUNKS, Client, Lease, Process, Role, Stage, State, World};

impl<const N: usize> World<N> {
    pub fn adopt(&mut self, number: usize) {
        let Some(lease) = self.processes[number].view else { return };
        let mut map = [None; CHUNKS];
        for (chunk, place) in map.iter_mut().enumerate() {
            let listed = (0..5).rev().filter(|of| lease.generations & (1 << of) != 0);
            let mut there = listed.filter_map(|of| self.object(of, chunk).map(|object| (of, object)));
            let named = lease.stored[chunk].and_then(|of| self.object(of, chunk).map(|object| (of, object)));
            *place = named.or_else(|| there.next());
        }
        let mut hashed = [None; CHUNKS];
        for chunk in 0..CHUNKS {
            let (Some((content, etag)), Some((_, object))) = (lease.hashed[chunk], map[chunk]) else { break };
            if self.keeps(Guard::Chain) && etag != object {
                hashed = [None; CHUNKS];
                break;
            }
            hashed[chunk] = Some((content, object));
        }
        let process = &mut self.processes[number];
        (process.map, process.hashed, process.stage) = (map, hashed, Stage::Fills);
    }

    /// The chunk is not in the bucket any more, or another one: it is downloaded again.
    pub fn renew(&self, number: usize, chunk: usize) -> Steps<N> {
        let own = self.begun;
        let again = |next: &mut World<N>| {
            let process = &mut next.processes[number];
            (process.stage, process.parts, process.hashed) = (Stage::Fills, [None; CHUNKS], [None; CHUNKS]);
            (process.map[chunk], process.window[chunk]) = (None, None);
            next.lost |= !next.took;
        };
        if !self.keeps(Guard::Renew) {
            let mut next = *self;
            again(&mut next);
            return vec![(format!("lost {chunk}"), next)];
        }
        let name = format!("lost {chunk}, and begins a generation");
        let lease = self.body(number, State::Filling).map(|lease| {
            let mut stored = lease.stored;
            stored[chunk] = None;
            let generations = lease.generations | 1 << own;
            Lease { generations, owner: own, stored, hashed: [None; CHUNKS], ..lease }
        });
        self.swap(number, &name, lease, &again)
    }

    /// Hashes the next chunk, from memory or the bucket; and says what the digest is.
    pub fn hash(&self, number: usize, steps: &mut Steps<N>) {
        let process = &self.processes[number];
        let Some(chunk) = process.hashed.iter().position(Option::is_none) else {
            if process.is_verified() || !self.keeps(Guard::Verify) {
                let body = self.body(number, State::Verified);
                steps.extend(self.swap(number, "writes `verified`", body, &|next| {
                    next.processes[number].stage = Stage::Copies;
                }));
            } else {
                let body = self.body(number, State::Failed);
                steps.extend(self.swap(number, "writes `failed`", body, &|next| {
                    next.processes[number].role = Role::Ends;
                    if next.processes[number].client == Client::Reads {
                        next.processes[number].client = Client::Broken;
                    }
                }));
            }
            return;
        };
        let Some((of, object)) = process.map[chunk] else { return };
        let (content, object) = match process.window[chunk].filter(|(window, _)| *window == of) {
            Some((_, content)) => (content, object),
            None => match self.object(of, chunk) {
                Some(object) => (object.right, object),
                None => return steps.extend(self.renew(number, chunk)),
            },
        };
        let mut next = *self;
        next.processes[number].hashed[chunk] = Some((content, object));
        next.processes[number].map[chunk] = Some((of, object));
        steps.push((format!("hashes {chunk}"), next));
    }

    /// Composes the blob.
    pub fn commit(&self, number: usize, steps: &mut Steps<N>) {
        let process = &self.processes[number];
        let changed = |chunk: usize| {
            let there = process.map[chunk].and_then(|(of, _)| self.object(of, chunk));
            there.is_none() || there != process.hashed[chunk].map(|(_, etag)| etag)
        };
        let mut next = *self;
        match process.stage {
            Stage::Copies => {
                let Some(chunk) = process.parts.iter().position(Option::is_none) else { return };
                let there = process.map[chunk].and_then(|(of, _)| self.object(of, chunk));
                if there.is_none() || (self.keeps(Guard::CopyByEtag) && changed(chunk)) {
                    return steps.extend(self.renew(number, chunk));
                }
                next.processes[number].parts[chunk] = there;
                if chunk + 1 == CHUNKS {
                    next.processes[number].stage = Stage::Compares;
                }
                steps.push((format!("copies {chunk}"), next));
            }
            Stage::Compares => {
                if let Some(chunk) = (0..CHUNKS).find(|chunk| self.keeps(Guard::ListByEtag) && changed(*chunk)) {
                    return steps.extend(self.renew(number, chunk));
                }
                next.processes[number].stage = Stage::Completes;
                steps.push(("compares".to_owned(), next));
            }
            Stage::Completes => {
                next.blob = Some(process.parts.iter().all(|part| part.is_some_and(|part| part.right)));
                next.processes[number].stage = Stage::Stored;
                steps.push(("completes".to_owned(), next));
            }
            _ => {}
        }
        let early = process.stage == Stage::Copies && !self.keeps(Guard::DoneAfterBlob);
        if process.stage == Stage::Stored || early {
            let done = self.body(number, State::Done);
            steps.extend(self.swap(number, "writes `done`", done, &|next| {
                next.processes[number].role = Role::Ends;
            }));
        }
    }

    /// Deletes the chunks, and then the lease.
    pub fn end(&self, number: usize, steps: &mut Steps<N>) {
        let mut next = *self;
        let process = &mut next.processes[number];
        let Some(lease) = process.view else { return };
        // A follower looks each second, and the grace is a minute.
        let behind = |process: &Process| process.reads() && process.role == Role::Follows && process.view != self.lease;
        let grace = lease.state == State::Done && self.keeps(Guard::Grace);
        if grace && self.processes.iter().any(behind) {
            return;
        }
        if process.stage == Stage::Deleted {
            process.role = Role::Rests;
            if self.lease == Some(lease) {
                next.write_lease(None);
            }
            steps.push(("deletes the lease".to_owned(), next));
        } else {
            process.stage = Stage::Deleted;
            next.delete(lease.generations);
            steps.push(("deletes the chunks".to_owned(), next));
        }
    }
}
