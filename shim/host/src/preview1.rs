//! A command of WASI preview 1, a core module, as a component of WASI 0.2.

use std::convert::Infallible;

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
use wasm_encoder::ImportSection;
use wasm_encoder::reencode::{self, Reencode};
use wasmparser::{ImportSectionReader, Parser};
use wit_component::ComponentEncoder;

use crate::inspect::PREVIEW1;

/// How a program of preview 1 ends, with any code.
const PROC_EXIT: (&str, &str) = (PREVIEW1, "proc_exit");
/// The same in WASI 0.2, with the same signature in core WebAssembly; the adapter's world has this version of it.
const EXIT_WITH_CODE: (&str, &str) = ("wasi:cli/exit@0.2.12", "exit-with-code");

/// Makes a component of `module`: the adapter turns what it imports into WASI 0.2.
///
/// # Errors
/// When the module is not what the adapter expects of a command.
pub fn wrap(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut exiting = wasm_encoder::Module::new();
    ExitWithCode.parse_core_module(&mut exiting, Parser::new(0), module)?;
    let encoder = ComponentEncoder::default().validate(true).module(exiting.as_slice())?;
    encoder.adapter(PREVIEW1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)?.encode()
}

/// Lets a module end by `exit-with-code` itself: the adapter's own `proc_exit` knows only success and failure, and a
/// job's exit code says more. To be removed when the adapter passes the code on.
struct ExitWithCode;

impl Reencode for ExitWithCode {
    type Error = Infallible;

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        for import in section.into_imports() {
            let import = import?;
            let kept = (import.module, import.name);
            let (module, name) = if kept == PROC_EXIT { EXIT_WITH_CODE } else { kept };
            imports.import(module, name, self.entity_type(import.ty)?);
        }
        Ok(())
    }
}
