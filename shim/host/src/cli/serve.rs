//! `serve`: one component from the command line.

#![allow(rustdoc::bare_urls, reason = "what is documented here is shown as help, which is no Markdown")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use wisp_api::wire::{Artifact as WireArtifact, HostConcurrency, HostLimits, HostSpec};

use super::drain::{Signals, serve_until};
use super::{CommonArgs, compile_args};
use crate::compile::Compiler;
use crate::engine::Runtimes;
use crate::exit::Exit;
use crate::handler::Host;
use crate::load::load;
use crate::revision::Revision;
use crate::server::{Address, Listener};
use crate::store::ArtifactStore;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The component: a .wasm file that exports an HTTP handler.
    pub component: PathBuf,
    /// Where to listen: unix:/path or tcp:address:port; port 0 lets the system choose.
    #[arg(long, default_value = "tcp:127.0.0.1:8080")]
    pub listen: Address,
    /// Folder for compiled code; kept between starts.
    #[arg(long)]
    pub cache: Option<PathBuf>,
    /// Requests at once.
    #[arg(long, default_value_t = 100)]
    pub slots: u32,
    /// Requests that one wasm instance serves in its life.
    #[arg(long = "reuse", default_value_t = 1)]
    pub reuse_requests: u32,
    /// Milliseconds for a whole request.
    #[arg(long = "timeout", value_name = "MILLIS", default_value_t = 30_000)]
    pub timeout_millis: u64,
    /// Milliseconds that a request may compute.
    #[arg(long = "cpu-time", value_name = "MILLIS", default_value_t = 5_000)]
    pub cpu_time_millis: u64,
    /// Bytes of linear memory per wasm instance.
    #[arg(long = "memory", value_name = "BYTES", default_value_t = 64 << 20)]
    pub memory_bytes: u64,
    /// Bytes of the largest request body.
    #[arg(long = "request-body", value_name = "BYTES", default_value_t = 10 << 20)]
    pub request_body_bytes: u64,
    /// Origins that the function may call, such as https://api.example.com; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub outbound: Vec<String>,
    /// An environment variable of the guest; may be repeated.
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// Send the guest's stdout and stderr to ours.
    #[arg(long)]
    pub inherit_stdio: bool,
    /// What every host takes.
    #[command(flatten)]
    pub common: CommonArgs,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form NAME=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<Exit> {
    let runtime = args.common.runtime()?;
    let network = args.common.network()?;
    runtime.block_on(async {
        let folder = args.cache.clone().unwrap_or_else(|| std::env::temp_dir().join("wisp-host-cache"));
        let compiler = Compiler::current_program(compile_args())?;
        let Some((store, artifact)) = artifact(&args.component, &folder, compiler).await? else {
            return Ok(Exit::Component);
        };
        let loaded = load(&artifact.path, store.key(), &Runtimes::new(args.slots))?;
        let host = Arc::new(Host::default());
        let timeout = Duration::from_millis(args.timeout_millis);
        let admin = match args.common.open_admin(&host).await {
            Ok(admin) => admin,
            Err(exit) => return Ok(exit),
        };
        let listener = match Listener::bind(&args.listen).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, address = %args.listen, "cannot listen; is another process there?");
                return Ok(Exit::Listen);
            }
        };
        let wire = WireArtifact { digest: artifact.digest, path: artifact.path.display().to_string() };
        let revision = Revision::new(spec(args, wire), loaded, Arc::clone(host.metrics()), &network)?;
        host.specialize(revision)?;
        println!("listening {}", listener.address());
        if let Some(admin) = &admin {
            println!("admin tcp:{}", admin.address());
        }
        let exit = serve_until(Signals::catch()?, host, listener, timeout).await;
        if let Some(admin) = admin {
            admin.close().await;
        }
        exit
    })
}

async fn artifact(
    component: &Path,
    folder: &Path,
    compiler: Compiler,
) -> anyhow::Result<Option<(ArtifactStore, crate::store::Artifact)>> {
    let bytes = std::fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
    let store = ArtifactStore::open(folder, compiler)?;
    match store.ensure(&bytes).await {
        Ok(artifact) => Ok(Some((store, artifact))),
        Err(error) => {
            tracing::error!(component = %component.display(), "cannot serve the component: {error}");
            Ok(None)
        }
    }
}

fn spec(args: ServeArgs, artifact: WireArtifact) -> HostSpec {
    let name = args.component.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    HostSpec {
        namespace: "default".to_owned(),
        function: name.clone(),
        revision: name,
        artifact: Some(artifact),
        args: Vec::new(),
        env: args.env.into_iter().collect(),
        config: BTreeMap::default(),
        preopens: Vec::new(),
        outbound: args.outbound,
        inherit_stdio: args.inherit_stdio,
        limits: Some(HostLimits {
            timeout_millis: args.timeout_millis,
            cpu_time_millis: args.cpu_time_millis,
            memory_bytes: args.memory_bytes,
            request_body_bytes: args.request_body_bytes,
        }),
        concurrency: Some(HostConcurrency { slots: args.slots, reuse_requests: args.reuse_requests }),
    }
}
