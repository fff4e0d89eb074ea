//! What a component is, told from its bytes alone: which world it serves, or why a host cannot serve it.

use std::fmt;
use std::str::FromStr;

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wasmtime::Engine;

/// The interface through which a component takes its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum World {
    /// WASI 0.2: exports `wasi:http/incoming-handler`.
    P2,
    /// WASI 0.3: exports `wasi:http/handler`.
    P3,
}

/// A component that a host can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// How it takes requests; 0.3 when it can do both.
    pub world: World,
    /// Names of everything it exports, for messages.
    pub exports: Vec<String>,
}

/// Why a host cannot serve these bytes.
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
    /// A component for something else.
    #[error(
        "the component exports no HTTP handler (it exports {}); export wasi:http/incoming-handler@0.2 or \
         wasi:http/handler@0.3", list(.exports)
    )]
    NoHttpExport {
        /// What it exports instead.
        exports: Vec<String>,
    },
}

/// Says what `bytes` are. Reads and validates, compiles nothing.
///
/// # Errors
/// Everything but a valid component with an HTTP export, each with what to do about it.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(InspectError::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    if Parser::is_core_wasm(bytes) {
        return Err(InspectError::CoreModule);
    }
    let features = WasmFeatures::all();
    Validator::new_with_features(features).validate_all(bytes).map_err(broken)?;
    let exports = export_names(bytes)?;
    match world(&exports) {
        Some(world) => Ok(Inspection { world, exports }),
        None => Err(InspectError::NoHttpExport { exports }),
    }
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

fn world(exports: &[String]) -> Option<World> {
    let has = |prefix: &str| exports.iter().any(|name| name.starts_with(prefix));
    if has("wasi:http/handler@0.3.") {
        Some(World::P3)
    } else if has("wasi:http/incoming-handler@0.2.") {
        Some(World::P2)
    } else {
        None
    }
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

    fn refused(bytes: &[u8]) -> String {
        inspect(bytes).expect_err("is refused").to_string()
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_what_to_do() {
        let core = wat::parse_str("(module)").unwrap();
        let bare = wat::parse_str("(component)").unwrap();
        let mut broken = bare.clone();
        broken.extend_from_slice(&[9, 200, 200]);
        assert!(refused(b"#!/bin/sh").contains("point `component` at"));
        assert!(refused(b"").contains("not a WebAssembly"));
        assert!(refused(&core).contains("wasm32-wasip2"));
        assert!(refused(&bare).contains("exports nothing"));
        assert!(refused(&broken).contains("build or download it again"));
    }

    #[test]
    fn the_newer_world_wins_when_both_are_exported() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(world(&names(&["wasi:http/incoming-handler@0.2.4", "wasi:http/handler@0.3.0"])), Some(World::P3));
        assert_eq!(world(&names(&["wasi:http/incoming-handler@0.2.0"])), Some(World::P2));
        assert_eq!(world(&names(&["wasi:cli/run@0.2.3"])), None);
    }
}
