//! What contradicts the order of a folder's files, and which files use each other in a circle.

use std::collections::{BTreeSet, HashMap};

use super::source::Source;

/// Children of a folder that use each other in a cycle, with the used names. `mod.rs` counts as a child if it declares
/// types that its children use and implement. Its re-exports do not count as uses.
pub fn circles(folder: &[String], sources: &[Source]) -> Option<String> {
    let parent: Vec<&str> = folder.iter().map(String::as_str).collect();
    let inside: Vec<&Source> = sources.iter().filter(|it| it.module.starts_with(folder)).collect();
    let child_of = |it: &Source| it.module.get(parent.len()).map_or("mod.rs", String::as_str).to_owned();
    let children: BTreeSet<String> = inside.iter().map(|it| child_of(it)).collect();
    let order: Vec<&str> = children.iter().map(String::as_str).collect();
    let facade = Facade::new(&parent, &order, sources);
    let mut edges: Vec<(String, String)> = Vec::new();
    for source in &inside {
        let child = child_of(source);
        for used in source.uses() {
            let target = match facade.origin(&used.path) {
                Origin::Child(place) if !used.is_reexport || child != "mod.rs" => order[place].to_owned(),
                Origin::Facade => "mod.rs".to_owned(),
                _ => continue,
            };
            edges.push((child.clone(), target));
        }
    }
    edges.retain(|(from, to)| from != to);
    // A child that uses none of the others is in no cycle.
    let mut left = children;
    loop {
        let is_free = |child: &String| !edges.iter().any(|(from, to)| from == child && left.contains(to));
        let free: Vec<String> = left.iter().filter(|it| is_free(it)).cloned().collect();
        if free.is_empty() {
            break;
        }
        left.retain(|child| !free.contains(child));
    }
    (!left.is_empty()).then(|| format!("{}: a circle in {left:?}", folder.join("/")))
}

/// The violations of the order of a folder's children, one sentence each.
pub fn violations(folder: &str, order: &[&str], sources: &[Source]) -> Vec<String> {
    let parent: Vec<&str> = folder.split('/').collect();
    let facade = Facade::new(&parent, order, sources);
    let child_of = |source: &Source| source.module.get(parent.len()).cloned();
    let mut found = Vec::new();
    for name in order.iter().filter(|name| !sources.iter().any(|it| child_of(it).as_deref() == Some(name))) {
        found.push(format!("{folder}: {name} is in the table, but is no file"));
    }
    for source in sources {
        let child = child_of(source);
        let shown = format!("{folder}: {}", child.as_deref().unwrap_or("mod.rs"));
        let own: Vec<_> = sources.iter().filter(|it| child_of(it) == child).collect();
        for it in source.impls() {
            let is_own = declares(&own, TYPES, &it.type_name)
                || it.trait_name.as_ref().is_some_and(|name| declares(&own, &["trait"], name));
            // An outside trait may be implemented for an outside type.
            let is_beside =
                it.trait_name.is_none() || declares(&sources.iter().collect::<Vec<_>>(), TYPES, &it.type_name);
            if !is_own && is_beside {
                found.push(format!("{shown} has an impl of {}, which it does not declare", it.type_name));
            }
        }
        let Some(child) = child else { continue };
        let Some(place) = order.iter().position(|name| *name == child) else {
            found.push(format!("{shown} is not in the table"));
            continue;
        };
        for used in source.uses() {
            let path = used.path.join("::");
            match facade.origin(&used.path) {
                Origin::Outside => {}
                Origin::Child(below) if below >= place => {}
                Origin::Child(above) => {
                    found.push(format!("{shown} uses {path} of {}, which stands above", order[above]));
                }
                Origin::Facade => found.push(format!("{shown} uses {path}, which is mod.rs's own")),
            }
        }
    }
    found
}

const TYPES: &[&str] = &["struct", "enum", "union", "type", "trait"];

fn declares(sources: &[&Source], keywords: &[&str], name: &str) -> bool {
    sources.iter().any(|source| source.declared(keywords).contains(&name))
}

/// The target of a path.
enum Origin {
    /// Outside the folder.
    Outside,
    /// A child, by its position in the order.
    Child(usize),
    /// An item that the folder's `mod.rs` declares.
    Facade,
}

/// A folder's `mod.rs`.
struct Facade<'a> {
    parent: &'a [&'a str],
    order: &'a [&'a str],
    /// The paths of the names that it imports or re-exports.
    imported: HashMap<String, Vec<String>>,
}

