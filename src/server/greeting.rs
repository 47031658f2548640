//! What the log says at start: where content is stored, which upstreams there are, what clients may do, and a command to
//! try.

use std::net::SocketAddr;

use url::Url;

use crate::auth::Granted;
use crate::config::{Config, WebUrl};
use crate::oci::Action;
use crate::registry::Registry;
use crate::store::Location;

/// An image that the registry of this host lets every client pull, for the command.
const IMAGES: [(&str, &str); 7] = [
    ("docker.io", "library/alpine"),
    ("ghcr.io", "linuxcontainers/alpine"),
    ("quay.io", "prometheus/busybox"),
    ("registry.k8s.io", "pause:3.9"),
    ("gcr.io", "distroless/static"),
    ("mcr.microsoft.com", "hello-world"),
    ("public.ecr.aws", "docker/library/alpine"),
];

/// Logs where content is stored.
pub(super) fn log_storage(location: &Location) {
    match location {
        Location::Folder(folder) => tracing::info!(folder = %folder.display(), "content is stored in a folder"),
        Location::Bucket { bucket, endpoint } => {
            tracing::info!(bucket, endpoint, "content is stored in a bucket");
        }
    }
}

/// Logs the upstreams, by the names that clients use.
pub(super) fn log_upstreams(registry: &Registry) {
    let routes = registry.repositories.routes();
    let upstreams: Vec<_> = routes.names().collect();
    if upstreams.is_empty() {
        tracing::info!("there is no upstream (proxy.remoteurl): clients can pull what is stored, and nothing else");
        return;
    }
    let upstreams: Vec<_> = upstreams
        .iter()
        .map(|names| describe(&names.all_hosts().collect::<Vec<_>>(), names.upstream.label()))
        .collect();
    tracing::info!(upstreams = upstreams.join(", "), "content comes from upstreams");
}

/// `docker.io at registry-1.docker.io`
fn describe(hosts: &[&str], label: &str) -> String {
    let address = label.strip_prefix("https://").unwrap_or(label);
    match hosts {
        [host] if *host == address => address.to_owned(),
        hosts => format!("{} at {address}", hosts.join(" or ")),
    }
}

/// Logs which actions are open to which clients: as a warning where all clients can change the content.
pub(super) fn log_access(granted: &Granted) {
    let Granted { without_login, with_login, open } = granted;
    let is_dangerous = open.iter().any(|action| *action != Action::Pull);
    if is_dangerous {
        tracing::warn!(without_login, with_login, "every client that reaches this registry can change its content");
    } else {
        tracing::info!(without_login, with_login, "clients have access");
    }
}

/// Logs what is deleted without a client's request, where the configuration says anything about it.
pub(super) fn log_retention(config: &Config) {
    let (storage, gc) = (&config.storage, &config.storage.maintenance.gc);
    let (rules, max_size) = (storage.retention.len(), storage.maxsize.map(|size| size.to_string()));
    let ttl = config.proxy.ttl.filter(|ttl| !ttl.is_zero());
    if !gc.enabled {
        if rules > 0 || max_size.is_some() {
            let message = "storage.retention and storage.maxsize delete nothing here: storage.maintenance.gc.enabled is \
                           false; `pounce gc` goes by them";
            tracing::info!(rules, max_size, "{message}");
        }
        return;
    }
    let [interval, delay] =
        [gc.interval, storage.deletion_delay()].map(|it| humantime::format_duration(it).to_string());
    let ttl = ttl.map(|ttl| humantime::format_duration(ttl).to_string());
    let message = match (storage.maintenance.readonly.enabled, gc.dryrun) {
        (true, _) => "the registry is read-only: no garbage is collected",
        (false, true) => "the log will say which garbage there is, and it stays (storage.maintenance.gc.dryrun)",
        (false, false) => "garbage is collected: what no manifest needs goes, and what the rules let go",
    };
    tracing::info!(interval, delay, rules, ttl, max_size, "{message}");
}

/// Logs a command that shows that the registry works.
pub(super) fn log_command(config: &Config, registry: &Registry, granted: &Granted, local: SocketAddr) {
    let routes = registry.repositories.routes();
    let all = || routes.names();
    let upstream = all().find(|names| !names.is_for_ollama).or_else(|| all().next());
    let upstream = upstream.map(|names| Image {
        hosts: names.all_hosts().collect(),
        component: names.component,
        has_prefix: names.upstream.label().contains("/v2/"),
        is_for_ollama: names.is_for_ollama,
    });
    let address = Address {
        host: config.http.host.as_ref().map(WebUrl::as_url),
        local,
        is_plain: config.http.tls.certificate.is_none(),
    };
    tracing::info!(command = command(address, upstream.as_ref(), &granted.open), "try it");
}

