//! What a component is, told from its bytes alone: how a host enters it, or why it cannot.

use std::fmt;
use std::str::FromStr;

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wasmtime::Engine;

/// The module that WASI preview 1 is imported from.
pub const PREVIEW1: &str = "wasi_snapshot_preview1";
/// What a preview 1 command begins with.
const PREVIEW1_START: &str = "_start";

/// The version of WASI that a component is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum World {
    /// WASI 0.2.
    P2,
    /// WASI 0.3.
    P3,
}

/// What a component does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Answers requests: exports `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`.
    Http,
    /// Runs to its end: exports `wasi:cli/run`, or is a preview 1 module with `_start`.
    Command,
}

/// How a host enters a component. A seal carries it: what was sealed as a command is never served as a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// What it does.
    pub kind: Kind,
    /// By which version's interface.
    pub world: World,
}

/// What the caller has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This kind and no other.
    Only(Kind),
    /// Either; what can be both is taken for HTTP.
    Any,
}

/// A component that a host can enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// How; by 0.3 when it can do both.
    pub entry: Entry,
    /// Names of everything it exports, for messages.
    pub exports: Vec<String>,
}

/// Why a host can do nothing with these bytes.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Not WebAssembly at all.
    #[error(
        "not a WebAssembly component: the file does not begin with \\0asm; point `component` at the built .wasm file"
    )]
    NotWasm,
    /// A core module.
    #[error(
        "a core WebAssembly module, not a component; build for the target wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// A core module that imports more than WASI.
    #[error(
        "a core WebAssembly module that imports {}, which no host offers; build it for wasm32-wasip1 or wasm32-wasip2, \
         or wrap it with `wasm-tools component new`", list(.imports)
    )]
    ForeignImports {
        /// What it imports besides preview 1.
        imports: Vec<String>,
    },
    /// A core module that cannot be started.
    #[error(
        "a core WebAssembly module without {PREVIEW1_START} (it exports {}), so it is a library and no command; build a \
         program for wasm32-wasip1, or a component", list(.exports)
    )]
    NoStart {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// Somebody's compiled code.
    #[error(
        "precompiled code, which is never accepted from outside; give the .wasm component, Wisp compiles it itself"
    )]
    Precompiled,
    /// Begins well, but does not parse or validate.
    #[error("the component is broken at byte {offset}: {message}; build or download it again")]
    Broken {
        /// Where in the file.
        offset: usize,
        /// What the validator says.
        message: String,
    },
    /// A component for something else, or a command.
    #[error(
        "the component exports no HTTP handler (it exports {}); export wasi:http/incoming-handler@0.2 or \
         wasi:http/handler@0.3", list(.exports)
    )]
    NoHttpExport {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// A component for something else, or a function.
    #[error("the component exports no command (it exports {}); export wasi:cli/run@0.2 or @0.3", list(.exports))]
    NoCommandExport {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// A component for something else.
    #[error(
        "the component exports neither an HTTP handler nor a command (it exports {}); export \
         wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, or wasi:cli/run", list(.exports)
    )]
    NoEntry {
        /// What it exports instead.
        exports: Vec<String>,
    },
}

/// Says what `bytes` are. Reads and validates, compiles nothing.
///
/// # Errors
/// Everything but a valid component of a wanted kind, each with what to do about it.
pub fn inspect(bytes: &[u8], wanted: Wanted) -> Result<Inspection, InspectError> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(InspectError::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let is_module = Parser::is_core_wasm(bytes);
    if is_module && wanted == Wanted::Only(Kind::Http) {
        return Err(InspectError::CoreModule);
    }
    let features = WasmFeatures::all();
    Validator::new_with_features(features).validate_all(bytes).map_err(broken)?;
    if is_module { inspect_module(bytes) } else { inspect_component(bytes, wanted) }
}

fn inspect_component(bytes: &[u8], wanted: Wanted) -> Result<Inspection, InspectError> {
    let exports = export_names(bytes)?;
    match entry(&exports, wanted) {
        Some(entry) => Ok(Inspection { entry, exports }),
        None => Err(match wanted {
            Wanted::Only(Kind::Http) => InspectError::NoHttpExport { exports },
            Wanted::Only(Kind::Command) => InspectError::NoCommandExport { exports },
            Wanted::Any => InspectError::NoEntry { exports },
        }),
    }
}

/// A core module is a command when preview 1 is all that it needs: the compiler wraps it.
fn inspect_module(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(broken)?;
                    if import.module != PREVIEW1 {
                        imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export.map_err(broken)?.name.to_owned());
                }
            }
            _ => {}
        }
    }
    if !imports.is_empty() {
        return Err(InspectError::ForeignImports { imports });
    }
    if !exports.iter().any(|name| name == PREVIEW1_START) {
        return Err(InspectError::NoStart { exports });
    }
    Ok(Inspection { entry: Entry { kind: Kind::Command, world: World::P2 }, exports })
}

