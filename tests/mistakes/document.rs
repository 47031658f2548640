//! What docs/troubleshooting.md quotes is what the program says.

const DOCUMENT: &str = include_str!("../../docs/troubleshooting.md");
const TESTS: [&str; 3] = [include_str!("clients.rs"), include_str!("start.rs"), include_str!("upstreams.rs")];

/// The sections: title and text.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = DOCUMENT.split("\n### ").skip(1);
    sections.map(|section| section.split_once('\n').unwrap())
}

/// The lines in `text` blocks.
fn quoted(section: &str) -> Vec<&str> {
    let blocks = section.split("```text\n").skip(1);
    blocks.flat_map(|block| block.split("```").next().unwrap().lines()).collect()
}

/// Whether `…` in a quoted line stands for any text in this one.
fn is_in(line: &str, quoted: &str) -> bool {
    let mut rest = line;
    quoted.split('…').all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// Each line that the section of the document quotes is a line of `said`, and every one names a setting and what to do.
#[track_caller]
pub fn quotes(title: &str, said: &str) {
    let (_, section) = sections().find(|(found, _)| *found == title).unwrap_or_else(|| panic!("no section {title}"));
    let lines = quoted(section);
    assert!(!lines.is_empty(), "{title} quotes nothing");
    for quoted in lines {
        assert!(said.lines().any(|line| is_in(line, quoted)), "{title}\n  quoted: {quoted}\n  said:\n{said}");
    }
}

#[test]
fn a_test_makes_the_mistake_of_every_section() {
    let mut count = 0;
    for (title, section) in sections() {
        count += 1;
        let named = format!("quotes(\"{title}\"");
        assert!(TESTS.iter().any(|test| test.contains(&named)), "no test has {named}");
        assert!(!quoted(section).is_empty(), "{title} quotes nothing");
    }
    assert!(count >= 20, "{count} sections");
    // The table lists them in the same order.
    let table = DOCUMENT.lines().filter(|line| line.starts_with("| ["));
    let listed: Vec<_> = table.map(|line| line[3..].split(']').next().unwrap()).collect();
    assert_eq!(listed, sections().map(|(title, _)| title).collect::<Vec<_>>());
}

#[test]
fn the_ellipsis_stands_for_any_text() {
    assert!(is_in("2026 WARN a: b c d", "WARN …: b … d"));
    assert!(!is_in("2026 WARN a: b c", "WARN …: b … d"));
}
