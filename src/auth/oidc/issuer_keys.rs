//! The keys of an issuer, as they are known here: read when they are first needed, and kept through an outage.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::documents::{Documents, Read};
use super::key_set::KeySet;

/// How long keys are used without asking again.
const FRESH: Duration = Duration::from_hours(1);
/// How long keys are used while the issuer does not answer.
const KEPT: Duration = Duration::from_hours(24);
/// How often an issuer is asked for a key that it may have by now, and one that does not answer while keys are known.
const PAUSE: Duration = Duration::from_secs(30);
/// How often an issuer that does not answer is asked while no keys are known.
const RETRY: Duration = Duration::from_secs(2);

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    provider: String,
    documents: Documents,
    state: Mutex<State>,
    /// One request at a time.
    flight: Arc<tokio::sync::Mutex<()>>,
}

/// No keys are known, and the issuer cannot be asked before this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unavailable(pub(super) Duration);

#[derive(Debug, Default)]
struct State {
    keys: Option<Known>,
    /// When the last request failed, if none succeeded since.
    failed: Option<Instant>,
    /// When the issuer was last asked for an unknown key.
    asked: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Known {
    keys: Arc<KeySet>,
    jwks: Url,
    /// When the discovery document was read.
    discovered: Instant,
}

/// What to do for a token.
#[derive(Debug)]
enum Step {
    Use(Arc<KeySet>),
    /// Ask the issuer for its documents; or for its keys alone, because they lack one.
    Ask(Option<Url>),
    Wait(Duration),
}

impl State {
    /// `id` is the key that a token names.
    fn step(&self, id: Option<&str>, now: Instant) -> Step {
        let is_within = |when: Option<Instant>, pause| when.is_some_and(|when| now.duration_since(when) < pause);
        let known = self.keys.as_ref().filter(|known| now.duration_since(known.discovered) < KEPT);
        let Some(known) = known else {
            return if is_within(self.failed, RETRY) { Step::Wait(RETRY) } else { Step::Ask(None) };
        };
        let is_stale = now.duration_since(known.discovered) >= FRESH;
        if is_stale && !is_within(self.failed, PAUSE) {
            return Step::Ask(None);
        }
        if id.is_none_or(|id| known.keys.has(id)) {
            return Step::Use(Arc::clone(&known.keys));
        }
        match (is_within(self.asked, PAUSE), is_within(self.failed, PAUSE)) {
            (false, _) => Step::Ask(Some(known.jwks.clone())),
            // The issuer may have the key.
            (true, true) => Step::Wait(PAUSE),
            (true, false) => Step::Use(Arc::clone(&known.keys)),
        }
    }

    /// The issuer answered, or did not. Until then no request is refused for what it did not know.
    fn answered(&mut self, was_discovered: bool, read: Option<Read>, now: Instant) {
        if !was_discovered {
            self.asked = Some(now);
        }
        let Some(Read { keys, jwks }) = read else {
            self.failed = Some(now);
            return;
        };
        let before = self.keys.as_ref().map(|known| known.discovered).filter(|_| !was_discovered);
        self.failed = None;
        self.keys = Some(Known { keys: Arc::new(keys), jwks, discovered: before.unwrap_or(now) });
    }
}

impl IssuerKeys {
    pub(super) fn new(provider: &str, documents: Documents) -> Self {
        Self { provider: provider.to_owned(), documents, state: Mutex::default(), flight: Arc::default() }
    }

