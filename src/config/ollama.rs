//! What concerns Ollama: `auth.ollama` and `proxy.upstreams[].client`.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::error::ConfigError;
use super::rules::ANONYMOUS;
use super::values::deserialize_from_str;

/// `auth.ollama`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ollama {
    /// The keys of users: those in `~/.ollama/id_ed25519.pub`.
    pub keys: Vec<OllamaKey>,
}

/// An element of `auth.ollama.keys`. A loaded one has both.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OllamaKey {
    /// The key.
    pub key: Option<SshKey>,
    /// The user that it logs in, for `auth.rules`. It needs no password.
    pub user: Option<String>,
}

/// `proxy.upstreams[].client`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamClient {
    /// Ollama: all clients are answered as it needs, whatever `User-Agent` arrives here, and the upstream need not
    /// answer `/v2/`.
    Ollama,
}

/// An Ed25519 public key of SSH, `ssh-ed25519 AAAA… comment` (RFC 8709, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SshKey([u8; 32]);

impl SshKey {
    const KIND: &'static str = "ssh-ed25519";
    /// What stands before the key's bytes on the wire: the length of the kind, the kind, and the key's length.
    const HEAD: &'static [u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

    /// The key in base64, without its kind.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let wire = STANDARD.decode(text).ok()?;
        wire.strip_prefix(Self::HEAD)?.try_into().ok().map(Self)
    }

    /// The bytes of the key itself.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its name in logs, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(self.wire())))
    }

    fn wire(&self) -> Vec<u8> {
        [Self::HEAD, &self.0].concat()
    }
}

impl FromStr for SshKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let key = (words.next() == Some(Self::KIND)).then(|| words.next().and_then(Self::from_base64));
        key.flatten().ok_or("this is not a key as in ~/.ollama/id_ed25519.pub: ssh-ed25519 AAAA…")
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Self::KIND, STANDARD.encode(self.wire()))
    }
}

impl Serialize for SshKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

deserialize_from_str!(SshKey);

/// # Errors
/// An element without a key or a user, with a user that cannot be one, or with the key of another element.
pub(super) fn check(keys: &[OllamaKey]) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for (index, OllamaKey { key, user }) in keys.iter().enumerate() {
        let error =
            |field: &str, message| Err(ConfigError::value(format!("auth.ollama.keys.{index}.{field}"), message));
        match key {
            None => return error("key", "is missing: the line in ~/.ollama/id_ed25519.pub"),
            Some(key) if !seen.insert(key) => return error("key", "stands in the list twice"),
            Some(_) => {}
        }
        let user = user.as_deref().unwrap_or_default();
        if user.is_empty() || user.len() > 255 || user == ANONYMOUS || user.contains([':', ',', '*']) {
            return error("user", "must be a user's name, as in auth.rules, without ':', ',' and '*'");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_line_of_its_file() {
        let key = SshKey([7; 32]);
        let text = key.to_string();
        assert!(text.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"), "{text}");
        for line in [text.clone(), format!(" {text}  me@here with words \n")] {
            assert_eq!(line.parse(), Ok(key), "{line}");
        }
        assert!(key.fingerprint().starts_with("SHA256:") && key.fingerprint().len() == 7 + 43);
        for nonsense in ["", "ssh-ed25519", &text[12..], &text[..40], &text.replace("ssh-ed25519", "ssh-rsa")] {
            assert!(nonsense.parse::<SshKey>().is_err(), "{nonsense}");
        }
        let rsa = STANDARD.encode(b"\0\0\0\x07ssh-rsa\0\0\0\x20................................");
        assert!(SshKey::from_base64(&rsa).is_none());
    }

    #[test]
    fn an_element_needs_a_key_of_its_own_and_a_user() {
        let element = |key, user: Option<&str>| OllamaKey { key, user: user.map(str::to_owned) };
        let [one, other] = [Some(SshKey([1; 32])), Some(SshKey([2; 32]))];
        assert!(check(&[element(one, Some("alice")), element(other, Some("alice"))]).is_ok());
        for wrong in [
            vec![element(None, Some("alice"))],
            vec![element(one, None)],
            vec![element(one, Some(""))],
            vec![element(one, Some("anonymous"))],
            vec![element(one, Some("a:b"))],
            vec![element(one, Some("alice")), element(one, Some("bob"))],
        ] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
    }
}
