//! What every first process of a container takes from its environment.

use std::net::SocketAddr;

use clap::Args;

use super::CommonArgs;

/// As [`CommonArgs`], by variables: a container has no command line of its own.
#[derive(Debug, Args)]
pub struct EnvironmentArgs {
    /// Addresses that the guest may not call even where it may call others, such as 10.0.0.0/8, separated by commas.
    #[arg(long, env = "WISP_DENY_OUTBOUND", value_name = "NETWORKS", default_value = "", hide_default_value = true)]
    pub deny_outbound: String,
    /// Addresses of the machine itself that it may call, such as 127.0.0.1:8081 of a sidecar, separated by commas.
    #[arg(
        long,
        env = "WISP_ALLOW_PRIVATE_OUTBOUND",
        value_name = "ADDRESSES",
        default_value = "",
        hide_default_value = true
    )]
    pub allow_private_outbound: String,
    /// Where a server answers /live, /ready, /metrics and /dump, such as 0.0.0.0:9090; nowhere by default.
    #[arg(long, env = "WISP_ADMIN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Threads that run a server's guests; at most two by default.
    #[arg(long, env = "WISP_WORKERS")]
    pub workers: Option<usize>,
}

impl EnvironmentArgs {
    pub(super) fn common(&self) -> CommonArgs {
        CommonArgs {
            workers: self.workers,
            admin_listen: self.admin_listen,
            deny_outbound: list(&self.deny_outbound),
            allow_private_outbound: list(&self.allow_private_outbound),
        }
    }
}

/// An empty variable is how a manifest says none.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_none() {
        assert!(list("").is_empty());
        assert_eq!(list("http://a, https://b,"), ["http://a", "https://b"]);
    }
}
