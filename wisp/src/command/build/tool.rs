//! The programs that building needs, where they are found, and how to get those that are not there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A program of a language's toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Rust's compiler, asked where it keeps its targets.
    Rustc,
    /// Rust's builder.
    Cargo,
    /// JavaScript's package manager, which runs the project's own build script.
    Npm,
    /// Makes a component of Python.
    ComponentizePy,
    /// Go's own toolchain.
    Go,
    /// Makes components of core modules.
    WasmTools,
    /// Makes C bindings of WIT.
    WitBindgen,
    /// clang, with a libc for WASI.
    Zig,
}

impl Tool {
    /// Where to look: relative to the project when there is a slash in it, on `PATH` otherwise. First come, first taken.
    fn places(self) -> &'static [&'static str] {
        match self {
            Self::Rustc => &["rustc"],
            Self::Cargo => &["cargo"],
            Self::Npm => &["npm"],
            Self::ComponentizePy => &[".venv/bin/componentize-py", "componentize-py"],
            Self::Go => &["go"],
            Self::WasmTools => &[".venv/bin/wasm-tools", "wasm-tools"],
            Self::WitBindgen => &["wit-bindgen"],
            Self::Zig => &[".venv/bin/python-zig", "zig", "python-zig"],
        }
    }

    /// How to get it.
    fn advice(self) -> &'static str {
        match self {
            Self::Rustc | Self::Cargo => "install Rust with rustup, see https://rustup.rs",
            Self::Npm => "install Node.js 20 or later, which brings npm",
            Self::ComponentizePy => "run: python3 -m venv .venv && .venv/bin/pip install componentize-py",
            Self::Go => "install Go 1.24 or later, see https://go.dev/dl",
            Self::WasmTools => "run: cargo install --locked wasm-tools",
            Self::WitBindgen => "run: cargo install --locked wit-bindgen-cli",
            Self::Zig => "run: pip install ziglang",
        }
    }

    /// The program, for the project in `folder`, on the search path `path`.
    ///
    /// # Errors
    /// When it is not there; the message says how to get it.
    pub(crate) fn find(self, folder: &Path, path: &OsStr) -> anyhow::Result<PathBuf> {
        let on_path =
            |name: &str| std::env::split_paths(path).map(|entry| entry.join(name)).find(|file| file.is_file());
        let look = |place: &&str| match place.contains('/') {
            true => Some(folder.join(place)).filter(|file| file.is_file()),
            false => on_path(place),
        };
        self.places().iter().find_map(look).ok_or_else(|| {
            let name = self.places().last().expect("each tool has a place");
            anyhow::anyhow!("{name} is not installed; {}", self.advice())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_tool_comes_before_the_machines() {
        let folder = tempfile::tempdir().unwrap();
        let (own, machines) = (folder.path().join("project"), folder.path().join("bin"));
        std::fs::create_dir_all(own.join(".venv/bin")).unwrap();
        std::fs::create_dir_all(&machines).unwrap();
        std::fs::write(machines.join("componentize-py"), "").unwrap();
        let find = || Tool::ComponentizePy.find(&own, machines.as_os_str()).unwrap();
        assert_eq!(find(), machines.join("componentize-py"));
        std::fs::write(own.join(".venv/bin/componentize-py"), "").unwrap();
        assert_eq!(find(), own.join(".venv/bin/componentize-py"));
    }

    #[test]
    fn a_missing_tool_says_how_to_get_it() {
        let error = Tool::WasmTools.find(Path::new("/nowhere"), OsStr::new("")).unwrap_err().to_string();
        assert_eq!(error, "wasm-tools is not installed; run: cargo install --locked wasm-tools");
    }
}
