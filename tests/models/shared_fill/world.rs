//! What exists: the bucket, the lease and the processes; and the rules that always hold.

use super::super::Model;
use super::guards::{
    BROKEN, COPIES, DELETED, Faults, Guard, LOST_CHUNK, OWNERS, ROBBED, WAITS, WRONG_BLOB, WRONG_CLIENT,
};

/// Chunks of the blob; the last one is the tail, which waits for the digest.
pub const CHUNKS: usize = 2;
/// More generations than the faults of one search can begin.
const GENERATIONS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    Put,
    PutAgain,
    Exchanged,
}

/// A chunk's object. The content and the version are its `ETag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub right: bool,
    pub version: Version,
}

/// A hashed chunk: its content, and the `ETag` under which it is to be composed.
pub type Hashed = (bool, Object);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Filling,
    Leaving,
    Verified,
    Done,
    Failed,
}

/// The lease. Each write makes another body, so the body is its `ETag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// A bit for each.
    pub generations: u8,
    /// The newest generation.
    pub owner: u8,
    pub state: State,
    /// The generation of each stored chunk.
    pub stored: [Option<u8>; CHUNKS],
    pub hashed: [Option<Hashed>; CHUNKS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Awake,
    Paused,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// With no lease in its view, it asks for one.
    Follows,
    Fills,
    /// It wrote `done` or `failed`, and deletes.
    Ends,
    Rests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It took over, and has to list the chunks.
    Lists,
    Fills,
    Copies,
    Compares,
    Completes,
    Stored,
    /// It deleted the chunks, and deletes the lease.
    Deleted,
}

/// A chunk that a client received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Its generation; `None` from the stored blob.
    pub of: Option<u8>,
    pub right: bool,
    /// The bucket's other writer made it: that writer can exchange the stored blob as well.
    pub exchanged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    Reads,
    HasAll,
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub mode: Mode,
    pub role: Role,
    /// It takes no lease over.
    pub closing: bool,
    /// Its upstream is slow: it lets others take over.
    pub yields: bool,
    /// The generation that it began last.
    pub own: Option<u8>,
    /// The lease as it wrote or read it last.
    pub view: Option<Lease>,
    /// The generations of the chunks whose digest is right, as a lease said last.
    pub known: Option<[Option<u8>; CHUNKS]>,
    /// Chunks in memory: generation and content.
    pub window: [Option<(u8, bool)>; CHUNKS],
    /// Chunks that it knows to be stored.
    pub map: [Option<(u8, Object)>; CHUNKS],
    pub hashed: [Option<Hashed>; CHUNKS],
    pub stage: Stage,
    /// The copied parts of its multipart upload.
    pub parts: [Option<Object>; CHUNKS],
    pub client: Client,
    pub read: [Option<Piece>; CHUNKS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World<const N: usize> {
    pub without: &'static [Guard],
    /// Only this flaw is looked for.
    pub only: Option<&'static str>,
    pub faults: Faults,
    pub lease: Option<Lease>,
    /// The lease before the last write.
    pub older: Option<Lease>,
    pub chunks: [[Option<Object>; CHUNKS]; GENERATIONS],
    /// The attempt of a PUT that was given up: directory, number and content.
    pub late: Option<(u8, usize, bool)>,
    /// Whether the bucket shows the blob, and a right one.
    pub blob: Option<bool>,
    /// Generations that were begun.
    pub begun: u8,
    /// How often each chunk was downloaded.
    pub fetched: [u8; CHUNKS],
    /// Faults that may cost a copy.
    pub excuses: u8,
    /// The bucket lost a chunk, or another writer replaced one.
    pub took: bool,
    /// An owner had to download a chunk again although the bucket lost none.
    pub lost: bool,
    /// The sweep's `failed` lease, and whether its chunks are deleted.
    pub sweep: Option<(Lease, bool)>,
    pub processes: [Process; N],
}

impl Process {
    /// Its client reads; it has neither a lease nor chunks.
    const NEW: Self = Self {
        mode: Mode::Awake,
        role: Role::Follows,
        closing: false,
        yields: false,
        own: None,
        view: None,
        known: None,
        window: [None; CHUNKS],
        map: [None; CHUNKS],
        hashed: [None; CHUNKS],
        stage: Stage::Fills,
        parts: [None; CHUNKS],
        client: Client::Reads,
        read: [None; CHUNKS],
    };

    pub fn reads(&self) -> bool {
        self.mode == Mode::Awake && self.client == Client::Reads
    }

    /// It hashed all, and the digest is right.
    pub fn is_verified(&self) -> bool {
        self.hashed.iter().all(|chunk| chunk.is_some_and(|(right, _)| right))
    }

    pub fn sees(&mut self, lease: Option<Lease>) {
        self.view = lease;
        self.known = lease.filter(Lease::is_verified).map(|lease| lease.stored).or(self.known);
    }

    /// It knows that the lease is its own.
    pub fn owns(&self) -> bool {
        self.view.is_some_and(|lease| Some(lease.owner) == self.own)
    }
}

impl Lease {
    pub fn fresh(owner: u8) -> Self {
        let (stored, hashed) = ([None; CHUNKS], [None; CHUNKS]);
        Self { generations: 1 << owner, owner, state: State::Filling, stored, hashed }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Filling | State::Leaving | State::Verified)
    }

    pub fn is_verified(&self) -> bool {
        matches!(self.state, State::Verified | State::Done)
    }
}

