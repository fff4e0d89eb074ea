//! `wisp build`: runs the language's own tool and puts the component where function.yaml points.
//!
//! [`language`] tells what the folder is written in, [`step`] what to run, [`tool`] where the programs are.

mod language;
mod step;
mod tool;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;

pub(crate) use language::Language;
use step::{ADAPTER, Project, Step, steps};
use tool::Tool;

use crate::up::manifest;

const MANIFEST: &str = "function.yaml";
const RUST_TARGET: &str = "wasm32-wasip2";

/// Arguments of `wisp build`.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The project's folder, with its function.yaml.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Build without optimising, with debug information (Rust and C).
    #[arg(long)]
    pub(crate) debug: bool,
}

/// Builds the project and says where the component is.
///
/// # Errors
/// When the folder is no project, a tool is missing, or the tool fails.
pub(crate) async fn run(args: BuildArgs) -> anyhow::Result<()> {
    let folder = &args.path;
    let language = Language::detect(folder)?;
    let function = manifest::read(&folder.join(MANIFEST))?;
    let Some(target) = function.spec.component.path else {
        bail!(
            "{}: spec.component.path is not set: it says where to put the component",
            folder.join(MANIFEST).display()
        );
    };
    let component = folder.join(&target);
    let into = component.parent().unwrap_or(folder);
    std::fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let builder = Builder { folder, path };
    match language {
        Language::Rust => builder.require_rust_target().await?,
        Language::Go => builder.write_adapter()?,
        Language::Js | Language::Python | Language::C => {}
    }
    let project = Project::look(folder, target).with_context(|| format!("cannot read {}", folder.display()))?;
    for step in steps(language, &project, &args) {
        let printed = builder.perform(&step).await?;
        if language == Language::Rust {
            copy(&last_artifact(&printed)?, &component)?;
        }
    }
    let size = std::fs::metadata(&component).with_context(|| format!("the build left no {}", component.display()))?;
    println!("built {} ({language}, {} kB)", component.display(), size.len().div_ceil(1000));
    Ok(())
}

struct Builder<'a> {
    folder: &'a Path,
    /// Where programs are searched.
    path: OsString,
}

impl Builder<'_> {
    /// Runs a step in the project's folder. Cargo's standard output is for us, the others' is for the user.
    async fn perform(&self, step: &Step) -> anyhow::Result<Vec<u8>> {
        let program = self.find(step.tool)?;
        let mut command = Command::new(&program);
        command.args(&step.args).current_dir(self.folder).envs(step.env.iter().copied());
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        command.stdout(if step.tool == Tool::Cargo { Stdio::piped() } else { Stdio::inherit() });
        let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "{} {} failed: {}", program.display(), step.args.join(" "), output.status);
        Ok(output.stdout)
    }

    fn find(&self, tool: Tool) -> anyhow::Result<PathBuf> {
        let found = tool.find(self.folder, &self.path)?;
        // The program runs in the folder, where a relative path would begin anew.
        std::path::absolute(&found).with_context(|| format!("cannot resolve {}", found.display()))
    }

    /// Without this, cargo would fail by not finding `core`, which helps nobody.
    async fn require_rust_target(&self) -> anyhow::Result<()> {
        let rustc = self.find(Tool::Rustc)?;
        let mut command = Command::new(rustc);
        command.args(["--print", "target-libdir", "--target", RUST_TARGET]).current_dir(self.folder);
        let output = command.output().await.context("cannot run rustc")?;
        let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end());
        ensure!(
            output.status.success() && libraries.is_dir(),
            "this Rust has no {RUST_TARGET}; run: rustup target add {RUST_TARGET}"
        );
        Ok(())
    }

    fn write_adapter(&self) -> anyhow::Result<()> {
        let file = self.folder.join(ADAPTER);
        std::fs::create_dir_all(file.parent().expect("it is in a folder"))
            .and_then(|()| std::fs::write(&file, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The component among what cargo says that it made, one JSON message a line: the last, which is the project's own.
fn last_artifact(messages: &[u8]) -> anyhow::Result<PathBuf> {
    let text = String::from_utf8_lossy(messages);
    let mut files = text.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message.get("filenames")?.as_array()?.clone();
        files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    });
    files.next_back().context("cargo made no .wasm file: the package needs a binary, or a library of the type cdylib")
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // Beside the target and renamed, since `wisp up` may be watching it.
    let beside = to.with_extension("wasm.new");
    std::fs::copy(from, &beside)
        .and_then(|_| std::fs::rename(&beside, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_component_that_cargo_names_is_the_projects() {
        let messages = br#"{"reason":"compiler-artifact","filenames":["/t/libdep.rlib"]}
{"reason":"compiler-artifact","filenames":["/t/dep.wasm"]}
not json
{"reason":"compiler-artifact","filenames":["/t/hello.d","/t/hello.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(last_artifact(messages).unwrap(), PathBuf::from("/t/hello.wasm"));
        assert!(last_artifact(b"{}").is_err());
    }

    #[tokio::test]
    async fn a_folder_that_is_no_project_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let args = || BuildArgs { path: folder.path().to_owned(), debug: false };
        assert!(run(args()).await.unwrap_err().to_string().contains("cannot tell the language"));
        std::fs::write(folder.path().join("app.py"), "").unwrap();
        assert!(run(args()).await.unwrap_err().to_string().contains("function.yaml"));
    }
}
