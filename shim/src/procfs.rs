//! What of `/proc` a component's container shows.

use std::path::{Component, Path};

use rustix::mount::{FsOpenFlags, fsconfig_set_string, fsopen};

/// Where it is mounted.
pub(crate) const ROOT: &str = "/proc";
/// The option of the mount that leaves everything out but processes. Since Linux 5.8.
const OPTION: (&str, &str) = ("subset", "pid");

/// What of `/proc` is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procfs {
    /// The kernel's settings and state too, which the container's spec has masked or made read-only.
    Whole,
    /// Processes, with their folders and links, which is all that the host reads.
    Processes,
}

impl Procfs {
    /// The least that the running kernel can mount.
    pub(crate) fn least() -> Self {
        let (name, value) = OPTION;
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC);
        match context.and_then(|context| fsconfig_set_string(context, name, value)) {
            Ok(()) => Self::Processes,
            Err(_) => Self::Whole,
        }
    }

    /// The option that its mount takes.
    pub(crate) fn option(self) -> Option<String> {
        let (name, value) = OPTION;
        (self == Self::Processes).then(|| format!("{name}={value}"))
    }

    /// Whether `path` may be in it.
    pub(crate) fn shows(self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(ROOT) else { return true };
        let Some(Component::Normal(name)) = below.components().next() else { return true };
        let name = name.as_encoded_bytes();
        let is_process = name.first().is_some_and(u8::is_ascii_digit);
        self == Self::Whole || is_process || [&b"self"[..], b"thread-self"].contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_a_process_is_among_processes() {
        let table = [
            ("/proc", true),
            ("/proc/1/mem", true),
            ("/proc/self/mem", true),
            ("/proc/thread-self", true),
            ("/proc/../sys", true),
            ("/processes", true),
            ("/proc/sys", false),
            ("/proc/sysrq-trigger", false),
            ("/proc/kcore", false),
        ];
        for (path, shown) in table {
            assert_eq!(Procfs::Processes.shows(Path::new(path)), shown, "{path}");
            assert!(Procfs::Whole.shows(Path::new(path)), "{path}");
        }
    }
}
