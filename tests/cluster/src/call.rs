//! Programs that are called for their answer.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What `command` prints, when it ends well; else an error with what it says.
pub(crate) async fn output(command: Command) -> Result<String> {
    output_with(command, &[]).await
}

/// The same, with something to read for it.
pub(crate) async fn output_with(mut command: Command, input: &[u8]) -> Result<String> {
    let shown = shown(&command);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let mut child = child.with_context(|| format!("{shown} does not start"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let feed = async {
        // Whoever needs no input may be gone before it is written.
        let _: Result<(), _> = stdin.write_all(input).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.with_context(|| format!("{shown} cannot be waited for"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}: {}{printed}", output.status, said.trim());
    }
    Ok(printed)
}

/// The program and its arguments, as an error shall name them.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
