//! The feed of live figures: one task gathers them once a second while a browser listens, and each listener gets the
//! newest when it has sent the one before. So a browser that does not read skips, and costs no memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::live_figures::LiveFigures;
use crate::client_network::network;
use crate::oci::{Error, ErrorCode};

/// How often the figures are gathered.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many browsers listen at once. Each has a connection, and up to 64 KiB of text that it has not read.
const MOST: usize = 512;
/// How many of them may be one client: a small part, and yet the browsers behind one address of an office.
const MOST_OF_ONE: usize = 128;
/// After how long a browser that is refused may try again.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The figures of one second, and the text that was made of them.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) figures: LiveFigures,
    /// By user, because a thousand browsers may be one user's.
    texts: Mutex<HashMap<Option<Arc<str>>, Bytes>>,
}

impl Snapshot {
    /// The text for a user, which `render` makes for the first of its browsers.
    pub(super) fn text(&self, user: Option<&Arc<str>>, render: impl FnOnce(&LiveFigures) -> Bytes) -> Bytes {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.entry(user.cloned()).or_insert_with(|| render(&self.figures)).clone()
    }
}

/// The feed of one process.
#[derive(Debug)]
pub(super) struct LiveFeed {
    latest: watch::Sender<Option<Arc<Snapshot>>>,
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    all: usize,
    of_clients: HashMap<IpAddr, usize>,
    /// The task runs that gathers.
    is_gathered: bool,
}

/// One browser, until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    feed: Arc<LiveFeed>,
    client: IpAddr,
    latest: watch::Receiver<Option<Arc<Snapshot>>>,
}

impl Default for LiveFeed {
    fn default() -> Self {
        Self { latest: watch::Sender::new(None), listeners: Mutex::default() }
    }
}

impl LiveFeed {
    /// Listens from now on; `gather` is called once a second while there is a listener.
    ///
    /// # Errors
    /// `UNAVAILABLE`: there are as many listeners as there may be, in all or from this address.
    pub(super) fn listen(
        self: &Arc<Self>,
        client: IpAddr,
        gather: impl Fn() -> LiveFigures + Send + 'static,
    ) -> Result<Listener, Error> {
        let client = network(client);
        let mut listeners = self.lock();
        let of_client = listeners.of_clients.get(&client).copied().unwrap_or_default();
        if listeners.all >= MOST || of_client >= MOST_OF_ONE {
            let message = "too many browsers follow the live figures: load the page again to see them";
            return Err(Error::new(ErrorCode::Unavailable, message).with_retry_after(Some(RETRY_AFTER)));
        }
        listeners.all += 1;
        listeners.of_clients.insert(client, of_client + 1);
        if !std::mem::replace(&mut listeners.is_gathered, true) {
            tokio::spawn(Arc::clone(self).gather(gather));
        }
        Ok(Listener { feed: Arc::clone(self), client, latest: self.latest.subscribe() })
    }

    /// Ends when a second begins without a listener.
    async fn gather(self: Arc<Self>, gather: impl Fn() -> LiveFigures) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.publish(&gather) {
                return;
            }
        }
    }

    /// Gathers the figures, if there is a listener.
    fn publish(&self, gather: impl Fn() -> LiveFigures) -> bool {
        let mut listeners = self.lock();
        if listeners.all == 0 {
            listeners.is_gathered = false;
            self.latest.send_replace(None);
            return false;
        }
        drop(listeners);
        let snapshot = Snapshot { figures: gather(), texts: Mutex::default() };
        self.latest.send_replace(Some(Arc::new(snapshot)));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// The newest figures that this listener has not had, as soon as there are some.
    pub(super) async fn next(&mut self) -> Option<Arc<Snapshot>> {
        // The feed lives as long as its listeners.
        self.latest.changed().await.ok()?;
        self.latest.borrow_and_update().clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.feed.lock();
        listeners.all -= 1;
        if let Some(count) = listeners.of_clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                listeners.of_clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn now(listener: &mut Listener) -> Option<Arc<Snapshot>> {
        listener.next().now_or_never().flatten()
    }

    #[tokio::test]
    async fn all_listeners_share_the_newest_figures_and_their_text() {
        let feed = Arc::<LiveFeed>::default();
        assert!(!feed.publish(|| unreachable!("there is no listener")));
        let mut listeners: Vec<_> = (0..3).map(|_| feed.listen(HERE, LiveFigures::default).unwrap()).collect();
        let gathered = AtomicUsize::new(0);
        let gather = || {
            gathered.fetch_add(1, Ordering::Relaxed);
            LiveFigures::default()
        };
        // None of them reads meanwhile.
        assert!((0..5).all(|_| feed.publish(gather)));
        let newest = feed.latest.borrow().clone().unwrap();
        let rendered = AtomicUsize::new(0);
        for listener in &mut listeners {
            let snapshot = now(listener).unwrap();
            assert!(Arc::ptr_eq(&snapshot, &newest));
            snapshot.text(None, |_| {
                rendered.fetch_add(1, Ordering::Relaxed);
                Bytes::from_static(b"text")
            });
            assert!(now(listener).is_none());
        }
        assert_eq!((gathered.into_inner(), rendered.into_inner()), (5, 1));
        drop(listeners);
        assert!(!feed.publish(|| unreachable!("there is no listener any more")));
    }

    #[tokio::test]
    async fn listeners_are_bounded_in_all_and_for_each_client() {
        let feed = Arc::<LiveFeed>::default();
        let listen =
            |client: usize| feed.listen(IpAddr::from([127, 0, 0, u8::try_from(client).unwrap()]), LiveFigures::default);
        let mut of_one: Vec<_> = (0..MOST_OF_ONE).map(|_| listen(1).unwrap()).collect();
        assert_eq!(listen(1).unwrap_err().retry_after(), Some(RETRY_AFTER));
        let _others: Vec<_> = (MOST_OF_ONE..MOST).map(|number| listen(2 + number / MOST_OF_ONE).unwrap()).collect();
        assert!(listen(99).is_err());
        of_one.pop();
        assert!(listen(1).is_ok());
    }
}
