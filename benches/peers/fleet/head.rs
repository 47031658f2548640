//! The head of an HTTP/1.1 message, of a request or an answer.

use std::io::{Error, ErrorKind, Result};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest head, in bytes: pounce's longest has a presigned URL.
const MAX: usize = 16 << 10;

pub struct Head {
    text: String,
}

impl Head {
    /// Reads up to the end of the head. What was read beyond it stays in `buffer`. `None` if the connection ended
    /// before it.
    pub async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Self>> {
        loop {
            if let Some(end) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
                buffer.drain(..end + 4);
                return Ok(Some(Self { text }));
            }
            if buffer.len() > MAX {
                return Err(Error::new(ErrorKind::InvalidData, "a head that is too long"));
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// A word of the first line.
    pub fn word(&self, at: usize) -> &str {
        self.text.split(['\r', ' ']).nth(at).unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.text.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values.next()
    }
}
