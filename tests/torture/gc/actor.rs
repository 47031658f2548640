//! A client of the replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{CLIENTS, DEADLINE, PATIENCE};
use crate::support::Image;
use crate::support::dice::Dice;
use crate::support::image::{OCI_INDEX, digest};
use crate::support::trace::Trace;
use crate::torture::client::{Client, Outcome, Trouble, Way};
use crate::torture::puller::Addresses;
use crate::torture::report::Row;

/// How long some clients wait for a delete before they try another replica.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// A client with a repository of its own, so that it knows what its tags name; blobs are every repository's.
pub(super) struct Actor {
    pub(super) name: String,
    replicas: Addresses,
    images: Arc<Vec<Image>>,
    pub(super) known: Mutex<Known>,
    pub(super) stop: AtomicBool,
    dice: Dice,
    trace: Arc<Trace>,
}

/// What a client knows of its repository.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// The digests that were acknowledged, by tag.
    pub(super) tags: BTreeMap<String, String>,
    /// The manifests that were deleted since their last push: an index that names one has it no longer.
    pub(super) deleted: BTreeSet<String>,
    /// The digests that were pushed under a tag, and deleted at the same time, both acknowledged: if the manifest is
    /// there, its tag is, too.
    pub(super) raced: BTreeMap<String, String>,
}

impl Actor {
    pub(super) fn new(
        name: String,
        replicas: &Addresses,
        images: &Arc<Vec<Image>>,
        dice: Dice,
        trace: &Arc<Trace>,
    ) -> Self {
        let (replicas, images, trace) = (Arc::clone(replicas), Arc::clone(images), Arc::clone(trace));
        Self { name, replicas, images, known: Mutex::default(), stop: AtomicBool::default(), dice, trace }
    }

    pub(super) async fn act(self: Arc<Self>) -> Row {
        let mut row = Row::new("");
        while !self.stop.load(Ordering::SeqCst) {
            sleep(self.dice.up_to(Duration::from_millis(150))).await;
            let tag = format!("t{}", self.dice.below(4));
            let (what, outcome) = match self.dice.below(12) {
                0..4 => (format!("push of {}:{tag}", self.name), self.within(self.push_image(&tag)).await),
                4 => (format!("push of the index {}:{tag}", self.name), self.within(self.push_index(&tag)).await),
                5..9 => (format!("delete of {}:{tag}", self.name), self.within(self.delete(&tag)).await),
                9 => (format!("pull of {}:{tag}", self.name), self.within(self.read(&tag)).await),
                _ => (
                    format!("delete and push of {}:{tag}", self.name),
                    self.within(Box::pin(self.delete_and_push(&tag))).await,
                ),
            };
            row.count_refusable(&what, outcome);
        }
        row
    }

    async fn within(&self, operation: impl Future<Output = Outcome>) -> Outcome {
        let ended = timeout(DEADLINE, operation).await;
        ended.unwrap_or_else(|_| Err(Trouble::Broken(format!("it did not end within {DEADLINE:?}"))))
    }

    /// The client of one of the replicas, and its number.
    fn client(&self) -> (Client, usize) {
        let replicas = self.replicas.lock().unwrap();
        let number = self.dice.index(replicas.len());
        (Client::of(&replicas[number], PATIENCE), number)
    }

    /// Notes an attempt, its end too.
    async fn note<T>(&self, what: String, attempt: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let what = format!("client of {}: {what}", self.name);
        self.trace.note(format!("{what} …"));
        let ended = attempt.await;
        let outcome = ended.as_ref().map_or_else(|trouble| format!("{trouble:?}"), |_| "done".to_owned());
        self.trace.note(format!("{what}: {outcome}"));
        ended
    }

    /// Pushes the image as docker does: only what is not there. What is not there any more when its manifest comes is
    /// pushed again.
    async fn store(&self, reference: &str, image: &Image) -> Outcome {
        let mut last = Trouble::Broken("it was never tried".to_owned());
        for attempt in 0..40 {
            match self.try_to_store(reference, image).await {
                Err(trouble) if !is_final(&trouble) => last = trouble,
                other => return other,
            }
            sleep(Duration::from_millis(100) * (attempt.min(10) + 1)).await;
        }
        Err(last)
    }

    async fn try_to_store(&self, reference: &str, image: &Image) -> Outcome {
        let (client, replica) = self.client();
        for blob in &image.blobs {
            let wanted = digest(blob);
            if client.has_blob(&self.name, &wanted).await? {
                continue;
            }
            let from = format!("tortured/by-{}", self.dice.below(CLIENTS as u64));
            if from != self.name && self.dice.percent(50) && client.mount(&self.name, &wanted, &from).await? {
                continue;
            }
            client.push_blob(&self.name, blob, *self.dice.of(&Way::ALL)).await?;
        }
        // A slow client, whose blobs are condemned meanwhile.
        if self.dice.percent(20) {
            sleep(self.dice.up_to(Duration::from_secs(6))).await;
        }
        let what = format!("push of {} as {reference} at {replica}", image.digest());
        self.note(what, client.push_manifest(&self.name, reference, image)).await?;
        let known = &mut *self.known.lock().unwrap();
        known.deleted.remove(&image.digest());
        known.raced.retain(|_, raced| *raced != image.digest());
        Ok(())
    }

    async fn push_image(&self, tag: &str) -> Outcome {
        let image = self.dice.of(&self.images);
        self.forget_tag(tag);
        self.store(tag, image).await?;
        self.acknowledge(tag, image);
        Ok(())
    }

