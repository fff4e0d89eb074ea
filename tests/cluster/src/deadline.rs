//! Waiting for what comes true in its own time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Small beside anything that is waited for, and large beside what looking costs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks again and again until there is something, or an error, or `patience` is over; `what` is said then.
///
/// # Errors
/// What `look` fails with, or that the time is over.
pub async fn until<T>(what: &str, patience: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("{what}: not so after {} s", patience.as_secs());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
