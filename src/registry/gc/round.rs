//! A round: the lease, the survey, what goes and why, the sweep of what is due, and what is condemned from now on.
//!
//! A round is in two steps, so that a caller can tell in between what the survey found. Dropped in between, or stopped,
//! it leaves what a later round goes on with.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::batches::DueBatch;
use super::collection::{GarbageCollection, Settings};
use super::facts::Candidate;
use super::figures::Figures;
use super::lease::{Acquired, Collector, CollectorError, CollectorOptions};
use super::policy::Policy;
use super::progress::RoundProgress;
use super::report::Report;
use super::requests::Pace;
use super::spared::Spared;
use super::survey::{Survey, SurveyError, SurveyOptions, survey};
use super::sweep::Swept;
use crate::registry::pulls::{PullHistory, delete_notes_before};
use crate::store::{Condition, Key, Store, StoreError};

/// How far the bucket's clock may be from what its last response said.
const MARGIN: Duration = Duration::from_mins(1);

/// How a round is done.
#[derive(Clone, Copy, Debug)]
pub struct RoundOptions {
    /// Nothing is written.
    pub dry_run: bool,
    /// The operator says that nothing else writes to the bucket.
    pub is_exclusive: bool,
    /// The most requests a second.
    pub rate: u32,
}

/// The outcome of [`GarbageCollection::begin`].
#[derive(Debug)]
pub enum Begun {
    /// The bucket was surveyed.
    Round(Box<Round>),
    /// Another process collects; it said so, so long ago.
    Busy(Duration),
    /// The registry is read-only, or the bucket lacks what a round needs; why, as a sentence.
    Refused(String),
    /// It was stopped.
    Stopped,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The bucket does not answer, or denies it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The survey failed.
    #[error("{0}")]
    Survey(String),
    /// The lease was lost, or the state in the bucket is none.
    #[error("{0}")]
    Collector(String),
    /// A temporary file.
    #[error("a temporary file cannot be read: {0}")]
    Candidates(#[from] io::Error),
}

impl From<CollectorError> for RoundError {
    fn from(error: CollectorError) -> Self {
        match error {
            CollectorError::Store(error) => Self::Store(error),
            CollectorError::Candidates(error) => Self::Candidates(error),
            error => Self::Collector(error.to_string()),
        }
    }
}

impl From<SurveyError> for RoundError {
    fn from(error: SurveyError) -> Self {
        Self::Survey(error.to_string())
    }
}

/// A round whose survey is done.
#[derive(Debug)]
pub struct Round {
    pub(super) store: Store,
    pub(super) surveyed: Surveyed,
    /// Not in a dry run.
    held: Option<(Collector, Vec<DueBatch>)>,
    /// Of what is read for an operator.
    pub(super) pace: Pace,
}

/// What a round knows.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) survey: Survey,
    /// `None`: no rule asks for it.
    pub(super) history: Option<PullHistory>,
    /// How far back a rule asks for pulls.
    oldest: Option<SystemTime>,
    /// When the pulls were read.
    began: SystemTime,
}

