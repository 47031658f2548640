//! `/-/repositories/<name>/-/<reference>`: an image, or another artifact.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use maud::{Markup, html};

use super::layers::{configuration, layers};
use super::layout::{document, way};
use super::repository::origin;
use super::view::{View, image_path, repository_path};
use super::{format, response, text, times};
use crate::http::{Answer, Rejection};
use crate::oci::{Action, Digest, Reference, RepositoryName, Tag};
use crate::registry::{Child, Content, Image};

/// How many annotations are shown.
const ANNOTATIONS: usize = 100;

/// # Errors
/// - `UNAUTHORIZED`, `DENIED`: the user may not pull from the repository.
/// - `MANIFEST_UNKNOWN`: it is not stored here.
/// - `UNAVAILABLE`: the bucket does not answer.
pub(super) async fn show(view: &View<'_>, name: &RepositoryName, reference: &Reference) -> Result<Answer, Rejection> {
    view.require(name, Action::Pull).await?;
    let image = Box::pin(view.cx.app.registry.browse.image(name, reference)).await?;
    let deletes = matches!(reference, Reference::Tag(_)) && view.may_delete(name).await?;
    let here = match reference {
        Reference::Tag(tag) => html! { bdi { (tag) } },
        Reference::Digest(digest) => text::digest(digest),
    };
    let steps = [(text::name(name), repository_path(name))];
    let content = html! {
        (way(view, &steps, &here))
        div.heading {
            h1 { (text::name(name)) span.at { @if let Reference::Tag(tag) = reference { ":" (tag) } @else { "@" (here) } } }
            @if deletes {
                a.button.danger href=(view.href(format_args!("{}/delete", image_path(name, reference)))) { "Delete tag…" }
            }
        }
        (facts(view, name, &image))
        (pull(view, name, reference))
        @match &image.content {
            Content::Index { children, more } => (platforms(view, name, children, *more)),
            Content::Image { configuration: read, layers: all, more } => {
                (layers(read.as_ref().as_ref().ok(), all, *more))
                (configuration(read))
            }
        }
        (attached(view, name, &image))
        (pairs("annotations", "Annotations", &image.annotations))
        @if let Content::Image { configuration: read, .. } = &image.content {
            @if let Ok(read) = &**read { (pairs("labels", "Labels", &read.labels())) }
        }
    };
    let title = format!("{name}{}{reference}", if matches!(reference, Reference::Tag(_)) { ":" } else { "@" });
    Ok(response::html(StatusCode::OK, document(view, &title, &content)).into())
}

fn facts(view: &View<'_>, name: &RepositoryName, image: &Image) -> Markup {
    html! {
        dl.facts.wide {
            div.whole { dt { "Digest" } dd { (text::copied("Digest", &image.digest.to_string())) } }
            @match &image.content {
                Content::Index { children, more } => {
                    @let images = children.iter().filter(|child| child.platform.is_some()).count() + more;
                    div { dt { "Platforms" } dd.num { (images) } }
                }
                Content::Image { configuration, .. } => {
                    div { dt { "Size" } dd.num { (format::bytes(image.size)) } }
                    @if let Ok(configuration) = &**configuration {
                        @if let Some(platform) = configuration.platform() {
                            div { dt { "Platform" } dd { (text::text(&platform)) } }
                        }
                        @if let Some(created) = &configuration.created {
                            div { dt { "Built" } dd { (times::told(created)) } }
                        }
                    }
                }
            }
            div { dt { "Origin" } dd { @if let Some(source) = &image.source { (origin(source)) } @else { "–" } } }
            div { dt { "Stored" } dd { @if let Some(at) = image.written { (times::ago(at)) } @else { "–" } } }
            div { dt { "Last pull" } dd { (times::pulled(image.pulled)) } }
            @if let Some(kind) = &image.artifact_type { div { dt { "Artifact" } dd { (text::text(kind)) } } }
            @if let Some(subject) = &image.subject {
                div { dt { "Refers to" } dd { a href=(view.href(image_path(name, subject))) { (text::digest(subject)) } } }
            }
            div { dt { "Media type" } dd.muted { (image.media_type.as_str()) } }
        }
    }
}

fn pull(view: &View<'_>, name: &RepositoryName, reference: &Reference) -> Markup {
    let separator = if matches!(reference, Reference::Tag(_)) { ':' } else { '@' };
    let image = format!("{}/{name}{separator}{reference}", view.host());
    let plain = view.is_plain();
    let option = |option: &str| if plain { format!("{option} ") } else { String::new() };
    let commands = [
        ("docker", format!("docker pull {image}")),
        ("podman", format!("podman pull {}{image}", option("--tls-verify=false"))),
        ("nerdctl", format!("nerdctl pull {}{image}", option("--insecure-registry"))),
        ("containerd", format!("ctr images pull {}{image}", option("--plain-http"))),
    ];
    html! {
        section aria-labelledby="pull" {
            h2 #pull { "Pull" }
            dl.commands {
                @for (client, command) in &commands {
                    div { dt { (client) } dd { (text::copied(&format!("The command of {client}"), command)) } }
                }
            }
        }
    }
}

