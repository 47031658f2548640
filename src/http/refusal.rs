//! Connections that are one too many for their client.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections of all clients wait, or are told why they do not get in. Others are closed at once.
const MOST: usize = 256;
/// How long a client may take to read why: one that sends a request meanwhile must not lose the answer by a reset.
const LONGEST: Duration = Duration::from_secs(1);
/// The whole answer.
const ANSWER: &str = concat!(
    "HTTP/1.1 429 Too Many Requests\r\n",
    "content-type: application/json\r\n",
    "retry-after: 5\r\n",
    "connection: close\r\n",
    "\r\n",
    r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"#,
    r#""too many connections from this address are open: close some, or try again in a moment"}]}"#,
);

/// Those that wait, or are told.
#[derive(Debug)]
pub(super) struct Refusals(Arc<Semaphore>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Refusals {
    /// The right to wait, if not too many do.
    pub(super) fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }

    /// Tells the client why its connection is closed, where that is possible without a handshake.
    pub(super) async fn refuse(&self, mut connection: TcpStream, is_tls: bool) {
        let Some(_waits) = self.wait().filter(|_| !is_tls) else {
            return;
        };
        let told = async {
            connection.write_all(ANSWER.as_bytes()).await?;
            connection.shutdown().await?;
            let mut discarded = [0; 1024];
            while connection.read(&mut discarded).await? > 0 {}
            std::io::Result::Ok(())
        };
        // How a client leaves is its own affair.
        let _ = tokio::time::timeout(LONGEST, told).await;
    }
}
