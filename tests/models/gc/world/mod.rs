//! One blob that nothing needs at the beginning, or that the manifest of a deleter needs; writers that rely on it, and
//! collectors. Time passes between any two steps, so any of them may be paused, or dead, for any time.

mod collector;
mod writer;

use crate::models::Model;

/// In units of time: what `GcTiming` has in minutes, in the same order of sizes.
pub const KNOWLEDGE: u8 = 1;
const CACHE: u8 = 1;
pub const BELIEF: u8 = 1;
const EXPIRY: u8 = 1;
const SETTLE: u8 = 2;
const RETIRE: u8 = 3;
const TAKEOVER: u8 = 2;
const DELAY: u8 = 2;

/// What protects writes, to be left out one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// A writer writes its references before it looks at what it knows.
    ReferencesFirst,
    /// Knowledge is asked for anew after a while.
    KnowledgeAge,
    /// A decision is written if there is none.
    Condition,
    /// A DELETE is refused after a while.
    Expiry,
    /// A writer waits until the DELETE is over.
    Settle,
    /// Then it looks whether the blob is there.
    Look,
    /// What was seen long ago is looked at again.
    Belief,
    /// Time passes between the publication of a batch and the survey that decides.
    Delay,
    /// The due batches are those from before the survey.
    DueBefore,
    /// A batch is dated by the answer to the write that names it.
    PublishedAfter,
    /// The collector has the lease when it begins to delete.
    Renew,
    /// A batch that is spent binds writers for a while.
    Retire,
    /// A lease that was renewed a moment ago is not taken.
    Takeover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    Keep,
    Delete(u8),
}

/// A batch that condemns the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    published: Option<u8>,
    spent: Option<u8>,
}

