//! `/`: the repositories.

use axum::http::StatusCode;
use maud::html;

use super::layout::document;
use super::view::View;
use super::{health, live, response};
use crate::http::Answer;
use crate::http::live_figures::LiveFigures;
use crate::oci::Error;

pub(super) async fn show(view: &View<'_>) -> Result<Answer, Error> {
    let figures = LiveFigures::gather(&view.cx.app.registry, &view.cx.app.metrics);
    let content = html! {
        h1 { "Repositories" }
        (live::section(view, &figures))
        (health::section(view, &figures))
    };
    Ok(response::html(StatusCode::OK, document(view, "Repositories", &content)).into())
}
