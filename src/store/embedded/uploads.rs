//! Multipart uploads in a folder.
//!
//! An upload is a directory with [`INFO`] and a file for each part, `<number>.<etag>`. A part's `ETag` is random, so
//! two parts that race for one number are told apart, and an upload can only be completed with the very bytes that its
//! caller was told about.
//!
//! Unlike in an S3, joining the parts consumes them: if it fails, or the process is killed meanwhile, the upload is
//! gone, and the client starts over. No blob was acknowledged by then.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use s3s::dto::{self, ETag};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::faults::internal;
use super::folder::{Attributes, Folder, etag, is_missing};

/// S3's least size of a part that is not the last, in bytes.
const MIN_PART: u64 = 5 << 20;

/// The file in an upload's directory with its [`UploadInfo`].
pub(super) const INFO: &str = "upload.json";

/// The object that an upload will become.
#[derive(Serialize, Deserialize)]
pub(super) struct UploadInfo {
    pub(super) key: String,
    attributes: Attributes,
}

impl UploadInfo {
    pub(super) fn read(directory: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(directory.join(INFO))?)?)
    }
}

impl Folder {
    /// The directory of an upload that is under way.
    pub(super) fn upload(&self, id: &str) -> S3Result<PathBuf> {
        let id = Uuid::parse_str(id).map_err(|_| s3_error!(NoSuchUpload))?;
        let directory = self.uploads().join(id.to_string());
        if directory.is_dir() { Ok(directory) } else { Err(s3_error!(NoSuchUpload)) }
    }

    pub(super) fn begin_upload(
        &self,
        input: dto::CreateMultipartUploadInput,
    ) -> S3Result<dto::CreateMultipartUploadOutput> {
        self.file(&input.bucket, &input.key)?;
        let id = Uuid::new_v4().to_string();
        let info = UploadInfo {
            key: input.key.clone(),
            attributes: Attributes { content_type: input.content_type, metadata: input.metadata },
        };
        let info = serde_json::to_vec(&info).map_err(|error| internal(error.into()))?;
        // A process that is killed leaves it whole, or not at all.
        let joining = self.joining().join(&id);
        fs::create_dir(&joining).map_err(internal)?;
        fs::write(joining.join(INFO), info).map_err(internal)?;
        fs::rename(joining, self.uploads().join(&id)).map_err(internal)?;
        Ok(dto::CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        })
    }

    pub(super) async fn receive_part(&self, input: dto::UploadPartInput) -> S3Result<dto::UploadPartOutput> {
        self.upload(&input.upload_id)?;
        let file = self.receive(input.body).await?;
        let tag = Uuid::new_v4().simple().to_string();
        let (folder, kept) = (self.clone(), tag.clone());
        self.blocking(move || folder.keep_part(&input.upload_id, input.part_number, &kept, file)).await?;
        Ok(dto::UploadPartOutput { e_tag: Some(ETag::Strong(tag)), ..Default::default() })
    }

    /// Takes a finished file for a part; an earlier one of the same number is gone then.
    pub(super) fn keep_part(&self, upload: &str, number: i32, tag: &str, file: NamedTempFile) -> S3Result<()> {
        let _lock = self.lock();
        let directory = self.upload(upload)?;
        let earlier = part_files(&directory).map_err(internal)?;
        match file.persist(directory.join(format!("{number}.{tag}"))) {
            Ok(_) => {}
            // Aborted while the part was on its way.
            Err(error) if is_missing(&error.error) => return Err(s3_error!(NoSuchUpload)),
            Err(error) => return Err(internal(error.error)),
        }
        for (_, _, path) in earlier.iter().filter(|part| part.0 == number) {
            fs::remove_file(path).map_err(internal)?;
        }
        Ok(())
    }

    pub(super) fn complete_upload(
        &self,
        input: dto::CompleteMultipartUploadInput,
    ) -> S3Result<dto::CompleteMultipartUploadOutput> {
        let path = self.file(&input.bucket, &input.key)?;
        let listed = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let aside = self.joining().join(Uuid::new_v4().to_string());
        // Joining takes a while and consumes the parts, so other requests no longer find the upload from here on.
        let (parts, info) = {
            let _lock = self.lock();
            let directory = self.upload(&input.upload_id)?;
            let parts = self::parts(&directory, &listed)?;
            let info = UploadInfo::read(&directory).map_err(internal)?;
            if info.key != input.key {
                return Err(s3_error!(NoSuchUpload));
            }
            fs::rename(directory, &aside).map_err(internal)?;
            (parts, info)
        };
        let parts = parts.iter().filter_map(|part| part.file_name());
        let joined = self.join(&parts.map(|part| aside.join(part)).collect::<Vec<_>>());
        let committed = joined.and_then(|file| {
            let tag = etag(&file.as_file().metadata()?);
            let _lock = self.lock();
            self.commit(file, &path, &input.key, &info.attributes)?;
            Ok(tag)
        });
        fs::remove_dir_all(aside).map_err(internal)?;
        let tag = committed.map_err(internal)?;
        Ok(dto::CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(tag),
            ..Default::default()
        })
    }

    /// Makes one file of the parts. The first one grows, so its bytes are not copied; where the file system can share
    /// blocks between files, neither are the others'.
    fn join(&self, parts: &[PathBuf]) -> io::Result<NamedTempFile> {
        let mut whole = NamedTempFile::new_in(self.tmp())?;
        if let [first, rest @ ..] = parts {
            fs::rename(first, whole.path())?;
            *whole.as_file_mut() = OpenOptions::new().read(true).write(true).open(whole.path())?;
            io::Seek::seek(whole.as_file_mut(), io::SeekFrom::End(0))?;
            for part in rest {
                io::copy(&mut fs::File::open(part)?, whole.as_file_mut())?;
                fs::remove_file(part)?;
            }
        }
        whole.as_file().sync_data()?;
        Ok(whole)
    }

    pub(super) fn abort_upload(&self, id: &str) -> S3Result<dto::AbortMultipartUploadOutput> {
        let _lock = self.lock();
        // A process that is killed here leaves nothing that looks like an upload.
        let joining = self.joining().join(Uuid::new_v4().to_string());
        fs::rename(self.upload(id)?, &joining).map_err(internal)?;
        fs::remove_dir_all(joining).map_err(internal)?;
        Ok(dto::AbortMultipartUploadOutput::default())
    }
}