    /// From now on, the tag may name either.
    fn forget_tag(&self, tag: &str) {
        let known = &mut *self.known.lock().unwrap();
        known.tags.remove(tag);
        known.raced.remove(tag);
    }

    fn acknowledge(&self, tag: &str, image: &Image) {
        self.known.lock().unwrap().tags.insert(tag.to_owned(), image.digest());
    }

    async fn push_index(&self, tag: &str) -> Outcome {
        let images = [self.dice.of(&self.images), self.dice.of(&self.images)];
        let entry = |image: &&Image| json!({"mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len()});
        let entries: Vec<_> = images.iter().map(entry).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
        let index = Image { manifest: Bytes::from(manifest), media_type: OCI_INDEX.to_owned(), blobs: Vec::new() };
        self.forget_tag(tag);
        let mut last = Ok(());
        for _ in 0..10 {
            for image in images {
                self.store(&image.digest(), image).await?;
            }
            last = self.store(tag, &index).await;
            if last.is_ok() {
                self.acknowledge(tag, &index);
                break;
            }
        }
        last
    }

    /// Deletes what a tag names, with all tags that name it.
    async fn delete(&self, tag: &str) -> Outcome {
        match self.forget(tag) {
            Some(digest) => self.delete_manifest(&digest).await,
            None => Ok(()),
        }
    }

    /// Deletes what a tag names, and pushes it under the tag at the same time: either may be the last.
    async fn delete_and_push(&self, tag: &str) -> Outcome {
        let named = self.known.lock().unwrap().tags.get(tag).cloned();
        // Not an index.
        let Some(image) = self.images.iter().find(|image| Some(image.digest()) == named) else {
            return Ok(());
        };
        let digest = image.digest();
        self.forget(tag);
        let push = async {
            sleep(self.dice.up_to(Duration::from_millis(100))).await;
            self.store(tag, image).await
        };
        let (deleted, pushed) = tokio::join!(self.delete_manifest(&digest), push);
        let known = &mut *self.known.lock().unwrap();
        known.deleted.insert(digest.clone());
        if deleted.is_ok() && pushed.is_ok() {
            known.raced.insert(tag.to_owned(), digest);
        }
        deleted.and(pushed)
    }

    /// What a tag names may be gone from now on, with all tags that name it.
    fn forget(&self, tag: &str) -> Option<String> {
        let known = &mut *self.known.lock().unwrap();
        let digest = known.tags.get(tag).cloned()?;
        known.tags.retain(|_, named| *named != digest);
        known.raced.retain(|_, named| *named != digest);
        known.deleted.insert(digest.clone());
        Some(digest)
    }

    async fn delete_manifest(&self, digest: &str) -> Outcome {
        let mut last = Ok(());
        for attempt in 0..20 {
            last = match self.try_to_delete(digest).await {
                // An earlier attempt did it.
                Err(trouble) if trouble.is_absence() => Ok(()),
                other => other,
            };
            match &last {
                Err(trouble) if !is_final(trouble) => sleep(Duration::from_millis(100) * (attempt + 1)).await,
                _ => break,
            }
        }
        last
    }

    /// Some clients do not wait for a replica that is paused, and go on at another one. They wait for the end of the
    /// first attempt before they push again: a replica that reads the request only when it goes on begins a delete then,
    /// and no registry can tell that from one that a client wants now.
    async fn try_to_delete(&self, digest: &str) -> Outcome {
        let attempt = || async {
            let (client, replica) = self.client();
            self.note(format!("delete of {digest} at {replica}"), client.delete(&self.name, digest)).await
        };
        let mut first = pin!(attempt());
        if self.dice.percent(70) {
            return first.await;
        }
        match timeout(IMPATIENCE, &mut first).await {
            Ok(ended) => ended,
            Err(_) => tokio::join!(first, attempt()).1,
        }
    }

    /// Caches may be of before a delete or a push elsewhere, so that only wrong bytes count.
    async fn read(&self, tag: &str) -> Outcome {
        match pull(&self.client().0, &self.name, tag, &BTreeSet::new()).await {
            Err(trouble) if trouble.is_wrong() => Err(trouble),
            _ => Ok(()),
        }
    }
}

/// Whether to try again would not help.
fn is_final(trouble: &Trouble) -> bool {
    match trouble {
        // A replica died, or asks to come again, or the content went meanwhile.
        Trouble::Broken(_) | Trouble::Refused(404 | 429 | 500..=599, _) => false,
        Trouble::Refused(400, code) => code != "MANIFEST_BLOB_UNKNOWN",
        _ => true,
    }
}

/// A manifest by its tag, and everything that it names, but for the entries of an index that were deleted.
pub(super) async fn pull(client: &Client, name: &str, tag: &str, deleted: &BTreeSet<String>) -> Outcome<Bytes> {
    let manifest = client.manifest(name, tag).await?;
    let parsed: Value = serde_json::from_slice(&manifest).map_err(|error| Trouble::Wrong(error.to_string()))?;
    let Some(entries) = parsed["manifests"].as_array() else {
        return client.pull(name, tag).await;
    };
    let entries = entries.iter().map(|entry| entry["digest"].as_str().unwrap_or_default());
    for entry in entries.filter(|entry| !deleted.contains(*entry)) {
        client.pull(name, entry).await?;
    }
    Ok(manifest)
}