impl<const N: usize> World<N> {
    pub fn start(faults: Faults, without: &'static [Guard]) -> Self {
        Self {
            without,
            only: None,
            faults,
            lease: None,
            older: None,
            chunks: [[None; CHUNKS]; GENERATIONS],
            late: None,
            blob: None,
            begun: 0,
            fetched: [0; CHUNKS],
            excuses: 0,
            took: false,
            lost: false,
            sweep: None,
            processes: [Process::NEW; N],
        }
    }

    /// The first process already owns the lease.
    pub fn owned(mut self) -> Self {
        let lease = Some(Lease::fresh(0));
        (self.lease, self.begun) = (lease, 1);
        (self.processes[0].role, self.processes[0].own, self.processes[0].view) = (Role::Fills, Some(0), lease);
        self
    }

    /// Forgets what makes no difference any more, so that fewer states differ.
    fn forget(&mut self) {
        for process in &mut self.processes {
            let (client, read) = (process.client, process.read);
            let right = read.iter().flatten().all(|piece| piece.right);
            if process.mode == Mode::Dead {
                *process = Process { mode: Mode::Dead, client: Client::Broken, ..Process::NEW };
            } else if client != Client::Reads && (client == Client::Broken || right) {
                process.read = [None; CHUNKS];
                let idle = matches!(process.role, Role::Follows | Role::Rests);
                let robbed = process.own.is_some() && process.own == self.lease.map(|lease| lease.owner);
                if idle && !robbed && process.mode == Mode::Awake && !process.closing {
                    *process = Process { role: Role::Rests, client, ..Process::NEW };
                }
            }
        }
    }

    pub fn keeps(&self, guard: Guard) -> bool {
        !self.without.contains(&guard)
    }

    fn flaw(&self, flaw: &'static str) -> Result<(), String> {
        if self.only.is_none_or(|only| only == flaw) { Err(flaw.to_owned()) } else { Ok(()) }
    }

    pub fn directory(&self, generation: u8) -> usize {
        if self.keeps(Guard::Directory) { usize::from(generation) } else { 0 }
    }

    pub fn object(&self, generation: u8, number: usize) -> Option<Object> {
        self.chunks[self.directory(generation)][number]
    }

    pub fn delete(&mut self, generations: u8) {
        for generation in (0..5).filter(|generation| generations & (1 << generation) != 0) {
            self.chunks[self.directory(generation)] = [None; CHUNKS];
        }
    }

    pub fn write_lease(&mut self, lease: Option<Lease>) {
        if !self.keeps(Guard::Leader) {
            self.older = self.lease;
        }
        self.lease = lease;
    }

    /// A process writes this lease again and again: between two looks there is a heartbeat.
    pub fn beats(&self, lease: &Lease) -> bool {
        self.processes.iter().any(|process| {
            let fills = matches!(process.role, Role::Fills | Role::Ends);
            process.mode == Mode::Awake && fills && process.own == Some(lease.owner)
        })
    }
}

impl<const N: usize> Model for World<N> {
    fn next(&self) -> Vec<(String, Self)> {
        let mut steps = self.steps();
        steps.retain(|(_, next)| next != self);
        // A state in which only a fault could help is an end.
        if !steps.is_empty() {
            steps.extend(self.faults());
        }
        for (_, next) in &mut steps {
            next.forget();
        }
        steps
    }

    fn always(&self) -> Result<(), String> {
        if self.blob == Some(false) {
            self.flaw(WRONG_BLOB)?;
        }
        if self.lost {
            self.flaw(LOST_CHUNK)?;
        }
        if self.fetched.iter().any(|times| *times > 1 + self.excuses) {
            self.flaw(COPIES)?;
        }
        for process in &self.processes {
            let wrong = process.read.iter().flatten().any(|piece| !piece.right && !piece.exchanged);
            if process.client == Client::HasAll && wrong {
                self.flaw(WRONG_CLIENT)?;
            }
            if process.mode != Mode::Dead && process.client == Client::Broken && self.excuses == 0 {
                self.flaw(BROKEN)?;
            }
            let Some(lease) = self.lease.filter(Lease::is_live) else { continue };
            let awake = process.mode == Mode::Awake;
            if awake && process.role == Role::Follows && process.own == Some(lease.owner) {
                self.flaw(ROBBED)?;
            }
            if process.role == Role::Fills && process.owns() && process.own > Some(lease.owner) {
                self.flaw(OWNERS)?;
            }
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        if self.processes.iter().any(Process::reads) {
            self.flaw(WAITS)?;
        }
        let Some(lease) = self.lease.filter(Lease::is_live) else { return Ok(()) };
        let missing = |(number, of): (usize, &Option<u8>)| of.is_some_and(|of| self.object(of, number).is_none());
        if self.excuses == 0 && lease.stored.iter().enumerate().any(missing) {
            self.flaw(DELETED)?;
        }
        Ok(())
    }

    /// All that may happen before the end happened, and every client of a process that lives has all.
    fn succeeded(&self) -> bool {
        let mut living = self.processes.iter().filter(|process| process.mode == Mode::Awake);
        let happened = self.faults.deaths == 0 && self.faults.pauses == 0;
        happened && self.blob.is_some() && living.all(|process| process.client == Client::HasAll)
    }
}