/// Where clients reach the registry.
#[derive(Clone, Copy)]
struct Address<'a> {
    /// `http.host`
    host: Option<&'a Url>,
    local: SocketAddr,
    is_plain: bool,
}

/// The upstream of the image that the command pulls.
struct Image<'a> {
    hosts: Vec<&'a str>,
    component: Option<&'a str>,
    has_prefix: bool,
    is_for_ollama: bool,
}

/// Pulls an image through the upstream, or pushes one where there is none. `open` are the actions that need no login.
fn command(address: Address<'_>, upstream: Option<&Image<'_>>, open: &[Action]) -> String {
    let Address { host, local, is_plain } = address;
    let registry = match host {
        Some(url) => authority(url),
        // docker speaks plain HTTP with this machine only by this name, or a loopback address.
        None if local.ip().is_unspecified() || local.ip().is_loopback() => format!("localhost:{}", local.port()),
        None => local.to_string(),
    };
    let action = if upstream.is_some() { Action::Pull } else { Action::Push };
    let login = if open.contains(&action) { String::new() } else { format!("docker login {registry} && ") };
    let Some(upstream) = upstream else {
        return format!("{login}docker tag alpine {registry}/alpine && docker push {registry}/alpine");
    };
    let component = upstream.component.map(|component| format!("{component}/")).unwrap_or_default();
    if upstream.is_for_ollama {
        let is_plain = host.map_or(is_plain, |url| url.scheme() == "http");
        let flag = if is_plain { " --insecure" } else { "" };
        return format!("ollama pull{flag} {registry}/{component}library/tinyllama");
    }
    let known = IMAGES.iter().find(|(host, _)| upstream.hosts.contains(host)).filter(|_| !upstream.has_prefix);
    let image = known.map_or("NAME:TAG", |(_, image)| image);
    format!("{login}docker pull {registry}/{component}{image}")
}

fn authority(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    format!("{}{}", url.host_str().unwrap_or_default(), port.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(local: &str) -> Address<'_> {
        Address { host: None, local: local.parse().unwrap(), is_plain: true }
    }

    fn image<'a>(host: &'a str, component: Option<&'a str>) -> Image<'a> {
        Image { hosts: vec![host], component, has_prefix: false, is_for_ollama: false }
    }

    #[test]
    fn the_command_is_one_that_docker_runs() {
        let pull = [Action::Pull];
        let hub = image("docker.io", None);
        for local in ["[::]:5000", "0.0.0.0:5000", "127.0.0.1:5000"] {
            assert_eq!(command(at(local), Some(&hub), &pull), "docker pull localhost:5000/library/alpine");
        }
        assert_eq!(command(at("10.0.0.7:80"), Some(&hub), &pull), "docker pull 10.0.0.7:80/library/alpine");
        let url = Url::parse("https://registry.example.com/").unwrap();
        let public = Address { host: Some(&url), ..at("[::]:5000") };
        assert_eq!(
            command(public, Some(&hub), &[]),
            "docker login registry.example.com && docker pull registry.example.com/library/alpine"
        );
        let further = image("ghcr.io", Some("ghcr.io"));
        assert_eq!(
            command(at("[::]:5000"), Some(&further), &pull),
            "docker pull localhost:5000/ghcr.io/linuxcontainers/alpine"
        );
        let private = image("registry.internal", None);
        assert_eq!(command(at("[::]:5000"), Some(&private), &pull), "docker pull localhost:5000/NAME:TAG");
        let prefixed = Image { has_prefix: true, ..image("docker.io", None) };
        assert_eq!(command(at("[::]:5000"), Some(&prefixed), &pull), "docker pull localhost:5000/NAME:TAG");
        let models = Image { is_for_ollama: true, ..image("hf.co", Some("hf.co")) };
        assert_eq!(
            command(at("[::]:5000"), Some(&models), &pull),
            "ollama pull --insecure localhost:5000/hf.co/library/tinyllama"
        );
    }

    #[test]
    fn without_an_upstream_the_command_pushes() {
        assert_eq!(
            command(at("[::]:5000"), None, &Action::ALL),
            "docker tag alpine localhost:5000/alpine && docker push localhost:5000/alpine"
        );
    }

    #[test]
    fn an_upstream_has_its_address_where_that_is_not_its_name() {
        assert_eq!(describe(&["docker.io"], "https://registry-1.docker.io"), "docker.io at registry-1.docker.io");
        assert_eq!(describe(&["ghcr.io"], "https://ghcr.io"), "ghcr.io");
        assert_eq!(describe(&["a.io", "b.io"], "http://10.0.0.7:5000"), "a.io or b.io at http://10.0.0.7:5000");
    }
}
