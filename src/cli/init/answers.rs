//! What a first configuration says, from flags and from answers. Each answer is checked as the configuration checks it.

use std::error::Error;

use super::arguments::Arguments;
use super::ask::{ask, ask_secret};
use super::plan::{Answers, Endpoint, Keys, Place, Visitors};
use super::{quote, render};
use crate::auth;
use crate::config::{Config, Environment, RemoteUrl, UpstreamHost, WebUrl, is_local};

/// Tigris' endpoint.
const TIGRIS: &str = "https://t3.storage.dev";
/// Docker Hub's API.
const DOCKER_HUB: &str = "https://registry-1.docker.io";

/// The flags that answer the open questions.
pub(super) fn missing(arguments: &Arguments) -> Vec<&'static str> {
    let questions = [
        (arguments.bucket.is_some() || arguments.folder.is_some(), "--bucket NAME or --folder FOLDER"),
        (!arguments.upstream.is_empty() || arguments.no_upstream, "--upstream REGISTRY or --no-upstream"),
        (arguments.user.is_some() || arguments.public, "--user NAME, --public, or both"),
    ];
    questions.into_iter().filter(|(is_answered, _)| !is_answered).map(|(_, flags)| flags).collect()
}

/// Takes the flags, and asks for the rest.
///
/// # Errors
/// A flag's value cannot be used, or the input ends.
pub(super) fn collect(arguments: &Arguments) -> Result<Answers, Box<dyn Error>> {
    let place = place(arguments)?;
    let upstreams = if arguments.no_upstream {
        Vec::new()
    } else if arguments.upstream.is_empty() {
        let question = "2. What stands behind it? Registries with blanks between them, the default one first, or none";
        ask(question, "docker.io", upstreams)?
    } else {
        upstreams(&arguments.upstream.join(" "))?
    };
    Ok(Answers { place, upstreams, visitors: visitors(arguments)? })
}

fn place(arguments: &Arguments) -> Result<Place, Box<dyn Error>> {
    if let Some(folder) = &arguments.folder {
        return Ok(Place::Folder(self::folder(folder)?));
    }
    let asks = arguments.bucket.is_none();
    let (is_folder, name) = if let Some(name) = &arguments.bucket {
        (false, bucket(name)?)
    } else {
        let known = variable("BUCKET_NAME").unwrap_or_else(|| "./data".to_owned());
        let question = "1. Where are blobs stored? The name of a bucket, or a folder, as in ./data";
        ask(question, &known, folder_or_bucket)?
    };
    if is_folder {
        return Ok(Place::Folder(name));
    }
    let known = variable("AWS_ENDPOINT_URL_S3").unwrap_or_else(|| TIGRIS.to_owned());
    let mut endpoint = match &arguments.endpoint {
        Some(endpoint) => self::endpoint(endpoint)?,
        None if asks => {
            ask("   Its endpoint, as in https://HOST; at AWS its region, as in eu-west-1", &known, endpoint)?
        }
        None => self::endpoint(&known)?,
    };
    if let Some(region) = &arguments.region {
        endpoint.region.clone_from(region);
    }
    let environment = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
    let keys = match environment {
        Some((access, secret)) if arguments.copy_keys => Some(Keys { access, secret }),
        None if arguments.copy_keys => {
            return Err("--copy-keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set".into());
        }
        None if asks => ask_keys()?,
        _ => None,
    };
    Ok(Place::Bucket { name, endpoint, keys })
}

fn ask_keys() -> Result<Option<Keys>, Box<dyn Error>> {
    let question = "   Access key (empty: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role of the machine)";
    let access = ask(question, "", |answer| Ok(answer.to_owned()))?;
    if access.is_empty() {
        return Ok(None);
    }
    Ok(Some(Keys { access, secret: ask_secret("   Its secret key")?.trim().to_owned() }))
}

