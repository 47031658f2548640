//! A semaphore whose permits (requests, bytes of memory) many holders share, and of which none can take all.
//!
//! A holder is a user, or the clients that share an address. Each can hold up to a bound that is less than all permits, so
//! that some are always left for others. The next request that gets a share is one whose holder has least, and among
//! equals one whose holder waited longest for its last one: so holders alternate, however many requests each has.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The permits. There is an entry for each holder that has a share, and for each request that waits.
#[derive(Debug)]
pub(crate) struct FairSemaphore<K> {
    state: Mutex<State<K>>,
    /// The most that one holder has.
    most: usize,
}

#[derive(Debug)]
struct State<K> {
    free: usize,
    holders: HashMap<K, Holder>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting<K>>,
    next: u64,
}

/// A holder that has a share, or waits for one.
#[derive(Debug, Default)]
struct Holder {
    held: usize,
    /// When it got a share last, counted in grants.
    granted: u64,
}

#[derive(Debug)]
struct Waiting<K> {
    id: u64,
    holder: K,
    amount: usize,
    grant: oneshot::Sender<()>,
}

/// Permits of a holder, until it is dropped.
#[derive(Debug)]
pub(crate) struct FairPermit<K: Clone + Eq + Hash> {
    semaphore: Arc<FairSemaphore<K>>,
    holder: K,
    amount: usize,
}

/// A request that waits. Dropped, it waits no more, and gives back a share that it was granted meanwhile.
struct Request<'a, K: Clone + Eq + Hash> {
    semaphore: &'a Arc<FairSemaphore<K>>,
    holder: &'a K,
    amount: usize,
    id: u64,
    granted: bool,
}

impl<K: Clone + Eq + Hash> FairSemaphore<K> {
    /// `all` permits, of which a holder gets at most `most`.
    pub(crate) fn new(all: usize, most: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { free: all, holders: HashMap::new(), waiting: VecDeque::new(), next: 0 }),
            most: most.min(all),
        })
    }

    /// Waits for a share of `amount`, or of the most that a holder can have, if that is less.
    pub(crate) async fn take(self: &Arc<Self>, holder: &K, amount: usize) -> FairPermit<K> {
        let amount = amount.min(self.most);
        let (mut request, granted) = self.enter(holder, amount);
        // The sender lives as long as the request waits.
        request.granted = granted.await.is_ok();
        request.share()
    }

    /// A share of `amount`, if there is one now and no other request waits for it.
    pub(crate) fn take_now(self: &Arc<Self>, holder: &K, amount: usize) -> Option<FairPermit<K>> {
        let (mut request, mut granted) = self.enter(holder, amount.min(self.most));
        request.granted = granted.try_recv().is_ok();
        request.granted.then(|| request.share())
    }

    /// Whether requests of other holders wait.
    pub(crate) fn is_wanted_by_others(&self, holder: &K) -> bool {
        let state = self.lock();
        state.waiting.iter().any(|it| it.holder != *holder)
    }

    /// The holder of the request that gets what becomes free next; `None`: no request waits but those of holders that
    /// have as much as they can.
    pub(crate) fn next_holder(&self) -> Option<K> {
        let state = self.lock();
        self.next(&state).and_then(|at| Some(state.waiting.get(at)?.holder.clone()))
    }

    /// Whether a holder can have so much more than it has.
    pub(crate) fn may_hold(&self, holder: &K, more: usize) -> bool {
        let state = self.lock();
        state.holders.get(holder).map_or(0, |it| it.held) + more <= self.most
    }

    fn enter<'a>(self: &'a Arc<Self>, holder: &'a K, amount: usize) -> (Request<'a, K>, oneshot::Receiver<()>) {
        let (grant, granted) = oneshot::channel();
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.waiting.push_back(Waiting { id, holder: holder.clone(), amount, grant });
        self.grant(&mut state);
        let request = Request { semaphore: self, holder, amount, id, granted: false };
        (request, granted)
    }

    /// Gives free permits to the requests that are next. A request that needs more than are free blocks the others, so
    /// that small requests do not keep it waiting for ever.
    fn grant(&self, state: &mut State<K>) {
        loop {
            let next = self.next(state);
            let fits = next.filter(|at| state.waiting.get(*at).is_some_and(|it| it.amount <= state.free));
            let Some(next) = fits.and_then(|at| state.waiting.remove(at)) else {
                return;
            };
            let amount = next.amount;
            state.free -= amount;
            state.next += 1;
            let holder = state.holders.entry(next.holder).or_default();
            holder.held += amount;
            holder.granted = state.next;
            // A request that is gone gives it back when it is dropped.
            let _ = next.grant.send(());
        }
    }

    /// Where the request waits that is next.
    fn next(&self, state: &State<K>) -> Option<usize> {
        let of = |holder: &K| {
            let found = state.holders.get(holder);
            found.map_or((0, 0), |it| (it.held, it.granted))
        };
        let may = state.waiting.iter().enumerate();
        let may = may.filter(|(_, it)| of(&it.holder).0 + it.amount <= self.most);
        may.min_by_key(|(_, it)| (of(&it.holder), it.id)).map(|(at, _)| at)
    }

    fn give_back(&self, holder: &K, amount: usize) {
        let mut state = self.lock();
        state.free += amount;
        if let Some(it) = state.holders.get_mut(holder) {
            it.held -= amount;
        }
        self.grant(&mut state);
        // A holder that waits is remembered, so that others come first.
        let waits = state.waiting.iter().any(|it| it.holder == *holder);
        if !waits && state.holders.get(holder).is_some_and(|it| it.held == 0) {
            state.holders.remove(holder);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Request<'_, K> {
    /// The share that was granted.
    fn share(mut self) -> FairPermit<K> {
        let amount = if self.granted { self.amount } else { 0 };
        self.amount = 0;
        FairPermit { semaphore: Arc::clone(self.semaphore), holder: self.holder.clone(), amount }
    }
}

impl<K: Clone + Eq + Hash> Drop for Request<'_, K> {
    fn drop(&mut self) {
        if self.granted {
            return self.semaphore.give_back(self.holder, self.amount);
        }
        let mut state = self.semaphore.lock();
        let waits = state.waiting.iter().position(|it| it.id == self.id);
        if let Some(at) = waits {
            state.waiting.remove(at);
            // Others may have waited for it.
            self.semaphore.grant(&mut state);
        } else {
            drop(state);
            self.semaphore.give_back(self.holder, self.amount);
        }
    }
}

