//! Rules of Rust files.

use std::collections::HashSet;

use crate::tree::{self, File};

/// Without tests; CONTRIBUTING.md aims at 150.
const LINES_MAX: usize = 400;
/// Says nothing about what is in the file.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "manager"];
/// The one file that maps compiled code.
const UNSAFE_FILE: &str = "shim/host/src/load.rs";
const PURE_CRATES: [&str; 2] = ["api/src/", "scaling/src/"];
const IMPURE: [&str; 10] = [
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio::",
    "tracing::",
    "std::env",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
];

/// Files that are compiled for tests only: in a folder of tests, or declared below `#[cfg(test)]`.
fn test_only(files: &[File]) -> HashSet<String> {
    let declared: HashSet<String> = files.iter().flat_map(modules_for_tests).collect();
    let in_folder = |file: &File| {
        let parts = file.path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples"));
        parts || file.stem().ends_with("_tests")
    };
    let is_declared = |file: &File| {
        let module = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        declared.iter().any(|test| module == test || module.starts_with(&format!("{test}/")))
    };
    files.iter().filter(|file| in_folder(file) || is_declared(file)).map(|file| file.path.clone()).collect()
}

/// Paths, without `.rs`, of the modules that `file` declares for tests.
fn modules_for_tests(file: &File) -> Vec<String> {
    let folder = match file.stem() {
        "lib" | "main" | "mod" => file.folder().to_owned(),
        stem => format!("{}/{stem}", file.folder()),
    };
    let lines: Vec<&str> = file.text().lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].strip_suffix(';')?.rsplit_once("mod ")?.1;
        Some(format!("{folder}/{name}"))
    });
    declared.collect()
}

/// The text before the tests at the end of a file.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |start| &text[..start])
}

/// Lines that are not comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered.map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
}

#[test]
fn files_stay_within_400_lines() {
    let files = tree::rust_files();
    let tests = test_only(&files);
    let long = files.iter().filter(|file| !tests.contains(&file.path)).filter_map(|file| {
        let lines = without_tests(file.text()).lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines, at most {LINES_MAX}: split it by idea", file.path))
    });
    tree::expect_none(long.collect());
}

#[test]
fn files_are_named_for_what_they_hold() {
    let files = tree::rust_files();
    let empty = files.iter().filter(|file| EMPTY_NAMES.contains(&file.stem()));
    tree::expect_none(empty.map(|file| format!("{}: name it for what it holds", file.path)).collect());
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let files = tree::rust_files();
    let tests = test_only(&files);
    let mute = files.iter().filter(|file| !tests.contains(&file.path) && !file.text().starts_with("//!"));
    tree::expect_none(mute.map(|file| format!("{}: begin with a `//!` line", file.path)).collect());
}

#[test]
fn crate_roots_forbid_unsafe_code() {
    // A crate that has to allow it in one file can only deny it in its root.
    let rule =
        |path: &str| if path == "shim/host/src/lib.rs" { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
    let is_root = |path: &str| {
        path.ends_with("src/lib.rs") || path.ends_with("src/main.rs") || path.rsplit('/').nth(1) == Some("bin")
    };
    let files = tree::rust_files();
    let open = files.iter().filter(|file| is_root(&file.path) && !file.text().contains(rule(&file.path)));
    tree::expect_none(open.map(|file| format!("{}: add {}", file.path, rule(&file.path))).collect());
}

#[test]
fn one_file_has_unsafe_code() {
    let mut complaints = Vec::new();
    for file in tree::rust_files().iter().filter(|file| file.path != UNSAFE_FILE && file.stem() != "source") {
        let has = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        let lines = code(file.text()).filter(|(_, line)| has(line));
        complaints.extend(lines.map(|(number, _)| format!("{}:{number}: unsafe belongs to {UNSAFE_FILE}", file.path)));
    }
    let blocks = tree::read(UNSAFE_FILE);
    let unsound = blocks.matches("unsafe {").count() != blocks.matches("// SAFETY:").count();
    complaints.extend(unsound.then(|| format!("{UNSAFE_FILE}: a `// SAFETY:` comment before each block")));
    tree::expect_none(complaints);
}

#[test]
fn api_and_scaling_take_time_as_an_argument_and_do_no_io() {
    let files = tree::rust_files();
    let tests = test_only(&files);
    let pure = files.iter().filter(|file| PURE_CRATES.iter().any(|path| file.path.starts_with(path)));
    let mut complaints = Vec::new();
    for file in pure.filter(|file| !tests.contains(&file.path)) {
        for (number, line) in code(without_tests(file.text())) {
            let found = IMPURE.iter().filter(|word| line.contains(*word));
            complaints.extend(found.map(|word| format!("{}:{number}: {word} belongs to a shell", file.path)));
        }
    }
    tree::expect_none(complaints);
}
