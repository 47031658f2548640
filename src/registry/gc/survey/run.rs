//! A whole survey, from the list of repositories to what may go.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt;

use super::blobs::{BlobPass, RepositoryUsage, Sizes};
use super::budget;
use super::candidates::{CandidateWriter, Candidates};
use super::content::{Content, ContentReader};
use super::decide::{Decision, ManifestUse, decide};
use super::error::SurveyError;
use super::gone::{read_gone, write_gone};
use super::needed::Age;
use super::policy::{Policy, SurveyOptions};
use super::reader::Reader;
use super::records::Records;
use super::repository::{Repositories, lock};
use super::totals::Totals;
use crate::registry::gc::facts::Candidate;
use crate::store::Store;

/// How many repositories are read at once.
const REPOSITORIES: usize = 8;
/// How many things that cannot be read are named.
const NAMED: usize = 100;

/// What a survey found.
#[derive(Debug)]
pub(in crate::registry) struct Survey {
    candidates: Candidates,
    totals: Totals,
    repositories: Vec<RepositoryUsage>,
}

impl Survey {
    /// The numbers.
    pub(in crate::registry) const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What each repository takes, in the order of the bucket.
    pub(in crate::registry) fn repositories(&self) -> &[RepositoryUsage] {
        &self.repositories
    }

    /// The keys that may go, in the order of kinds, as often as they are asked for. An error is that of a temporary
    /// file, whose reading blocks.
    pub(in crate::registry) fn candidates(&self) -> impl Iterator<Item = io::Result<Candidate>> + Send + use<'_> {
        self.candidates.iter()
    }
}

/// Surveys a bucket.
///
/// # Errors
/// See [`SurveyError`].
pub(in crate::registry) async fn survey(
    store: &Store,
    policy: &dyn Policy,
    options: &SurveyOptions,
) -> Result<Survey, SurveyError> {
    let began = Instant::now();
    let reader = Arc::new(Reader::new(store, options.rate));
    let age = Age { now: store.bucket_time(), delay: options.delay };
    let records = Arc::new(Records::new(options.directory.clone()));
    let writer = CandidateWriter::new(options.directory.clone());
    let mut found = Found::new(age, &writer);
    let gone = read_gone(&reader).await?;
    {
        let contents = ContentReader::new(&reader, &records, age, gone.clone());
        let repositories = Repositories::new(&reader, &records, age);
        found.read(repositories, &contents, policy, options.remembers).await?;
    }
    let Found { manifests, mut repositories, mut totals, .. } = found;
    let records = Arc::into_inner(records).ok_or(SurveyError::Stopped)?.sorted()?;
    totals.spilled = records.is_spilled();
    let blobs = BlobPass::new(&manifests, &mut repositories, age, &writer).run(&reader, records).await?;
    drop(manifests);
    if options.remembers && blobs.first_gone != gone {
        write_gone(&reader, &blobs.first_gone).await;
    }
    let mut candidates = writer.finish()?;
    // Blobs that an unreadable manifest may need.
    candidates.has_blobs = totals.unreadable_manifests == 0;
    totals.spilled |= candidates.is_spilled();
    let max_size = options.max_size.filter(|_| candidates.has_blobs);
    let budget = move || {
        if let Some(max_size) = max_size {
            candidates.cutoff = budget::cutoff(max_size, &blobs, age.limit(), &candidates)?;
        }
        totals.add_blobs(&blobs);
        for candidate in candidates.iter_later() {
            totals.add_later(&candidate?);
        }
        for candidate in candidates.iter() {
            totals.add_candidate(&candidate?);
        }
        Ok::<_, io::Error>((candidates, totals))
    };
    let budget = tokio::task::spawn_blocking(budget).await.map_err(|_| SurveyError::Stopped)?;
    let (candidates, mut totals) = budget?;
    totals.requests = reader.requests();
    totals.seconds = began.elapsed().as_secs();
    Ok(Survey { candidates, totals, repositories })
}

/// What the list of repositories said.
struct Found<'a> {
    age: Age,
    writer: &'a CandidateWriter,
    /// By their numbers.
    manifests: Vec<ManifestUse>,
    repositories: Vec<RepositoryUsage>,
    totals: Totals,
}

impl<'a> Found<'a> {
    fn new(age: Age, writer: &'a CandidateWriter) -> Self {
        Self { age, writer, manifests: Vec::new(), repositories: Vec::new(), totals: Totals::default() }
    }

    /// Reads all repositories, several at once, and decides of one after the other.
    async fn read(
        &mut self,
        repositories: Repositories,
        contents: &ContentReader,
        policy: &dyn Policy,
        remembers: bool,
    ) -> Result<(), SurveyError> {
        let mut known = repositories.known_writer(remembers);
        let others = repositories.shared_others();
        {
            let read = repositories.into_stream().map_ok(|repository| {
                let asks_origins = policy.asks_origins(&repository.name);
                contents.read(repository, asks_origins)
            });
            let mut read = std::pin::pin!(read.try_buffered(REPOSITORIES));
            while let Some(content) = read.try_next().await? {
                let decision = decide(&content, policy, self.age);
                self.add(&content, decision).await?;
                for (digest, learned, _permit) in &content.learned {
                    let name = content.repository.name.as_str();
                    known.push(&contents.reader, (name, digest), learned).await?;
                }
            }
        }
        known.finish(&contents.reader).await?;
        let others = lock(&others).clone();
        self.totals.uploads = others.uploads;
        self.totals.strangers += others.strangers;
        self.totals.unreadable_manifests += others.unreadable;
        for key in others.first_unreadable {
            tracing::warn!(key, "this may be a manifest, and keeps its repository and all blobs");
            if self.totals.unreadable.len() < NAMED {
                self.totals.unreadable.push(key);
            }
        }
        Ok(())
    }

    async fn add(&mut self, content: &Content, decision: Decision) -> Result<(), SurveyError> {
        let Decision { manifests, candidates, is_whole } = decision;
        let (repository, totals) = (&content.repository, &mut self.totals);
        if self.repositories.len() <= repository.index as usize {
            self.repositories.push(RepositoryUsage {
                name: repository.name.clone(),
                tags: 0,
                manifests: 0,
                own: Sizes::default(),
                shared: Sizes::default(),
                is_kept_whole: false,
            });
            totals.repositories += 1;
        }
        let tags = repository.tags.values().filter(|links| links.current.is_some()).count() as u64;
        if let Some(usage) = self.repositories.last_mut() {
            totals.kept_whole += u64::from(is_whole && !usage.is_kept_whole);
            usage.is_kept_whole |= is_whole;
            usage.tags += tags;
            usage.manifests += manifests.len() as u64;
        }
        totals.tags += tags;
        totals.manifests += manifests.len() as u64;
        totals.unreadable_manifests += content.unreadable_manifests;
        totals.unreadable_tags += content.unreadable.len() as u64 - content.unreadable_manifests;
        for (key, cause) in &content.unreadable {
            tracing::warn!(repository = %repository.name, key, cause, "this cannot be read, and keeps its repository");
            if totals.unreadable.len() < NAMED {
                totals.unreadable.push(key.clone());
            }
        }
        self.manifests.extend(manifests);
        self.writer.add(&candidates).await?;
        Ok(())
    }
}
