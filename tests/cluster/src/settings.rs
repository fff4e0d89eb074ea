//! What a test chooses of its cluster.

use std::path::PathBuf;

/// A cluster for everything but Wisp's own shim is `Settings::default()`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A folder that is first on containerd's PATH. The runtime `wisp` needs `containerd-shim-wisp-v1` there, and
    /// whatever that starts by name.
    pub shim: Option<PathBuf>,
    /// Which containerd runs the pods.
    pub containerd: Containerd,
    /// When the cluster goes.
    pub lifetime: Lifetime,
}

/// The two containerds that clusters of today run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Containerd {
    /// 2.2
    #[default]
    Two,
    /// 1.7, whose settings have another form and which keeps other things in its shims.
    OneSeven,
}

/// When a cluster goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// With the process that started it, however that ends, or when its [`Cluster`](crate::Cluster) is dropped.
    #[default]
    OfItsOwner,
    /// When somebody takes it down: for people, who look at it from several shells.
    UntilTakenDown,
}