fn broken(error: wasmparser::BinaryReaderError) -> InspectError {
    InspectError::Broken { offset: error.offset(), message: error.message().to_owned() }
}

/// Names that the outermost component exports; those of nested ones do not count.
fn export_names(bytes: &[u8]) -> Result<Vec<String>, InspectError> {
    let mut depth = 0_u32;
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Component | Encoding::Module, .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn entry(exports: &[String], wanted: Wanted) -> Option<Entry> {
    const ENTRIES: [(&str, Kind, World); 4] = [
        ("wasi:http/handler@0.3.", Kind::Http, World::P3),
        ("wasi:http/incoming-handler@0.2.", Kind::Http, World::P2),
        ("wasi:cli/run@0.3.", Kind::Command, World::P3),
        ("wasi:cli/run@0.2.", Kind::Command, World::P2),
    ];
    let mut fitting = ENTRIES.iter().filter(|(_, kind, _)| wanted == Wanted::Any || wanted == Wanted::Only(*kind));
    let found = fitting.find(|(prefix, ..)| exports.iter().any(|name| name.starts_with(prefix)));
    found.map(|&(_, kind, world)| Entry { kind, world })
}

fn list(exports: &[String]) -> String {
    /// Enough to recognise the component by; a library may export hundreds.
    const SHOWN: usize = 8;
    match exports {
        [] => "nothing".to_owned(),
        few if few.len() <= SHOWN => few.join(", "),
        many => format!("{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

impl World {
    /// The word for it in file names, arguments and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P2 => "p2",
            Self::P3 => "p3",
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind {
    /// The word for it in file names, arguments and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Command => "command",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "command" => Ok(Self::Command),
            other => Err(format!("{other:?} is not a kind; say http or command")),
        }
    }
}

impl FromStr for World {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "p2" => Ok(Self::P2),
            "p3" => Ok(Self::P3),
            other => Err(format!("{other:?} is not a world; say p2 or p3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: Wanted = Wanted::Only(Kind::Http);
    const COMMAND: Wanted = Wanted::Only(Kind::Command);

    fn refused(bytes: &[u8], wanted: Wanted) -> String {
        inspect(bytes, wanted).expect_err("is refused").to_string()
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_what_to_do() {
        let core = wat::parse_str("(module)").unwrap();
        let bare = wat::parse_str("(component)").unwrap();
        let mut broken = bare.clone();
        broken.extend_from_slice(&[9, 200, 200]);
        assert!(refused(b"#!/bin/sh", HTTP).contains("point `component` at"));
        assert!(refused(b"", HTTP).contains("not a WebAssembly"));
        assert!(refused(&core, HTTP).contains("wasm32-wasip2"));
        assert!(refused(&bare, HTTP).contains("exports nothing"));
        assert!(refused(&broken, HTTP).contains("build or download it again"));
    }

    #[test]
    fn what_is_no_command_is_refused_with_what_to_do() {
        let library = wat::parse_str("(module (func (export \"add\")))").unwrap();
        let foreign = wat::parse_str("(module (import \"env\" \"now\" (func)) (func (export \"_start\")))").unwrap();
        let bare = wat::parse_str("(component)").unwrap();
        assert!(refused(&library, COMMAND).contains("it exports add"));
        assert!(refused(&foreign, Wanted::Any).contains("imports env.now, which no host offers"));
        assert!(refused(&bare, COMMAND).contains("export wasi:cli/run"));
        assert!(refused(&bare, Wanted::Any).contains("neither an HTTP handler nor a command"));
    }

    #[test]
    fn a_preview1_module_is_a_command() {
        let text = "(module (import \"wasi_snapshot_preview1\" \"sched_yield\" (func (result i32)))
            (func (export \"_start\")))";
        let inspected = inspect(&wat::parse_str(text).unwrap(), Wanted::Any).unwrap();
        assert_eq!(inspected.entry, Entry { kind: Kind::Command, world: World::P2 });
    }

    #[test]
    fn http_wins_over_a_command_unless_told_otherwise_and_the_newer_world_wins() {
        let (old, new, run, run3) =
            ("wasi:http/incoming-handler@0.2.4", "wasi:http/handler@0.3.0", "wasi:cli/run@0.2.3", "wasi:cli/run@0.3.0");
        let (http, command) = (Kind::Http, Kind::Command);
        for (exports, wanted, found) in [
            (&[old, new][..], HTTP, Some((http, World::P3))),
            (&[old], HTTP, Some((http, World::P2))),
            (&[run], HTTP, None),
            (&[run, old], Wanted::Any, Some((http, World::P2))),
            (&[run, new], COMMAND, Some((command, World::P2))),
            (&[run, run3], Wanted::Any, Some((command, World::P3))),
            (&[old], COMMAND, None),
            (&[], Wanted::Any, None),
        ] {
            let names: Vec<String> = exports.iter().map(|&name| name.to_owned()).collect();
            let found = found.map(|(kind, world)| Entry { kind, world });
            assert_eq!(entry(&names, wanted), found, "{names:?} {wanted:?}");
        }
    }
}
