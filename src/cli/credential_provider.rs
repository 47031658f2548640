//! `pounce credential-provider`: a credential provider of kubelet's (`credentialprovider.kubelet.k8s.io/v1`), which gives
//! the token of a pod's service account as a password for pounce.
//!
//! kubelet starts it for a pull, writes a request to its standard input, and reads a response from its standard output.
//! It reaches no network, and stores nothing.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::print;
use super::runtime::CommandResult;

/// The one version of the protocol.
const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
/// The largest request, in bytes: a token and some annotations.
const MAX_REQUEST: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  pounce credential-provider --provider kubernetes < request.json

kubelet runs it by its --image-credential-provider-config; docs/security.md has one. On standard input it gets a
CredentialProviderRequest with a token of the pod's service account (tokenAttributes), and it prints a
CredentialProviderResponse for the registry of the image.

Exit status: 0 with a response, 1 without one; the reason is on standard error.";

/// The arguments of `credential-provider`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The name of the provider in pounce's auth.oidc
    #[arg(long, value_name = "NAME")]
    provider: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    api_version: String,
    kind: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    service_account_token: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    api_version: &'a str,
    kind: &'a str,
    cache_key_type: &'a str,
    cache_duration: &'a str,
    auth: BTreeMap<&'a str, AuthConfig<'a>>,
}

#[derive(Serialize)]
struct AuthConfig<'a> {
    username: &'a str,
    password: &'a str,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX_REQUEST + 1).read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    if text.len() as u64 > MAX_REQUEST {
        return Err("standard input: a request has at most 1 MiB".into());
    }
    let response = respond(&text, &arguments.provider)?;
    print::result(format_args!("{response}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The response to a request.
///
/// # Errors
/// The request is not one of this protocol, or has no token or no registry.
fn respond(text: &str, provider: &str) -> Result<String, String> {
    // The message has no part of the text, which has a token.
    let request: Request = serde_json::from_str(text).map_err(|error| {
        format!("standard input is no CredentialProviderRequest (line {}, column {})", error.line(), error.column())
    })?;
    if request.kind != "CredentialProviderRequest" || request.api_version != API_VERSION {
        return Err(format!("the request is not a CredentialProviderRequest of {API_VERSION}"));
    }
    if request.service_account_token.is_empty() {
        let message = "the request has no token: set tokenAttributes.serviceAccountTokenAudience in kubelet's \
                       CredentialProviderConfig, which needs Kubernetes 1.34, or its feature gate before";
        return Err(message.to_owned());
    }
    let registry = registry(&request.image).ok_or("the image names no registry")?;
    let auth = AuthConfig { username: provider, password: &request.service_account_token };
    let response = Response {
        api_version: API_VERSION,
        kind: "CredentialProviderResponse",
        cache_key_type: "Registry",
        // kubelet would otherwise give one pod's token to others of the same service account, and expired ones.
        cache_duration: "0s",
        auth: BTreeMap::from([(registry, auth)]),
    };
    serde_json::to_string(&response).map_err(|error| error.to_string())
}

/// The registry of an image, if it names one: a first component with a dot or a port, or `localhost`. Without one it is
/// Docker Hub's, which must not get the token.
fn registry(image: &str) -> Option<&str> {
    let (first, _) = image.split_once('/')?;
    (first == "localhost" || first.contains(['.', ':'])).then_some(first)
}
