//! `ensure`: a component's compiled code in a store, and one line that says where.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::compile_args;
use crate::compile::{COMPONENT_BYTES_MAX, CompileError, Compiler};
use crate::exit::Exit;
use crate::inspect::{Kind, Wanted};
use crate::store::{Artifact, ArtifactStore, StoreError};

/// Means standard input.
const STDIN: &str = "-";

/// Arguments of `ensure`.
#[derive(Debug, Args)]
pub struct EnsureArgs {
    /// The store: a folder for compiled code and the key that seals it; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// What to take the component for: http or command; by default what it exports, http first.
    #[arg(long)]
    pub kind: Option<Kind>,
    /// The component, or a preview 1 module; - reads standard input.
    pub component: PathBuf,
}

pub(super) fn run(args: &EnsureArgs) -> anyhow::Result<Exit> {
    let bytes = read(&args.component)?;
    let wanted = args.kind.map_or(Wanted::Any, Wanted::Only);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ensured = runtime.block_on(async {
        let store = ArtifactStore::open(&args.store, Compiler::current_program(compile_args())?)?;
        anyhow::Ok(store.ensure_wanted(&bytes, wanted).await)
    })?;
    match ensured {
        Ok(artifact) => {
            println!("{}", line(&artifact));
            Ok(Exit::Drained)
        }
        Err(error @ (StoreError::Inspect(_) | StoreError::Compile(_))) if is_at_fault(&error) => {
            eprintln!("wisp-host: {}: {error}", args.component.display());
            Ok(Exit::Component)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the component is, and not this machine.
fn is_at_fault(error: &StoreError) -> bool {
    !matches!(error, StoreError::Compile(CompileError::Start { .. }))
}

fn read(component: &Path) -> anyhow::Result<Vec<u8>> {
    let unreadable = || format!("cannot read {}", component.display());
    let mut bytes = Vec::new();
    if component == Path::new(STDIN) {
        std::io::stdin().lock().take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(unreadable)?;
    } else {
        let file = std::fs::File::open(component).with_context(unreadable)?;
        file.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(unreadable)?;
    }
    Ok(bytes)
}

fn line(artifact: &Artifact) -> String {
    serde_json::json!({
        "digest": artifact.digest,
        "path": artifact.path.display().to_string(),
        "kind": artifact.entry.kind.as_str(),
        "world": artifact.entry.world.as_str(),
    })
    .to_string()
}
