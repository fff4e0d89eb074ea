//! Components that are plain files on a web server.

use std::io::Read;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wisp_api::status::Reason;

use super::{COMPONENT_BYTES_MAX, Refusal, check_size};

const TIMEOUT: Duration = Duration::from_secs(300);

/// The file at `url`, if it has this SHA-256.
pub(super) async fn get(url: &str, sha256: &str) -> Result<Vec<u8>, Refusal> {
    let address = url.to_owned();
    let downloaded = tokio::task::spawn_blocking(move || download(&address)).await.expect("downloading does not panic");
    let bytes = downloaded?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != sha256 {
        let message = format!(
            "the SHA-256 of {url} is {found}, but the manifest says {sha256}; if the new file is meant, correct \
             component.sha256"
        );
        return Err(Refusal::new(Reason::DigestMismatch, message));
    }
    Ok(bytes)
}

fn download(url: &str) -> Result<Vec<u8>, Refusal> {
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build();
    let failed = |error: &dyn std::fmt::Display, retry: fn(Reason, String) -> Refusal| {
        retry(Reason::ImageNotFound, format!("{url} cannot be downloaded: {error}"))
    };
    let mut response = ureq::Agent::from(config).get(url).call().map_err(|error| match error {
        ureq::Error::StatusCode(401 | 403) => Refusal::new(
            Reason::ImageUnauthorized,
            format!("{url} is not for everybody: {error}; push it to a registry"),
        ),
        ureq::Error::StatusCode(400..500) => failed(&error, Refusal::new),
        error => failed(&error, Refusal::for_now),
    })?;
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().as_reader().take(COMPONENT_BYTES_MAX + 1);
    reader.read_to_end(&mut bytes).map_err(|error| failed(&error, Refusal::for_now))?;
    check_size(bytes.len() as u64)?;
    Ok(bytes)
}
