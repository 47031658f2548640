//! Checks which layer may use which (see `src/lib.rs`), and the order of the files in a folder. Both are read from the
//! source.

mod order;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use order::{circles, violations};
use source::Source;

/// Each layer with the layers that it may use. A layer is a folder or a file of `src`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("telemetry", &["config", "oci", "log_limit"]),
    ("config", &["oci", "bounded_file"]),
    ("store", &["oci", "config", "telemetry", "manifest_memory"]),
    ("upstream", &["oci", "config", "telemetry", "manifest_memory", "log_limit"]),
    (
        "registry",
        &[
            "oci",
            "config",
            "telemetry",
            "store",
            "upstream",
            "fair_semaphore",
            "client_network",
            "machine_memory",
            "log_limit",
        ],
    ),
    // `upstream` only to ask issuers of tokens for their keys.
    ("auth", &["oci", "config", "telemetry", "bounded_file", "reload", "fair_semaphore", "client_network", "upstream"]),
    ("bounded_file", &[]),
    ("events", &["oci", "config", "telemetry", "upstream", "log_limit"]),
    ("reload", &["bounded_file"]),
    ("log_limit", &[]),
    ("fair_semaphore", &[]),
    ("manifest_memory", &["oci"]),
    ("machine_memory", &[]),
    ("client_network", &[]),
    ("fd_limit", &[]),
    // `store` only for the type of the S3 server that shares the listener.
    (
        "http",
        &["oci", "config", "telemetry", "reload", "log_limit", "client_network", "registry", "auth", "events", "store"],
    ),
    (
        "server",
        &[
            "oci",
            "config",
            "telemetry",
            "reload",
            "log_limit",
            "fd_limit",
            "http",
            "registry",
            "auth",
            "events",
            "store",
            "upstream",
        ],
    ),
    // Commands that do not serve use the layers directly; `check` tries each of them.
    (
        "cli",
        &[
            "oci",
            "config",
            "telemetry",
            "bounded_file",
            "reload",
            "server",
            "http",
            "registry",
            "auth",
            "store",
            "upstream",
        ],
    ),
];

/// Words that only some layers may name.
const WALLED: &[(&str, &[&str])] = &[
    ("axum", &["http"]),
    ("StatusCode", &["http", "upstream"]),
    ("aws_sdk_s3", &["store"]),
    ("aws_config", &["store"]),
    ("reqwest", &["upstream"]),
    ("s3s", &["store"]),
    ("moka", &["registry", "upstream", "auth"]),
    ("bcrypt", &["auth"]),
    ("jsonwebtoken", &["auth"]),
    ("tokio_rustls", &["http", "auth"]),
    ("indicatif", &["cli"]),
    ("opentelemetry", &["telemetry"]),
    ("maud", &["http"]),
];

/// The files and folders in these folders, from the top down, with a space between them. Each may use those below it,
/// and nothing of `mod.rs` itself. A name that `mod.rs` re-exports counts as a name of its own file.
const ROOMS: &[(&str, &str)] = &[
    (
        "http",
        "liveness_probe debug scrape status route page fast_path v2 admission dispatch manifests uploads tags referrers \
         catalog upstream_list token embedded_s3 preflight health response authorize ollama_login challenge signed_url blobs \
         byte_ranges ollama authenticate occurrence access_log request_span upstream_names public_url context client_address \
         state unknown_hosts live_feed live_figures response_memory endpoint url_signer query \
         rejection answer budget error headers server",
    ),
    (
        "registry",
        "warm browse inventory gc prefetch repositories catalog manifests uploads tags revisions referrers blobs fill ingest \
         links condemned holdings repository_walk stored_manifest removal provenance presence blob_part parts_digest cache pulls list_memory \
         flights staleness options changes failure runtime",
    ),
    (
        "registry/gc/survey",
        "run totals budget blobs candidates decide content untagged repository known missing named records spool young gone pages \
         reader policy needed codec error",
    ),
    (
        "store",
        "bucket embedded credentials connect_error sdk_config proxy content_length leader options error \
         response_monitor attempt_span url_template part_sizes filled_for repository_path key fill_path etag lack lengths location body",
    ),
    (
        "upstream",
        "upstreams routing client probe reach redirected session accounts authorize rate_left token status api_check \
         challenge_cache http_client redirect credentials pagination challenge request_span request response \
         head_support names images error",
    ),
    (
        "auth",
        "granted browser access scheme sessions token_issuer bucket_keys oidc passwords attempts user_file htpasswd new_user identity rules ollama_keys tokens \
         token_keys scope error credentials challenge",
    ),
    ("auth/oidc", "provider claims issuer_keys documents key_set"),
    (
        "oci",
        "reference tag range outcome relaxed_name name manifest referrer error descriptor platform media_type digest \
         action",
    ),
    (
        "http/page",
        "route delete login image layers repository overview stream live health pager response layout session view \
         cookie text times format assets",
    ),
    ("events", "delivery queue format references occurrence"),
    ("telemetry", "access_log logs panics metrics health fatal output traces"),
    ("telemetry/traces", "export settings variables scope span tracer propagation collector"),
    ("telemetry/access_log", "text json combined clock fields line escape"),
    ("telemetry/output", "writer target buffer counters"),
    (
        "http/server",
        "serve connection connection_limit connection_table socket timeouts in_flight activity header_bytes \
         inspected_body lingering_body protocols interface tls wrong_protocol",
    ),
];

