//! The frame of every view.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::view::View;

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
                link rel="stylesheet" href=(view.href(assets::path("page.css")));
                script src=(view.href(assets::path("page.js"))) defer {}
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    a.brand href=(view.href("/")) { "pounce" }
                }
                main #content { (content) }
                footer { p { "pounce " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}
