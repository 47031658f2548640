//! Styles and scripts, which are part of the program. Their paths have a digest of their content, so that browsers keep
//! them for ever.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use sha2::{Digest, Sha256};

use crate::http::rejection::not_an_endpoint;
use crate::http::{Answer, headers};
use crate::oci::Error;

/// A file, and the path below `/-/static/` that has its digest.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
    hashed: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset::new("page.css", "text/css", concat!(include_str!("page.css"), include_str!("live.css"))),
        Asset::new("page.js", "text/javascript", include_str!("page.js")),
        Asset::new("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ]
});

impl Asset {
    fn new(name: &'static str, content_type: &'static str, text: &'static str) -> Self {
        let digest = const_hex::encode(Sha256::digest(text.as_bytes()));
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        Self { name, content_type, text, hashed: format!("{stem}.{}.{extension}", &digest[..16]) }
    }
}

/// The path of a file below the prefix. Every name in a view is that of a file.
pub(super) fn path(name: &str) -> String {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    format!("/-/static/{}", asset.map_or(name, |asset| &asset.hashed))
}

/// The file at a path.
///
/// # Errors
/// `NAME_UNKNOWN`: there is none with this digest.
pub(super) fn serve(hashed: &str) -> Result<Answer, Error> {
    let asset = ASSETS.iter().find(|asset| asset.hashed == hashed).ok_or_else(not_an_endpoint)?;
    let fields = [
        (header::CONTENT_TYPE, headers::value(&format!("{}; charset=utf-8", asset.content_type))),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok(headers::response(StatusCode::OK, fields, Body::from(asset.text)).into())
}
