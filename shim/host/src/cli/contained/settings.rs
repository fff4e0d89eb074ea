//! What a container's environment and command line say.

#![allow(rustdoc::bare_urls, reason = "what is documented here is shown as help, which is no Markdown")]

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use wisp_api::wire::{HostConcurrency, HostLimits, HostSpec, Preopen};

use crate::cli::environment::{EnvironmentArgs, list};
use crate::command::{CommandSpec, Sockets};
use crate::engine::POOL_SLOTS_MAX;
use crate::outbound::Network;
use crate::server::Address;

/// What 32 bits address: a command is bounded by its container.
const COMMAND_MEMORY_BYTES: u64 = 4 << 30;

/// Arguments of `contained`. In a container, settings are the environment; those of a server mean nothing to a command.
#[derive(Debug, Args)]
pub struct ContainedArgs {
    /// A folder that the guest sees: HOST_DIR::GUEST_DIR, or HOST_DIR::GUEST_DIR::ro; may be repeated.
    #[arg(long = "preopen", value_name = "HOST_DIR::GUEST_DIR[::ro]", value_parser = preopen)]
    pub preopens: Vec<Preopen>,
    /// The folder in which a command is told that it begins.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Where a server listens.
    #[arg(long, env = "WISP_LISTEN", default_value = "tcp:0.0.0.0:8080")]
    pub listen: Address,
    /// A server's requests at once; 100 by default.
    #[arg(long, env = "WISP_SLOTS", value_parser = RangedU64ValueParser::<u32>::new().range(1..=u64::from(POOL_SLOTS_MAX)))]
    pub slots: Option<u32>,
    /// Requests that one wasm instance of a server answers in its life; 1 by default.
    #[arg(long, env = "WISP_REUSE", value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    pub reuse: Option<u32>,
    /// Milliseconds for a whole request; 30000 by default.
    #[arg(long, env = "WISP_TIMEOUT_MILLIS", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub timeout_millis: Option<u64>,
    /// Milliseconds that a request may compute, 5000 by default; or a command in all, without a limit by default.
    #[arg(long, env = "WISP_CPU_TIME_MILLIS", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub cpu_time_millis: Option<u64>,
    /// Bytes of linear memory per wasm instance: by default 64 MiB, and 4 GiB for a command.
    #[arg(long, env = "WISP_MEMORY_BYTES", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub memory_bytes: Option<u64>,
    /// Bytes of the largest request body; 10 MiB by default.
    #[arg(long, env = "WISP_REQUEST_BODY_BYTES", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub request_body_bytes: Option<u64>,
    /// Origins that the guest may call, such as https://api.example.com, separated by commas.
    #[arg(long, env = "WISP_OUTBOUND", value_name = "PATTERNS", default_value = "", hide_default_value = true)]
    pub outbound: String,
    /// Whether a command may use sockets.
    #[arg(long, env = "WISP_SOCKETS", value_enum, default_value_t)]
    pub sockets: Sockets,
    /// What every container takes.
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// The guest's arguments, its name first.
    #[arg(last = true, value_name = "ARG")]
    pub args: Vec<String>,
}

impl ContainedArgs {
    fn name(&self) -> String {
        self.args.first().cloned().unwrap_or_else(|| "guest".to_owned())
    }

    pub(super) fn host_spec(self, env: Vec<(String, String)>) -> HostSpec {
        HostSpec {
            namespace: "default".to_owned(),
            function: self.name(),
            revision: self.name(),
            args: self.args,
            env: env.into_iter().collect(),
            preopens: self.preopens,
            outbound: list(&self.outbound),
            inherit_stdio: true,
            // Zero is the default, and nobody can ask for it.
            limits: Some(HostLimits {
                timeout_millis: self.timeout_millis.unwrap_or_default(),
                cpu_time_millis: self.cpu_time_millis.unwrap_or_default(),
                memory_bytes: self.memory_bytes.unwrap_or_default(),
                request_body_bytes: self.request_body_bytes.unwrap_or_default(),
            }),
            concurrency: Some(HostConcurrency {
                slots: self.slots.unwrap_or_default(),
                reuse_requests: self.reuse.unwrap_or_default(),
            }),
            ..HostSpec::default()
        }
    }

    pub(super) fn command_spec(self, env: Vec<(String, String)>, network: Network) -> CommandSpec {
        CommandSpec {
            outbound: list(&self.outbound),
            args: self.args,
            env,
            preopens: self.preopens,
            cwd: self.cwd,
            sockets: self.sockets,
            network,
            memory_bytes: self.memory_bytes.unwrap_or(COMMAND_MEMORY_BYTES),
            cpu_time: self.cpu_time_millis.map(Duration::from_millis),
        }
    }
}

fn preopen(text: &str) -> Result<Preopen, String> {
    let (host, guest, writable) = match *text.split("::").collect::<Vec<_>>() {
        [host, guest] => (host, guest, true),
        [host, guest, "ro"] => (host, guest, false),
        _ => return Err(format!("{text:?} is not HOST_DIR::GUEST_DIR or HOST_DIR::GUEST_DIR::ro")),
    };
    // An empty host folder would mean one of the guest's own, which a read-only container has no place for.
    if host.is_empty() || guest.is_empty() {
        return Err(format!("{text:?} names no folder on one side of the first ::"));
    }
    Ok(Preopen { host_path: host.to_owned(), guest_path: guest.to_owned(), writable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_writable_unless_it_says_ro() {
        let folder = |host: &str, guest: &str, writable| Preopen {
            host_path: host.to_owned(),
            guest_path: guest.to_owned(),
            writable,
        };
        assert_eq!(preopen("/a::/b"), Ok(folder("/a", "/b", true)));
        assert_eq!(preopen("/a:x::/::ro"), Ok(folder("/a:x", "/", false)));
        for wrong in ["/a", "/a::", "::/b", "/a::/b::rw", "/a::/b::ro::ro", ""] {
            assert!(preopen(wrong).is_err(), "{wrong}");
        }
    }
}
