//! One node's requests: an HTTP/1.1 client as small as it can be, because twenty of them share the machine with the
//! servers. A connection serves one request.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::head::Head;
use crate::support::image::OCI_MANIFEST;

/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// The longest manifest, in bytes.
const MANIFEST: usize = 64 << 10;

/// An answer whose body was not read yet.
pub struct Body {
    stream: TcpStream,
    /// What came with the head.
    rest: Vec<u8>,
    /// Where in the content the body begins.
    pub from: u64,
    /// A 206.
    pub partial: bool,
    /// What is left of the body, in bytes.
    left: u64,
}

/// Asks for a path of a registry, and follows redirects. With `from`, for all from there on, as containerd does.
///
/// # Errors
/// The connection breaks, or the status is 429 or 5xx: both can be repeated. `InvalidData`: any other status.
pub async fn get(registry: &str, path: &str, from: Option<u64>) -> Result<Body> {
    let (mut host, mut path) = (registry.to_owned(), path.to_owned());
    for _ in 0..=REDIRECTS {
        let (stream, rest, head) = ask(&host, &path, from).await?;
        match head.word(1) {
            "200" | "206" => {
                let left = head.header("content-length").and_then(|it| it.parse().ok());
                let left = left.ok_or_else(|| failed(format!("{host}: an answer without a length")))?;
                let began = head.header("content-range").and_then(begin);
                let partial = head.word(1) == "206";
                let from =
                    if partial { began.ok_or_else(|| failed(format!("{host}: a range without bounds")))? } else { 0 };
                return Ok(Body { stream, rest, from, partial, left });
            }
            "307" | "302" => {
                let location = head.header("location").unwrap_or_default();
                match location.strip_prefix("http://").and_then(|it| it.split_once('/')) {
                    Some((to, rest)) => (host, path) = (to.to_owned(), format!("/{rest}")),
                    None => location.clone_into(&mut path),
                }
            }
            // Another replica may do better.
            status if status == "429" || status.starts_with('5') => {
                return Err(Error::other(format!("{host} answers {status}")));
            }
            status => return Err(failed(format!("{host} answers {status}"))),
        }
    }
    Err(failed(format!("{host} redirects for ever")))
}

async fn ask(host: &str, path: &str, from: Option<u64>) -> Result<(TcpStream, Vec<u8>, Head)> {
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let range = from.map_or(String::new(), |from| format!("Range: bytes={from}-\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {OCI_MANIFEST}, */*\r\n{range}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut rest = Vec::new();
    let head = Head::read(&mut stream, &mut rest).await?;
    let head = head.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
    Ok((stream, rest, head))
}

/// The first position of `bytes a-b/size`.
fn begin(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn failed(why: String) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

impl Body {
    /// The next bytes, some of `buffer`; 0 at the end.
    ///
    /// # Errors
    /// The connection breaks, or ends before the body does.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let read = if self.rest.is_empty() {
            self.stream.read(buffer).await?
        } else {
            let len = self.rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&self.rest[..len]);
            self.rest.drain(..len);
            len
        };
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }

    /// The whole body of a manifest.
    pub async fn manifest(mut self) -> Result<Vec<u8>> {
        let mut content = vec![0; MANIFEST];
        let mut len = 0;
        loop {
            match self.read(&mut content[len..]).await? {
                0 => break,
                read => len += read,
            }
        }
        content.truncate(len);
        Ok(content)
    }
}
