//! What the repositories of a bucket take.

use std::sync::Arc;

use super::collection::GarbageCollection;
use super::policy::Counting;
use super::progress::RoundProgress;
use super::report::Amount;
use super::round::RoundError;
use super::survey::survey;
use crate::oci::RepositoryName;

/// What a bucket has.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Its repositories, those with the most bytes of their own first.
    pub repositories: Vec<RepositoryUsage>,
    /// All blobs and bytes of manifests.
    pub all: Amount,
    /// Those that no manifest of any repository needs.
    pub unneeded: Amount,
    /// Tags and manifests that cannot be read.
    pub unreadable: u64,
    /// Keys of other programs, which are not counted otherwise.
    pub strangers: u64,
}

/// What a repository has.
#[derive(Clone, Debug)]
pub struct RepositoryUsage {
    /// Its name.
    pub name: RepositoryName,
    /// How many tags.
    pub tags: u64,
    /// How many manifests.
    pub manifests: u64,
    /// Blobs and manifests that no other repository needs.
    pub own: Amount,
    /// Those that others need, too.
    pub shared: Amount,
}

impl GarbageCollection {
    /// What the bucket has: a survey, at so many requests a second at most. Nothing is written.
    ///
    /// # Errors
    /// The bucket does not answer, or a temporary file cannot be written.
    pub async fn usage(&self, rate: u32, progress: &Arc<RoundProgress>) -> Result<Usage, RoundError> {
        let options = self.survey_options(rate, false);
        let survey = survey(&self.store, &Counting(Arc::clone(progress)), &options).await?;
        let totals = survey.totals();
        let amount = |sizes: super::survey::Sizes| Amount { count: sizes.count, bytes: sizes.bytes };
        let repositories = survey.repositories().iter().map(|it| RepositoryUsage {
            name: it.name.clone(),
            tags: it.tags,
            manifests: it.manifests,
            own: amount(it.own),
            shared: amount(it.shared),
        });
        let mut repositories: Vec<_> = repositories.collect();
        repositories.sort_by_key(|it| std::cmp::Reverse((it.own.bytes, it.shared.bytes)));
        Ok(Usage {
            repositories,
            all: amount(totals.blobs),
            unneeded: amount(totals.unnamed),
            unreadable: totals.unreadable_manifests + totals.unreadable_tags,
            strangers: totals.strangers,
        })
    }
}
