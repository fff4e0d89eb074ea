//! `wisp-operator`: parse, build, run.

#![forbid(unsafe_code)]

mod args;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wisp_chassis::admin::{self, Admin};
use wisp_chassis::log;
use wisp_identity::InstallationKey;
use wisp_kubernetes::{Lease, LeaseOf, LeaseSettings};
use wisp_operator::artifacts::Artifacts;
use wisp_operator::bootstrap::{Secrets, bootstrap};
use wisp_operator::component::{ComponentSettings, Components};
use wisp_operator::context::{Context, MANAGER};
use wisp_operator::controllers::{self, Activators};
use wisp_operator::metrics::Metrics;
use wisp_operator::pod::Installation;

use crate::args::Args;

const AUTOSCALER: &str = "wisp-autoscaler";

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
    let admin = tokio::spawn(serve_admin(listener, registry, Arc::clone(&is_ready), shutdown.clone()));

    let client = wisp_kubernetes::client().await?;
    let ended = operate(&args, client, (metrics, is_ready), &shutdown).await;
    shutdown.cancel();
    stop.abort();
    admin.await.context("the admin port failed")?;
    ended
}

async fn operate(
    args: &Args,
    client: Client,
    (metrics, is_ready): (Metrics, Arc<AtomicBool>),
    shutdown: &CancellationToken,
) -> Result<()> {
    if !args.no_crds {
        install_crds(&client).await?;
    }
    let secrets = bootstrap(&client, &args.namespace).await?;
    let components = Components::new(client.clone(), component_settings(args, &secrets)?)
        .with_context(|| format!("the store {} cannot be used", args.store.display()))?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let identity = InstallationKey::new(&secrets.identity_key).context("secret wisp-identity has no key")?;
    let artifacts = Artifacts::new(client.clone(), components.clone(), args.namespace.clone(), identity);
    let served = secrets.clone();
    let token = shutdown.clone();
    let artifacts = tokio::spawn(async move { artifacts.serve(listener, &served, token).await });
    let installation = installation(args, &client, &secrets).await?;
    is_ready.store(true, Ordering::Relaxed);

    let of = LeaseOf { namespace: &args.namespace, name: MANAGER, identity: &args.name };
    let lease = Lease::new(client.clone(), of, lease_settings());
    tracing::info!("waiting to lead");
    if shutdown.run_until_cancelled(lease.acquire()).await.is_none() {
        return Ok(());
    }
    tracing::info!("leading");
    let activators = Activators::watch(&client, &args.namespace);
    let context = Arc::new(Context {
        client,
        system: args.namespace.clone(),
        domain: args.domain.clone(),
        installation,
        components,
        activators: activators.store.clone(),
        metrics,
        patience: Default::default(),
    });
    let controllers = tokio::spawn(controllers::run(context, activators, shutdown.clone()));
    tokio::select! {
        lost = lease.hold() => bail!("{lost}; another replica goes on"),
        ended = controllers => ended.context("a controller panicked")?,
        ended = artifacts => ended.context("the artifact server panicked")?.context("the artifact server failed")?,
    }
    lease.release().await;
    Ok(())
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

async fn serve_admin(listener: TcpListener, registry: Registry, ready: Arc<AtomicBool>, shutdown: CancellationToken) {
    let admin = Arc::new(Admin {
        registry,
        ready: Box::new(move || ready.load(Ordering::Relaxed)),
        dump: Box::new(serde_json::Value::default),
    });
    let handler = move |request| {
        let admin = Arc::clone(&admin);
        async move {
            let nothing = || admin::text(http::StatusCode::NOT_FOUND, "try /live, /ready or /metrics\n");
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
