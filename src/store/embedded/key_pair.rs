//! The server's key pair.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use aws_sdk_s3::config::Credentials;
use serde::{Deserialize, Serialize};

/// Made at random at the first start, and kept beside the blobs, so that presigned URLs outlive a restart.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeyPair {
    pub(super) accesskey: String,
    pub(super) secretkey: String,
}

impl KeyPair {
    /// Reads the key pair in this file, or makes one.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    pub(super) fn credentials(&self) -> Credentials {
        Credentials::new(&self.accesskey, &self.secretkey, None, None, "embedded")
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let keys = Self {
            accesskey: format!("pounce_{}", const_hex::encode(&random[..8])),
            secretkey: const_hex::encode(&random[8..]),
        };
        // A temporary file is readable by its owner only, and appears under its name when it is whole.
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(&keys)?)?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(keys),
            // Another process was first.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(error) => Err(error.error),
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