/// Removes uploads without a readable [`INFO`], which can be neither continued nor swept: the machine lost power, or a
/// process of an earlier version was killed, when it was written.
pub(super) fn remove_broken(folder: &Folder) -> io::Result<()> {
    for upload in fs::read_dir(folder.uploads())? {
        let upload = upload?;
        if !upload.file_type()?.is_dir() {
            continue;
        }
        let directory = upload.path();
        let info = match fs::read(directory.join(INFO)) {
            Err(error) if !is_missing(&error) => return Err(error),
            info => info.unwrap_or_default(),
        };
        if serde_json::from_slice::<UploadInfo>(&info).is_err() {
            fs::remove_dir_all(directory)?;
        }
    }
    Ok(())
}

/// The parts that an upload has: number, `ETag` and file, in no order.
pub(super) fn part_files(directory: &Path) -> io::Result<Vec<(i32, String, PathBuf)>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let part = name.and_then(|name| {
            let (number, tag) = name.split_once('.')?;
            Some((number.parse().ok()?, tag.to_owned(), path.clone()))
        });
        parts.extend(part);
    }
    Ok(parts)
}

/// The files of the listed parts, all of which must be there and, but for the last, large enough.
fn parts(directory: &Path, listed: &[dto::CompletedPart]) -> S3Result<Vec<PathBuf>> {
    let mut files = Vec::with_capacity(listed.len());
    let mut previous = 0;
    for (index, part) in listed.iter().enumerate() {
        let number = part.part_number.ok_or_else(|| s3_error!(InvalidPart))?;
        if number <= previous {
            return Err(s3_error!(InvalidPartOrder));
        }
        previous = number;
        let tag = part.e_tag.as_ref().map(ETag::value).unwrap_or_default();
        // An ETag is hex, so the name cannot lead elsewhere.
        if tag.is_empty() || !tag.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(s3_error!(InvalidPart));
        }
        let file = directory.join(format!("{number}.{tag}"));
        let size = fs::metadata(&file).map_err(|_| s3_error!(InvalidPart))?.len();
        if size < MIN_PART && index + 1 < listed.len() {
            return Err(s3_error!(EntityTooSmall));
        }
        files.push(file);
    }
    if files.is_empty() { Err(s3_error!(InvalidPart)) } else { Ok(files) }
}
