//! The languages that Wisp makes and builds functions in.

use std::fmt;
use std::path::Path;

/// A language that functions are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// Rust, with cargo.
    Rust,
    /// JavaScript, with componentize-js.
    Js,
    /// Python, with componentize-py.
    Python,
    /// Go, with its own toolchain and wasm-tools.
    Go,
    /// C, with wit-bindgen, clang and wasm-tools.
    C,
}

impl Language {
    /// The file by which a folder shows its language, most telling first.
    const SIGNS: [(&'static str, Language); 6] = [
        ("Cargo.toml", Self::Rust),
        ("package.json", Self::Js),
        ("go.mod", Self::Go),
        ("pyproject.toml", Self::Python),
        ("app.py", Self::Python),
        ("main.c", Self::C),
    ];

    /// The language of the project in `folder`.
    ///
    /// # Errors
    /// When the folder has none of the files that tell.
    pub(crate) fn detect(folder: &Path) -> anyhow::Result<Self> {
        let sign = Self::SIGNS.iter().find(|(file, _)| folder.join(file).is_file());
        sign.map(|(_, language)| *language).ok_or_else(|| {
            let files = Self::SIGNS.map(|(file, _)| file).join(", ");
            anyhow::anyhow!("{}: cannot tell the language: there is none of {files}", folder.display())
        })
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::C => "C",
        })
    }
}
