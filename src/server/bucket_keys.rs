//! `auth.bucketkeys`: asks the bucket about the keys of clients. It stands here because authentication does not use the
//! store.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use crate::auth::{KeyVerdict, KeyVerifier, Unverified};
use crate::log_limit::LogLimit;
use crate::oci::Action;
use crate::store::{KeyRights, Location, LoginKeys, Store, StoreError};

/// How long after a line about the bucket the log says the same again, and about how many causes it remembers.
const PAUSE: Duration = Duration::from_mins(1);
const MOST: usize = 16;
/// The shortest text that is masked in the log, in bytes: no id is shorter, and no secret that a bucket gives out.
const SHORTEST: usize = 16;

/// Why no keys of the bucket are good.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The bucket takes keys that were made up.
    #[error(
        "auth.bucketkeys: the bucket takes any keys, so that every client could log in: something before it signs \
         requests anew, or it does not look at signatures; set auth.bucketkeys to false"
    )]
    AnyKeys,
    /// The bucket does not tell.
    #[error("auth.bucketkeys: the bucket does not tell whether keys are good: {0}")]
    Store(#[from] StoreError),
}

/// Verifies keys at the bucket.
pub(super) struct BucketKeys {
    store: Store,
    /// The endpoint, and the bucket with its prefix.
    name: String,
    /// The bucket refuses keys that were made up.
    looks: OnceCell<()>,
    said: LogLimit<String>,
}

impl BucketKeys {
    /// `None` over a folder, which has no keys for clients.
    pub(super) fn new(store: &Store) -> Option<Self> {
        let Location::Bucket { bucket, endpoint } = store.location() else {
            return None;
        };
        let said = LogLimit::new(PAUSE, MOST);
        Some(Self { name: format!("{endpoint} {bucket}"), store: store.clone(), looks: OnceCell::new(), said })
    }

    /// Makes sure, once, that the bucket can be asked, and that it does not take any keys.
    ///
    /// # Errors
    /// See [`KeysError`]. The next call tries again.
    pub(super) async fn prepare(&self) -> Result<(), KeysError> {
        let tried = self.looks.get_or_try_init(|| async {
            self.store.prepare_logins().await?;
            if self.store.takes_any_keys().await? { Err(KeysError::AnyKeys) } else { Ok(()) }
        });
        tried.await.copied()
    }

    async fn ask(&self, id: &str, secret: &str) -> Result<KeyVerdict, KeysError> {
        self.prepare().await?;
        Ok(match self.store.rights_of(Some(&LoginKeys::new(id, secret))).await? {
            KeyRights::Unknown => KeyVerdict::Unknown,
            KeyRights::Unreadable => KeyVerdict::Unreadable,
            KeyRights::Read { write, delete } => {
                let further = [write.then_some(Action::Push), delete.then_some(Action::Delete)];
                KeyVerdict::May([Some(Action::Pull)].into_iter().chain(further).flatten().collect())
            }
        })
    }

    /// Says why the bucket does not tell. The client can do nothing about it.
    fn log(&self, error: &KeysError, [id, secret]: [&str; 2]) {
        // A store may repeat what it was sent. What is shorter is no secret of a bucket's, and would garble the line.
        let sent = [secret, id].into_iter().filter(|text| text.len() >= SHORTEST);
        let cause = sent.fold(error.to_string(), |cause, text| cause.replace(text, "***"));
        if self.said.is_due(cause.clone()) {
            tracing::error!(cause, "auth: keys of the bucket cannot be verified");
        }
    }
}

impl KeyVerifier for BucketKeys {
    fn verify<'a>(&'a self, id: &'a str, secret: &'a str) -> BoxFuture<'a, Result<KeyVerdict, Unverified>> {
        let asked = async move {
            self.ask(id, secret).await.map_err(|error| {
                self.log(&error, [id, secret]);
                Unverified
            })
        };
        asked.boxed()
    }

    fn bucket(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for BucketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketKeys").field("bucket", &self.name).finish_non_exhaustive()
    }
}
