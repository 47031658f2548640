//! What the processes, the bucket and its clients may do next.

use super::guards::Guard;
use super::world::{CHUNKS, Client, Lease, Mode, Object, Process, Role, Stage, State, Version, World};

pub type Steps<const N: usize> = Vec<(String, World<N>)>;

/// The result of a conditional write of the lease.
pub type Then<'a, const N: usize> = &'a dyn Fn(&mut World<N>);

impl<const N: usize> World<N> {
    /// Steps that need no fault.
    pub fn steps(&self) -> Steps<N> {
        let mut steps = Vec::new();
        for number in 0..N {
            let process = &self.processes[number];
            let from = steps.len();
            match (process.mode, process.role) {
                (Mode::Dead, _) => continue,
                (Mode::Paused, _) => {
                    let mut next = *self;
                    next.processes[number].mode = Mode::Awake;
                    steps.push(("wakes".to_owned(), next));
                }
                (Mode::Awake, role) => {
                    match role {
                        Role::Follows => self.follow(number, &mut steps),
                        Role::Fills if process.owns() => self.fill(number, &mut steps),
                        // The answer to its first write was lost.
                        Role::Fills => steps.extend(self.unmet(number)),
                        Role::Ends => self.end(number, &mut steps),
                        Role::Rests => {}
                    }
                    self.read(number, &mut steps);
                    if process.closing {
                        let mut next = *self;
                        next.processes[number].mode = Mode::Dead;
                        steps.push(("stops".to_owned(), next));
                    }
                }
            }
            for (name, _) in &mut steps[from..] {
                *name = format!("{number} {name}");
            }
        }
        if let Some((failed, deleted)) = self.sweep {
            let mut next = *self;
            if deleted {
                next.sweep = None;
                if self.lease == Some(failed) {
                    next.write_lease(None);
                }
            } else {
                next.sweep = Some((failed, true));
                next.delete(failed.generations);
            }
            steps.push((format!("the sweep deletes {}", if deleted { "the lease" } else { "the chunks" }), next));
        }
        if let Some((directory, number, right)) = self.late {
            let mut next = *self;
            next.late = None;
            let place = &mut next.chunks[usize::from(directory)][number];
            if place.is_none() || !self.keeps(Guard::WriteOnce) {
                *place = Some(Object { right, version: Version::PutAgain });
            }
            steps.push(("a late PUT lands".to_owned(), next));
        }
        steps
    }

    /// The lease as a read shows it.
    fn shown(&self) -> Vec<Self> {
        let mut shown = vec![*self];
        if self.faults.lags > 0 {
            let mut late = *self;
            late.faults.lags -= 1;
            (late.lease, late.older) = (self.older, self.lease);
            shown.push(late);
        }
        shown
    }

    /// Reads the lease, and goes on as `then` says; a lagging read changes nothing in the bucket.
    fn look(&self, then: impl Fn(&mut World<N>, Option<Lease>)) -> Vec<Self> {
        let looks = self.shown().into_iter().map(|shown| {
            let mut next = *self;
            next.faults = shown.faults;
            then(&mut next, shown.lease);
            next
        });
        looks.collect()
    }

    /// Writes the lease if it is the one in the process's view.
    pub fn swap(&self, number: usize, name: &str, lease: Option<Lease>, then: Then<N>) -> Steps<N> {
        let blind = !self.keeps(Guard::Cas) && self.lease.is_some();
        if self.lease != self.processes[number].view && !blind {
            return self.unmet(number);
        }
        let mut next = *self;
        next.write_lease(lease);
        let mut steps = Vec::new();
        if self.faults.unheard > 0 && self.lease != lease {
            let mut unheard = next;
            unheard.faults.unheard -= 1;
            // It knows the generation that it tried to begin.
            if let Some(begun) = lease.filter(|lease| Some(lease.owner) != self.processes[number].own) {
                unheard.begin(number, begun);
                unheard.processes[number].view = self.processes[number].view;
            }
            steps.push((format!("{name}, and is not answered"), unheard));
        }
        next.processes[number].view = lease;
        if let Some(begun) = lease.filter(|lease| Some(lease.owner) != self.processes[number].own) {
            next.begin(number, begun);
        }
        then(&mut next);
        steps.push((name.to_owned(), next));
        steps
    }

    /// The condition of a lease write was refused: the process reads the lease.
    fn unmet(&self, number: usize) -> Steps<N> {
        let looks = self.look(|next, lease| {
            let process = &mut next.processes[number];
            process.sees(lease);
            let wrote = |lease: &Lease| lease.state != State::Failed || process.is_wrong();
            let own = lease.filter(|lease| Some(lease.owner) == process.own).filter(wrote);
            if own.is_none() || !self.keeps(Guard::ReadAfterUnmet) {
                process.yields = false;
                process.role = if self.keeps(Guard::RobbedFollows) { Role::Follows } else { Role::Rests };
                (process.stage, process.parts) = (Stage::Fills, [None; CHUNKS]);
                if let Some(own) = process.own.filter(|_| !self.keeps(Guard::EnderDeletes)) {
                    next.delete(1 << own);
                }
            }
        });
        looks.into_iter().map(|next| ("reads the lease after a refused write".to_owned(), next)).collect()
    }

