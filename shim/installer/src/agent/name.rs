//! Names of artifacts, as the API has them: whoever may write there must not reach another file by them.

use std::fmt;

/// What artifacts are called; the store's own files are not.
const SUFFIX: &str = ".wisp";
/// Of a file, and room for what is put before it while it is fetched.
const BYTES_MAX: usize = 240;

/// The name of a file in the folder of artifacts, and nothing that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ArtifactName(String);

/// What is no such name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no name of an artifact: letters, digits, - and _, then {SUFFIX}")]
pub(crate) struct NameError(String);

impl ArtifactName {
    /// # Errors
    /// When `text` is more than letters, digits, dots, dashes and underscores, begins with a dot, or ends otherwise.
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        let stem = text.strip_suffix(SUFFIX).filter(|stem| !stem.is_empty() && !stem.starts_with('.'));
        let is_sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match stem {
            Some(stem) if text.len() <= BYTES_MAX && stem.chars().all(is_sane) => Ok(Self(text.to_owned())),
            // A message is for a log line: not all of what may be a megabyte.
            _ => Err(NameError(text.chars().take(BYTES_MAX).collect())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_file_names_are_names() {
        for good in ["a.wisp", "ab12-http-p2-00ff.wisp", "A_b.c-1.wisp"] {
            assert_eq!(ArtifactName::parse(good).unwrap().as_str(), good);
        }
        let long = format!("{}.wisp", "a".repeat(BYTES_MAX));
        let table = [
            "",
            ".wisp",
            "..wisp",
            ".a.wisp",
            "a",
            "seal.key",
            "a.wisp.tmp",
            "../a.wisp",
            "/a.wisp",
            "a/b.wisp",
            "a b.wisp",
            "a\n.wisp",
            "a%2f.wisp",
            "ä.wisp",
            "a?x=.wisp",
            &long,
        ];
        for bad in table {
            assert!(ArtifactName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
