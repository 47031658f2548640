//! The frame of every view.

use maud::{DOCTYPE, Markup, html};

use super::view::View;
use super::{assets, session};
use crate::auth::BrowserLogin;
use crate::http::query::Query;

/// A whole document.
pub(super) fn document(view: &View<'_>, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex, nofollow";
                title { (title) " · pounce" }
                link rel="icon" href=(view.href(assets::path("icon.svg"))) type="image/svg+xml";
                link rel="stylesheet" href=(view.href(assets::path("page.css")));
                script src=(view.href(assets::path("page.js"))) defer {}
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    div.inner {
                        a.brand href=(view.href("/")) { "pounce" }
                        (search(view))
                        (user(view))
                    }
                }
                main #content tabindex="-1" { (content) }
                footer.bottom { div.inner { "pounce, a registry in front of registries" } }
            }
        }
    }
}

fn search(view: &View<'_>) -> Markup {
    let wanted = Query::new(view.cx.query()).get("q").filter(|_| matches!(view.cx.path(), "" | "/"));
    html! {
        form.search role="search" action=(view.href("/")) {
            label.hidden for="search" { "Search repositories" }
            input #search type="search" name="q" value=(wanted.unwrap_or_default()) placeholder="Search repositories"
                autocapitalize="none" autocomplete="off" spellcheck="false" maxlength="255";
        }
    }
}

fn user(view: &View<'_>) -> Markup {
    match (view.login(), view.identity.user()) {
        (BrowserLogin::Password, Some(user)) => html! {
            form.user method="post" action=(view.href("/-/logout")) {
                bdi.who { (user) }
                button.quiet type="submit" { "Log out" }
            }
        },
        (BrowserLogin::Password, None) => html! {
            @if view.cx.path() != "/-/login" {
                a.button href=(login_path(view)) { "Log in" }
            }
        },
        (BrowserLogin::Needless | BrowserLogin::Token, _) => html! {},
    }
}

/// The path of the login, which leads back to this view.
pub(super) fn login_path(view: &View<'_>) -> String {
    let next = session::requested(view, view.cx.request);
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    view.href(format_args!("/-/login?next={next}"))
}

/// The way from the overview to a view: titles with paths, and the title of the view itself.
pub(super) fn way(view: &View<'_>, steps: &[(Markup, String)], here: &Markup) -> Markup {
    html! {
        nav.way aria-label="Breadcrumb" {
            ol {
                li { a href=(view.href("/")) { "Repositories" } }
                @for (title, path) in steps { li { a href=(view.href(path)) { (title) } } }
                li aria-current="page" { (here) }
            }
        }
    }
}