    /// The keys, with the one of this id if the issuer has it.
    ///
    /// # Errors
    /// No keys are known, and the issuer does not answer.
    pub(super) async fn get(self: &Arc<Self>, id: Option<&str>) -> Result<Arc<KeySet>, Unavailable> {
        match self.step(id) {
            Step::Use(keys) => return Ok(keys),
            Step::Wait(after) => return Err(Unavailable(after)),
            Step::Ask(_) => {}
        }
        // While this waits, another request may get what it needs.
        let guard = Arc::clone(&self.flight).lock_owned().await;
        if let Step::Ask(known) = self.step(id) {
            let this = Arc::clone(self);
            // A task, so that clients that go away cannot have the issuer asked again and again.
            let asked = tokio::spawn(async move {
                this.ask(known).await;
                drop(guard);
            });
            // It panics for no reason that is known; then there are no keys.
            let _ = asked.await;
        }
        match self.step(id) {
            Step::Use(keys) => Ok(keys),
            Step::Wait(after) => Err(Unavailable(after)),
            // The issuer was just asked.
            Step::Ask(_) => {
                let known = self.state().keys.as_ref().map(|known| Arc::clone(&known.keys));
                known.ok_or(Unavailable(RETRY))
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, id: Option<&str>) -> Step {
        self.state().step(id, Instant::now())
    }

    async fn ask(&self, known: Option<Url>) {
        let (provider, was_discovered) = (&self.provider, known.is_none());
        let read = self.documents.read(known).await;
        match &read {
            Ok(read) if was_discovered => {
                tracing::info!(provider, keys = read.keys.len(), "auth: the keys of the issuer were read");
            }
            Ok(_) => {}
            Err(why) => tracing::warn!(provider, why, "auth: the keys of the issuer cannot be read"),
        }
        self.state().answered(was_discovered, read.ok(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: &str) -> Read {
        let set = format!(
            r#"{{"keys": [{{"kty": "OKP", "crv": "Ed25519", "kid": "{id}",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
        );
        let jwks = Url::parse("https://issuer.example.com/keys").unwrap();
        Read { keys: KeySet::parse(set.as_bytes()).unwrap(), jwks }
    }

    fn asks(step: &Step) -> bool {
        matches!(step, Step::Ask(None))
    }

    #[test]
    fn keys_are_asked_for_again_after_an_hour_and_kept_for_a_day() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |hours: u64, seconds: u64| start + Duration::from_hours(hours) + Duration::from_secs(seconds);
        assert!(asks(&state.step(Some("1"), start)));
        state.answered(true, None, start);
        assert!(matches!(state.step(Some("1"), at(0, 1)), Step::Wait(RETRY)));
        assert!(asks(&state.step(Some("1"), at(0, 2))));
        state.answered(true, Some(read("1")), start);
        for id in [Some("1"), None] {
            assert!(matches!(state.step(id, at(0, 3599)), Step::Use(_)));
            assert!(asks(&state.step(id, at(1, 0))));
        }
        // An outage: the keys stay, and the issuer is asked twice a minute.
        state.answered(true, None, at(1, 0));
        assert!(matches!(state.step(Some("1"), at(1, 29)), Step::Use(_)));
        assert!(asks(&state.step(Some("1"), at(1, 30))));
        state.answered(true, None, at(23, 3590));
        assert!(matches!(state.step(Some("1"), at(23, 3599)), Step::Use(_)));
        assert!(asks(&state.step(Some("1"), at(24, 0))));
        state.answered(true, None, at(24, 0));
        assert!(matches!(state.step(Some("1"), at(24, 1)), Step::Wait(_)));
    }

    #[test]
    fn an_unknown_key_is_asked_for_twice_a_minute() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        state.answered(true, Some(read("1")), start);
        // Only the keys are read again.
        assert!(matches!(state.step(Some("2"), at(1)), Step::Ask(Some(_))));
        state.answered(false, Some(read("1")), at(1));
        assert!(matches!(state.step(Some("3"), at(30)), Step::Use(_)));
        assert!(matches!(state.step(Some("3"), at(31)), Step::Ask(Some(_))));
        // The issuer does not answer: nothing is known of the key, and the others are good.
        state.answered(false, None, at(31));
        assert!(matches!(state.step(Some("3"), at(32)), Step::Wait(PAUSE)));
        assert!(matches!(state.step(Some("1"), at(32)), Step::Use(_)));
        // That the keys were read again says nothing of where they are.
        state.answered(false, Some(read("2")), at(61));
        assert!(matches!(state.step(Some("2"), at(3599)), Step::Use(_)));
        assert!(asks(&state.step(Some("2"), at(3600))));
    }
}
