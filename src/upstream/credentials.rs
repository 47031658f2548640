//! pounce's credentials for an upstream: none, those of the configuration, or those of a credential helper.
//!
//! A helper is a program in the manner of Docker's (docker-credential-helpers, "Development"): it is run with the
//! argument `get`, reads the registry's host, and prints a JSON object with `Username` and `Secret`. The user name
//! `<token>` says that the secret is an identity token.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::error::UpstreamError;
use crate::config::{Account, Remote, Secret};

/// How long a helper may take. They ask a cloud's own API.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The most that is read of what it prints, in bytes.
const MAX_OUTPUT: u64 = 256 << 10;
/// How long a failure is kept, and how long credentials are at least used before a refusal makes the helper run again.
const PAUSE: Duration = Duration::from_secs(5);
/// The user name that stands for an identity token.
const IDENTITY: &str = "<token>";

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: Secret,
}

/// Where credentials for one upstream come from.
#[derive(Debug)]
pub(super) enum CredentialSource {
    /// pounce is anonymous.
    Anonymous,
    /// `username` and `password`
    Configured(Credentials),
    /// One of `credentials`
    OneOf(Credentials),
    /// `exec`
    Helper(Arc<Helper>),
}

/// A program that prints credentials. It runs once at a time.
#[derive(Debug)]
pub(super) struct Helper {
    command: PathBuf,
    lifetime: Option<Duration>,
    host: String,
    last: Mutex<Option<Outcome>>,
}

/// The outcome of a run, and its time.
type Outcome = (Instant, Result<Credentials, UpstreamError>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    username: String,
    secret: Secret,
}

impl Credentials {
    pub(super) fn attach(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.username, Some(self.password.reveal()))
    }

    /// The password is a refresh token, to be exchanged for access tokens.
    pub(super) fn is_identity_token(&self) -> bool {
        self.username == IDENTITY
    }
}

impl CredentialSource {
    /// Those of the upstream on `host` that the configuration names: one, or as many as `credentials` has.
    pub(super) fn all(remote: &Remote, host: String) -> (Self, Vec<Self>) {
        let each = |account: &Account| {
            let (username, password) = (account.username.clone(), account.password.clone());
            Self::OneOf(Credentials { username, password })
        };
        match remote.credentials.split_first() {
            Some((first, others)) => (each(first), others.iter().map(each).collect()),
            None => (Self::new(remote, host), Vec::new()),
        }
    }

    fn new(remote: &Remote, host: String) -> Self {
        match (&remote.username, &remote.password, &remote.exec.command) {
            (Some(username), Some(password), _) => {
                Self::Configured(Credentials { username: username.clone(), password: password.clone() })
            }
            (_, _, Some(command)) => Self::Helper(Arc::new(Helper {
                command: command.clone(),
                lifetime: remote.exec.lifetime,
                host,
                last: Mutex::default(),
            })),
            _ => Self::Anonymous,
        }
    }

    pub(super) async fn get(&self) -> Result<Option<Credentials>, UpstreamError> {
        match self {
            Self::Anonymous => Ok(None),
            Self::Configured(credentials) | Self::OneOf(credentials) => Ok(Some(credentials.clone())),
            Self::Helper(helper) => helper.get().await.map(Some),
        }
    }

    /// The upstream refused these credentials: whether there are, or may be, others by now.
    pub(super) async fn renew(&self, refused: &Credentials) -> bool {
        match self {
            Self::Anonymous | Self::Configured(_) | Self::OneOf(_) => false,
            Self::Helper(helper) => helper.renew(refused).await,
        }
    }

    /// Their label in metrics: the user name, `exec` or `anonymous`.
    pub(super) fn label(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Configured(credentials) | Self::OneOf(credentials) => &credentials.username,
            Self::Helper(_) => "exec",
        }
    }

    /// Their description for the log; `None` for an anonymous pounce.
    pub(super) fn describe(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Configured(credentials) => {
                Some(format!("the credentials of {} (proxy.username)", credentials.username))
            }
            Self::OneOf(credentials) => {
                Some(format!("the credentials of {} (proxy.credentials)", credentials.username))
            }
            Self::Helper(helper) => {
                Some(format!("the credentials that {} tells (proxy.exec)", helper.command.display()))
            }
        }
    }
}

impl Helper {
    async fn get(self: &Arc<Self>) -> Result<Credentials, UpstreamError> {
        if let Some(answer) = self.last_valid(self.last.lock().await.as_ref()) {
            return answer;
        }
        // A task of its own, because other requests use the outcome even if this one is cancelled.
        let helper = Arc::clone(self);
        let asked = tokio::spawn(async move { helper.run_once().await }).await;
        asked.unwrap_or_else(|error| Err(UpstreamError::Unavailable(error.to_string())))
    }

    /// The last outcome, as long as it is valid.
    fn last_valid(&self, last: Option<&Outcome>) -> Option<Result<Credentials, UpstreamError>> {
        let (when, answer) = last?;
        let life = match answer {
            Ok(_) => self.lifetime.unwrap_or(Duration::MAX),
            Err(_) => PAUSE,
        };
        (when.elapsed() < life).then(|| answer.clone())
    }

    /// Runs the program, unless another request just did.
    async fn run_once(&self) -> Result<Credentials, UpstreamError> {
        let mut last = self.last.lock().await;
        if let Some(answer) = self.last_valid(last.as_ref()) {
            return answer;
        }
        let answer = match tokio::time::timeout(TIMEOUT, self.run()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("it took more than {} s", TIMEOUT.as_secs())),
        };
        let answer = answer.map_err(|cause| {
            let command = self.command.display();
            UpstreamError::Unavailable(format!("proxy.exec.command: {command}: {cause}"))
        });
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn renew(&self, refused: &Credentials) -> bool {
        let mut last = self.last.lock().await;
        match &*last {
            Some((when, Ok(present))) if present == refused => {
                let old = when.elapsed() >= PAUSE;
                if old {
                    *last = None;
                }
                old
            }
            // Others were fetched meanwhile, or will be.
            _ => true,
        }
    }

    async fn run(&self) -> Result<Credentials, String> {
        let mut child = Command::new(&self.command)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its errors belong in pounce's own log.
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        if let Some(mut input) = child.stdin.take() {
            // A program may not read its input.
            let _ = input.write_all(self.host.as_bytes()).await;
        }
        let mut printed = Vec::new();
        if let Some(output) = child.stdout.take() {
            let read = output.take(MAX_OUTPUT).read_to_end(&mut printed).await;
            read.map_err(|error| error.to_string())?;
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("it ended with {status}"));
        }
        // Not the parser's error, which may repeat the secret.
        let printed: Printed = serde_json::from_slice(&printed)
            .map_err(|_| "it printed no JSON object with Username and Secret".to_owned())?;
        Ok(Credentials { username: printed.username, password: printed.secret })
    }
}
