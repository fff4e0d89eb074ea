//! `wisp-autoscaler`: the autoscaler as a process of its own. Activators and hosts connect to it over TLS.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wisp_autoscaler::{Autoscaler, Config, Metrics};
use wisp_chassis::{control, log};

use crate::args::Args;

mod admin;
mod args;
mod kubernetes;
mod unmanned;

/// Requests to whoever runs instances that may wait before the autoscaler keeps them itself.
const ACTUATIONS_WAITING: usize = 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    log::init(args.log_format());
    if args.kubernetes { kubernetes::run(&args).await } else { serve_file(&args).await }
}

/// Serves the revisions of a file, without anything that could start instances.
async fn serve_file(args: &Args) -> anyhow::Result<()> {
    let (revisions, tls) = (args.read_revisions()?, args.read_tls()?);
    let control = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let admin = TcpListener::bind(args.admin).await.with_context(|| format!("cannot listen on {}", args.admin))?;
    tracing::info!(control = %control.local_addr()?, admin = %admin.local_addr()?, "listening");

    let shutdown = CancellationToken::new();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (actuations, requests) = mpsc::channel(ACTUATIONS_WAITING);
    let (autoscaler, handle) = Autoscaler::build(Config { settings: args.settings(), actuations, metrics });
    let autoscaler = tokio::spawn(autoscaler.run(shutdown.clone()));
    let unmanned = tokio::spawn(unmanned::answer(requests, handle.clone()));
    for record in revisions {
        handle.apply(record).await?;
    }
    let admin = tokio::spawn(admin::serve(admin, admin::Port::new(registry, handle.clone()), shutdown.clone()));
    let control = tokio::spawn(control::serve_tcp(control, tls, handle.incoming(), shutdown.clone()));

    args::until_stopped().await?;
    shutdown.cancel();
    let (autoscaler, unmanned, admin, control) = tokio::join!(autoscaler, unmanned, admin, control);
    autoscaler.and(unmanned).and(admin).context("a part of the autoscaler panicked")?;
    control.context("the control port panicked")?.context("the control port failed")
}
