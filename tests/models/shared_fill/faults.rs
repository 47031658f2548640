//! What may go wrong, each as often as the search says.

use super::guards::Faults;
use super::world::{CHUNKS, Mode, Object, Role, State, Version, World};

impl<const N: usize> World<N> {
    pub fn faults(&self) -> Vec<(String, Self)> {
        let mut steps = Vec::new();
        let mut when = |left: fn(&mut Faults) -> &mut u8, excuses: u8, name: String, change: &dyn Fn(&mut World<N>)| {
            let mut next = *self;
            let left = left(&mut next.faults);
            if *left > 0 {
                *left -= 1;
                next.excuses += excuses;
                change(&mut next);
                steps.push((name, next));
            }
        };
        for number in 0..N {
            let process = &self.processes[number];
            if process.mode != Mode::Awake {
                continue;
            }
            when(|left| &mut left.deaths, 1, format!("{number} dies"), &|next| {
                next.processes[number].mode = Mode::Dead;
            });
            when(|left| &mut left.pauses, 1, format!("{number} is paused"), &|next| {
                next.processes[number].mode = Mode::Paused;
            });
            if process.role == Role::Fills && !process.closing {
                when(|left| &mut left.leaves, 1, format!("{number} is to stop"), &|next| {
                    next.processes[number].closing = true;
                });
                when(|left| &mut left.yields, 1, format!("{number} yields"), &|next| {
                    next.processes[number].yields = true;
                });
            }
            for chunk in 0..CHUNKS {
                if process.role == Role::Fills && process.window[chunk].is_some() && process.map[chunk].is_some() {
                    when(|left| &mut left.evictions, 0, format!("{number} evicts {chunk}"), &|next| {
                        next.processes[number].window[chunk] = None;
                    });
                }
            }
        }
        for (directory, chunks) in self.chunks.iter().enumerate() {
            for chunk in (0..CHUNKS).filter(|chunk| chunks[*chunk].is_some()) {
                when(|left| &mut left.exchanges, 1, format!("{directory}/{chunk} is exchanged"), &|next| {
                    next.chunks[directory][chunk] = Some(Object { right: false, version: Version::Exchanged });
                    next.took = true;
                });
                when(|left| &mut left.losses, 1, format!("{directory}/{chunk} is lost"), &|next| {
                    next.chunks[directory][chunk] = None;
                    next.took = true;
                });
            }
        }
        // An hour is longer than twelve seconds: no process writes the lease.
        if let Some(lease) = self.lease.filter(|lease| !self.beats(lease)) {
            when(|left| &mut left.sweeps, 1, "the sweep writes `failed`".to_owned(), &|next| {
                let mut failed = lease;
                failed.state = State::Failed;
                next.write_lease(Some(failed));
                next.sweep = Some((failed, false));
            });
        }
        steps
    }
}
