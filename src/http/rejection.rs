//! Requests that are not served, and their responses.

use axum::http::header::{self, HeaderValue};
use axum::response::Response;

use super::Answer;
use super::error;
use crate::oci::{Error, ErrorCode};

/// Why a request is not served.
#[derive(Debug)]
pub(super) enum Rejection {
    Error(Error),
    /// The endpoint has only these methods. It depends on the path's form alone, and no endpoint has `OPTIONS`: that
    /// always ends here, or at a path that is no endpoint.
    Method(&'static str),
    /// The client has to authenticate in this way (`WWW-Authenticate`).
    Unauthorized(Box<(Error, HeaderValue)>),
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Rejection {
    /// Adds the cause, which only the log shows.
    pub(super) fn caused_by(self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        match self {
            Self::Error(error) => Self::Error(error.caused_by(cause)),
            Self::Method(allowed) => Self::Method(allowed),
            Self::Unauthorized(unauthorized) => {
                let (error, challenge) = *unauthorized;
                Self::Unauthorized(Box::new((error.caused_by(cause), challenge)))
            }
        }
    }

    /// The error's code; `None` where the method is not supported.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Error(error) => Some(error.code()),
            Self::Method(_) => None,
            Self::Unauthorized(unauthorized) => Some(unauthorized.0.code()),
        }
    }

    pub(super) fn into_answer(self) -> Answer {
        match self {
            Self::Error(error) => failed(error),
            Self::Method(allowed) => method_not_allowed(allowed).into(),
            Self::Unauthorized(unauthorized) => {
                let (error, challenge) = *unauthorized;
                let mut answer = failed(error);
                answer.response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                answer
            }
        }
    }
}

fn failed(error: Error) -> Answer {
    let response = error::respond(&error);
    Answer { error: Some(error), ..response.into() }
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let error = Error::new(ErrorCode::Unsupported, "this method is not supported here");
    let mut response = error::respond(&error);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn not_an_endpoint() -> Error {
    Error::new(ErrorCode::NameUnknown, "this is not an endpoint of the registry, which is found under /v2/")
}
