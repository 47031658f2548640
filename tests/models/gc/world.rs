//! One blob that nothing needs at the beginning, or that the manifest of a deleter needs; writers that rely on it, and
//! collectors. Time passes between any two steps, so any of them may be paused, or dead, for any time.

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

    /// Another request of the writer's process asks which batches there are.
    fn ask(&self, number: usize) -> Option<Self> {
        let ends = matches!(self.writers[number], Writer::Decides { .. } | Writer::Looks | Writer::RefersLate);
        let known = Some((self.now, self.active()));
        let asks = !ends && self.writers[number] != Writer::Acknowledged && self.knowledge[number] != known;
        (asks && self.has(Guard::KnowledgeAge)).then(|| self.after(|world| world.knowledge[number] = known))
    }

    /// What a writer's next call does.
    fn write(&self, number: usize) -> Vec<Self> {
        let to = |writer| self.after(|world| world.writers[number] = writer);
        let refers = |began| {
            if self.has(Guard::ReferencesFirst) { Writer::Refers { began } } else { Writer::Knows { began } }
        };
        match self.writers[number] {
            Writer::Begins(cached) => {
                let now = self.now;
                let looked = match self.blob {
                    Some(_) => to(refers(now)),
                    None => to(Writer::Uploads { began: now }),
                };
                // Another request saw it: a push may begin with that.
                let believed = cached.filter(|seen| now <= seen + CACHE).map(|_| to(refers(now)));
                let sees = (cached.is_none() && self.blob.is_some()).then(|| to(Writer::Begins(Some(now))));
                [looked].into_iter().chain(believed).chain(sees).collect()
            }
            Writer::Uploads { began } => vec![self.after(|world| {
                world.blob = Some(world.now);
                world.writers[number] = refers(began);
            })],
            Writer::Refers { began } => vec![self.after(|world| {
                world.references[number] = Some(world.now);
                world.writers[number] = Writer::Knows { began };
            })],
            Writer::Knows { began } => match self.knowledge[number] {
                Some((asked, known)) if !self.has(Guard::KnowledgeAge) || self.now <= asked + KNOWLEDGE => {
                    vec![to(Writer::Decides { began, known })]
                }
                // It asks first.
                _ => Vec::new(),
            },
            // What was seen long ago may have been deleted under a batch that is retired, decisions and all.
            Writer::Decides { began, known: 0 } if self.has(Guard::Belief) && self.now > began + BELIEF => {
                vec![to(Writer::Looks)]
            }
            Writer::Decides { known: 0, .. } => vec![to(self.kept())],
            Writer::Decides { began, known } => {
                let batch = usize::try_from(known.trailing_zeros()).unwrap();
                let rest = known & (known - 1);
                let goes_on = Writer::Decides { began, known: rest };
                let then = match self.decisions[batch] {
                    None => {
                        return vec![self.after(|world| {
                            world.decisions[batch] = Some(Decision::Keep);
                            world.writers[number] = goes_on;
                        })];
                    }
                    Some(Decision::Delete(at)) if self.has(Guard::Settle) && self.now < at + SETTLE => Writer::Failed,
                    Some(Decision::Delete(_)) if self.has(Guard::Look) => Writer::Looks,
                    Some(Decision::Keep | Decision::Delete(_)) => goes_on,
                };
                vec![to(then)]
            }
            Writer::Looks if self.blob.is_some() => vec![to(self.kept())],
            Writer::Looks => vec![to(Writer::Failed)],
            Writer::RefersLate => vec![self.after(|world| {
                world.references[number] = Some(world.now);
                world.writers[number] = Writer::Acknowledged;
            })],
            // The client tries again, and has no manifest until then.
            Writer::Failed => vec![self.after(|world| {
                world.references[number] = None;
                world.writers[number] = Writer::Begins(None);
            })],
            Writer::Acknowledged => Vec::new(),
        }
    }

    fn kept(&self) -> Writer {
        if self.has(Guard::ReferencesFirst) { Writer::Acknowledged } else { Writer::RefersLate }
    }

    /// The holder writes the state. A batch that has no date yet gets that of the last write.
    fn renew(&mut self, number: usize) -> bool {
        let own = u8::try_from(number).unwrap();
        if self.holder != Some(own) {
            self.collectors[number].step = Step::Acquires;
            return false;
        }
        let date = self.collectors[number].date;
        for batch in self.batches.iter_mut().flatten() {
            batch.published.get_or_insert(date);
        }
        (self.collectors[number].date, self.renewed) = (self.now, self.now);
        true
    }

    fn due(&self) -> u8 {
        let delay = if self.has(Guard::Delay) { DELAY } else { 0 };
        let is_due = |batch: &Option<Batch>| {
            batch.is_some_and(|it| it.spent.is_none() && it.published.is_some_and(|at| at + delay <= self.now))
        };
        (0..2_u8).filter(|batch| is_due(&self.batches[usize::from(*batch)])).map(|batch| 1 << batch).sum()
    }

    fn after_sweep(&self) -> Step {
        if self.has(Guard::PublishedAfter) { Step::Publishes(0) } else { Step::Dates }
    }

    #[expect(clippy::too_many_lines, reason = "a step of a collector each")]
    fn collect(&self, number: usize) -> Vec<Self> {
        let collector = self.collectors[number];
        let to = |step: Step| self.after(|world| world.collectors[number].step = step);
        let held = |change: &dyn Fn(&mut Self)| {
            vec![self.after(|world| {
                if world.renew(number) {
                    change(world);
                }
            })]
        };
        match collector.step {
            Step::Acquires => {
                let is_free =
                    self.holder.is_none() || !self.has(Guard::Takeover) || self.now >= self.renewed + TAKEOVER;
                if collector.rounds == 0 || !is_free {
                    return Vec::new();
                }
                vec![self.after(|world| {
                    world.holder = Some(u8::try_from(number).unwrap());
                    world.renewed = world.now;
                    let collector = &mut world.collectors[number];
                    (collector.date, collector.rounds) = (world.now, collector.rounds - 1);
                    collector.step = Step::Due;
                })]
            }
            Step::Due => held(&|world| {
                world.collectors[number].due = world.due();
                world.collectors[number].step = Step::SurveysWriters;
            }),
            Step::SurveysWriters => {
                let seen = |lag: u8| self.references.iter().flatten().any(|at| at + lag <= self.now);
                let mut outcomes = vec![seen(0)];
                if self.lags && seen(1) != seen(0) {
                    outcomes.push(seen(1));
                }
                outcomes.into_iter().map(|needed| to(Step::SurveysDeleter(needed))).collect()
            }
            Step::SurveysDeleter(needed) => vec![self.after(|world| {
                let needed = needed || world.old;
                let is_old = world.blob.is_some_and(|at| at + DELAY <= world.now);
                let (due, after) = (world.due(), world.after_sweep());
                let collector = &mut world.collectors[number];
                collector.candidate = is_old && !needed;
                if world.without == Some(Guard::DueBefore) {
                    collector.due = due;
                }
                collector.step = if collector.due == 0 { after } else { Step::Renews };
            })],
            // A batch whose blob is needed again is spent, too.
            Step::Renews if self.has(Guard::Renew) => held(&|world| {
                let now = world.now;
                let collector = &mut world.collectors[number];
                collector.step = if collector.candidate { Step::Decides(now) } else { Step::Spends(now) };
            }),
            Step::Renews => {
                vec![to(if collector.candidate { Step::Decides(self.now) } else { Step::Spends(self.now) })]
            }
            Step::Decides(date) => {
                let batch = usize::try_from(collector.due.trailing_zeros()).unwrap();
                vec![self.after(|world| {
                    let is_first = world.decisions[batch].is_none() || !world.has(Guard::Condition);
                    if is_first {
                        world.decisions[batch] = Some(Decision::Delete(world.now));
                    }
                    // From now on it may arrive at any time: the process may be paused, or the request held up.
                    if is_first {
                        world.flights[number] = Some(date + EXPIRY);
                    }
                    world.collectors[number].step = Step::Spends(date);
                })]
            }
            Step::Spends(date) => held(&|world| {
                let after = world.after_sweep();
                let collector = &mut world.collectors[number];
                let batch = usize::try_from(collector.due.trailing_zeros()).unwrap();
                collector.due &= collector.due - 1;
                collector.step = if collector.due == 0 { after } else { Step::Renews };
                if let Some(batch) = &mut world.batches[batch] {
                    batch.spent = Some(date + EXPIRY);
                }
            }),
            // Without that guard, a new batch has the date from before it is named.
            Step::Dates => vec![to(Step::Publishes(self.now))],
            Step::Publishes(dated) => held(&|world| {
                let free = usize::from(world.named);
                world.collectors[number].step = Step::Retires;
                if world.collectors[number].candidate && world.active() == 0 && free < 2 {
                    let published = (world.without == Some(Guard::PublishedAfter)).then_some(dated);
                    world.batches[free] = Some(Batch { published, spent: None });
                    world.named += 1;
                }
            }),
            Step::Retires => held(&|world| {
                let retire = if world.has(Guard::Retire) { RETIRE } else { 0 };
                for batch in 0..2 {
                    let is_over = |it: Batch| it.spent.is_some_and(|at| at + retire <= world.now);
                    if world.batches[batch].is_some_and(is_over) {
                        world.batches[batch] = None;
                        world.decisions[batch] = None;
                    }
                }
                world.holder = None;
                let collector = &mut world.collectors[number];
                *collector =
                    Collector { step: Step::Acquires, due: 0, candidate: false, date: 0, rounds: collector.rounds };
            }),
        }
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
