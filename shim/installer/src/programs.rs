//! The programs' files: copied whole or not at all, and only when they differ.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest, Sha256};

/// What a node needs.
pub(crate) const PROGRAMS: [&str; 2] = ["containerd-shim-wisp-v1", "wisp-host"];

/// Copies the programs that differ, and says which. A running program keeps the file that it was started from.
pub(crate) fn install(from: &Path, to: &Path) -> Result<Vec<&'static str>> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut changed = Vec::new();
    for program in PROGRAMS {
        let (source, target) = (from.join(program), to.join(program));
        let wanted = digest(&source)
            .with_context(|| format!("cannot read {}; is it in the installer's image?", source.display()))?;
        if digest(&target).is_ok_and(|there| there == wanted) {
            continue;
        }
        copy(&source, &target).with_context(|| format!("cannot write {}", target.display()))?;
        changed.push(program);
    }
    Ok(changed)
}

/// Removes the programs, and their folders when nothing else is in them.
pub(crate) fn uninstall(to: &Path) -> Result<()> {
    for program in PROGRAMS {
        match fs::remove_file(to.join(program)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", to.join(program).display()));
            }
            _ => {}
        }
    }
    for folder in to.ancestors().take(2) {
        // Not empty, or not there: either way there is nothing to do.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

fn digest(file: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(file)?, &mut hasher)?;
    Ok(hasher.finalize().into())
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    io::copy(&mut File::open(source)?, &mut temporary)?;
    temporary.as_file().set_permissions(Permissions::from_mode(0o755))?;
    temporary.as_file().sync_all()?;
    temporary.persist(target).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_copied_once_replaced_when_they_differ_and_removed() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("opt/wisp/bin"));
        fs::create_dir(&from).unwrap();
        for program in PROGRAMS {
            fs::write(from.join(program), program).unwrap();
        }
        assert_eq!(install(&from, &to).unwrap(), PROGRAMS);
        assert_eq!(fs::metadata(to.join("wisp-host")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(install(&from, &to).unwrap(), [""; 0]);

        fs::write(from.join("wisp-host"), "newer").unwrap();
        assert_eq!(install(&from, &to).unwrap(), ["wisp-host"]);
        assert_eq!(fs::read(to.join("wisp-host")).unwrap(), b"newer");

        fs::write(place.path().join("opt/other"), "not ours").unwrap();
        uninstall(&to).unwrap();
        uninstall(&to).unwrap();
        assert!(!place.path().join("opt/wisp").exists());
        assert!(place.path().join("opt/other").exists());
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let place = tempfile::tempdir().unwrap();
        let error = install(place.path(), &place.path().join("to")).unwrap_err();
        assert!(format!("{error:#}").contains("containerd-shim-wisp-v1"), "{error:#}");
    }
}
