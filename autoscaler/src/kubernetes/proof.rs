//! The installation's key, by which nodes' words are checked.

use std::path::PathBuf;

use wisp_identity::{Claim, InstallationKey};

/// A file with the key. It is read for each proof, since a Secret may be replaced: that costs microseconds, and a proof is
/// shown once in the life of a stream.
#[derive(Clone, Debug)]
pub(crate) struct IdentityFile(pub(crate) PathBuf);

impl IdentityFile {
    /// What `proof` claims.
    ///
    /// # Errors
    /// When it is no proof, or there is no key.
    pub(crate) fn verify(&self, proof: &str) -> Result<Claim, String> {
        let path = self.0.display();
        let bytes =
            std::fs::read(&self.0).map_err(|error| format!("the identity key {path} cannot be read: {error}"))?;
        let key = InstallationKey::new(&bytes).map_err(|error| format!("the identity key {path}: {error}"))?;
        key.verify(proof).map_err(|error| format!("its proof is refused: {error}"))
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
        assert!(file.verify(&proof).unwrap_err().contains("cannot be read"));
        std::fs::write(&file.0, [1; 32]).unwrap();
        assert_eq!(file.verify(&proof).unwrap().uid, "u");
        std::fs::write(&file.0, [2; 32]).unwrap();
        assert!(file.verify(&proof).unwrap_err().contains("refused"));
    }
}
