//! Variables of the environment that say how this machine reaches others, and what of them has no effect.
//!
//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case, and `SSL_CERT_FILE`, `SSL_CERT_DIR` are read
//! by the clients of upstreams and bucket themselves, both through the same libraries.

use url::Url;

use super::Environment;

/// A sentence for each variable that does not do what it seems to.
pub(super) fn notices(environment: &Environment) -> Vec<String> {
    let mut notices = Vec::new();
    let bundle = environment.get("AWS_CA_BUNDLE");
    if bundle.is_some() && bundle != environment.get("SSL_CERT_FILE") {
        notices.push(
            "AWS_CA_BUNDLE is not read: name its file in SSL_CERT_FILE, which counts for bucket and upstreams, and the \
             system's certificates in SSL_CERT_DIR, because either takes the place of the default ones"
                .to_owned(),
        );
    }
    let missing = |path: &str| std::fs::metadata(path).err();
    let file = environment.get("SSL_CERT_FILE").into_iter();
    let files = file.map(|path| ("SSL_CERT_FILE", path));
    let folders = environment.get("SSL_CERT_DIR").unwrap_or_default();
    let folders = folders.split(':').filter(|path| !path.is_empty());
    for (name, path) in files.chain(folders.map(|path| ("SSL_CERT_DIR", path))) {
        if let Some(error) = missing(path) {
            notices.push(format!("{name} names {path}, which cannot be read: {error}"));
        }
    }
    let file = environment.get("SSL_CERT_FILE");
    if file.and_then(|path| std::fs::read(path).ok()).is_some_and(|text| !has_certificate(&text)) {
        notices.push("SSL_CERT_FILE names a file without a certificate in PEM, so that nothing is trusted".to_owned());
    }
    for name in ["NO_PROXY", "no_proxy"] {
        let entries = environment.get(name).unwrap_or_default().split(',');
        for (entry, instead) in entries.filter_map(|entry| plain(entry.trim())) {
            notices.push(format!("{name}: {entry} is not understood for upstreams: write {instead}"));
        }
    }
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            // Not the whole, which may have a password.
            if environment.get(&name).is_some_and(|value| !is_proxy(value)) {
                notices.push(format!("{name} does not work: a proxy is named http://host:port or https://host:port"));
            }
        }
    }
    notices
}

fn has_certificate(text: &[u8]) -> bool {
    // One with OpenSSL's trust settings (BEGIN TRUSTED CERTIFICATE) is not read.
    let begins = b"-----BEGIN CERTIFICATE-----";
    text.windows(begins.len()).any(|window| window == begins)
}

/// An entry of `NO_PROXY` that Go's clients know and the upstreams' does not, with what says nearly the same.
fn plain(entry: &str) -> Option<(&str, &str)> {
    let domain = entry.strip_prefix("*.");
    let host = domain.unwrap_or(entry);
    // Not the colons of an address.
    let port = host.rsplit_once(':').filter(|(host, port)| {
        let one = !host.contains(':') || host.ends_with(']');
        one && port.parse::<u16>().is_ok()
    });
    let host = port.map_or(host, |(host, _)| host);
    (domain.is_some() || port.is_some()).then_some((entry, host))
}

fn is_proxy(value: &str) -> bool {
    let url = if value.contains("://") { Url::parse(value) } else { Url::parse(&format!("http://{value}")) };
    url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
