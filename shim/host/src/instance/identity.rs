//! Who an instance is, and how it proves that.

use std::path::PathBuf;

/// Who this instance is; the autoscaler started it and knows.
pub struct Identity {
    /// Pod UID, or the fleet's name for it.
    pub instance: String,
    /// Where it is.
    pub namespace: String,
    /// Proves it.
    pub token: Token,
    /// Where it can be reached.
    pub address: String,
}

/// The proof of an identity.
pub enum Token {
    /// Given once.
    Fixed(String),
    /// In a file that the kubelet renews: read anew for each stream.
    File(PathBuf),
}

impl Token {
    pub(super) fn read(&self) -> String {
        match self {
            Self::Fixed(token) => token.clone(),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(token) => token.trim().to_owned(),
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "cannot read the token; the autoscaler will refuse us");
                    String::new()
                }
            },
        }
    }
}
