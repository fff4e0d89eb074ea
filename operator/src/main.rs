//! `wisp-operator`: parse, build, run.

#![forbid(unsafe_code)]

mod args;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wisp_chassis::admin::{self, Admin};
use wisp_chassis::log;
use wisp_identity::InstallationKey;
use wisp_kubernetes::{Lease, LeaseOf, LeaseSettings};
use wisp_operator::artifacts::Artifacts;
use wisp_operator::bootstrap::{Secrets, bootstrap};
use wisp_operator::component::{ComponentSettings, Components};
use wisp_operator::context::{Context, MANAGER};
use wisp_operator::controllers::{self, Activators, Sources};
use wisp_operator::dump::{Shown, dump};
use wisp_operator::known::Known;
use wisp_operator::metrics::Metrics;
use wisp_operator::pod::Installation;
use wisp_operator::reach::has_http_routes;
use wisp_operator::{functions, renewal};

use crate::args::Args;

const AUTOSCALER: &str = "wisp-autoscaler";

// Bursts leave holes: unlike the system's, it gives them back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    log::init(if args.log_json { log::Format::Json } else { log::Format::default() });
    // Whatever speaks TLS here does so by ring; an earlier choice would be the same.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let shutdown = CancellationToken::new();
    let stop = tokio::spawn(stop(shutdown.clone()));
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let is_ready = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind(args.admin).await.with_context(|| format!("cannot listen on {}", args.admin))?;
    let shown = Arc::new(OnceLock::new());
    let port = admin_port(registry, Arc::clone(&is_ready), Arc::clone(&shown));
    let admin = tokio::spawn(serve_admin(listener, port, shutdown.clone()));

    let client = wisp_kubernetes::bounded_client().await?;
    let ended = operate(&args, client, Seen { metrics, is_ready, shown }, &shutdown).await;
    shutdown.cancel();
    stop.abort();
    admin.await.context("the admin port failed")?;
    ended
}

/// What the admin port shows.
struct Seen {
    metrics: Metrics,
    is_ready: Arc<AtomicBool>,
    shown: Arc<OnceLock<Shown>>,
}

async fn operate(args: &Args, client: Client, seen: Seen, shutdown: &CancellationToken) -> Result<()> {
    if !args.no_crds {
        install_crds(&client).await?;
    }
    let secrets = bootstrap(&client, &args.namespace).await?;
    let components = Components::new(client.clone(), component_settings(args, &secrets)?)
        .with_context(|| format!("the store {} cannot be used", args.store.display()))?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let identity = InstallationKey::new(&secrets.identity_key).context("secret wisp-identity has no key")?;
    let artifacts = Artifacts::new(client.clone(), components.clone(), args.namespace.clone(), identity);
    let (renewed, certificates) = watch::channel(secrets.certificate.clone());
    let token = shutdown.clone();
    let artifacts = tokio::spawn(async move { artifacts.serve(listener, certificates, token).await });
    let renewal = tokio::spawn(renewal::follow(client.clone(), args.namespace.clone(), renewed));
    let installation = installation(args, &client, &secrets).await?;
    seen.is_ready.store(true, Ordering::Relaxed);

    let of = LeaseOf { namespace: &args.namespace, name: MANAGER, identity: &args.name };
    // Its calls must not wait for any other.
    let lease = Lease::new(wisp_kubernetes::client().await?, of, lease_settings());
    tracing::info!("waiting to lead");
    if shutdown.run_until_cancelled(lease.acquire()).await.is_none() {
        return Ok(());
    }
    tracing::info!("leading");
    let (context, sources) = context(args, client, (installation, components), seen.metrics).await?;
    let (shown, token) = (seen.shown, shutdown.clone());
    let controllers = tokio::spawn(async move { controllers::run(context, sources, &shown, token).await });
    tokio::select! {
        lost = lease.hold() => bail!("{lost}; another replica goes on"),
        ended = controllers => ended.context("a controller panicked")?,
        ended = artifacts => ended.context("the artifact server panicked")?.context("the artifact server failed")?,
        ended = renewal => ended.context("the renewal of certificates panicked")?,
    }
    lease.release().await;
    Ok(())
}

