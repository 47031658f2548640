//! The steps of a collector.

use super::{Batch, Collector, DELAY, Decision, EXPIRY, Guard, RETIRE, Step, TAKEOVER, World};

impl<const W: usize, const C: usize> World<W, C> {
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
    pub(super) fn collect(&self, number: usize) -> Vec<Self> {
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
