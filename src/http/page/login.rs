//! `/-/login` and `/-/logout`.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header;
use http_body_util::{BodyExt, Limited};
use maud::{Markup, html};
use url::form_urlencoded;

use super::layout::document;
use super::response;
use super::session;
use super::view::View;
use crate::auth::{BrowserLogin, Credentials, CredentialsError};
use crate::http::authenticate::NotAuthenticated;
use crate::http::query::Query;
use crate::http::{Answer, Rejection};
use crate::oci::{Error, ErrorCode};

/// The most bytes of a form, and how long it may take to come.
const MAX_FORM: usize = 8 << 10;
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// The fields of a form.
pub(super) struct Form(Vec<u8>);

impl Form {
    /// # Errors
    /// `SIZE_INVALID`: it does not come whole, or is too long.
    pub(super) async fn read(body: Body) -> Result<Self, Error> {
        let collected = tokio::time::timeout(FORM_TIMEOUT, Limited::new(body, MAX_FORM).collect()).await;
        match collected {
            Ok(Ok(bytes)) => Ok(Self(bytes.to_bytes().to_vec())),
            _ => Err(Error::new(ErrorCode::SizeInvalid, "the form did not come whole, or is too long")),
        }
    }

    pub(super) fn get(&self, name: &str) -> String {
        let mut fields = form_urlencoded::parse(&self.0);
        fields.find(|(field, _)| field == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

/// The form.
pub(super) fn show(view: &View<'_>) -> Answer {
    let next = Query::new(view.cx.query()).get("next").unwrap_or_default();
    respond(view, StatusCode::OK, "", &next, None)
}

/// A name and a password.
///
/// # Errors
/// Only pounce's own: `UNAVAILABLE`.
pub(super) async fn submit(view: &View<'_>, body: Body) -> Result<Answer, Rejection> {
    let form = Form::read(body).await?;
    let (user, password, next) = (form.get("user"), form.get("password"), form.get("next"));
    let access = view.cx.app.access();
    let credentials = Credentials::Password { user: &user, password: password.as_bytes() };
    let client = match access.authenticate(credentials, view.cx.client.ip, false).await {
        Ok(client) => client,
        Err(CredentialsError::TooManyAttempts(after)) => {
            let message = "Too many passwords were tried. Wait a moment, then log in again.";
            return Ok(later(respond(view, StatusCode::TOO_MANY_REQUESTS, &user, &next, Some(message)), after));
        }
        Err(CredentialsError::Unavailable(after)) => {
            let message =
                "The bucket or provider that knows this user does not answer. Wait a moment, then log in again.";
            return Ok(later(respond(view, StatusCode::SERVICE_UNAVAILABLE, &user, &next, Some(message)), after));
        }
        Err(error) => {
            let message = "This name and this password do not fit together.";
            // Browsers would ask for Basic credentials after a 401 with a challenge, and one without is no 401.
            let answer = respond(view, StatusCode::FORBIDDEN, &user, &next, Some(message));
            let error = NotAuthenticated::new(error, &credentials)
                .login
                .map(|cause| Error::new(ErrorCode::Denied, message).caused_by(cause));
            return Ok(Answer { error, ..answer });
        }
    };
    let session = access.begin_session(&client).map_err(|error| {
        Error::new(ErrorCode::Unavailable, "the registry cannot log you in now, try again later").caused_by(error)
    })?;
    let Some(session) = session else {
        // A token of an OIDC provider is a password for clients only.
        let message = "Only users with a password log in here.";
        return Ok(respond(view, StatusCode::FORBIDDEN, &user, &next, Some(message)));
    };
    let to = session::own_path(&next).map_or_else(|| view.href("/"), str::to_owned);
    let mut response = response::see_other(&to);
    response.headers_mut().insert(header::SET_COOKIE, session::set_cookie(view, Some(&session)));
    Ok(response.into())
}

/// An answer after which the browser may ask again after this time.
fn later(mut answer: Answer, after: Duration) -> Answer {
    answer.response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    answer
}

/// Ends the session.
pub(super) fn log_out(view: &View<'_>) -> Answer {
    let mut response = response::see_other(&view.href("/"));
    response.headers_mut().insert(header::SET_COOKIE, session::set_cookie(view, None));
    response.into()
}

fn respond(view: &View<'_>, status: StatusCode, user: &str, next: &str, wrong: Option<&str>) -> Answer {
    let content = match view.login() {
        BrowserLogin::Password => form(view, user, next, wrong),
        BrowserLogin::Needless => {
            html! { h1 { "No login" } p { "This registry has no users: everyone sees the same." } }
        }
        BrowserLogin::Token => html! {
            h1 { "No login" }
            p { "Clients of this registry log in with tokens. The page shows what is open without one." }
        },
    };
    response::html(status, document(view, "Log in", &content)).into()
}

fn form(view: &View<'_>, user: &str, next: &str, wrong: Option<&str>) -> Markup {
    html! {
        section.panel.narrow aria-labelledby="title" {
            h1 #title { "Log in" }
            p.muted { "With the name and the password of " code { "docker login" } "." }
            @if let Some(wrong) = wrong {
                p.alert #wrong role="alert" { (wrong) }
            }
            form.stack method="post" action=(view.href("/-/login")) {
                input type="hidden" name="next" value=(next);
                label for="user" { "Name" }
                input #user name="user" value=(user) autocomplete="username" autocapitalize="none" spellcheck="false"
                    required autofocus[user.is_empty()] aria-describedby=[wrong.map(|_| "wrong")];
                label for="password" { "Password" }
                input #password name="password" type="password" autocomplete="current-password" required
                    autofocus[!user.is_empty()];
                button.primary type="submit" { "Log in" }
            }
        }
    }
}