async fn context(
    args: &Args,
    client: Client,
    (installation, components): (Installation, Components),
    metrics: Metrics,
) -> Result<(Arc<Context>, Sources)> {
    let has_http_routes = has_http_routes(&client).await.context("the API server cannot be asked for its kinds")?;
    let activators = Activators::watch(&client, &args.namespace);
    let (functions, follow, news) = functions::follow(&client, args.domain.clone());
    let (known, children, instances) = Known::watch(&client);
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(args.name.clone()) };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        system: args.namespace.clone(),
        domain: args.domain.clone(),
        installation,
        components,
        activators: activators.store.clone(),
        functions,
        known,
        has_http_routes: has_http_routes.into(),
        metrics,
        patience: Default::default(),
        surges: Default::default(),
    });
    Ok((context, Sources { activators, follow: Box::pin(follow), news, children, instances }))
}

/// Nothing waits on a path of requests for the operator: it may take longer than the autoscaler.
fn lease_settings() -> LeaseSettings {
    use std::time::Duration;
    LeaseSettings {
        duration: Duration::from_secs(15),
        deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    }
}

async fn install_crds(client: &Client) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (file, crd) in wisp_api::crds::all() {
        let name = crd.name_any();
        let parameters = PatchParams::apply(MANAGER).force();
        crds.patch(&name, &parameters, &Patch::Apply(&crd)).await.with_context(|| format!("cannot install {file}"))?;
        await_condition(crds.clone(), &name, conditions::is_crd_established()).await?;
    }
    Ok(())
}

fn component_settings(args: &Args, secrets: &Secrets) -> Result<ComponentSettings> {
    let beside = || anyhow::Ok(std::env::current_exe()?.with_file_name("wisp-host"));
    let read = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(ComponentSettings {
        store: args.store.clone(),
        host: args.host.clone().map_or_else(beside, Ok)?,
        seal_key: secrets.seal_key.clone(),
        registry_ca: args.registry_ca.as_ref().map(read).transpose()?,
        insecure_registries: args.insecure_registries.clone(),
    })
}

/// The Service's address, and not its name: so no DNS is on the path of a start.
async fn installation(args: &Args, client: &Client, secrets: &Secrets) -> Result<Installation> {
    let control = match &args.control {
        Some(control) => control.clone(),
        None => {
            let services: Api<Service> = Api::namespaced(client.clone(), &args.namespace);
            let service = services.get(AUTOSCALER).await.context("service wisp-autoscaler cannot be read")?;
            let address =
                service.spec.and_then(|spec| spec.cluster_ip).context("service wisp-autoscaler has no address")?;
            let address = if address.contains(':') { format!("[{address}]") } else { address };
            format!("https://{address}:8443")
        }
    };
    Ok(Installation {
        image: args.instance_image.clone(),
        control,
        control_name: format!("{AUTOSCALER}.{}.svc", args.namespace),
        ca_pem: secrets.ca_pem.clone(),
    })
}

fn admin_port(registry: Registry, ready: Arc<AtomicBool>, shown: Arc<OnceLock<Shown>>) -> Admin {
    Admin {
        registry,
        ready: Box::new(move || ready.load(Ordering::Relaxed)),
        dump: Box::new(move || dump(shown.get())),
    }
}

async fn serve_admin(listener: TcpListener, admin: Admin, shutdown: CancellationToken) {
    let admin = Arc::new(admin);
    let handler = move |request| {
        let admin = Arc::clone(&admin);
        async move {
            let nothing = || admin::text(http::StatusCode::NOT_FOUND, "try /live, /ready, /metrics or /dump\n");
            admin.respond(&request).unwrap_or_else(nothing)
        }
    };
    admin::serve(listener, handler, shutdown).await;
}

async fn stop(shutdown: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    shutdown.cancel();
    Ok(())
}