/// A push that relies on the blob, or brings it: of a manifest, by its reference; of a blob, and a mount and a fill, by
/// their link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writer {
    /// Memory may say that the blob is there, since then.
    Begins(Option<u8>),
    /// It was there at that time, and `began` then.
    Refers {
        began: u8,
    },
    Uploads {
        began: u8,
    },
    Knows {
        began: u8,
    },
    /// Without references first, the reference is written last.
    RefersLate,
    Decides {
        began: u8,
        known: u8,
    },
    Looks,
    Acknowledged,
    /// The client got an error.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Acquires,
    /// The batches that are due.
    Due,
    /// It reads the repository of the writers, then that of the deleter, and the blob.
    SurveysWriters,
    SurveysDeleter(bool),
    /// The blob is a candidate, or not.
    Renews,
    Decides(u8),
    Spends(u8),
    /// Only without [`Guard::PublishedAfter`].
    Dates,
    Publishes(u8),
    Retires,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Collector {
    pub step: Step,
    due: u8,
    candidate: bool,
    /// The bucket's clock at its last renewal.
    date: u8,
    rounds: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World<const W: usize, const C: usize> {
    pub now: u8,
    pub end: u8,
    /// When the blob was written; time begins at [`DELAY`].
    pub blob: Option<u8>,
    /// When writers wrote their references: the survey sees them a unit of time later, if lists lag.
    pub references: [Option<u8>; W],
    /// The manifest that the deleter takes away.
    pub old: bool,
    pub lags: bool,
    pub batches: [Option<Batch>; 2],
    pub decisions: [Option<Decision>; 2],
    /// Batches that were named; a name is used once.
    pub named: u8,
    pub holder: Option<u8>,
    pub renewed: u8,
    /// DELETEs under way: until when the bucket takes them.
    pub flights: [Option<u8>; C],
    pub collectors: [Collector; C],
    pub writers: [Writer; W],
    /// What each writer's process knows: when it asked, and of which batches.
    pub knowledge: [Option<(u8, u8)>; W],
    pub without: Option<Guard>,
}

impl<const W: usize, const C: usize> World<W, C> {
    /// So many writers and collectors; the blob is old.
    pub fn start(without: Option<Guard>) -> Self {
        let collector = Collector { step: Step::Acquires, due: 0, candidate: false, date: 0, rounds: 2 };
        Self {
            now: DELAY,
            end: DELAY + 6,
            blob: Some(0),
            references: [None; W],
            old: false,
            lags: false,
            batches: [None; 2],
            decisions: [None; 2],
            named: 0,
            holder: None,
            renewed: 0,
            flights: [None; C],
            collectors: [collector; C],
            writers: [Writer::Begins(None); W],
            knowledge: [Some((DELAY, 0)); W],
            without,
        }
    }

    /// A batch condemned the blob before, and is due; each collector has one round.
    pub fn condemned(without: Option<Guard>) -> Self {
        let mut world = Self::start(without);
        world.batches[0] = Some(Batch { published: Some(0), spent: None });
        world.named = 1;
        world.knowledge = [Some((DELAY, 1)); W];
        world.collectors.iter_mut().for_each(|collector| collector.rounds = 1);
        world
    }

    /// [`condemned`](Self::condemned), and the first collector is about to delete the blob.
    pub fn surveyed(without: Option<Guard>) -> Self {
        let mut world = Self::condemned(without);
        (world.holder, world.renewed) = (Some(0), DELAY);
        world.collectors[0] = Collector { step: Step::Renews, due: 1, candidate: true, date: DELAY, rounds: 0 };
        world
    }

    fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    fn after(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        change(&mut world);
        world
    }

    fn active(&self) -> u8 {
        (0..2_u8).filter(|batch| self.batches[usize::from(*batch)].is_some()).map(|batch| 1 << batch).sum()
    }

    /// Times that are over count alike, so that the search sees a state once.
    fn forget_times(mut self) -> Self {
        let now = self.now;
        let over = |at: &mut u8, life: u8| {
            if *at + life <= now {
                *at = 0;
            }
        };
        self.blob.iter_mut().for_each(|at| over(at, DELAY));
        self.references.iter_mut().flatten().for_each(|at| over(at, 1));
        over(&mut self.renewed, TAKEOVER);
        for decision in self.decisions.iter_mut().flatten() {
            if let Decision::Delete(at) = decision {
                over(at, SETTLE);
            }
        }
        for batch in self.batches.iter_mut().flatten() {
            batch.published.iter_mut().for_each(|at| over(at, DELAY));
            batch.spent.iter_mut().for_each(|at| over(at, RETIRE));
        }
        let (is_asked, expires) = (self.has(Guard::KnowledgeAge), self.has(Guard::Expiry));
        for flight in &mut self.flights {
            *flight = flight.filter(|until| !expires || now <= *until);
        }
        let undated = self.batches.iter().flatten().any(|batch| batch.published.is_none());
        for (number, collector) in self.collectors.iter_mut().enumerate() {
            if !undated && collector.step == Step::Acquires || self.holder != u8::try_from(number).ok() {
                collector.date = 0;
            }
        }
        for (writer, knowledge) in self.writers.iter_mut().zip(&mut self.knowledge) {
            match writer {
                Writer::Begins(seen) => *seen = seen.filter(|seen| now <= seen + CACHE),
                Writer::Refers { began }
                | Writer::Uploads { began }
                | Writer::Knows { began }
                | Writer::Decides { began, .. } => over(began, BELIEF + 1),
                Writer::Acknowledged => *knowledge = None,
                Writer::RefersLate | Writer::Looks | Writer::Failed => {}
            }
            *knowledge = knowledge.filter(|(asked, _)| !is_asked || now <= asked + KNOWLEDGE);
        }
        self
    }
}

impl<const W: usize, const C: usize> Model for World<W, C> {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, writer) in self.writers.iter().enumerate() {
            next.extend(self.write(number).into_iter().map(|wrote| (format!("writer {number} {writer:?}"), wrote)));
            next.extend(self.ask(number).map(|asked| (format!("process {number} asks"), asked)));
        }
        for (number, collector) in self.collectors.iter().enumerate() {
            let step = collector.step;
            next.extend(self.collect(number).into_iter().map(|then| (format!("collector {number} {step:?}"), then)));
        }
        for (number, flight) in self.flights.iter().enumerate() {
            let Some(until) = flight else { continue };
            let is_taken = !self.has(Guard::Expiry) || self.now <= *until;
            next.push((
                format!("DELETE {number} arrives"),
                self.after(|world| {
                    world.flights[number] = None;
                    if is_taken {
                        world.blob = None;
                    }
                }),
            ));
        }
        if self.old {
            next.push(("a manifest is deleted".to_owned(), self.after(|world| world.old = false)));
        }
        if self.now < self.end {
            next.push(("time passes".to_owned(), self.after(|world| world.now += 1)));
        }
        next.into_iter().map(|(step, world)| (step, world.forget_times())).collect()
    }

    fn always(&self) -> Result<(), String> {
        if self.blob.is_none() && self.writers.contains(&Writer::Acknowledged) {
            return Err("what was acknowledged is lost".to_owned());
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        Ok(())
    }

    fn succeeded(&self) -> bool {
        // The blob was deleted, and pushed again.
        let deleted = self.decisions.iter().flatten().any(|it| matches!(it, Decision::Delete(_)));
        deleted && self.writers.iter().all(|it| *it == Writer::Acknowledged)
    }
}
