//! The URL of the registry, as nodes need it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use url::{Host, Url};

use crate::config::{ServerName, is_local};

/// The root of a registry: scheme, host and port.
///
/// Invariants: it is `http` or `https`; the host is a host name or an IP address, so that it needs no escapes in any
/// configuration and is one component of a path; there is nothing behind it.
#[derive(Clone, Debug)]
pub(super) struct RegistryUrl {
    url: Url,
    is_scheme_assumed: bool,
}

impl RegistryUrl {
    pub(super) const fn as_url(&self) -> &Url {
        &self.url
    }

    /// Whether the scheme was not given.
    pub(super) const fn is_scheme_assumed(&self) -> bool {
        self.is_scheme_assumed
    }

    /// Whether it is http.
    pub(super) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// Whether requests leave this machine, and without encryption.
    pub(super) fn is_in_clear(&self) -> bool {
        let is_here = match self.url.host() {
            Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            None => false,
        };
        self.is_plain() && !is_here
    }

    /// The host, with a port that is not the scheme's: as in references to images.
    pub(super) fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The same registry by another of its names.
    pub(super) fn by_name(&self, name: &ServerName) -> Self {
        let mut other = self.clone();
        // A server name is a valid host of an http URL.
        let _ = other.url.set_host(Some(name.as_str()));
        other
    }

    /// The same host with the other scheme, at the port that is given, or that of the scheme.
    pub(super) fn with_other_scheme(&self) -> Self {
        let mut other = self.clone();
        let scheme = if self.is_plain() { "https" } else { "http" };
        // Either scheme may become the other one.
        let _ = other.url.set_scheme(scheme);
        other
    }

    /// A path of the registry.
    pub(super) fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }
}

impl fmt::Display for RegistryUrl {
    /// Without a slash at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

impl FromStr for RegistryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The parser would drop line ends and tabs.
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("the URL is empty or has blanks: write https://registry.example.com".to_owned());
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("an IPv6 address has brackets in a URL: write https://[{text}]"));
        }
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("{}://{text}", scheme_of(text)) };
        let mut url = Url::parse(&with_scheme).map_err(|error| format!("{text}: {error}: write https://host:port"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{}://: a registry's URL begins with https:// or http://", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "leave user and password out of the URL: nodes would keep them in the clear. `--user NAME` asks \
                        for the upstreams as a user"
                    .to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("leave out what stands behind ? or # in the URL".to_owned());
        }
        let is_safe = match url.host() {
            Some(Host::Domain(name)) => name.parse::<ServerName>().is_ok(),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            None => false,
        };
        if !is_safe {
            return Err(format!("{text}: this is not the name of a host: it has letters, digits, dots and hyphens"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path("");
        let registry = Self { url, is_scheme_assumed: !text.contains("://") };
        match path.as_str() {
            "" => Ok(registry),
            "/v2" => Err(format!("leave /v2/ out of the URL, because clients add it: write {registry}")),
            path => Err(format!(
                "{path}: a mirror is at the root of its host, because docker and podman know no other: write {registry}"
            )),
        }
    }
}

/// The scheme of a URL without one: registries on this machine are plain, as in docker.
fn scheme_of(text: &str) -> &'static str {
    let authority = text.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    };
    if is_local(host) { "http" } else { "https" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_may_be() {
        let cases = [
            ("https://registry.example.com", "https://registry.example.com", "registry.example.com"),
            ("https://registry.example.com:443/", "https://registry.example.com", "registry.example.com"),
            ("HTTPS://Registry.Example.com:5000", "https://registry.example.com:5000", "registry.example.com:5000"),
            ("registry.example.com:5000", "https://registry.example.com:5000", "registry.example.com:5000"),
            ("localhost:5000", "http://localhost:5000", "localhost:5000"),
            ("127.0.0.1:5000/", "http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "http://[::1]:5000", "[::1]:5000"),
            ("http://[fd00::7]:5000", "http://[fd00::7]:5000", "[fd00::7]:5000"),
            ("http://hub", "http://hub", "hub"),
        ];
        for (text, url, authority) in cases {
            let registry: RegistryUrl = text.parse().unwrap();
            assert_eq!((registry.to_string().as_str(), registry.authority().as_str()), (url, authority), "{text}");
            assert_eq!(registry.is_scheme_assumed(), !text.contains("://"));
        }
    }

    #[test]
    fn a_wrong_url_gets_a_sentence_that_says_what_to_write() {
        let cases = [
            ("", "write https://registry.example.com"),
            ("https://a.example\n[host]", "has blanks"),
            ("https://a.example/v2/", "write https://a.example"),
            ("a.example/v2", "write https://a.example"),
            ("https://a.example/cache", "/cache: a mirror is at the root"),
            ("https://me:secret@a.example", "leave user and password out"),
            ("ftp://a.example", "begins with https://"),
            ("https://a.example?ns=x", "leave out what stands behind"),
            ("::1", "write https://[::1]"),
            ("https://", "write https://host:port"),
            ("https://a.example:99999", "write https://host:port"),
            ("https://a\".example", "not the name of a host"),
            ("https://a_b.example", "not the name of a host"),
            ("https://..", "not the name of a host"),
        ];
        for (text, sentence) in cases {
            let error = text.parse::<RegistryUrl>().unwrap_err();
            assert!(error.contains(sentence) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn which_urls_are_in_the_clear() {
        let cases = [
            ("http://localhost:5000", false),
            ("http://127.0.0.2", false),
            ("http://[::1]", false),
            ("http://[::ffff:127.0.0.1]", false),
            ("https://a.example", false),
            ("http://a.example", true),
            ("http://10.0.0.7:5000", true),
            ("http://169.254.0.7", true),
            ("http://[fd00::7]", true),
        ];
        for (text, is_in_clear) in cases {
            assert_eq!(text.parse::<RegistryUrl>().unwrap().is_in_clear(), is_in_clear, "{text}");
        }
    }

    #[test]
    fn the_same_host_otherwise() {
        let registry: RegistryUrl = "https://a.example".parse().unwrap();
        assert_eq!(registry.with_other_scheme().to_string(), "http://a.example");
        let registry_with_port: RegistryUrl = "http://a.example:5000".parse().unwrap();
        assert_eq!(registry_with_port.with_other_scheme().to_string(), "https://a.example:5000");
        assert_eq!(registry.by_name(&"hub.example".parse().unwrap()).to_string(), "https://hub.example");
        assert_eq!(registry.join("/v2/").as_str(), "https://a.example/v2/");
    }
}
