//! `/`: the repositories.

use axum::http::StatusCode;
use maud::html;

use super::layout::document;
use super::response;
use super::view::View;
use crate::http::Answer;
use crate::oci::Error;

pub(super) async fn show(view: &View<'_>) -> Result<Answer, Error> {
    let content = html! {
        h1 { "Repositories" }
    };
    Ok(response::html(StatusCode::OK, document(view, "Repositories", &content)).into())
}
