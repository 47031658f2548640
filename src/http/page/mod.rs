//! The page for browsers: what the registry has, at `/` and below `/-/`, which no repository can be called.
//!
//! Everything is rendered on the server, and works without scripts. A view reads memory and the bucket, at most so many
//! times as it says; it never asks an upstream, and fills nothing. It shows what the user may pull, by the same rules as
//! the API.

mod assets;
mod cookie;
mod delete;
mod format;
mod health;
mod image;
mod layers;
mod layout;
mod live;
mod login;
mod overview;
mod pager;
mod repository;
mod response;
mod route;
mod session;
mod stream;
mod text;
mod times;
mod view;

pub(super) use route::{is_asked_for, is_path, respond};
