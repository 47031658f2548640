//! Manifests that an earlier survey found, and that the list of this one lacks.
//!
//! Clients and rounds deleted them, mostly. But a list that ends too early, or that hides some keys, looks the same, and
//! everything that only hidden manifests need would go. So a survey looks for some of them at the leader. If one is there
//! that an earlier list had, this list is not whole, and the survey fails, before it forgets what it lacks.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt;

use super::error::SurveyError;
use super::needed::{Age, seconds};
use super::reader::{PARALLEL, Purpose, Reader};
use crate::oci::{Digest, RepositoryName};
use crate::registry::runtime::buffered;
use crate::store::{Key, StoreError};

/// How many are looked for at each write of the memory, which is of some 16,000 manifests, and at the end. Even.
const MOST: usize = 200;
/// A link is smaller than that.
const LIMIT: u64 = 1 << 10;

/// Those that were found since the last look, as a sample.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    age: Age,
    sample: Arc<Mutex<Sample>>,
}

/// A manifest of a repository, and the second in which its link was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    name: String,
    digest: Digest,
    linked: u64,
}

/// Every so many-th, from the first one on: keys that a list lacks are next to each other.
#[derive(Debug)]
struct Sample {
    links: Vec<Link>,
    step: usize,
    seen: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self { links: Vec::new(), step: 1, seen: 0 }
    }
}

impl Sample {
    fn push(&mut self, link: impl FnOnce() -> Link) {
        if self.seen.is_multiple_of(self.step) {
            if self.links.len() == MOST {
                let mut position = 0_usize;
                self.links.retain(|_| {
                    position += 1;
                    !position.is_multiple_of(2)
                });
                self.step *= 2;
            }
            self.links.push(link());
        }
        self.seen += 1;
    }
}

impl Missing {
    pub(super) fn new(age: Age) -> Self {
        Self { age, sample: Arc::default() }
    }

    /// An earlier survey found this one, and the list of this survey is behind it.
    pub(super) fn push(&self, name: &str, digest: Digest, linked: u64) {
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        sample.push(|| Link { name: name.to_owned(), digest, linked });
    }

    /// Looks for those that were missed since the last call.
    ///
    /// # Errors
    /// One is there, or the bucket does not answer.
    pub(super) async fn look(&self, reader: &Reader) -> Result<(), SurveyError> {
        let sample = std::mem::take(&mut *self.sample.lock().unwrap_or_else(PoisonError::into_inner));
        let look = |link: Link| async move { self.find(reader, &link).await };
        let mut found = buffered(PARALLEL, sample.links, look);
        while let Some(found) = found.try_next().await? {
            if let Some(key) = found {
                return Err(SurveyError::NotWhole { key });
            }
        }
        Ok(())
    }

    /// The key of a link that is there, and was when the list was made.
    async fn find(&self, reader: &Reader, link: &Link) -> Result<Option<String>, StoreError> {
        let Ok(name) = link.name.parse::<RepositoryName>() else {
            return Ok(None);
        };
        let key = Key::Revision(&name, &link.digest);
        let modified = match reader.get(Purpose::Missing, key, LIMIT).await {
            Ok(Some(object)) => object.modified,
            Ok(None) | Err(StoreError::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // A client may have deleted it, and pushed it since.
        let was_there = seconds(modified) == Some(link.linked) || self.age.is_old(modified);
        Ok(was_there.then(|| key.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_sample_is_spread_over_all() {
        for many in [0, 1, MOST - 1, MOST, MOST + 1, 3 * MOST, 100_003] {
            let mut sample = Sample::default();
            for number in 0..many {
                let digest = Digest::of(Algorithm::Sha256, b"");
                sample.push(|| Link { name: String::new(), digest, linked: number as u64 });
            }
            let numbers: Vec<u64> = sample.links.iter().map(|link| link.linked).collect();
            let expected: Vec<u64> = (0..many as u64).step_by(sample.step).collect();
            assert_eq!(numbers, expected, "{many}");
            assert!(numbers.len() <= MOST && numbers.len() * 2 >= many.min(MOST), "{many}");
        }
    }
}