impl<K: Clone + Eq + Hash> FairPermit<K> {
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }

    pub(crate) fn holder(&self) -> &K {
        &self.holder
    }

    /// A part of it; `None` where it is not as large.
    pub(crate) fn split(&mut self, amount: usize) -> Option<Self> {
        self.amount = self.amount.checked_sub(amount)?;
        Some(Self { semaphore: Arc::clone(&self.semaphore), holder: self.holder.clone(), amount })
    }

    /// Adds another share of the same holder's.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl<K: Clone + Eq + Hash> Drop for FairPermit<K> {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.semaphore.give_back(&self.holder, self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_holder_never_has_all() {
        let semaphore = FairSemaphore::new(4, 3);
        let mut held: Vec<_> = (0..3).map(|_| semaphore.take_now(&1, 1).unwrap()).collect();
        assert!(semaphore.take_now(&1, 1).is_none());
        let own = semaphore.take_now(&2, 1).unwrap();
        assert!(semaphore.take_now(&2, 1).is_none() && semaphore.take_now(&3, 1).is_none());
        held.pop();
        assert!(!semaphore.is_wanted_by_others(&1));
        assert!(semaphore.take_now(&3, 1).is_some());
        drop(own);
        // More than one can have is as much as one can have.
        assert!(semaphore.take_now(&1, 9).is_none());
        drop(held);
        assert_eq!(semaphore.take(&1, 9).await.amount(), 3);
        assert!(semaphore.take_now(&1, 3).is_some());
    }

    #[tokio::test]
    async fn the_holder_with_least_is_next() {
        let semaphore = FairSemaphore::new(3, 3);
        let held = [1, 1, 2].map(|holder| semaphore.take_now(&holder, 1).unwrap());
        let mut first = Box::pin(semaphore.take(&1, 1));
        let mut second = Box::pin(semaphore.take(&2, 1));
        let mut third = Box::pin(semaphore.take(&3, 1));
        let gone = Box::pin(semaphore.take(&4, 1));
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(gone);
        assert!(semaphore.is_wanted_by_others(&1));
        let [one, more, _two] = held;
        drop(one);
        let third = third.await;
        assert!((&mut first).now_or_never().is_none());
        drop(third);
        // Each has one by now, and the first came before.
        let first = first.await;
        drop(more);
        assert_eq!(second.await.amount(), 1);
        drop(first);
    }

    #[tokio::test]
    async fn holders_take_turns() {
        let semaphore = FairSemaphore::new(1, 1);
        let mut held = semaphore.take_now(&1, 1);
        let mut many: Vec<_> = (0..3).map(|_| Box::pin(semaphore.take(&1, 1))).collect();
        for waiting in &mut many {
            assert!(waiting.now_or_never().is_none());
        }
        let mut other = Box::pin(semaphore.take(&2, 1));
        assert!((&mut other).now_or_never().is_none());
        drop(held.take());
        assert!(many.iter_mut().all(|it| it.now_or_never().is_none()));
        drop(other.await);
        assert!((&mut many[0]).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_granted_to_one_that_is_gone_comes_back() {
        let semaphore = FairSemaphore::new(1, 1);
        let held = semaphore.take_now(&1, 1).unwrap();
        let mut waiting = Box::pin(semaphore.take(&2, 1));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        drop(waiting);
        assert!(semaphore.take_now(&3, 1).is_some());
    }
}
