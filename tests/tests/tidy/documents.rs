//! Rules of what is written for people, and of what must be written nowhere.

use crate::tree;

const ARCHITECTURE_LINES_MAX: usize = 200;
const CHANGES: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// The parts of a document below its `## ` headings, each with its heading.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("\n## ").skip(1);
    parts.map(|part| part.split_once('\n').unwrap_or((part, ""))).collect()
}

/// What stands between single backticks on one line.
fn quoted(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_changelog_keeps_its_form() {
    let text = tree::read("CHANGELOG.md");
    assert!(text.starts_with("# Changelog\n"), "CHANGELOG.md begins with `# Changelog`");
    assert!(text.contains("\n## [Unreleased]\n"), "CHANGELOG.md has a section `## [Unreleased]`");
    let mut complaints = Vec::new();
    for line in text.lines() {
        let bad = match (line.strip_prefix("## "), line.strip_prefix("### ")) {
            (Some(version), _) => version != "[Unreleased]" && !is_release(version),
            (_, Some(change)) => !CHANGES.contains(&change),
            _ => false,
        };
        complaints.extend(bad.then(|| format!("CHANGELOG.md: {line:?}: see keepachangelog.com")));
    }
    tree::expect_none(complaints);
}

/// `[1.2.3] - 2026-01-31`
fn is_release(heading: &str) -> bool {
    let Some((version, date)) = heading.split_once(" - ") else { return false };
    let parts = version.trim_matches(['[', ']']).split('.');
    let numbers = parts.filter(|part| part.parse::<u32>().is_ok()).count();
    let dashes: Vec<usize> = date.match_indices('-').map(|(at, _)| at).collect();
    version.starts_with('[') && numbers == 3 && date.len() == 10 && dashes == [4, 7]
}

#[test]
fn every_table_of_numbers_names_its_command() {
    let text = tree::read("docs/performance.md");
    let parts = sections(&text);
    let silent = parts.iter().filter(|(_, body)| body.contains("\n| ---") && !body.contains("Command: `"));
    tree::expect_none(
        silent.map(|(heading, _)| format!("docs/performance.md, {heading}: add a line `Command: …`")).collect(),
    );
}

#[test]
fn decisions_are_numbered_without_a_gap() {
    let files = tree::files();
    let names = files.iter().filter_map(|file| file.path.strip_prefix("docs/decisions/"));
    let mut numbers: Vec<usize> = names.map(|name| name[..4].parse().expect("0001-what-was-chosen.md")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

#[test]
fn the_architecture_is_short_and_names_what_exists() {
    let text = tree::read("ARCHITECTURE.md");
    let lines = text.lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md has {lines} lines, at most {ARCHITECTURE_LINES_MAX}");
    let gone = quoted(&text).into_iter().filter(|name| is_path(name) && !tree::root().join(name).exists());
    tree::expect_none(gone.map(|path| format!("ARCHITECTURE.md names {path}, which is not there")).collect());
}

/// A file or folder in the text, and not a URL, a type or a command.
fn is_path(name: &str) -> bool {
    let ends = [".rs", ".proto", ".md", ".toml", "/"].iter().any(|end| name.ends_with(end));
    ends && !name.contains([' ', ':', '<', '{'])
}

#[test]
fn the_tests_that_hold_an_invariant_exist() {
    let text = tree::read("ARCHITECTURE.md");
    let sources = tree::rust_files();
    let parts = sections(&text);
    let (_, invariants) = parts.iter().find(|(heading, _)| *heading == "Invariants").expect("there is such a section");
    let tests = quoted(invariants).into_iter().filter(|name| {
        name.matches('_').count() >= 2 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    });
    let exists = |name: &str| sources.iter().any(|file| file.text().contains(&format!("fn {name}(")));
    let gone = tests.filter(|name| !exists(name));
    tree::expect_none(gone.map(|name| format!("ARCHITECTURE.md names the test {name}, which is not there")).collect());
}

#[test]
fn no_file_tells_of_the_machine_that_made_it() {
    // In two parts each, or this file would find itself.
    let traces = [
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["artif", "actory"].concat(),
        ["index.crates", ".io"].concat(),
        ["registry.npm", "js.org"].concat(),
        ["files.python", "hosted.org"].concat(),
        ["proxy.gol", "ang.org"].concat(),
    ];
    let mut complaints = Vec::new();
    for file in tree::files() {
        let text = String::from_utf8_lossy(&file.bytes);
        let found = traces.iter().filter(|trace| text.contains(trace.as_str()));
        complaints.extend(found.map(|trace| format!("{}: has {trace}, which belongs to one machine", file.path)));
    }
    tree::expect_none(complaints);
}
