//! The steps of a writer, and of its process.

use super::{BELIEF, CACHE, Decision, Guard, KNOWLEDGE, SETTLE, World, Writer};

impl<const W: usize, const C: usize> World<W, C> {
    /// Another request of the writer's process asks which batches there are.
    pub(super) fn ask(&self, number: usize) -> Option<Self> {
        let ends = matches!(self.writers[number], Writer::Decides { .. } | Writer::Looks | Writer::RefersLate);
        let known = Some((self.now, self.active()));
        let asks = !ends && self.writers[number] != Writer::Acknowledged && self.knowledge[number] != known;
        (asks && self.has(Guard::KnowledgeAge)).then(|| self.after(|world| world.knowledge[number] = known))
    }

    /// What a writer's next call does.
    pub(super) fn write(&self, number: usize) -> Vec<Self> {
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
}
