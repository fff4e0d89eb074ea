//! What has to be run to build a project: decided here, done by the parent.

use std::path::Path;

use super::BuildArgs;
use super::language::Language;
use super::tool::Tool;

/// The world that a function is built against, in the project's folder.
const WIT: &str = "wit";
const WORLD: &str = "function";
/// Where what lies between source and component goes.
const BUILD: &str = "build";
/// Go's runtime speaks WASI preview 1; this file in `build` translates.
pub(crate) const ADAPTER: &str = "build/wasi_snapshot_preview1.wasm";

/// A program to run in the project's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The program.
    pub(crate) tool: Tool,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// What its environment has besides.
    pub(crate) env: Vec<(&'static str, &'static str)>,
}

/// What a project has, as far as it decides the steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Project {
    /// The component's path relative to the folder.
    pub(crate) target: String,
    /// Whether npm has installed what package.json names.
    pub(crate) has_node_modules: bool,
    /// The folder's C files.
    pub(crate) c_files: Vec<String>,
}

impl Step {
    fn new<const N: usize>(tool: Tool, args: [&str; N]) -> Self {
        Self { tool, args: args.map(str::to_owned).to_vec(), env: Vec::new() }
    }
}

impl Project {
    /// Looks at `folder`, whose component is to be at `target`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn look(folder: &Path, target: String) -> std::io::Result<Self> {
        let mut c_files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".c") {
                c_files.push(name);
            }
        }
        c_files.sort();
        Ok(Self { target, has_node_modules: folder.join("node_modules").is_dir(), c_files })
    }
}

/// The steps from the source to the component at `project.target`. Cargo alone puts it elsewhere.
pub(crate) fn steps(language: Language, project: &Project, args: &BuildArgs) -> Vec<Step> {
    match language {
        Language::Rust => rust(args),
        Language::Js => js(project),
        Language::Python => vec![Step::new(
            Tool::ComponentizePy,
            ["--wit-path", WIT, "--world", WORLD, "componentize", "app", "--output", &project.target],
        )],
        Language::Go => go(project),
        Language::C => c(project, args),
    }
}

fn rust(args: &BuildArgs) -> Vec<Step> {
    let mut build =
        Step::new(Tool::Cargo, ["build", "--target", "wasm32-wasip2", "--message-format", "json-render-diagnostics"]);
    if !args.debug {
        build.args.push("--release".to_owned());
    }
    vec![build]
}

fn js(project: &Project) -> Vec<Step> {
    let install = Step::new(Tool::Npm, ["install", "--no-fund", "--no-audit"]);
    let build = Step::new(Tool::Npm, ["run", "build"]);
    if project.has_node_modules { vec![build] } else { vec![install, build] }
}

fn go(project: &Project) -> Vec<Step> {
    let mut build =
        Step::new(Tool::Go, ["build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "build/core.wasm", "."]);
    build.env = vec![("GOOS", "wasip1"), ("GOARCH", "wasm")];
    let embedded = "build/embedded.wasm";
    let embed = ["component", "embed", WIT, "--world", WORLD, "build/core.wasm", "--output", embedded];
    let adapt = format!("wasi_snapshot_preview1={ADAPTER}");
    // Go's own allocator cannot serve the adapter before the runtime has started.
    let new =
        ["component", "new", embedded, "--realloc-via-memory-grow", "--adapt", &adapt, "--output", &project.target];
    vec![build, Step::new(Tool::WasmTools, embed), Step::new(Tool::WasmTools, new)]
}

fn c(project: &Project, args: &BuildArgs) -> Vec<Step> {
    let bindings = Step::new(Tool::WitBindgen, ["c", WIT, "--world", WORLD, "--out-dir", BUILD]);
    let optimise: &[&str] = if args.debug { &["-O0", "-g"] } else { &["-Oz", "-s"] };
    let mut compile =
        Step::new(Tool::Zig, ["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-Wall", "-Ibuild"]);
    compile.args.extend(optimise.iter().map(|&flag| flag.to_owned()));
    compile.args.extend(project.c_files.iter().cloned());
    compile
        .args
        .extend(["build/function.c", "build/function_component_type.o", "-o", "build/core.wasm"].map(str::to_owned));
    let new = Step::new(Tool::WasmTools, ["component", "new", "build/core.wasm", "--output", &project.target]);
    vec![bindings, compile, new]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        Project { target: "build/hello.wasm".to_owned(), has_node_modules: false, c_files: vec!["main.c".to_owned()] }
    }

    fn args(debug: bool) -> BuildArgs {
        BuildArgs { path: ".".into(), debug }
    }

    fn line(step: &Step) -> String {
        step.args.join(" ")
    }

    #[test]
    fn rust_is_optimised_unless_debug_is_asked_for() {
        let release = |debug| line(&steps(Language::Rust, &project(), &args(debug))[0]).contains("--release");
        assert_eq!((release(false), release(true)), (true, false));
    }

    #[test]
    fn npm_installs_only_what_is_not_there() {
        let fresh = steps(Language::Js, &project(), &args(false));
        let installed = Project { has_node_modules: true, ..project() };
        assert_eq!(fresh.len(), 2);
        assert_eq!(steps(Language::Js, &installed, &args(false)), fresh[1..]);
    }

    #[test]
    fn all_but_rust_and_js_name_the_target_in_their_last_step() {
        for language in [Language::Python, Language::Go, Language::C] {
            let last = steps(language, &project(), &args(false)).pop().unwrap();
            assert!(line(&last).ends_with("--output build/hello.wasm"), "{language}: {last:?}");
        }
    }

    #[test]
    fn every_c_file_of_the_folder_is_compiled() {
        let more = Project { c_files: vec!["main.c".to_owned(), "more.c".to_owned()], ..project() };
        assert!(line(&steps(Language::C, &more, &args(false))[1]).contains("main.c more.c build/function.c"));
    }
}
