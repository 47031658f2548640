//! `ListObjectsV2`, and its first version, over a folder: keys in order, a page at a time.

use std::fs;
use std::path::{Component, Path};

use s3s::dto;
use s3s::{S3Result, s3_error};

use super::faults::internal;
use super::folder::{Folder, STATE, etag, is_missing};
use crate::store::lengths::signed;

/// An entry of a listing.
enum Entry {
    Object(Box<dto::Object>),
    Prefix(String),
}

/// A page that is being collected.
struct Page<'a> {
    prefix: &'a str,
    /// Keys at or before it are left out.
    after: &'a str,
    /// Keys that have it are grouped by what is before it.
    delimiter: Option<&'a str>,
    limit: usize,
    entries: Vec<Entry>,
}

impl Folder {
    /// The first version of the operation, which distribution still uses.
    pub(super) fn list_v1(&self, input: dto::ListObjectsInput) -> S3Result<dto::ListObjectsOutput> {
        let page = self.list(dto::ListObjectsV2Input {
            bucket: input.bucket,
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.marker.clone(),
            max_keys: input.max_keys,
            ..Default::default()
        })?;
        Ok(dto::ListObjectsOutput {
            name: page.name,
            prefix: page.prefix,
            delimiter: page.delimiter,
            max_keys: page.max_keys,
            marker: input.marker,
            next_marker: page.next_continuation_token,
            is_truncated: page.is_truncated,
            contents: page.contents,
            common_prefixes: page.common_prefixes,
            ..Default::default()
        })
    }

    pub(super) fn list(&self, input: dto::ListObjectsV2Input) -> S3Result<dto::ListObjectsV2Output> {
        let delimiter = input.delimiter.clone();
        let delimiter = match delimiter.as_deref() {
            None | Some("") => None,
            // By directories, and by those above the first one whose name begins with an underscore: repositories.
            delimiter @ Some("/" | "/_") => delimiter,
            Some(_) => return Err(s3_error!(NotImplemented, "the only delimiters are / and /_")),
        };
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or_else(|| input.start_after.clone()).unwrap_or_default();
        let limit = input.max_keys.and_then(|keys| usize::try_from(keys).ok()).unwrap_or(1000).min(1000);
        if Path::new(directory_of(&prefix)).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(s3_error!(InvalidArgument, "not a prefix that this server has"));
        }
        let mut page = Page { prefix: &prefix, after: &after, delimiter, limit: limit + 1, entries: Vec::new() };
        let directory = directory_of(&prefix);
        page.walk(&self.root().join(directory), directory)?;

        let mut entries = page.entries;
        let truncated = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| truncated).map(|entry| match entry {
            Entry::Object(object) => object.key.clone().unwrap_or_default(),
            Entry::Prefix(prefix) => prefix.clone(),
        });
        let mut output = dto::ListObjectsV2Output {
            key_count: i32::try_from(entries.len()).ok(),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(truncated),
            next_continuation_token: next,
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            ..Default::default()
        };
        let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Object(object) => contents.push(*object),
                Entry::Prefix(prefix) => prefixes.push(dto::CommonPrefix { prefix: Some(prefix) }),
            }
        }
        output.contents = Some(contents);
        output.common_prefixes = Some(prefixes);
        Ok(output)
    }
}

impl Page<'_> {
    /// Adds what is below a directory, whose key is empty or ends in a slash.
    fn walk(&mut self, directory: &Path, key: &str) -> S3Result<()> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(internal(error)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let entry = entry.map_err(internal)?;
            let is_directory = entry.file_type().map_err(internal)?.is_dir();
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if key.is_empty() && name == STATE {
                continue;
            }
            // With its slash a directory sorts where its objects do.
            keys.push((format!("{key}{name}{}", if is_directory { "/" } else { "" }), entry.path()));
        }
        keys.sort_unstable();
        for (key, path) in keys {
            if self.entries.len() >= self.limit {
                break;
            }
            // Before the page, or not below the prefix.
            let is_before = *key <= *self.after && !self.after.starts_with(&key);
            let is_related = key.starts_with(self.prefix) || self.prefix.starts_with(&key);
            if is_before || !is_related {
                continue;
            }
            if let Some(group) = self.group(&key) {
                let is_known = matches!(self.entries.last(), Some(Entry::Prefix(last)) if *last == group);
                if *group > *self.after && !is_known && (!key.ends_with('/') || holds_a_file(&path)?) {
                    self.entries.push(Entry::Prefix(group));
                }
            } else if !key.ends_with('/') {
                if *key > *self.after && key.starts_with(self.prefix) {
                    self.add(key, &path)?;
                }
            } else {
                self.walk(&path, &key)?;
            }
        }
        Ok(())
    }

    /// The common prefix that a key belongs to.
    fn group(&self, key: &str) -> Option<String> {
        let delimiter = self.delimiter?;
        let at = key.strip_prefix(self.prefix)?.find(delimiter)?;
        Some(key[..self.prefix.len() + at + delimiter.len()].to_owned())
    }

    fn add(&mut self, key: String, path: &Path) -> S3Result<()> {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            // Deleted since the directory was read.
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(internal(error)),
        };
        self.entries.push(Entry::Object(Box::new(dto::Object {
            key: Some(key),
            size: Some(signed(found.len())),
            e_tag: Some(etag(&found)),
            last_modified: found.modified().ok().map(dto::Timestamp::from),
            ..Default::default()
        })));
        Ok(())
    }
}

/// The part of a prefix that names a directory: empty, or ending in a slash.
fn directory_of(prefix: &str) -> &str {
    prefix.rfind('/').map_or("", |slash| &prefix[..=slash])
}

/// Whether a directory is a prefix: a bucket has no empty directories.
fn holds_a_file(directory: &Path) -> S3Result<bool> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(false),
        Err(error) => return Err(internal(error)),
    };
    for entry in entries {
        let entry = entry.map_err(internal)?;
        if !entry.file_type().map_err(internal)?.is_dir() || holds_a_file(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}
