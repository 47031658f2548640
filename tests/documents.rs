//! The documents: links lead to existing targets, and the named files, functions and types exist.
//!
//! Only the standard library is used, because `make check` compiles this file alone, in a second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The longest README, in lines.
const LONGEST_README: usize = 150;

/// The folders whose paths documents may name in backticks.
const FOLDERS: [&str; 8] = ["src/", "tests/", "benches/", "fuzz/", "config/", "deploy/", "docs/", ".ci/"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder whose names end in `.extension`.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every document that operators and contributors read.
fn documents() -> Vec<PathBuf> {
    let root = root();
    let mut all = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    all.extend(files(&root.join("docs"), "md"));
    all.extend(files(&root.join("config"), "md"));
    all
}

/// A document without its fenced blocks and comments.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence && !line.starts_with("<!--")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The code spans of a text, each with the text between it and the one before.
fn spans(text: &str) -> Vec<(&str, &str)> {
    assert_eq!(text.matches('`').count() % 2, 0, "a backtick has no partner");
    let mut pieces = text.split('`');
    let mut found = Vec::new();
    while let (Some(between), Some(span)) = (pieces.next(), pieces.next()) {
        found.push((between, span));
    }
    found
}

/// The targets of links and images: `[text](target)`.
fn links(prose: &str) -> Vec<String> {
    let text: String = prose.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let targets = text.split("](").skip(1).map(|rest| rest.split([')', ' ']).next().unwrap().to_owned());
    targets.collect()
}

/// The fragments of a document's headings, as GitHub makes them.
fn fragments(text: &str) -> Vec<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let prose = prose(text);
    let headings = prose.lines().filter_map(|line| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then(|| heading.strip_prefix(' ')).flatten()
    });
    let fragments = headings.map(|heading| {
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        let kept: String = kept.chars().filter(|it| it.is_alphanumeric() || "-_".contains(*it)).collect();
        let before = times.entry(kept.clone()).or_default();
        *before += 1;
        if *before == 1 { kept } else { format!("{kept}-{}", *before - 1) }
    });
    fragments.collect()
}

#[test]
fn readme_is_short() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= LONGEST_README, "README.md has {lines} lines, more than {LONGEST_README}: move text to docs/");
}

#[test]
fn readme_names_every_document() {
    let root = root();
    let links = links(&prose(&read(&root.join("README.md"))));
    for path in files(&root.join("docs"), "md") {
        let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        assert!(links.contains(&path), "README.md does not link to {path}");
    }
}

