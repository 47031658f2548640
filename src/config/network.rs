//! Variables for proxies and certificates, and notices about those that have no effect.
//!
//! The HTTP clients of upstreams and bucket read `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case,
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` themselves.

use url::Url;

use super::environment::Environment;

/// A sentence for each variable that has no effect, or not the expected one.
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
    let file = environment.get("SSL_CERT_FILE");
    let folders = environment.get("SSL_CERT_DIR").unwrap_or_default().split(':').filter(|path| !path.is_empty());
    let files = file.into_iter().map(|path| ("SSL_CERT_FILE", path));
    for (name, path) in files.chain(folders.map(|path| ("SSL_CERT_DIR", path))) {
        if let Err(error) = std::fs::metadata(path) {
            notices.push(format!("{name} names {path}, which cannot be read: {error}"));
        }
    }
    if file.and_then(|path| std::fs::read(path).ok()).is_some_and(|text| !has_certificate(&text)) {
        notices.push("SSL_CERT_FILE names a file without a certificate in PEM, so that nothing is trusted".to_owned());
    }
    for name in ["NO_PROXY", "no_proxy"] {
        let entries = environment.get(name).unwrap_or_default().split(',');
        for (entry, instead) in entries.filter_map(|entry| go_only(entry.trim())) {
            notices.push(format!("{name}: {entry} is not understood for upstreams: write {instead}"));
        }
    }
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            // The value is not shown, because it may have a password.
            if environment.get(&name).is_some_and(|value| !is_proxy(value)) {
                notices.push(format!("{name} does not work: a proxy is named http://host:port or https://host:port"));
            }
        }
    }
    notices
}

fn has_certificate(text: &[u8]) -> bool {
    // rustls does not read OpenSSL's BEGIN TRUSTED CERTIFICATE.
    let begins = b"-----BEGIN CERTIFICATE-----";
    text.windows(begins.len()).any(|window| window == begins)
}

/// An entry of `NO_PROXY` in a form that Go's clients know and reqwest does not, with the nearest form that it knows.
fn go_only(entry: &str) -> Option<(&str, &str)> {
    let domain = entry.strip_prefix("*.");
    let host = domain.unwrap_or(entry);
    // The colons of an IPv6 address are no port.
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
