//! Listing the bucket below a directory key.

use std::collections::BTreeSet;
use std::time::SystemTime;

use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use super::handle::Store;
use super::read::system_time;
use crate::store::error::{StoreError, failure};
use crate::store::key::Key;
use crate::store::lengths::unsigned;

/// The memory that a name takes in a list besides its text, roughly, in bytes.
const NAME_OVERHEAD: usize = 64;

/// An object below a directory key.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its path, relative to the directory.
    pub path: String,
    /// When it was written.
    pub modified: Option<SystemTime>,
    /// How many bytes it has.
    pub size: u64,
    /// Differs from that of any other content under the same key; as the bucket spells it.
    pub etag: Option<String>,
}

impl Store {
    /// The names directly below a directory key, in order; not many more than `limit` of them.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn children(&self, directory: Key<'_>, limit: usize) -> Result<BTreeSet<String>, StoreError> {
        self.children_within(directory, limit, &|_| true).await
    }

    /// [`children`](Self::children), as long as `take` allows so many bytes more for each page.
    ///
    /// # Errors
    /// As [`children`](Self::children); `Unavailable` also where `take` refuses.
    pub async fn children_within(
        &self,
        directory: Key<'_>,
        limit: usize,
        take: &(dyn Fn(usize) -> bool + Sync),
    ) -> Result<BTreeSet<String>, StoreError> {
        let prefix = self.path(&directory);
        let mut names = BTreeSet::new();
        let mut next: Option<String> = None;
        loop {
            let token = next.take();
            let request = self
                .inner
                .client
                .list_objects_v2()
                .bucket(&self.inner.bucket)
                .prefix(&prefix)
                .delimiter("/")
                .set_continuation_token(token.clone());
            let page = Box::pin(request.send()).await.map_err(|error| failure("ListObjectsV2", &error))?;
            let prefixes = page.common_prefixes().iter();
            let bytes =
                prefixes.filter_map(|common| Some(common.prefix()?.len().saturating_sub(prefix.len()) + NAME_OVERHEAD));
            if !take(bytes.sum()) {
                return Err(StoreError::Unavailable {
                    operation: "ListObjectsV2",
                    cause: "there is no memory for so long a list".to_owned(),
                });
            }
            for common in page.common_prefixes() {
                let name = common.prefix().and_then(|path| path.strip_prefix(&prefix));
                names.extend(name.map(|name| name.trim_end_matches('/').to_owned()));
            }
            // Some stores end with an empty token, or repeat the last one.
            next = page.next_continuation_token.filter(|next| !next.is_empty() && token.as_ref() != Some(next));
            if names.len() >= limit || next.is_none() {
                return Ok(names);
            }
        }
    }

    fn list_below(&self, prefix: &str, after: Option<&str>, limit: i32) -> ListObjectsV2FluentBuilder {
        let request = self.inner.client.list_objects_v2().bucket(&self.inner.bucket).prefix(prefix);
        let request = request.set_start_after(after.map(|path| format!("{prefix}{path}")));
        // XML has no control characters. A key that is not as it is would make the next page begin elsewhere.
        request.encoding_type(EncodingType::Url).max_keys(limit)
    }

    /// What is below a directory key, relative to it and in order: paths, and of those that have `delimiter` only the part
    /// up to it, once. Those after `after`; at most `limit`, which is at most 1,000; and whether there are more. A store
    /// that knows no such delimiter refuses it, or lists the whole paths.
    ///
    /// # Errors
    /// The bucket did not answer, or refuses the delimiter.
    pub async fn grouped(
        &self,
        directory: Key<'_>,
        delimiter: Option<&str>,
        after: Option<&str>,
        limit: i32,
    ) -> Result<(Vec<String>, bool), StoreError> {
        let prefix = self.path(&directory);
        let request = self.list_below(&prefix, after, limit).set_delimiter(delimiter.map(str::to_owned));
        let page = Box::pin(request.send()).await.map_err(|error| failure("ListObjectsV2", &error))?;
        let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
        let keys = page.contents().iter().filter_map(|object| object.key());
        let groups = page.common_prefixes().iter().filter_map(|common| common.prefix());
        let paths = keys.chain(groups).filter_map(|key| {
            let key = if is_encoded { decode(key) } else { key.to_owned() };
            key.strip_prefix(&prefix).map(str::to_owned)
        });
        let mut paths: Vec<String> = paths.collect();
        paths.sort_unstable();
        Ok((paths, page.is_truncated() == Some(true)))
    }

    /// The objects below a directory key, in the order of their paths, after `after`; at most `limit`, which is at most
    /// 1,000; and whether there are more.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn objects(
        &self,
        directory: Key<'_>,
        after: Option<&str>,
        limit: i32,
    ) -> Result<(Vec<Listed>, bool), StoreError> {
        let prefix = self.path(&directory);
        let request = self.list_below(&prefix, after, limit);
        let page = Box::pin(request.send()).await.map_err(|error| failure("ListObjectsV2", &error))?;
        let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
        let listed = page.contents().iter().filter_map(|object| {
            let key = object.key()?;
            let key = if is_encoded { decode(key) } else { key.to_owned() };
            let path = key.strip_prefix(&prefix)?.to_owned();
            Some(Listed {
                path,
                modified: system_time(object.last_modified()),
                size: unsigned(object.size()),
                etag: object.e_tag().map(str::to_owned),
            })
        });
        Ok((listed.collect(), page.is_truncated() == Some(true)))
    }
}

/// A key of a list, which is encoded as in a form.
fn decode(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}
