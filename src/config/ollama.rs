//! What concerns Ollama: `proxy.upstreams[].client`.

use serde::{Deserialize, Serialize};

/// `proxy.upstreams[].client`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamClient {
    /// Ollama: all clients are answered as it needs, whatever `User-Agent` arrives here, and the upstream need not
    /// answer `/v2/`.
    Ollama,
}
