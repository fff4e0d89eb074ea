//! The installation's key, by which nodes' words are checked.

use std::path::PathBuf;

use wisp_identity::{Claim, IdentityError, InstallationKey};

/// Why a proof does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    /// Of this installation: the proof may be good.
    #[error("the identity key {0}")]
    NoKey(String),
    /// Unless this file is about to be another, it stays wrong.
    #[error("its proof is refused: {0}")]
    Refused(#[from] IdentityError),
}

/// A file with the key. It is read for each proof, since a Secret may be replaced: that costs microseconds, and a proof is
/// shown once in the life of a stream.
#[derive(Clone, Debug)]
pub(crate) struct IdentityFile(pub(crate) PathBuf);

impl IdentityFile {
    /// What `proof` claims.
    ///
    /// # Errors
    /// When it is no proof, or there is no key.
    pub(crate) fn verify(&self, proof: &str) -> Result<Claim, ProofError> {
        let path = self.0.display();
        let bytes =
            std::fs::read(&self.0).map_err(|error| ProofError::NoKey(format!("{path} cannot be read: {error}")))?;
        let key = InstallationKey::new(&bytes).map_err(|error| ProofError::NoKey(format!("{path}: {error}")))?;
        Ok(key.verify(proof)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_key_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdentityFile(folder.path().join("identity.key"));
        let proof = InstallationKey::new(&[1; 32]).unwrap().of_node("n").sign("s", "p", "u").unwrap();
        assert!(matches!(file.verify(&proof), Err(ProofError::NoKey(_))));
        std::fs::write(&file.0, [1; 32]).unwrap();
        assert_eq!(file.verify(&proof).unwrap().uid, "u");
        std::fs::write(&file.0, [2; 32]).unwrap();
        assert!(matches!(file.verify(&proof), Err(ProofError::Refused(_))));
    }
}
