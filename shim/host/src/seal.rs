//! The seal on compiled code: proof that this installation's compiler made it.
//!
//! Compiled code is native code; whoever chooses it runs in our process. So a host loads only files that end in a footer
//! with an HMAC-SHA256 over everything before it, under a key that never leaves the installation.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::inspect::{Entry, Kind, World};

/// What every footer begins with; the digit is the format's version.
const MAGIC: &[u8; 8] = b"WISPART2";
/// Footer: magic, world, kind, zeros, MAC.
const FOOTER_BYTES: usize = 64;
const MAC_BYTES: usize = 32;
const SIGNED_FOOTER_BYTES: usize = FOOTER_BYTES - MAC_BYTES;
const WORLD_AT: usize = MAGIC.len();
const KIND_AT: usize = WORLD_AT + 1;
const KEY_BYTES: usize = 32;
/// Read at a time while checking: large enough to be fast, small enough for a warm host's memory.
const CHUNK_BYTES: usize = 64 << 10;

/// The key of an installation.
#[derive(Clone)]
pub struct SealKey(hmac::Key);

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Cannot be read or made.
    #[error("seal key {path}: {source}; it is made on first use, check that the folder is writable by this user")]
    Io {
        /// The key's file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Others could read it.
    #[error("seal key {0} can be read by others, who could then forge compiled code; make it mode 0600")]
    Readable(PathBuf),
    /// Not a key.
    #[error("seal key {0} is not {KEY_BYTES} bytes long; remove it and the artifacts beside it, both are made again")]
    Length(PathBuf),
}

/// Why a file is not accepted as compiled code.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Has no footer.
    #[error("is not a sealed artifact of this version of Wisp; remove it, it is compiled again")]
    NotSealed,
    /// Has a footer that the key does not confirm.
    #[error(
        "has a seal that this installation's key does not confirm, so it is not loaded; remove it, it is compiled again"
    )]
    Forged,
}

impl SealKey {
    /// Reads the key, or makes one if the file does not exist. Processes that do this at once get the same key.
    ///
    /// # Errors
    /// When it can neither be read nor made, or others can read it.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        if !path.exists() {
            create(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        }
        Self::load(path)
    }

    /// Reads the key.
    ///
    /// # Errors
    /// When it cannot be read, is no key, or others can read it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = File::open(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        Self::read(file, path)
    }

    /// Reads the key from an open file, which messages call `path`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn read(mut file: File, path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        if file.metadata().map_err(io)?.mode() & 0o077 != 0 {
            return Err(KeyError::Readable(path.to_owned()));
        }
        let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
        Read::by_ref(&mut file).take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() != KEY_BYTES {
            return Err(KeyError::Length(path.to_owned()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The footer that seals `code` to be entered by `entry`.
    #[must_use]
    pub fn footer(&self, code: &[u8], entry: Entry) -> [u8; FOOTER_BYTES] {
        let mut footer = [0; FOOTER_BYTES];
        footer[..WORLD_AT].copy_from_slice(MAGIC);
        footer[WORLD_AT] = world_byte(entry.world);
        footer[KIND_AT] = kind_byte(entry.kind);
        let mut mac = hmac::Context::with_key(&self.0);
        mac.update(code);
        mac.update(&footer[..SIGNED_FOOTER_BYTES]);
        footer[SIGNED_FOOTER_BYTES..].copy_from_slice(mac.sign().as_ref());
        footer
    }

    /// Reads all of `file` and says how it is to be entered.
    ///
    /// # Errors
    /// When it is not sealed with this key.
    pub fn check(&self, file: &mut File) -> Result<Entry, SealError> {
        let length = file.metadata()?.len();
        let code_bytes = length.checked_sub(FOOTER_BYTES as u64).ok_or(SealError::NotSealed)?;
        let mut footer = [0; FOOTER_BYTES];
        file.seek(SeekFrom::Start(code_bytes))?;
        file.read_exact(&mut footer)?;
        let entry = entry_of(&footer).ok_or(SealError::NotSealed)?;
        file.seek(SeekFrom::Start(0))?;
        let mut mac = hmac::Context::with_key(&self.0);
        let mut code = file.take(code_bytes);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match code.read(&mut chunk)? {
                0 => break,
                read => mac.update(&chunk[..read]),
            }
        }
        mac.update(&footer[..SIGNED_FOOTER_BYTES]);
        // Constant time does not matter here: who can try seals can also read the artifacts.
        if mac.sign().as_ref() == &footer[SIGNED_FOOTER_BYTES..] { Ok(entry) } else { Err(SealError::Forged) }
    }
}

/// Writes a fresh key beside `path` and links it there: the first of several threads or processes wins, and none sees
/// half a key.
fn create(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    // For this user alone from its first moment, and of a name of its own.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(lost) if lost.error.kind() != io::ErrorKind::AlreadyExists => Err(lost.error),
        _ => Ok(()),
    }
}

fn world_byte(world: World) -> u8 {
    match world {
        World::P2 => 2,
        World::P3 => 3,
    }
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Http => 1,
        Kind::Command => 2,
    }
}

fn entry_of(footer: &[u8; FOOTER_BYTES]) -> Option<Entry> {
    if &footer[..WORLD_AT] != MAGIC {
        return None;
    }
    let world = [World::P2, World::P3].into_iter().find(|&world| world_byte(world) == footer[WORLD_AT])?;
    let kind = [Kind::Http, Kind::Command].into_iter().find(|&kind| kind_byte(kind) == footer[KIND_AT])?;
    Some(Entry { kind, world })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry { kind: Kind::Command, world: World::P3 };

    fn sealed(key: &SealKey, code: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(code).unwrap();
        file.write_all(&key.footer(code, ENTRY)).unwrap();
        file
    }

    fn key(folder: &Path) -> SealKey {
        SealKey::load_or_create(&folder.join("seal.key")).unwrap()
    }

    #[test]
    fn a_sealed_file_is_accepted_with_its_entry() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = sealed(&key(folder.path()), b"code");
        // The key is read again: it is the same.
        assert_eq!(key(folder.path()).check(&mut file).unwrap(), ENTRY);
    }

    #[test]
    fn all_who_make_the_key_at_once_get_the_same_one() {
        let folder = tempfile::tempdir().unwrap();
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| key(folder.path()).footer(b"code", ENTRY))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(made.iter().all(|footer| footer == &made[0]));
    }

    #[test]
    fn any_changed_byte_breaks_the_seal() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(folder.path());
        for at in 0..(4 + FOOTER_BYTES as u64) {
            let mut file = sealed(&key, b"code");
            let mut byte = [0];
            file.seek(SeekFrom::Start(at)).unwrap();
            file.read_exact(&mut byte).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&[byte[0] ^ 1]).unwrap();
            assert!(key.check(&mut file).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_installations_seal_is_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut file = sealed(&key(theirs.path()), b"code");
        assert!(matches!(key(ours.path()).check(&mut file), Err(SealError::Forged)));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        SealKey::load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SealKey::load(&path), Err(KeyError::Readable(_))));
    }
}
