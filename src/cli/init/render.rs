//! The text of a first configuration: a commented file of YAML, or variables.

use std::fmt::Write as _;
use std::path::Path;

use super::plan::{Answers, Place, Visitors};
use super::quote;
use crate::config::{RemoteUrl, UpstreamHost};

/// The secrets of a first configuration.
pub(super) struct Secrets {
    /// `http.secret`
    pub(super) http: String,
    /// The first user's line, for variables.
    pub(super) user_line: Option<String>,
}

/// The pattern of all users. `*` alone would be an alias of YAML in a variable.
const ALL_USERS: &str = "?*";

/// A file of YAML. The user is in `users_file`.
///
/// # Errors
/// The path of the file is not UTF-8.
pub(super) fn yaml(answers: &Answers, secrets: &Secrets, users_file: &Path) -> Result<String, String> {
    let mut text = "# Written by `pounce init`. config/registry.yml in pounce's sources shows every setting, and\n\
                    # `pounce check` tries this file.\nversion: 0.1\nstorage:\n"
        .to_owned();
    text.push_str(&storage(&answers.place));
    text.push_str(&proxy(&answers.upstreams));
    let Visitors { user, public } = &answers.visitors;
    if user.is_some() {
        let file = users_file.to_str().ok_or("--output: the path of the folder is not UTF-8")?;
        text.push_str(
            "auth:\n  htpasswd:\n    # `pounce htpasswd --file FILE USER` adds users there, and needs no restart.\n",
        );
        let _ = writeln!(text, "    path: {}", quote::yaml(file));
        if *public {
            text.push_str("  # The first rule that fits a user decides.\n  rules:\n");
            text.push_str("    - { users: [anonymous], actions: [pull] }\n");
            let _ = writeln!(text, "    - {{ users: ['{ALL_USERS}'], actions: [pull, push, delete] }}");
        }
    } else {
        text.push_str("auth:\n  # What all clients may do: there are no users.\n  anonymous: [pull]\n");
    }
    text.push_str("http:\n  # Signs uploads and tokens; the same on all replicas.\n");
    let _ = writeln!(text, "  secret: {}", quote::yaml(&secrets.http));
    text.push_str("  # For `pounce status`. It asks for no login, and names repositories:\n");
    text.push_str("  # debug: { addr: 127.0.0.1:5001 }\n");
    Ok(text)
}

fn storage(place: &Place) -> String {
    match place {
        Place::Folder(folder) => format!("  filesystem:\n    rootdirectory: {}\n", quote::yaml(folder)),
        Place::Bucket { name, endpoint, keys } => {
            let mut text =
                format!("  s3:\n    bucket: {}\n    region: {}\n", quote::yaml(name), quote::yaml(&endpoint.region));
            if let Some(url) = &endpoint.url {
                let _ = writeln!(text, "    regionendpoint: {}", quote::yaml(url));
            }
            if endpoint.path_style {
                text.push_str("    # The bucket is in the path, because the host takes no further names.\n");
                text.push_str("    forcepathstyle: true\n");
            }
            match keys {
                Some(keys) => {
                    let [access, secret] = [&keys.access, &keys.secret].map(|key| quote::yaml(key));
                    let _ = write!(text, "    accesskey: {access}\n    secretkey: {secret}\n");
                }
                None => text.push_str(
                    "    # The keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role of the machine.\n",
                ),
            }
            text
        }
    }
}

/// The section `proxy`.
pub(super) fn proxy(upstreams: &[RemoteUrl]) -> String {
    let Some((default, further)) = upstreams.split_first() else {
        return "# No registry to pull from: only pushed images are served.\n".to_owned();
    };
    let mut text = "proxy:\n  # Images that are named without a registry come from here.\n".to_owned();
    let _ = writeln!(text, "  remoteurl: {}", quote::yaml(&default.to_string()));
    if !further.is_empty() {
        text.push_str("  upstreams:\n");
    }
    for url in further {
        let host = host(url);
        let _ = writeln!(text, "    - host: {}", quote::yaml(&host));
        if url.to_string() != format!("https://{host}") {
            let _ = writeln!(text, "      remoteurl: {}", quote::yaml(&url.to_string()));
        }
    }
    text
}

/// The host by which clients name an upstream.
pub(super) fn host(url: &RemoteUrl) -> String {
    let base = url.base();
    let host = base.host_str().unwrap_or_default();
    if UpstreamHost::DOCKER_HUB.contains(&host) {
        return UpstreamHost::DOCKER_HUB[0].to_owned();
    }
    base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The same as variables. The user's line is one of them.
pub(super) fn variables(answers: &Answers, secrets: &Secrets) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: &str| pairs.push((format!("REGISTRY_{key}"), value.to_owned()));
    match &answers.place {
        Place::Folder(folder) => {
            set("STORAGE", "filesystem");
            set("STORAGE_FILESYSTEM_ROOTDIRECTORY", folder);
        }
        Place::Bucket { name, endpoint, keys } => {
            set("STORAGE", "s3");
            set("STORAGE_S3_BUCKET", name);
            set("STORAGE_S3_REGION", &endpoint.region);
            if let Some(url) = &endpoint.url {
                set("STORAGE_S3_REGIONENDPOINT", url);
            }
            if endpoint.path_style {
                set("STORAGE_S3_FORCEPATHSTYLE", "true");
            }
            if let Some(keys) = keys {
                set("STORAGE_S3_ACCESSKEY", &keys.access);
                set("STORAGE_S3_SECRETKEY", &keys.secret);
            }
        }
    }
    if let Some((default, further)) = answers.upstreams.split_first() {
        set("PROXY_REMOTEURL", &default.to_string());
        for (index, url) in further.iter().enumerate() {
            set(&format!("PROXY_UPSTREAMS_{index}_HOST"), &host(url));
            set(&format!("PROXY_UPSTREAMS_{index}_REMOTEURL"), &url.to_string());
        }
    }
    match &secrets.user_line {
        Some(line) => {
            set("AUTH_HTPASSWD_USERS", line);
            if answers.visitors.public {
                set("AUTH_RULES_0_USERS", "anonymous");
                set("AUTH_RULES_0_ACTIONS", "pull");
                set("AUTH_RULES_1_USERS", ALL_USERS);
                set("AUTH_RULES_1_ACTIONS", "pull,push,delete");
            }
        }
        None => set("AUTH_ANONYMOUS", "pull"),
    }
    set("HTTP_SECRET", &secrets.http);
    pairs
}

/// A file of variables.
///
/// # Errors
/// A value cannot be written; see [`quote::variable`].
pub(super) fn env(pairs: &[(String, String)]) -> Result<String, String> {
    let mut text = "# Written by `pounce init --env`. A further user is a line of `pounce htpasswd USER` in\n\
                    # REGISTRY_AUTH_HTPASSWD_USERS_<NAME>. REGISTRY_HTTP_SECRET is the same on all replicas.\n"
        .to_owned();
    for (name, value) in pairs {
        let value = quote::variable(value).map_err(|why| format!("{name}: {why}"))?;
        let _ = writeln!(text, "{name}={value}");
    }
    Ok(text)
}