fn visitors(arguments: &Arguments) -> Result<Visitors, Box<dyn Error>> {
    if arguments.user.is_some() || arguments.public {
        let user = arguments.user.as_deref().map(user).transpose()?;
        return Ok(Visitors { user, public: arguments.public });
    }
    let question = "3. Who may use it? The name of a first user, who may do everything, or none";
    let user = ask(question, "admin", |answer| if answer == "none" { Ok(None) } else { user(answer).map(Some) })?;
    let question = "   May every client pull without a login? yes or no";
    // Without a user and without this, no client could use it.
    let default = if user.is_some() { "no" } else { "yes" };
    let public = ask(question, default, |answer| match (answer.to_ascii_lowercase().as_str(), &user) {
        ("yes" | "y", _) => Ok(true),
        ("no" | "n", Some(_)) => Ok(false),
        ("no" | "n", None) => Err("then no client could use it: without a user, every client may pull".to_owned()),
        _ => Err("write yes or no".to_owned()),
    })?;
    Ok(Visitors { user, public })
}

/// Whether it is a folder, and its name.
fn folder_or_bucket(text: &str) -> Result<(bool, String), String> {
    let is_folder = text.contains('/') || text.starts_with('.');
    let name = if is_folder { folder(text)? } else { bucket(text)? };
    Ok((is_folder, name))
}

fn folder(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("storage.filesystem.rootdirectory: is missing, write a folder as in ./data".to_owned());
    }
    if text.contains("://") {
        return Err(
            "storage: write the name of the bucket alone, without s3:// and its endpoint; a folder is written \
                    ./data"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// The name of a bucket, by S3's rules ("Bucket naming rules").
fn bucket(text: &str) -> Result<String, String> {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = (3..=63).contains(&text.len())
        && text.chars().all(|c| is_inside(c) || c == '.' || c == '-')
        && text.starts_with(is_inside)
        && text.ends_with(is_inside);
    if !is_name {
        return Err("storage.s3.bucket: the name of a bucket has from 3 to 63 lower-case letters, digits, dots and \
                    dashes, and begins and ends with a letter or digit; a folder is written ./data"
            .to_owned());
    }
    Ok(text.to_owned())
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let is_region = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.matches('-').count() >= 2
        && text.ends_with(|c: char| c.is_ascii_digit());
    if is_region {
        return Ok(Endpoint { url: None, region: text.to_owned(), path_style: false });
    }
    let url: WebUrl =
        with_scheme(text).parse().map_err(|why| format!("storage.s3.regionendpoint: {why}; at AWS, write a region"))?;
    let host = url.as_url().host_str().unwrap_or_default();
    let is_name = url.as_url().domain().is_some_and(|name| name.contains('.'));
    if !is_name && is_domain_alone(host, text) {
        let why = "a host has a dot or a port, as in t3.storage.dev or minio:9000; at AWS, write a region";
        return Err(format!("storage.s3.regionendpoint: {why}"));
    }
    Ok(Endpoint { url: Some(url.to_string()), region: "auto".to_owned(), path_style: !is_name })
}

/// Whether a text is one label without a scheme or a port, which is rather a mistake than a host.
fn is_domain_alone(host: &str, text: &str) -> bool {
    !text.contains([':', '.']) && !is_local(host)
}

/// The registries in a text, which may be `none`. The configuration's own parser reads all of them.
fn upstreams(text: &str) -> Result<Vec<RemoteUrl>, String> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let mut words = text.split([' ', ',', '\t']).filter(|word| !word.is_empty()).peekable();
    if words.peek().is_none() {
        return Err("proxy.remoteurl: is empty, write a registry as docker.io, or none".to_owned());
    }
    let found = words.map(upstream).collect::<Result<Vec<_>, _>>()?;
    for (index, url) in found.iter().enumerate() {
        let host = render::host(url);
        if found[..index].iter().any(|other| render::host(other) == host) {
            return Err(format!("proxy.upstreams: {host} is an upstream already"));
        }
    }
    let section = render::proxy(&found);
    Config::parse(&section, &Environment::default()).map_err(|error| error.to_string())?;
    Ok(found)
}

/// A registry by its host or its URL.
fn upstream(text: &str) -> Result<RemoteUrl, String> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    if UpstreamHost::DOCKER_HUB.contains(&bare) || bare == "hub.docker.com" {
        return DOCKER_HUB.parse().map_err(str::to_owned);
    }
    let wrong = |why| format!("proxy.remoteurl: {}: {why}", quote::shown(text));
    if bare == text {
        let host = text.split_once('/').map_or(text, |(host, _)| host);
        host.parse::<UpstreamHost>().map_err(wrong)?;
    }
    with_scheme(text).parse().map_err(wrong)
}