/// Folders that use only the layers below `http`: nothing of `http` beside them, and none of these layers.
const APART: &[(&str, &[&str])] = &[("http/server", &["http", "registry", "auth", "store"])];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// All sources in a folder of `src`.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root()).unwrap();
        if path.is_dir() && path.ends_with("tests") {
            // Tests use what they like.
        } else if path.is_dir() {
            found.extend(sources(relative.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let module = relative.with_extension("");
            let mut module: Vec<&str> = module.iter().map(|name| name.to_str().unwrap()).collect();
            module.pop_if(|name| *name == "mod" || *name == "lib");
            found.push(Source::new(&module, &fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn layers_use_only_those_below() {
    let sources = sources("");
    assert!(sources.len() > 40, "the sources are not found");
    let mut checked = 0;
    for source in sources {
        let shown = source.module.join("/");
        let layer = source.module.first().map_or("lib", String::as_str);
        for (word, layers) in WALLED {
            assert!(!source.names(word) || layers.contains(&layer), "{shown} names {word}, which only {layers:?} may");
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
            continue;
        };
        for used in source.uses().into_iter().filter_map(|used| used.path.into_iter().next()) {
            let is_layer = MAY_USE.iter().any(|(name, _)| *name == used);
            assert!(!is_layer || used == layer || allowed.contains(&used.as_str()), "{shown} uses {used}");
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} uses were found");
}

#[test]
fn files_of_a_folder_use_only_those_below() {
    let wrong = ROOMS.iter().flat_map(|(folder, order)| {
        let order: Vec<&str> = order.split_whitespace().collect();
        violations(folder, &order, &sources(folder))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The components of `registry/` by their fields' names, and what else they have as fields.
const COMPONENTS: [&str; 10] =
    ["links", "holdings", "provenance", "revisions", "referrers", "fills", "blobs", "tags", "uploads", "manifests"];
const SHARED: [&str; 5] = ["store", "upstreams", "cache", "flights", "background"];

#[test]
fn no_component_uses_the_fields_of_another() {
    for source in sources("registry") {
        for (component, field) in source.chains().filter(|(component, _)| COMPONENTS.contains(component)) {
            let is_another = COMPONENTS.contains(&field) || SHARED.contains(&field);
            // The files of a component's own folder may: `fill/` has `Fills`.
            let is_own = source.module.get(1).is_some_and(|room| component.starts_with(room.as_str()));
            assert!(!is_another || is_own, "{} uses {component}.{field}", source.module.join("/"));
        }
    }
}

#[test]
fn folders_that_stand_apart_use_nothing_beside_them() {
    for (folder, forbidden) in APART {
        for source in sources(folder) {
            for used in source.uses() {
                let path = used.path.join("/");
                let is_own = path.starts_with(folder);
                assert!(is_own || !forbidden.contains(&used.path[0].as_str()), "{folder} uses {path}");
            }
        }
    }
}

#[test]
fn no_folder_has_a_circle() {
    let all = sources("");
    let folders: BTreeSet<&[String]> = all.iter().filter_map(|it| it.module.split_last()).map(|(_, it)| it).collect();
    let wrong: Vec<_> = folders.into_iter().filter(|it| !it.is_empty()).filter_map(|it| circles(it, &all)).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
