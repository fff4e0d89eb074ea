//! `contained`: the first process of a container, which serves or runs the artifact that it was started with.
//!
//! Whoever makes the container opens the artifact and the key; here they are descriptors 3 and 4. So nothing of Wisp has
//! to be in the container's file system, and nothing is written to it.

mod settings;

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::descriptor;
use super::drain::{Signals, serve_until};
use crate::command::{self, Ended, Sockets};
use crate::engine::Runtimes;
use crate::exit::Exit;
use crate::handler::Host;
use crate::inspect::Kind;
use crate::limits::Limits;
use crate::load::Sealed;
use crate::outbound::Network;
use crate::revision::Revision;
use crate::seal::SealKey;
use crate::server::Listener;

pub use self::settings::ContainedArgs;

/// The host's own variables begin so; no guest sees them.
const OWN_PREFIX: &str = "WISP_";

/// What the container was given, besides its artifact.
struct Given {
    args: ContainedArgs,
    env: Vec<(String, String)>,
    network: Network,
}

/// Why nothing was run, by exit code.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Setting(String),
    #[error("{0}")]
    Artifact(String),
    #[error("{0}")]
    Listen(String),
    #[error("{0}")]
    Internal(String),
}

pub(super) fn run(args: ContainedArgs) -> ExitCode {
    contained(args).unwrap_or_else(|failed| {
        eprintln!("wisp-host: {failed}");
        failed.exit().into()
    })
}

fn contained(args: ContainedArgs) -> Result<ExitCode, Failed> {
    // Before anything else is opened: where one is missing, the runtime's own would get its number.
    let taken = |number, what| descriptor::take(number, what).map_err(Failed::Artifact);
    let (artifact, key) = (taken(descriptor::CODE, "the artifact")?, taken(descriptor::KEY, "the seal key")?);
    let common = args.environment.common();
    let runtime = common.runtime().map_err(Failed::internal)?;
    let signals = {
        let _entered = runtime.enter();
        Signals::catch().map_err(Failed::internal)?
    };
    let given = Given { network: common.network().map_err(Failed::setting)?, env: guest_env()?, args };
    let sealed = sealed(artifact, key)?;
    let exit = match sealed.entry().kind {
        Kind::Http => runtime.block_on(serve(given, sealed, signals)).map(ExitCode::from),
        Kind::Command => {
            runtime.spawn(end_by(signals));
            runtime.block_on(execute(given, sealed))
        }
    };
    // A read from a pipe that nobody writes to may still hold a thread.
    runtime.shutdown_background();
    exit
}

/// Wherever the guest is, computing or in a call that blocks its thread: a signal ends the process at once.
async fn end_by(mut signals: Signals) {
    std::process::exit(signals.recv().await as i32)
}

/// The key is closed when this returns, and the artifact when it is mapped: before any code of the guest runs.
fn sealed(artifact: File, key: File) -> Result<Sealed, Failed> {
    let key = SealKey::read(key, Path::new("at descriptor 4")).map_err(|error| Failed::Artifact(error.to_string()))?;
    Sealed::check(artifact, Path::new("at descriptor 3"), &key).map_err(|error| Failed::Artifact(error.to_string()))
}

async fn serve(given: Given, sealed: Sealed, signals: Signals) -> Result<Exit, Failed> {
    let Given { args, env, network } = given;
    if args.sockets == Sockets::Allow {
        let why = "WISP_SOCKETS=allow is for commands; a component that serves HTTP calls out by WISP_OUTBOUND";
        return Err(Failed::Setting(why.to_owned()));
    }
    let slots = args.slots.unwrap_or(Limits::default().slots);
    let loaded = sealed.http(&Runtimes::new(slots)).map_err(|error| Failed::Artifact(error.to_string()))?;
    let host = Arc::new(Host::default());
    let admin = match args.environment.common().open_admin(&host).await {
        Ok(admin) => admin,
        Err(exit) => return Ok(exit),
    };
    let listener = Listener::bind(&args.listen).await.map_err(|error| {
        Failed::Listen(format!("cannot listen on {}: {error}; is another process of this pod there?", args.listen))
    })?;
    let revision = Revision::new(args.host_spec(env), loaded, Arc::clone(host.metrics()), &network);
    let revision = revision.map_err(Failed::setting)?;
    let timeout = revision.limits.timeout;
    host.specialize(revision).map_err(Failed::internal)?;
    tracing::info!(address = %listener.address(), "listening");
    let exit = serve_until(signals, host, listener, timeout).await.map_err(Failed::internal);
    if let Some(admin) = admin {
        admin.close().await;
    }
    exit
}

async fn execute(given: Given, sealed: Sealed) -> Result<ExitCode, Failed> {
    let spec = given.args.command_spec(given.env, given.network);
    let loaded = sealed.command(&Runtimes::for_command()).map_err(|error| Failed::Artifact(error.to_string()))?;
    match command::run(loaded, spec).await.map_err(Failed::setting)? {
        Ended::Exited(code) => Ok(code.into()),
        Ended::Trapped(error) => {
            eprintln!("wisp-host: the guest failed: {error:?}");
            Ok(Exit::Trapped.into())
        }
    }
}

/// The container's environment without what is meant for the host.
fn guest_env() -> Result<Vec<(String, String)>, Failed> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), _) if name.starts_with(OWN_PREFIX) => {}
            (Ok(name), Ok(value)) => env.push((name, value)),
            (Ok(name), Err(_)) => {
                return Err(Failed::Setting(format!("the value of {name} is not UTF-8; a guest takes no other")));
            }
            (Err(name), _) => {
                return Err(Failed::Setting(format!(
                    "{name:?} in the environment is not UTF-8; a guest takes no other"
                )));
            }
        }
    }
    env.sort();
    Ok(env)
}

impl Failed {
    fn setting(error: impl std::fmt::Display) -> Self {
        Self::Setting(format!("{error:#}"))
    }

    fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(format!("{error:#}"))
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Setting(_) => Exit::Spec,
            Self::Artifact(_) => Exit::Artifact,
            Self::Listen(_) => Exit::Listen,
            Self::Internal(_) => Exit::Internal,
        }
    }
}