/// A URL; without a scheme it is `https`, and `http` on this machine.
fn with_scheme(text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    let host = text.split(['/', ':']).next().unwrap_or_default();
    let scheme = if is_local(host) { "http" } else { "https" };
    format!("{scheme}://{text}")
}

fn user(text: &str) -> Result<String, String> {
    auth::check_user(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// A variable that is set, and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_completed() {
        for (text, url) in [
            ("docker.io", DOCKER_HUB),
            ("https://docker.io/", DOCKER_HUB),
            ("hub.docker.com", DOCKER_HUB),
            ("ghcr.io", "https://ghcr.io"),
            ("localhost:5001", "http://localhost:5001"),
            ("http://registry", "http://registry"),
            ("harbor.example.com/v2/hub", "https://harbor.example.com/v2/hub"),
        ] {
            assert_eq!(upstream(text).map(|url| url.to_string()), Ok(url.to_owned()), "{text}");
        }
        for (text, words) in [
            ("ghcr", "a dot or a port"),
            ("https://user:secret@ghcr.io", "credentials"),
            ("ftp://ghcr.io", "http:// or https://"),
            ("docker.io ghcr.io ghcr.io", "an upstream already"),
        ] {
            let error = upstreams(text).unwrap_err();
            assert!(error.starts_with("proxy.") && error.contains(words), "{text}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
        assert!(upstreams("none").unwrap().is_empty());
        assert!(upstreams(" ,").unwrap_err().contains("or none"));
    }

    #[test]
    fn an_endpoint_is_a_url_a_host_or_a_region() {
        let at = |url: Option<&str>, region: &str, path_style| Endpoint {
            url: url.map(str::to_owned),
            region: region.to_owned(),
            path_style,
        };
        for (text, expected) in [
            (TIGRIS, at(Some(TIGRIS), "auto", false)),
            ("t3.storage.dev", at(Some(TIGRIS), "auto", false)),
            ("eu-west-1", at(None, "eu-west-1", false)),
            ("localhost:9000", at(Some("http://localhost:9000"), "auto", true)),
            ("http://10.0.0.1:9000", at(Some("http://10.0.0.1:9000"), "auto", true)),
            ("minio:9000", at(Some("https://minio:9000"), "auto", true)),
        ] {
            assert_eq!(endpoint(text), Ok(expected), "{text}");
        }
        for text in ["", "minio", "https://a:b@c.d", "s3://bucket", "https://"] {
            assert!(endpoint(text).unwrap_err().starts_with("storage.s3.regionendpoint: "), "{text}");
        }
        for text in ["s3://images", "https://images.t3.storage.dev", "s3://images/a"] {
            assert!(folder_or_bucket(text).unwrap_err().contains("the name of the bucket alone"), "{text}");
        }
        for text in ["Images", "ab", "a_b", "-ab", "ab.", "", &"a".repeat(64)] {
            assert!(bucket(text).unwrap_err().starts_with("storage.s3.bucket: "), "{text}");
        }
        assert!(bucket("delicate-sea-639").is_ok());
    }
}
