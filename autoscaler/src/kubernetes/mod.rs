//! The autoscaler on a cluster: one leader, which watches the API server, lets hosts and activators in by their proofs,
//! and writes what it decided. The deciding itself knows nothing of all this.
//!
//! In the order of the data: `watch` sees changes, `view` and `roster` are what they add up to, `catalog` tells the
//! autoscaler, with `environment` for what is secret. `gate` lets streams in, by the rules in `check` and the key in
//! `proof`. `actuator` writes, in the order that `work` keeps and as long as there is `authority`; `leaving` has the pods
//! marked that drain. `announce` tells functions' users, and `slice` says where the leader is.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wisp_api::revision::architecture;
use wisp_autoscaler::{Admission, Autoscaler, Config, Metrics, Settings};
use wisp_chassis::control;
use wisp_kubernetes::{Lease, LeaseOf, LeaseSettings};

use self::actuator::Actuator;
use self::authority::Authority;
use self::catalog::Catalog;
use self::environment::Environment;
use self::gate::Gate;
use self::proof::IdentityFile;
use self::roster::Roster;
use self::view::View;
use crate::admin;
use crate::args::{self, Args};

mod actuator;
mod announce;
mod authority;
mod catalog;
mod check;
mod environment;
mod gate;
mod leaving;
mod proof;
mod roster;
mod slice;
mod view;
mod watch;
mod work;

/// Requests to the actuator that may wait before the autoscaler keeps them itself.
const ACTUATIONS_WAITING: usize = 1024;
/// Streams that wait for the gate.
const STREAMS_WAITING: usize = 1024;
/// The catalog is read while instances come back.
const SETTLE_MIN: Duration = Duration::from_secs(1);
/// A pod's, until one was seen: a third of it on an idle node with everything at hand.
const FRESH_START: Duration = Duration::from_secs(1);
/// A pod takes a second or two; one that pulls images or waits for a node takes longer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A revision that is younger than this when a leader begins may not have had its initial instances.
const NEW_FOR: Duration = Duration::from_secs(60);

/// The kubelet takes a minute to bring a renewed certificate, which is renewed long before its end.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(60);

/// Who this process is among its like.
pub(crate) struct Place {
    /// Wisp's own namespace.
    pub(crate) namespace: String,
    /// The name of this pod.
    pub(crate) identity: String,
    /// Its address.
    pub(crate) ip: IpAddr,
}

/// Waits to lead, leads, and ends when told to.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let place = args.place()?;
    let client = wisp_kubernetes::client().await?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let shutdown = CancellationToken::new();
    let listener = TcpListener::bind(args.admin).await.with_context(|| format!("cannot listen on {}", args.admin))?;
    tracing::info!(admin = %listener.local_addr()?, identity = place.identity, "standing by");
    let (port, leads) = admin::Port::standby(registry);
    let admin = tokio::spawn(admin::serve(listener, port, shutdown.clone()));

    let of = LeaseOf { namespace: &place.namespace, name: slice::NAME, identity: &place.identity };
    let lease = Lease::new(client.clone(), of, LeaseSettings::default());
    tokio::select! {
        () = lease.acquire() => {}
        stopped = args::until_stopped() => {
            stopped?;
            shutdown.cancel();
            return admin.await.context("the admin port panicked");
        }
    }
    let (tenure, authority) = Authority::new(shutdown.clone());
    let parts = lead(args, place, Parts { client, metrics, authority, shutdown: shutdown.clone() }, leads);
    tokio::select! {
        ended = parts => ended?,
        // While the API server is away it leads on: instances are woken by their streams, and nothing is written.
        lost = lease.keep(&tenure) => {
            tracing::error!(%lost, "no longer the leader; ending");
            std::process::exit(1);
        }
    }
    lease.release().await;
    admin.await.context("the admin port panicked")
}

struct Parts {
    client: Client,
    metrics: Metrics,
    authority: Authority,
    shutdown: CancellationToken,
}

