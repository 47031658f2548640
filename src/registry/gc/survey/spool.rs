//! Records that are too many for memory: they wait in memory up to a limit, and beyond it in unlinked temporary files,
//! which are gone when the process is.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tokio::sync::Mutex;

/// Bytes that are appended to one of several parts, and read again part by part.
#[derive(Debug)]
pub(super) struct Spool {
    /// Where the files are made; `None`: where the system has its temporary files.
    directory: Option<PathBuf>,
    /// How many bytes stay in memory, of all parts together.
    limit: usize,
    buffered: usize,
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    buffer: Vec<u8>,
    /// What came before it.
    file: Option<File>,
    /// How many bytes there are in all.
    len: u64,
}

impl Spool {
    pub(super) fn new(parts: usize, limit: usize, directory: Option<PathBuf>) -> Self {
        Self { directory, limit, buffered: 0, parts: (0..parts).map(|_| Part::default()).collect() }
    }

    pub(super) fn append(&mut self, part: usize, bytes: &[u8]) {
        let part = &mut self.parts[part];
        part.buffer.extend_from_slice(bytes);
        part.len += bytes.len() as u64;
        self.buffered += bytes.len();
    }

    const fn is_full(&self) -> bool {
        self.buffered >= self.limit
    }

    /// Whether anything was written to a file.
    pub(super) fn is_spilled(&self) -> bool {
        self.parts.iter().any(|part| part.file.is_some())
    }

    /// Moves everything from memory to files. This blocks.
    fn spill(&mut self) -> io::Result<()> {
        for part in &mut self.parts {
            if part.buffer.is_empty() {
                continue;
            }
            let file = match (&mut part.file, &self.directory) {
                (Some(file), _) => file,
                (file, Some(directory)) => file.insert(tempfile::tempfile_in(directory)?),
                (file, None) => file.insert(tempfile::tempfile()?),
            };
            file.write_all(&part.buffer)?;
            part.buffer = Vec::new();
        }
        self.buffered = 0;
        Ok(())
    }

    /// A part from its beginning. This blocks where there is a file.
    pub(super) fn read(&self, part: usize) -> impl Read + use<'_> {
        let Part { buffer, file, len } = &self.parts[part];
        let spilled = Spilled { file: file.as_ref(), position: 0, len: len - buffer.len() as u64 };
        BufReader::with_capacity(32 << 10, spilled.chain(&buffer[..]))
    }

    /// A whole part. This blocks where there is a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn load(&self, part: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read(part).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a file that others read, too.
struct Spilled<'a> {
    file: Option<&'a File>,
    position: u64,
    /// How many bytes were written to it.
    len: u64,
}

impl Read for Spilled<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.map_or(Ok(0), |file| file.read_at(bytes, self.position))?;
        self.position += read as u64;
        // Less would be fewer references: more garbage.
        if read == 0 && !bytes.is_empty() && self.position != self.len {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a temporary file is shorter than what was written",
            ));
        }
        Ok(read)
    }
}

/// A spool that tasks share; what is written to files is written off the runtime's threads.
#[derive(Debug)]
pub(super) struct SharedSpool(Mutex<Option<Spool>>);

impl SharedSpool {
    pub(super) fn new(spool: Spool) -> Self {
        Self(Mutex::new(Some(spool)))
    }

    /// Has `write` append something.
    ///
    /// # Errors
    /// A temporary file was not made or written. From then on, every write fails.
    pub(super) async fn write(&self, write: impl FnOnce(&mut Spool) + Send) -> io::Result<()> {
        let mut shared = self.0.lock().await;
        let spool = shared.as_mut().ok_or_else(failed_before)?;
        write(spool);
        if !spool.is_full() {
            return Ok(());
        }
        // Gone if this is cancelled, or if the file cannot be written.
        let mut spool = shared.take().ok_or_else(failed_before)?;
        let spool = tokio::task::spawn_blocking(move || spool.spill().map(|()| spool)).await??;
        *shared = Some(spool);
        Ok(())
    }

    /// The spool itself.
    ///
    /// # Errors
    /// A write failed before.
    pub(super) fn into_inner(self) -> io::Result<Spool> {
        self.0.into_inner().ok_or_else(failed_before)
    }
}

fn failed_before() -> io::Error {
    io::Error::other("a temporary file was not written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_goes_to_files_and_comes_back_in_order() {
        for limit in [1, 7, 1 << 20] {
            let directory = tempfile::tempdir().unwrap();
            let shared = SharedSpool::new(Spool::new(3, limit, Some(directory.path().to_owned())));
            for n in 0..20_u8 {
                shared.write(|spool| spool.append(usize::from(n % 3), &[n])).await.unwrap();
            }
            let spool = shared.into_inner().unwrap();
            assert_eq!(spool.is_spilled(), limit < 20);
            for _ in 0..2 {
                for part in 0..3 {
                    let expected: Vec<u8> = (0..20).filter(|n| n % 3 == part).collect();
                    assert_eq!(spool.load(usize::from(part)).unwrap(), expected);
                }
            }
            let left = std::fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(left, 0, "the files have no names");
        }
    }

    #[tokio::test]
    async fn a_file_that_lost_its_end_is_an_error() {
        let shared = SharedSpool::new(Spool::new(1, 1, None));
        shared.write(|spool| spool.append(0, b"abc")).await.unwrap();
        let spool = shared.into_inner().unwrap();
        assert_eq!(spool.load(0).unwrap(), b"abc");
        spool.parts[0].file.as_ref().unwrap().set_len(2).unwrap();
        assert_eq!(spool.load(0).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there() {
        let directory = Some(PathBuf::from("/nonexistent/spool"));
        let shared = SharedSpool::new(Spool::new(1, 1, directory));
        shared.write(|spool| spool.append(0, b"x")).await.unwrap_err();
        shared.write(|spool| spool.append(0, b"x")).await.unwrap_err();
        shared.into_inner().unwrap_err();
    }
}
