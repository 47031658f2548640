//! Deleting objects of a folder.

use std::fs;
use std::io;

use s3s::S3Result;

use super::faults::internal;
use super::folder::{Folder, is_missing, parent};

impl Folder {
    /// Deletes objects. The caller holds the [`lock`](Self::lock).
    pub(super) fn delete_keys(&self, bucket: &str, keys: &[String]) -> S3Result<()> {
        for key in keys {
            self.file(bucket, key)?;
            self.delete_key(key).map_err(internal)?;
        }
        Ok(())
    }

    /// Deletes an object with its attributes, and the directories that it leaves empty. One that is not there is fine.
    /// The caller holds the [`lock`](Self::lock), so that nothing is written into such a directory.
    pub(super) fn delete_key(&self, key: &str) -> io::Result<()> {
        let path = self.root().join(key);
        let found = match fs::metadata(&path) {
            Ok(found) if found.is_file() => found,
            Ok(_) => return Ok(()),
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        fs::remove_file(&path)?;
        self.remove_attributes(key, &found)?;
        let mut directory = parent(&path);
        // Fails at the first one that is not empty.
        while directory != self.root() && fs::remove_dir(directory).is_ok() {
            directory = parent(directory);
        }
        Ok(())
    }
}
