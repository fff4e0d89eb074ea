//! What a new project holds. Sources are those of the samples, so that what `wisp new` writes is what is built and
//! tested there; `{{name}}` stands for the function's name.

use crate::command::build::Language;

const WIT: File = ("wit/function.wit", include_str!("../../../../samples/wit/function.wit"));
const MANIFEST: File = ("function.yaml", include_str!("../../../templates/function.yaml"));

/// A path in the project, and what the file holds.
pub(crate) type File = (&'static str, &'static str);

/// The files of a new project.
pub(crate) fn files(language: Language) -> &'static [File] {
    match language {
        Language::Rust => &RUST,
        Language::Js => &JS,
        Language::Python => &PYTHON,
        Language::Go => &GO,
        Language::C => &C,
    }
}

const RUST: [File; 5] = [
    MANIFEST,
    ("README.md", include_str!("../../../templates/rust/README.md")),
    ("Cargo.toml", include_str!("../../../templates/rust/Cargo.toml")),
    ("src/main.rs", include_str!("../../../../samples/hello/src/main.rs")),
    (".gitignore", "/target\n/build\n"),
];

const JS: [File; 6] = [
    ("function.yaml", include_str!("../../../templates/js/function.yaml")),
    ("README.md", include_str!("../../../templates/js/README.md")),
    ("package.json", include_str!("../../../templates/js/package.json")),
    ("index.js", include_str!("../../../../samples/hello-js/hello.js")),
    WIT,
    (".gitignore", "/node_modules\n/build\n"),
];

const PYTHON: [File; 6] = [
    ("function.yaml", include_str!("../../../templates/python/function.yaml")),
    ("README.md", include_str!("../../../templates/python/README.md")),
    ("requirements.txt", include_str!("../../../templates/python/requirements.txt")),
    ("app.py", include_str!("../../../../samples/hello-python/app.py")),
    WIT,
    (".gitignore", "/.venv\n/build\n__pycache__/\n"),
];

const GO: [File; 7] = [
    MANIFEST,
    ("README.md", include_str!("../../../templates/go/README.md")),
    ("go.mod", include_str!("../../../templates/go/go.mod")),
    ("main.go", include_str!("../../../templates/go/main.go")),
    ("wasi.go", include_str!("../../../templates/go/wasi.go")),
    WIT,
    (".gitignore", "/build\n"),
];

const C: [File; 5] = [
    MANIFEST,
    ("README.md", include_str!("../../../templates/c/README.md")),
    ("main.c", include_str!("../../../../samples/hello-c/main.c")),
    WIT,
    (".gitignore", "/.venv\n/build\n"),
];
