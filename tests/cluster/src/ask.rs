//! Asking over HTTP, as a client on this machine.

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::until;

/// A connection that is tried too early must not use up the time of the tries after it.
const TRY: Duration = Duration::from_secs(10);

/// What `url` answers with success, asked once and for at most `timeout`.
///
/// # Errors
/// When there is no answer in time, or one that is no success.
pub async fn ask(url: &str, timeout: Duration) -> Result<String> {
    let url = url.to_owned();
    let ask = move || {
        let agent = ureq::Agent::config_builder().timeout_global(Some(timeout)).proxy(None).build();
        let mut answer = ureq::Agent::from(agent).get(&url).call()?;
        answer.body_mut().read_to_string()
    };
    tokio::task::spawn_blocking(ask).await?.map_err(|error| anyhow!(error))
}

/// What `url` answers with success, asked until it does.
///
/// # Errors
/// When there is no such answer within `patience`.
pub async fn ask_until(url: &str, patience: Duration) -> Result<String> {
    until(&format!("{url} answers"), patience, async || Ok(ask(url, TRY).await.ok())).await
}
