//! `wisp delete`.

use super::{lookup, write_json, write_text};
use crate::cli::{FunctionArgs, Output};
use crate::source::Source;

/// Deletes a function.
pub(super) async fn run(function: FunctionArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let key = source.key(&function);
    lookup::found(source, &key, source.delete(&key).await?).await?;
    match output {
        Output::Text => write_text(&format!("{key} is deleted\n"))?,
        Output::Json => {
            let deleted = serde_json::json!({"namespace": key.namespace, "name": key.name, "deleted": true});
            write_json(&serde_json::to_vec(&deleted)?)?;
        }
    }
    Ok(())
}
