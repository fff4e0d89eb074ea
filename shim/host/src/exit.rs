//! Exit codes, by cause; a command that ends by itself gives its own. None is 137: that is what a kill by the kernel looks like, and must stay tellable apart.

use std::process::ExitCode;

/// How a host ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Drained: nothing was cut.
    Drained = 0,
    /// The spec asks for what cannot be given.
    Spec = 64,
    /// The component cannot be served or compiled.
    Component = 65,
    /// The compiled code cannot be loaded.
    Artifact = 66,
    /// The address is taken or not ours.
    Listen = 69,
    /// Anything else; a bug or a broken system.
    Internal = 70,
    /// The autoscaler did not take its proof: it can serve nobody.
    Refused = 77,
    /// A command's guest trapped, or used up what it was allowed: what an abort looks like.
    Trapped = 134,
    /// A command was ended by SIGINT.
    Interrupted = 130,
    /// A command was ended by SIGTERM.
    Terminated = 143,
    /// Drained, but requests were still in flight at the deadline and were cut.
    Cut = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
