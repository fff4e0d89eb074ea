//! `wisp delete`.

use super::{lookup, write_json, write_text};
use crate::cli::{FunctionArgs, Output};
use crate::client::Admin;

/// Deletes a function.
pub(super) async fn run(function: FunctionArgs, admin: Admin, output: Output) -> anyhow::Result<()> {
    let answer = admin.delete(&lookup::path(&function)).await;
    let answer = lookup::found(admin, &function, answer).await?;
    let FunctionArgs { name, namespace } = &function;
    match output {
        Output::Text => write_text(&String::from_utf8_lossy(&answer))?,
        Output::Json => {
            let deleted = serde_json::json!({"namespace": namespace, "name": name, "deleted": true});
            write_json(&serde_json::to_vec(&deleted)?)?;
        }
    }
    Ok(())
}
