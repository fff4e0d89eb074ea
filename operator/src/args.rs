//! The command line.

#![allow(rustdoc::bare_urls, reason = "what is documented here is shown as help, which is no Markdown")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The slow part of Wisp: turns WasmFunctions into revisions, pods, pools, services and routes.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The namespace of the platform.
    #[arg(long, env = "POD_NAMESPACE", default_value = "wisp-system")]
    pub(crate) namespace: String,
    /// This replica's name, unique among them.
    #[arg(long, env = "HOSTNAME", default_value = "operator")]
    pub(crate) name: String,
    /// What functions' public hosts end in: <function>.<namespace>.<domain>.
    #[arg(long, default_value = "example.com")]
    pub(crate) domain: String,
    /// The image of instances: the platform's own.
    #[arg(long)]
    pub(crate) instance_image: String,
    /// Where instances find the autoscaler, https://host:port; by default its Service's address.
    #[arg(long)]
    pub(crate) control: Option<String>,
    /// Leave the CustomResourceDefinitions to somebody else.
    #[arg(long)]
    pub(crate) no_crds: bool,
    /// The folder of compiled code.
    #[arg(long, default_value = "/var/lib/wisp/operator")]
    pub(crate) store: PathBuf,
    /// The program that compiles; by default wisp-host beside this one.
    #[arg(long)]
    pub(crate) host: Option<PathBuf>,
    /// Certificates of registries beside the usual ones: a PEM file.
    #[arg(long)]
    pub(crate) registry_ca: Option<PathBuf>,
    /// A registry that speaks plain HTTP, host:port; may be repeated.
    #[arg(long = "insecure-registry", value_name = "HOST:PORT")]
    pub(crate) insecure_registries: Vec<String>,
    /// Where compiled code is served to the nodes' agents.
    #[arg(long, default_value = "0.0.0.0:8443")]
    pub(crate) listen: SocketAddr,
    /// Where /live, /ready, /metrics and /dump are served.
    #[arg(long, default_value = "127.0.0.1:9090")]
    pub(crate) admin: SocketAddr,
    /// JSON log lines.
    #[arg(long)]
    pub(crate) log_json: bool,
}
