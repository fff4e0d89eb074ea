//! The folder of artifacts that instances read: files come whole or not at all, and the keys are for the shim alone.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use wisp_identity::NodeKey;

use super::name::ArtifactName;
use super::named::Sizes;

/// In the node's store; the shim knows it too.
const FOLDER: &str = "artifacts";
const KEY_FILE: &str = "seal.key";
/// In the store, where instances do not look.
const NODE_KEY_FILE: &str = "node.key";
/// Has to be the first character of what is no artifact.
const PARTIAL_PREFIX: &str = ".fetching-";
/// The store is root's alone; its folder of artifacts is read by instances, whose user is none of the node's.
const STORE_MODE: u32 = 0o700;
const FOLDER_MODE: u32 = 0o755;
/// Nobody writes to what may be mapped somewhere.
const ARTIFACT_MODE: u32 = 0o444;
const KEY_MODE: u32 = 0o600;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    store: PathBuf,
    folder: PathBuf,
}

impl Shelf {
    /// The folder in `store`, made if it is not there. What an earlier process left half fetched is removed.
    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(STORE_MODE).create(store)?;
        let shelf = Self { store: store.to_owned(), folder: store.join(FOLDER) };
        fs::create_dir_all(&shelf.folder)?;
        // Whatever the umask is.
        fs::set_permissions(&shelf.folder, Permissions::from_mode(FOLDER_MODE))?;
        for entry in fs::read_dir(&shelf.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(shelf)
    }

    /// Whether `key` is the one that instances check seals with.
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        fs::read(self.folder.join(KEY_FILE)).is_ok_and(|there| there == key)
    }

    /// Makes `key` that one, and removes what another has sealed.
    pub(crate) fn install_key(&self, key: &[u8]) -> io::Result<()> {
        // In this order: who is interrupted in between does both again.
        for name in self.list()?.keys() {
            self.remove(name)?;
        }
        let mut file = self.partial()?;
        file.write_all(key)?;
        settle(&file, KEY_MODE)?;
        file.persist(self.folder.join(KEY_FILE)).map_err(|error| error.error)?;
        self.sync()
    }

    /// The key by which this node vouches for its pods.
    pub(crate) fn node_key(&self) -> Option<NodeKey> {
        serde_json::from_slice(&fs::read(self.store.join(NODE_KEY_FILE)).ok()?).ok()
    }

    /// Makes `key` that one.
    pub(crate) fn install_node_key(&self, key: &NodeKey) -> io::Result<()> {
        let mut file = self.partial()?;
        serde_json::to_writer(&mut file, key)?;
        settle(&file, KEY_MODE)?;
        file.persist(self.store.join(NODE_KEY_FILE)).map_err(|error| error.error)?;
        File::open(&self.store)?.sync_all()
    }

    /// What is there.
    pub(crate) fn list(&self) -> io::Result<Sizes> {
        let mut found = Sizes::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(|name| ArtifactName::parse(name).ok()) {
                found.insert(name, entry.metadata()?.len());
            }
        }
        Ok(found)
    }

    /// A file to fetch into, which goes when it is dropped.
    pub(crate) fn partial(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(&self.folder)
    }

    /// Gives `file`, which is complete and settled, its name.
    pub(crate) fn put(&self, file: NamedTempFile, name: &ArtifactName) -> io::Result<()> {
        file.persist(self.folder.join(name.as_str())).map_err(|error| error.error)?;
        self.sync()
    }

    /// Unlinks it: instances that have it mapped keep it.
    pub(crate) fn remove(&self, name: &ArtifactName) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Makes a complete artifact last, and lets everybody read it. Blocks.
pub(crate) fn settle_artifact(file: &NamedTempFile) -> io::Result<()> {
    settle(file, ARTIFACT_MODE)
}

fn settle(file: &NamedTempFile, mode: u32) -> io::Result<()> {
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ArtifactName {
        ArtifactName::parse(text).unwrap()
    }

    fn put(shelf: &Shelf, text: &str) {
        let mut file = shelf.partial().unwrap();
        file.write_all(b"code").unwrap();
        settle_artifact(&file).unwrap();
        shelf.put(file, &name(text)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn instances_may_read_artifacts_and_only_root_the_rest() {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("wisp/store");
        let shelf = Shelf::open(&store).unwrap();
        shelf.install_key(&[7; 32]).unwrap();
        let key = wisp_identity::InstallationKey::new(&[7; 32]).unwrap().of_node("node-a");
        assert!(shelf.node_key().is_none());
        shelf.install_node_key(&key).unwrap();
        assert!(shelf.node_key() == Some(key));
        put(&shelf, "a.wisp");
        assert_eq!(mode(&store), 0o700);
        assert_eq!(mode(&store.join("node.key")), 0o600);
        assert_eq!(mode(&store.join("artifacts")), 0o755);
        assert_eq!(mode(&store.join("artifacts/a.wisp")), 0o444);
        assert_eq!(mode(&store.join("artifacts/seal.key")), 0o600);
    }

    #[test]
    fn another_key_leaves_nothing_of_what_the_old_one_sealed() {
        let store = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(store.path()).unwrap();
        assert!(!shelf.has_key(&[1; 32]));
        shelf.install_key(&[1; 32]).unwrap();
        put(&shelf, "a.wisp");
        assert!(shelf.has_key(&[1; 32]) && !shelf.has_key(&[2; 32]));
        assert_eq!(shelf.list().unwrap(), [(name("a.wisp"), 4)].into());
        shelf.install_key(&[2; 32]).unwrap();
        assert!(shelf.list().unwrap().is_empty());
        assert!(shelf.has_key(&[2; 32]));
    }

    #[test]
    fn what_was_half_fetched_is_gone_after_a_restart() {
        let store = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(store.path()).unwrap();
        put(&shelf, "a.wisp");
        let (_, partial) = shelf.partial().unwrap().keep().unwrap();
        assert_eq!(shelf.list().unwrap().len(), 1);
        let shelf = Shelf::open(store.path()).unwrap();
        assert!(!partial.exists());
        assert_eq!(shelf.list().unwrap().len(), 1);
        shelf.remove(&name("a.wisp")).unwrap();
        shelf.remove(&name("a.wisp")).unwrap();
        assert!(shelf.list().unwrap().is_empty());
    }
}