fn platforms(view: &View<'_>, name: &RepositoryName, children: &[Child], more: usize) -> Markup {
    html! {
        section aria-labelledby="platforms" {
            h2 #platforms { "Platforms" }
            table.list {
                thead {
                    tr {
                        th scope="col" { "Platform" }
                        th.end scope="col" { "Size" }
                        th scope="col" { "Digest" }
                    }
                }
                tbody {
                    @for child in children {
                        @let title = html! {
                            @match &child.platform {
                                Some(platform) => (text::text(platform)),
                                None => span.muted { "attestation" },
                            }
                        };
                        tr {
                            th scope="row" {
                                @if child.size.is_some() {
                                    a.row href=(view.href(image_path(name, child.digest))) { (title) }
                                } @else { (title) }
                            }
                            td.end.num data-label="Size" {
                                @match child.size {
                                    Some(size) => (format::bytes(size)),
                                    None => span.muted { "not stored yet" },
                                }
                            }
                            td data-label="Digest" { (text::digest(&child.digest)) }
                        }
                    }
                }
            }
            @if more > 0 { p.muted { "And " (format::count(more as u64)) " more." } }
        }
    }
}

fn attached(view: &View<'_>, name: &RepositoryName, image: &Image) -> Markup {
    let link = |reference: &dyn std::fmt::Display, title: Markup| {
        html! { a.row href=(view.href(image_path(name, reference))) { (title) } }
    };
    html! {
        @if !(image.referrers.is_empty() && image.attached.is_empty()) {
            section aria-labelledby="attached" {
                h2 #attached { "Signatures, SBOMs and attestations" }
                table.list {
                    thead {
                        tr {
                            th scope="col" { "Kind" }
                            th scope="col" { "Type" }
                            th scope="col" { "Digest or tag" }
                        }
                    }
                    tbody {
                        @for referrer in &image.referrers {
                            @let kind = referrer.artifact_type.as_deref().unwrap_or_default();
                            tr {
                                th scope="row" { (kind_of(kind)) }
                                td.text data-label="Type" { (text::text(kind)) }
                                td data-label="Digest" { (link(&referrer.digest, text::digest(&referrer.digest))) }
                            }
                        }
                        @for tag in &image.attached {
                            tr {
                                th scope="row" { (kind_of_tag(tag)) }
                                td.text data-label="Type" { "a tag, as cosign writes it" }
                                td data-label="Tag" { (link(tag, shortened(tag, &image.digest))) }
                            }
                        }
                    }
                }
                @if image.more_referrers { p.muted { "There are more." } }
            }
        }
    }
}

/// What an artifact is, by its type.
fn kind_of(artifact_type: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| artifact_type.contains(word));
    if has(&["spdx", "cyclonedx", "syft", "sbom"]) {
        "SBOM"
    } else if has(&["in-toto", "attestation", "provenance", "dsse"]) {
        "Attestation"
    } else if has(&["signature", "cosign", "sigstore"]) {
        "Signature"
    } else {
        "Artifact"
    }
}

fn kind_of_tag(tag: &Tag) -> &'static str {
    match tag.as_str().rsplit_once('.') {
        Some((_, "sig")) => "Signature",
        Some((_, "att")) => "Attestation",
        _ => "SBOM",
    }
}

fn shortened(tag: &Tag, digest: &Digest) -> Markup {
    let kind = tag.as_str().rsplit_once('.').map_or("", |(_, kind)| kind);
    html! { code title=(tag) { (digest.algorithm().as_str()) "-" (&digest.hex()[..12]) "….." (kind) } }
}

/// Names with texts, as annotations and labels are.
fn pairs(id: &str, title: &str, pairs: &BTreeMap<String, String>) -> Markup {
    html! {
        @if !pairs.is_empty() {
            section aria-labelledby=(id) {
                h2 id=(id) { (title) }
                dl.pairs {
                    @for (key, value) in pairs.iter().take(ANNOTATIONS) {
                        div { dt { (text::text(key)) } dd { (text::linked(value)) } }
                    }
                }
                @if pairs.len() > ANNOTATIONS { p.muted { "And " (pairs.len() - ANNOTATIONS) " more." } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_told_by_their_types() {
        for (kind, title) in [
            ("application/vnd.dev.cosign.artifact.sig.v1+json", "Signature"),
            ("application/vnd.cncf.notary.signature", "Signature"),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", "Signature"),
            ("application/spdx+json", "SBOM"),
            ("application/vnd.cyclonedx+json", "SBOM"),
            ("application/vnd.in-toto+json", "Attestation"),
            ("application/vnd.cncf.helm.config.v1+json", "Artifact"),
            ("", "Artifact"),
        ] {
            assert_eq!(kind_of(kind), title, "{kind}");
        }
    }
}