#[test]
fn links_are_not_dead() {
    let mut checked = 0;
    let mut dead = Vec::new();
    for document in documents() {
        for link in links(&prose(&read(&document))) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, fragment) = link.split_once('#').map_or((&link[..], None), |(path, it)| (path, Some(it)));
            let target = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            checked += 1;
            let found = target.exists()
                && fragment.is_none_or(|fragment| fragments(&read(&target)).iter().any(|it| it == fragment));
            if !found {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(checked > 30, "only {checked} links were found");
}

#[test]
fn files_that_documents_name_exist() {
    let root = root();
    let mut missing = Vec::new();
    let is_path = |span: &str| {
        let plain = |it: char| it.is_ascii_alphanumeric() || "/._-".contains(it);
        FOLDERS.iter().any(|folder| span.starts_with(folder)) && span.chars().all(plain)
    };
    // The changelog names files of earlier versions, too.
    for document in documents().into_iter().filter(|path| !path.ends_with("CHANGELOG.md")) {
        for (_, span) in spans(&prose(&read(&document))) {
            if is_path(span) && !root.join(span).exists() {
                missing.push(format!("{}: {span}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "files that do not exist:\n{}", missing.join("\n"));
}

/// Whether code declares an item: one of these keywords, its name, and no more letters.
fn declares(code: &str, keywords: &[&str], name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|it: char| it.is_alphanumeric() || it == '_');
    keywords.iter().any(|keyword| {
        let declaration = format!("{keyword} {name}");
        code.match_indices(&declaration).any(|(at, it)| {
            let starts = !code[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_');
            starts && ends(&code[at + it.len()..])
        })
    })
}

const TYPES: [&str; 4] = ["struct", "enum", "trait", "type"];

/// The `impl` blocks of a type in a file: from a line that begins with `impl` and names it to one that is `}`.
fn implementations<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let blocks = code.split("\nimpl").skip(1);
    let blocks = blocks.filter(|block| {
        let header = block.split('{').next().unwrap();
        header.split(|it: char| !it.is_alphanumeric() && it != '_').any(|word| word == name)
    });
    blocks.map(|block| block.split("\n}").next().unwrap()).collect()
}

/// The code of a file, without comments.
fn code(path: &Path) -> String {
    let text = read(path);
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Why a hop leads nowhere: the file is missing, or the function, type or `Type::function` in it. A type may be
/// declared elsewhere in the layer of the file that implements it.
fn wrong(path: &str, item: &str) -> Option<String> {
    let file = root().join(path);
    if !file.is_file() {
        return Some("there is no such file".to_owned());
    }
    let here = code(&file);
    let Some((kind, function)) = item.split_once("::") else {
        let found = declares(&here, &["fn"], item) || declares(&here, &TYPES, item);
        return (!found).then(|| "the file declares no such function or type".to_owned());
    };
    let blocks = implementations(&here, kind);
    if !blocks.iter().any(|block| declares(block, &["fn"], function)) {
        return Some(format!("the file has no `fn {function}` in an `impl {kind}`"));
    }
    // `src/registry/` declares what `src/registry/uploads/` implements; `src/lib.rs` stands alone.
    let layer: PathBuf = Path::new(path).components().take(2).collect();
    let layer = root().join(layer);
    let beside = if layer.is_dir() { files(&layer, "rs") } else { vec![layer] };
    let declared = beside.iter().any(|it| declares(&code(it), &TYPES, kind));
    (!declared).then(|| format!("its layer declares no type {kind}"))
}

/// A hop is a path and an item with only a blank or a line's end between them.
#[test]
fn hops_exist() {
    let mut checked = 0;
    let mut broken = Vec::new();
    for document in documents() {
        let text = prose(&read(&document));
        for pair in spans(&text).windows(2) {
            let [(_, path), (between, item)] = pair else { unreachable!() };
            let is_rust = Path::new(path).extension().is_some_and(|it| it == "rs");
            let is_code = is_rust && FOLDERS.iter().any(|folder| path.starts_with(folder));
            if !is_code || between.split_whitespace().next().is_some() {
                continue;
            }
            checked += 1;
            if let Some(why) = wrong(path, item) {
                broken.push(format!("{}: `{path}` `{item}`: {why}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "hops that lead nowhere:\n{}", broken.join("\n"));
    assert!(checked > 60, "only {checked} hops were found");
}

#[test]
fn a_hop_that_is_wrong_is_found() {
    assert_eq!(wrong("tests/documents.rs", "wrong"), None);
    assert!(wrong("tests/documents.rs", "wron").is_some());
    assert!(wrong("tests/nothing.rs", "wrong").is_some());
    assert_eq!(wrong("src/oci/digest.rs", "Digest"), None);
    assert_eq!(wrong("src/http/endpoint.rs", "Endpoint::parse"), None);
    assert!(wrong("src/http/endpoint.rs", "Endpoint::pars").is_some());
    // A method of another type.
    assert!(wrong("src/http/endpoint.rs", "Upload::parse").is_some());
}

#[test]
fn the_table_of_the_bench_is_in_one_place() {
    let root = root();
    // As `benches/peers/main.rs` looks for them.
    let text = read(&root.join("docs/performance.md"));
    assert_eq!(text.matches("\n<!-- bench: ").count(), 1);
    assert_eq!(text.matches("\n<!-- /bench -->\n").count(), 1);
    let mut copies = documents();
    copies.extend(files(&root.join("benches"), "md"));
    copies.retain(|path| read(path).contains("| scenario | contestant |"));
    assert_eq!(copies, [root.join("docs/performance.md")]);
}
