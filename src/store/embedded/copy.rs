//! Copies inside a folder.
//!
//! An object's file never changes, so a copy of the whole object is a hard link, and Tigris' rename is a rename.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};

use s3s::dto::{self, CopySource, ETag, Timestamp};
use s3s::{S3Result, s3_error};
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::faults::internal;
use super::folder::{Folder, etag, matches};

impl Folder {
    pub(super) fn copy(&self, input: &dto::CopyObjectInput, rename: bool) -> S3Result<dto::CopyObjectOutput> {
        let (source_bucket, source) = source(&input.copy_source)?;
        let from = self.file(source_bucket, source)?;
        let to = self.file(&input.bucket, &input.key)?;
        let _lock = self.lock();
        let (_, found, attributes) = self.open_object(source_bucket, source)?;
        if from != to {
            let file = self.link(&from).map_err(internal)?;
            self.commit(file, &to, &input.key, &attributes).map_err(internal)?;
            if rename {
                self.delete_key(source).map_err(internal)?;
            }
        }
        Ok(dto::CopyObjectOutput {
            copy_object_result: Some(dto::CopyObjectResult {
                e_tag: Some(etag(&found)),
                last_modified: found.modified().ok().map(Timestamp::from),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// A hard link with a temporary name, or a copy where the file system has no links.
    fn link(&self, path: &std::path::Path) -> io::Result<NamedTempFile> {
        let linked = tempfile::Builder::new().make_in(self.tmp(), |name| {
            fs::hard_link(path, name)?;
            File::open(name)
        });
        linked.or_else(|_| {
            let mut copy = NamedTempFile::new_in(self.tmp())?;
            io::copy(&mut File::open(path)?, copy.as_file_mut())?;
            copy.as_file().sync_data()?;
            Ok(copy)
        })
    }

    pub(super) fn copy_part(&self, input: &dto::UploadPartCopyInput) -> S3Result<dto::UploadPartCopyOutput> {
        let (bucket, source) = source(&input.copy_source)?;
        let (mut file, found, _) = self.open_object(bucket, source)?;
        if input.copy_source_if_match.as_ref().is_some_and(|wanted| !matches(wanted, &etag(&found))) {
            return Err(s3_error!(PreconditionFailed));
        }
        let slice = match input.copy_source_range.as_deref() {
            None => 0..found.len(),
            Some(text) => dto::Range::parse(text)
                .map_err(|_| s3_error!(InvalidArgument, "not a range of bytes"))?
                .check(found.len())?,
        };
        let mut part = NamedTempFile::new_in(self.tmp()).map_err(internal)?;
        file.seek(SeekFrom::Start(slice.start)).map_err(internal)?;
        io::copy(&mut file.take(slice.end - slice.start), part.as_file_mut()).map_err(internal)?;
        let tag = Uuid::new_v4().simple().to_string();
        self.keep_part(&input.upload_id, input.part_number, &tag, part)?;
        Ok(dto::UploadPartCopyOutput {
            copy_part_result: Some(dto::CopyPartResult { e_tag: Some(ETag::Strong(tag)), ..Default::default() }),
            ..Default::default()
        })
    }
}

fn source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, .. } => Ok((bucket, key)),
        _ => Err(s3_error!(NotImplemented, "the source is not in a bucket")),
    }
}
