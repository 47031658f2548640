//! `/-/repositories/<name>/-/<tag>/delete`: asks whether to delete a tag, and deletes it.

use axum::body::Body;
use axum::http::StatusCode;
use maud::html;

use super::layout::{document, way};
use super::login::Form;
use super::view::{View, image_path, repository_path};
use super::{response, text};
use crate::http::{Answer, Rejection, manifests};
use crate::oci::{Action, Digest, Error, ErrorCode, Reference, RepositoryName, Tag};

/// Asks.
///
/// # Errors
/// - `UNAUTHORIZED`, `DENIED`: the user may not delete it.
/// - `UNSUPPORTED`: nothing can be deleted here.
/// - `MANIFEST_UNKNOWN`: there is no such tag.
pub(super) async fn ask(view: &View<'_>, name: &RepositoryName, tag: &Tag) -> Result<Answer, Rejection> {
    let digest = require(view, name, tag).await?;
    Ok(confirm(view, name, tag, &digest, None, StatusCode::OK))
}

/// Deletes the tag, if it still names what the user saw.
///
/// # Errors
/// Those of [`ask`].
pub(super) async fn submit(view: &View<'_>, name: &RepositoryName, tag: &Tag, body: Body) -> Result<Answer, Rejection> {
    let form = Form::read(body).await?;
    let digest = require(view, name, tag).await?;
    if form.get("digest") != digest.to_string() {
        let changed = "The tag names another image by now. Look at it before you delete it.";
        return Ok(confirm(view, name, tag, &digest, Some(changed), StatusCode::CONFLICT));
    }
    let deleted = manifests::delete(view.cx.app, name, &Reference::Tag(tag.clone())).await?;
    Ok(Answer { response: response::see_other(&view.repository(name)), ..deleted })
}

async fn require(view: &View<'_>, name: &RepositoryName, tag: &Tag) -> Result<Digest, Error> {
    view.require(name, Action::Pull).await?;
    if !view.cx.app.registry.possible_actions().contains(&Action::Delete) {
        let message = "nothing can be deleted here: the registry is read-only, or storage.delete.enabled is off";
        return Err(Error::new(ErrorCode::Denied, message));
    }
    view.require(name, Action::Delete).await?;
    view.cx.app.registry.browse.tag_digest(name, tag).await
}

fn confirm(
    view: &View<'_>,
    name: &RepositoryName,
    tag: &Tag,
    digest: &Digest,
    changed: Option<&str>,
    status: StatusCode,
) -> Answer {
    let image = image_path(name, tag);
    let steps = [(text::name(name), repository_path(name)), (html! { bdi { (tag) } }, image.clone())];
    let content = html! {
        (way(view, &steps, &html! { "Delete" }))
        section.panel aria-labelledby="title" {
            h1 #title { "Delete this tag?" }
            @if let Some(changed) = changed { p.alert role="alert" { (changed) } }
            dl.pairs {
                div { dt { "Tag" } dd { (text::name(name)) ":" bdi { (tag) } } }
                div { dt { "Names" } dd { code.digest { (digest) } } }
            }
            p.muted {
                "Clients can no longer pull it by this name. The image stays under its digest, until garbage collection \
                 finds that nothing needs it. A tag of an upstream comes back with its next pull."
            }
            form.actions method="post" action=(view.href(format_args!("{image}/delete"))) {
                input type="hidden" name="digest" value=(digest);
                button.primary.danger type="submit" { "Delete tag" }
                a.button href=(view.href(&image)) { "Keep it" }
            }
        }
    };
    response::html(status, document(view, "Delete a tag", &content)).into()
}