impl<'a> Facade<'a> {
    fn new(parent: &'a [&'a str], order: &'a [&'a str], sources: &[Source]) -> Self {
        let uses = sources.iter().filter(|it| it.module == parent).flat_map(Source::uses);
        Self { parent, order, imported: uses.map(|used| (used.name, used.path)).collect() }
    }

    fn origin(&self, path: &[String]) -> Origin {
        if path.len() < self.parent.len() || path.iter().zip(self.parent).any(|(a, b)| a != b) {
            return Origin::Outside;
        }
        let Some(name) = path.get(self.parent.len()) else {
            return Origin::Facade;
        };
        if let Some(place) = self.order.iter().position(|child| child == name) {
            return Origin::Child(place);
        }
        match self.imported.get(name) {
            Some(original) if original != path => self.origin(original),
            _ => Origin::Facade,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The violations in a folder of these files, where `top` stands above `middle` and `bottom`.
    fn wrong_with(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|(name, text)| match *name {
            "mod" => Source::new(&["a"], text),
            name => Source::new(&[&["a"], &name.split('/').collect::<Vec<_>>()[..]].concat(), text),
        });
        let mut sources: Vec<_> = sources.collect();
        for name in ["top", "middle", "bottom"] {
            if !files.iter().any(|(file, _)| file.split('/').next() == Some(name)) {
                sources.push(Source::new(&["a", name], ""));
            }
        }
        violations("a", &["top", "middle", "bottom"], &sources)
    }

    #[test]
    fn the_order_is_kept() {
        let facade = "mod bottom; mod middle; mod top; pub use self::bottom::Low as Deep; pub use top::High;";
        let top =
            "use super::{bottom::{self, Low}, middle}; use crate::a::bottom::x; impl Display for High {} struct High;
            struct S<'a>(&'a str); impl<'a> From<&'a str> for S<'a> { fn f() -> impl Fn() { } } use super::Deep;";
        let bottom = "pub(in crate::a) trait Told {} struct Low; impl Told for High {} use crate::b::{self, top}; use std::io;
            // use super::top;
            const TEXT: &str = \"use super::top; {\"; const C: char = '\"'; #[cfg(test)] mod tests { use super::super::top::High; }";
        assert_eq!(wrong_with(&[("mod", facade), ("top", top), ("bottom", bottom)]), [""; 0]);
        assert_eq!(wrong_with(&[("middle/one", "use super::two::X;"), ("middle/two", "use super::one::Y;")]), [""; 0]);
    }

    #[test]
    fn circles_are_found() {
        let found = |facade: &str, one: &str, two: &str| {
            let sources = [("", facade), ("one", one), ("two", two)].map(|(name, text)| match name {
                "" => Source::new(&["a"], text),
                name => Source::new(&["a", name], text),
            });
            circles(&["a".to_owned()], &sources)
        };
        let facade = "mod one; mod two; use two::Low; pub use one::Verb; pub struct Own(Low);";
        assert_eq!(found(facade, "use super::Own; pub struct Verb; impl Own {}", "pub struct Low;"), None);
        assert!(found(facade, "use super::Own;", "use super::one::Verb;").is_some_and(|it| it.contains("mod.rs")));
        assert!(found("mod one; mod two;", "use super::two::x;", "use super::one::y;").is_some());
    }

    /// A name, the files of a folder, and the expected violations.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    #[test]
    fn what_contradicts_the_order_is_found() {
        let facade =
            "mod bottom; mod middle; mod top; pub use {bottom::Low, top::High as Higher}; pub struct Own; fn own() {}";
        let cases: &[Case<'_>] = &[
            (
                "a circle",
                &[("top", "use super::bottom::x;"), ("bottom", "use super::top::y;")],
                "a: bottom uses a::top::y of top, which stands above",
            ),
            ("an upward use", &[("middle", "use super::top;")], "a: middle uses a::top of top, which stands above"),
            (
                "in a nested list",
                &[("middle", "use crate::{b, a::{bottom::{x, y}, top::{self}}};")],
                "a: middle uses a::top of top, which stands above",
            ),
            (
                "in an expression",
                &[("middle", "fn f() { g(super::top::h::<u8>(1)) }")],
                "a: middle uses a::top::h of top, which stands above",
            ),
            (
                "from a folder's file",
                &[("middle/deep", "use super::super::top::x;")],
                "a: middle uses a::top::x of top, which stands above",
            ),
            (
                "through a re-export",
                &[("bottom", "use super::Higher;")],
                "a: bottom uses a::Higher of top, which stands above",
            ),
            ("the parent's type", &[("top", "use super::{Low, Own};")], "a: top uses a::Own, which is mod.rs's own"),
            (
                "the parent's function",
                &[("top", "fn f() { super::own() }")],
                "a: top uses a::own, which is mod.rs's own",
            ),
            ("all of the parent", &[("top", "use super::*;")], "a: top uses a::*, which is mod.rs's own"),
            (
                "a foreign impl",
                &[("bottom", "pub struct Low;"), ("top", "use super::Low; impl Low { fn f(&self) {} }")],
                "a: top has an impl of Low, which it does not declare",
            ),
            (
                "a foreign impl of a foreign trait",
                &[("bottom", "pub struct Low;"), ("top", "impl<T: Fn() -> u8> From<T> for super::bottom::Low {}")],
                "a: top has an impl of Low, which it does not declare",
            ),
            ("a file that is not in the table", &[("other", "")], "a: other is not in the table"),
        ];
        for (what, files, expected) in cases {
            let files: Vec<_> = [("mod", facade)].iter().chain(*files).copied().collect();
            assert_eq!(wrong_with(&files), [*expected], "{what}");
        }
        assert_eq!(violations("a", &["gone"], &[]), ["a: gone is in the table, but is no file"]);
    }
}
