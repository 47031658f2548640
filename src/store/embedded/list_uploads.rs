//! `ListParts` and `ListMultipartUploads` over a folder.

use std::fs;

use s3s::dto::{self, ETag, Timestamp};
use s3s::{S3Result, s3_error};

use super::faults::internal;
use super::folder::{Folder, is_missing};
use super::uploads::{INFO, UploadInfo, part_files};
use crate::store::lengths::signed;

/// The most entries of a page, S3's.
const MAX_PAGE: usize = 1000;

impl Folder {
    pub(super) fn parts_of(&self, input: dto::ListPartsInput) -> S3Result<dto::ListPartsOutput> {
        let directory = self.upload(&input.upload_id)?;
        let limit = page(input.max_parts);
        let after = input.part_number_marker.unwrap_or(0);
        let mut files = match part_files(&directory) {
            Ok(files) => files,
            Err(error) if is_missing(&error) => return Err(s3_error!(NoSuchUpload)),
            Err(error) => return Err(internal(error)),
        };
        files.retain(|(number, _, _)| *number > after);
        files.sort_unstable();
        let truncated = files.len() > limit;
        files.truncate(limit);
        let mut parts = Vec::with_capacity(files.len());
        for (number, tag, path) in files {
            let found = match fs::metadata(path) {
                Ok(found) => found,
                // Replaced or joined since the directory was read.
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(internal(error)),
            };
            parts.push(dto::Part {
                part_number: Some(number),
                e_tag: Some(ETag::Strong(tag)),
                size: Some(signed(found.len())),
                last_modified: found.modified().ok().map(Timestamp::from),
                ..Default::default()
            });
        }
        Ok(dto::ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(truncated),
            max_parts: i32::try_from(limit).ok(),
            part_number_marker: Some(after),
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            parts: Some(parts),
            ..Default::default()
        })
    }

    pub(super) fn list_uploads(
        &self,
        input: dto::ListMultipartUploadsInput,
    ) -> S3Result<dto::ListMultipartUploadsOutput> {
        let prefix = input.prefix.clone().unwrap_or_default();
        let limit = page(input.max_uploads);
        let after = (input.key_marker.clone().unwrap_or_default(), input.upload_id_marker.clone().unwrap_or_default());
        let mut found = Vec::new();
        for entry in fs::read_dir(self.uploads()).map_err(internal)? {
            let directory = entry.map_err(internal)?.path();
            let id = directory.file_name().and_then(|name| name.to_str());
            // An upload that is just ending is not listed.
            let (Some(id), Ok(info), Ok(at)) = (id, UploadInfo::read(&directory), fs::metadata(directory.join(INFO)))
            else {
                continue;
            };
            let marker = (info.key, id.to_owned());
            // With a key marker alone, S3 goes on behind all uploads of that key.
            let behind = marker > after && (!after.1.is_empty() || marker.0 != after.0);
            if marker.0.starts_with(&prefix) && (behind || after.0.is_empty()) {
                found.push((marker, at.modified().ok()));
            }
        }
        found.sort_unstable();
        let truncated = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|(marker, _)| marker.clone());
        let (next_key, next_id) = last.filter(|_| truncated).unzip();
        let uploads = found.into_iter().map(|((key, id), begun)| dto::MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: begun.map(Timestamp::from),
            ..Default::default()
        });
        Ok(dto::ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            is_truncated: Some(truncated),
            max_uploads: i32::try_from(limit).ok(),
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            next_key_marker: next_key,
            next_upload_id_marker: next_id,
            prefix: input.prefix,
            uploads: Some(uploads.collect()),
            ..Default::default()
        })
    }
}

fn page(asked: Option<i32>) -> usize {
    asked.and_then(|asked| usize::try_from(asked).ok()).unwrap_or(MAX_PAGE).min(MAX_PAGE)
}