async fn lead(args: &Args, place: Place, parts: Parts, leads: admin::Leads) -> anyhow::Result<()> {
    let Parts { client, metrics, authority, shutdown } = parts;
    let control = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let tls = args.read_tls()?;
    let address = SocketAddr::new(place.ip, control.local_addr()?.port());
    tracing::info!(control = %control.local_addr()?, published = %address, "leading");

    let (actuations, requests) = mpsc::channel(ACTUATIONS_WAITING);
    let settings = Settings {
        admission: Admission::Expected,
        warm_instances: 0,
        settle: args.settle().max(SETTLE_MIN),
        fresh_start: FRESH_START,
        start_deadline: START_DEADLINE,
        ..Settings::default()
    };
    let (autoscaler, handle) = Autoscaler::build(Config { settings, actuations, metrics });
    leads.begin(handle.clone());
    let view = Arc::new(Mutex::new(View::new(view_settings()?)));
    let roster = Arc::new(Mutex::new(Roster::default()));
    let (announcer, announcing) =
        announce::announcer(client.clone(), &place.identity, Arc::clone(&view), shutdown.clone());
    let known = (Arc::clone(&roster), Arc::clone(&view), announcer.clone());
    let actuator = Arc::new(Actuator::new(client.clone(), handle.clone(), known, authority.clone()));
    let gate = Gate {
        client: client.clone(),
        handle: handle.clone(),
        roster: Arc::clone(&roster),
        actuator: Arc::clone(&actuator),
        system_namespace: place.namespace.clone(),
        identity: IdentityFile(args.identity_key.clone()),
    };
    let environment = Environment::new(client.clone());
    let (told, incomplete) = (HashMap::new(), HashMap::new());
    let catalog = Catalog { handle: handle.clone(), view, roster, environment, announcer, told, incomplete };

    let (streams, incoming) = mpsc::channel(STREAMS_WAITING);
    let mut tasks = JoinSet::new();
    tasks.spawn(autoscaler.run(shutdown.clone()));
    tasks.spawn(leaving::follow(handle.subscribe(), Arc::clone(&actuator), shutdown.clone()));
    tasks.spawn(actuator.serve(requests));
    tasks.spawn(announcing);
    tasks.spawn(catalog.serve(watch::watch_all(&client), shutdown.clone()));
    tasks.spawn(gate.serve(incoming, shutdown.clone()));
    tasks.spawn(slice::publish(client, place.namespace, address, authority));
    let server = control::serve_tcp(control, tls, streams, shutdown.clone());
    tokio::select! {
        served = server => served.context("the control port failed")?,
        stopped = args::until_stopped() => stopped?,
        () = renewed(args) => tracing::info!("the certificate was renewed; ending, to begin with the new one"),
        ended = tasks.join_next() => match ended {
            Some(Err(panicked)) => return Err(panicked).context("a part of the autoscaler panicked"),
            _ => anyhow::bail!("a part of the autoscaler ended early"),
        },
    }
    shutdown.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a part of the autoscaler panicked")?;
    }
    Ok(())
}

/// Waits until the certificate on disk is another. The server reads it once: a standby takes over with the new one.
async fn renewed(args: &Args) {
    let before = args.read_tls().map(|tls| tls.certificate_pem).ok();
    let mut looks = tokio::time::interval(CERTIFICATE_LOOK);
    loop {
        looks.tick().await;
        if args.read_tls().is_ok_and(|now| Some(now.certificate_pem) != before) {
            return;
        }
    }
}

fn view_settings() -> anyhow::Result<view::Settings> {
    let architecture = architecture(std::env::consts::ARCH);
    anyhow::ensure!(
        matches!(architecture, "amd64" | "arm64"),
        "there is no compiled code for {architecture}; run on amd64 or arm64"
    );
    Ok(view::Settings { architecture, new_since: Timestamp::now() - NEW_FOR })
}