impl GarbageCollection {
    /// Takes the lease, unless it is a dry run, and surveys the bucket.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn begin(
        &self,
        options: RoundOptions,
        progress: &Arc<RoundProgress>,
        stop: &CancellationToken,
    ) -> Result<Begun, RoundError> {
        if self.settings.is_read_only && !options.dry_run {
            let why = "the registry is read-only (storage.maintenance.readonly.enabled), so nothing is deleted";
            return Ok(Begun::Refused(why.to_owned()));
        }
        // What this process has not noted yet counts, too.
        if !options.dry_run {
            self.pulls.write().await;
        }
        let held = if options.dry_run {
            None
        } else {
            let collector = self.collector_options(options.rate, options.is_exclusive);
            match Collector::acquire(&self.store, collector).await? {
                Acquired::Held(collector) => {
                    let due = collector.due().await?;
                    Some((collector, due))
                }
                Acquired::Busy(age) => return Ok(Begun::Busy(age)),
                Acquired::Refused(why) => return Ok(Begun::Refused(why)),
            }
        };
        let surveyed = stop.run_until_cancelled(self.survey(options, progress)).await;
        let Some(surveyed) = surveyed else {
            release(held).await;
            return Ok(Begun::Stopped);
        };
        match surveyed {
            Ok(surveyed) => {
                let (store, pace) = (self.store.clone(), Pace::new(options.rate));
                Ok(Begun::Round(Box::new(Round { store, surveyed, held, pace })))
            }
            Err(error) => {
                release(held).await;
                Err(error)
            }
        }
    }

    pub(super) const fn collector_options(&self, rate: u32, is_exclusive: bool) -> CollectorOptions {
        let Settings { timing, delay, .. } = &self.settings;
        CollectorOptions { timing: *timing, delay: *delay, rate, is_exclusive }
    }

    async fn survey(&self, options: RoundOptions, progress: &Arc<RoundProgress>) -> Result<Surveyed, RoundError> {
        // The first answer tells the bucket's clock.
        self.store.exists(Key::GcState).await?;
        let now = self.store.bucket_time();
        let retention = &self.settings.retention;
        let oldest = retention.history().map(|period| now.checked_sub(period).unwrap_or(SystemTime::UNIX_EPOCH));
        let history = match oldest {
            Some(oldest) => Some(PullHistory::read(&self.store, now, oldest).boxed().await?),
            None => None,
        };
        let policy = Policy::new(retention, history.as_ref(), now, progress);
        let survey_options = self.survey_options(options.rate, !options.dry_run);
        let survey = survey(&self.store, &policy, &survey_options).boxed().await?;
        Ok(Surveyed { survey, history, oldest, began: now })
    }

    pub(super) fn survey_options(&self, rate: u32, remembers: bool) -> SurveyOptions {
        let settings = &self.settings;
        SurveyOptions {
            delay: settings.delay,
            max_size: settings.max_size,
            directory: settings.directory.clone(),
            rate: rate.try_into().unwrap_or(std::num::NonZeroU32::MIN),
            remembers,
        }
    }

    /// Sweeps what is due and condemns what nothing needs now; in a dry run, only the report is made.
    ///
    /// # Errors
    /// See [`RoundError`]; the lease is released then, too.
    pub async fn finish(
        &self,
        round: Round,
        progress: &Arc<RoundProgress>,
        stop: &CancellationToken,
    ) -> Result<Report, RoundError> {
        let Round { surveyed: Surveyed { survey, history, oldest, began }, held, pace, .. } = round;
        let mut report = Report::new(&survey, held.is_none());
        report.add_requests(pace.requests());
        if let Some(skipped) = history.as_ref().map(PullHistory::skipped) {
            report.unreadable_notes = skipped.unreadable;
            report.strangers += skipped.foreign;
        }
        // It has up to 40 MiB.
        drop(history);
        let Some((collector, due)) = held else {
            return Ok(report);
        };
        let asks_pulls_since = oldest.map(|_| began);
        let worked = self.work(&collector, due, (&survey, asks_pulls_since), (progress, stop), &mut report).await;
        report.add_requests(collector.requests());
        let released = collector.release().await;
        worked?;
        released?;
        if report.stopped.is_none() {
            if let Some(oldest) = oldest
                && let Err(error) = delete_notes_before(&self.store, oldest).await
            {
                tracing::warn!(%error, "old records of pulls (pounce/pulled/) were not deleted");
            }
            Figures::write(&self.store, &survey).await;
            self.note_end(&report).await;
        }
        Ok(report)
    }

    /// Writes when the round ended, and what it did, so that no process begins another one before its time.
    pub(super) async fn note_end(&self, report: &Report) {
        let bytes = Bytes::from(serde_json::to_vec(report).unwrap_or_default());
        if let Err(error) = self.store.swap(Key::GcRound, bytes, Condition::Always).await {
            let message = "the end of a garbage collection is not noted in the bucket (pounce/gc/round), so that another \
                           process may begin one at once";
            tracing::warn!(%error, "{message}");
        }
    }

    /// What stays because it was pulled since `began`.
    async fn spared(&self, began: SystemTime, survey: &Survey) -> Result<Spared, RoundError> {
        // Of this process, too.
        self.pulls.write().await;
        // Times of objects are whole seconds, and `began` is an estimate of the bucket's clock.
        let since = began.checked_sub(MARGIN).unwrap_or(began);
        let pulls = PullHistory::read_newest(&self.store, since).await?;
        Ok(Spared::new(&pulls, &self.settings.retention, survey)?)
    }

    async fn work(
        &self,
        collector: &Collector,
        due: Vec<DueBatch>,
        (survey, asks_pulls_since): (&Survey, Option<SystemTime>),
        (progress, stop): (&Arc<RoundProgress>, &CancellationToken),
        report: &mut Report,
    ) -> Result<(), RoundError> {
        progress.sweeps();
        let mut swept = Swept::default();
        for batch in due {
            let spared = match asks_pulls_since {
                Some(since) => self.spared(since, survey).boxed().await?,
                None => Spared::default(),
            };
            let stays = |candidate: &io::Result<Candidate>| candidate.as_ref().is_ok_and(|it| spared.has(it));
            let candidates = survey.candidates().filter(|candidate| !stays(candidate));
            let went = |candidate: &Candidate| progress.went(candidate.size);
            collector.sweep(batch, candidates, stop, &mut swept, went).boxed().await?;
        }
        report.add_swept(swept);
        if stop.is_cancelled() {
            report.stopped.get_or_insert_with(|| "it was stopped".to_owned());
        }
        if report.stopped.is_none() {
            report.add_published(collector.publish(survey.candidates()).boxed().await?);
            collector.retire().await?;
        }
        Ok(())
    }
}

async fn release(held: Option<(Collector, Vec<DueBatch>)>) {
    if let Some((collector, _)) = held
        && let Err(error) = collector.release().await
    {
        // Another process takes it over after a while.
        tracing::debug!(%error, "the lease of garbage collection was not released");
    }
}