    /// The process owns a generation that it just began.
    fn begin(&mut self, number: usize, lease: Lease) {
        self.begun = self.begun.max(lease.owner + 1);
        let process = &mut self.processes[number];
        let (fills, adopts) = (process.role == Role::Fills, lease.generations.count_ones() > 1);
        (process.own, process.role) = (Some(lease.owner), Role::Fills);
        // An owner that begins a generation for one chunk keeps the others.
        if !fills {
            (process.window, process.map, process.hashed) = ([None; CHUNKS], [None; CHUNKS], [None; CHUNKS]);
            process.stage = if adopts { Stage::Lists } else { Stage::Fills };
        }
    }

    pub fn follow(&self, number: usize, steps: &mut Steps<N>) {
        let process = &self.processes[number];
        if process.client != Client::Reads {
            return;
        }
        let looks = self.look(|next, lease| {
            next.processes[number].sees(lease);
        });
        steps.extend(looks.into_iter().map(|next| ("looks".to_owned(), next)));
        if process.closing || self.lease != process.view {
            return;
        }
        let owner = self.begun;
        let fresh = Lease::fresh(owner);
        let lease = match process.view {
            None if self.blob.is_none() => fresh,
            Some(lease) if lease.state == State::Failed && process.read[0].is_none() => fresh,
            Some(lease) if lease.state == State::Done && self.blob.is_none() => fresh,
            Some(lease) if lease.is_live() && self.keeps(Guard::TakeOver) => {
                let dead = !self.beats(&lease) || !self.keeps(Guard::TwoLooks) || !self.keeps(Guard::WriteNumber);
                if !dead && lease.state != State::Leaving {
                    return;
                }
                let generations = lease.generations | 1 << owner;
                Lease { generations, owner, state: State::Filling, ..lease }
            }
            _ => return,
        };
        let name = if process.view.is_none() { "creates the lease" } else { "takes over" };
        steps.extend(self.swap(number, name, Some(lease), &|_| {}));
    }

    pub fn body(&self, number: usize, state: State) -> Option<Lease> {
        let process = &self.processes[number];
        let lease = process.view?;
        let stored = process.map.map(|chunk| chunk.map(|(of, _)| of));
        let state = if state == State::Filling && (process.closing || process.yields) { State::Leaving } else { state };
        Some(Lease { state, stored, hashed: process.hashed, ..lease })
    }

    pub fn fill(&self, number: usize, steps: &mut Steps<N>) {
        let process = &self.processes[number];
        let Some(own) = process.own else { return };
        let mut when = |holds: bool, name: &str, change: &dyn Fn(&mut World<N>)| {
            if holds {
                let mut next = *self;
                change(&mut next);
                steps.push((name.to_owned(), next));
            }
        };
        when(process.yields, "stays", &|next| next.processes[number].yields = false);
        when(process.stage == Stage::Lists, "lists the chunks", &|next| next.adopt(number));
        let fills = process.stage == Stage::Fills;
        for chunk in 0..CHUNKS {
            let missing = process.map[chunk].is_none() && process.window[chunk].is_none();
            for right in [true, false] {
                let name = format!("gets {chunk} {}", if right { "right" } else { "wrong" });
                when(fills && missing && (right || self.faults.lies > 0), &name, &|next| {
                    next.processes[number].window[chunk] = Some((own, right));
                    next.fetched[chunk] += 1;
                    if !right {
                        next.faults.lies -= 1;
                        next.excuses += 1;
                    }
                });
            }
        }
        for chunk in 0..CHUNKS {
            let Some((of, right)) = process.window[chunk].filter(|_| process.map[chunk].is_none()) else { continue };
            let there = self.object(of, chunk).filter(|_| self.keeps(Guard::WriteOnce));
            if there.is_some_and(|there| there.right != right) {
                steps.extend(self.renew(number, chunk));
                continue;
            }
            let mut next = *self;
            let object = there.unwrap_or(Object { right, version: Version::Put });
            let directory = self.directory(of);
            next.chunks[directory][chunk] = Some(object);
            next.processes[number].map[chunk] = Some((of, object));
            if self.faults.late > 0 {
                let mut late = next;
                late.faults.late -= 1;
                late.late = Some((u8::try_from(directory).unwrap_or_default(), chunk, right));
                steps.push((format!("puts {chunk}, an attempt stays"), late));
            }
            steps.push((format!("puts {chunk}"), next));
        }
        let state = if matches!(process.stage, Stage::Lists | Stage::Fills) { State::Filling } else { State::Verified };
        // Before it lists the chunks, it writes what the lease said.
        let body = if process.stage == Stage::Lists { process.view } else { self.body(number, state) };
        if body != process.view || self.lease != process.view {
            steps.extend(self.swap(number, "writes a heartbeat", body, &|_| {}));
        }
        if fills {
            self.hash(number, steps);
        } else {
            self.commit(number, steps);
        }
    }
}

impl Process {
    /// It hashed all, and the digest is wrong.
    fn is_wrong(&self) -> bool {
        self.hashed.iter().all(Option::is_some) && !self.is_verified()
    }
}
