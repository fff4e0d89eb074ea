//! Asking over HTTP, as a client on this machine.

use std::time::Duration;

use anyhow::{Result, anyhow};

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
