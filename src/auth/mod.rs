//! Authentication and authorization.
//!
//! [`Access`] does both, in the spec's terms and without HTTP: [`authenticate`](Access::authenticate) turns the
//! [`Credentials`] of a request into an [`Identity`], and [`authorize`](Access::authorize) decides whether that may
//! have the request's [`Scope`]. Verified credentials are cached for some minutes, so a warm request costs a digest of
//! its credentials.

mod access;
mod attempts;
mod browser;
mod bucket_keys;
mod challenge;
mod credentials;
mod error;
mod granted;
mod htpasswd;
mod identity;
mod new_user;
mod oidc;
mod ollama_keys;
mod passwords;
mod rules;
mod scheme;
mod scope;
mod sessions;
mod token_issuer;
mod token_keys;
mod tokens;
mod user_file;

pub use access::{Access, Verdict};
pub use browser::BrowserLogin;
pub use bucket_keys::{KeyVerdict, KeyVerifier, Unverified};
pub use challenge::{Challenge, Realm};
pub use credentials::{Credentials, CredentialsError};
pub use error::AuthError;
pub use granted::Granted;
pub use identity::Identity;
pub use new_user::{UserError, check_user, htpasswd_line, random_password};
pub use oidc::probe_issuer;
pub use ollama_keys::{OllamaKeyError, OllamaLogin};
pub use scope::Scope;
pub use sessions::Session;
pub use token_issuer::IssuedToken;
pub use user_file::{UserChange, UserFileError, remove_user, set_user};
