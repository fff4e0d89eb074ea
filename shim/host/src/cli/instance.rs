//! `instance`: the first process of a function's pod, which the autoscaler turns into a revision.
//!
//! As `contained`, it finds what it works on at descriptors 3 and 4, and its settings in the environment. None of them
//! reach the guest: its environment is what its revision says, and nothing else.

#![allow(rustdoc::bare_urls, reason = "what is documented here is shown as help, which is no Markdown")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use wisp_chassis::control::{ClientTls, ControlEndpoint};

use super::descriptor;
use super::environment::EnvironmentArgs;
use super::warm::{Announced, Beginning, begin};
use crate::artifacts::Artifacts;
use crate::exit::Exit;
use crate::instance::Token;
use crate::seal::SealKey;
use crate::server::Address;

/// Where functions are reached, in each pod.
const PORT: u16 = 8080;

/// Arguments of `instance`. In a pod, all of them are the environment.
#[derive(Debug, Args)]
pub struct InstanceArgs {
    /// The autoscaler's control address: https://host:port, or unix:/path.
    #[arg(long, env = "WISP_CONTROL")]
    pub control: ControlEndpoint,
    /// The authority whose certificate the autoscaler shows: PEM, the text itself.
    #[arg(long, env = "WISP_CONTROL_CA", value_name = "PEM", hide_env_values = true)]
    pub control_ca: Option<String>,
    /// The name in that certificate, where it is not the host of the address.
    #[arg(long, env = "WISP_CONTROL_NAME", value_name = "NAME")]
    pub control_name: Option<String>,
    /// The proof of which pod this is, signed by its node.
    #[arg(long, env = "WISP_TOKEN", hide_env_values = true)]
    pub token: String,
    /// The pod's UID.
    #[arg(long, env = "WISP_INSTANCE")]
    pub instance: String,
    /// The namespace whose functions it may serve.
    #[arg(long, env = "WISP_NAMESPACE")]
    pub namespace: String,
    /// The pod's address, at which activators reach it.
    #[arg(long, env = "WISP_POD_IP", value_name = "IP")]
    pub pod_ip: IpAddr,
    /// Where it listens: port 8080 of all its addresses by default.
    #[arg(long, env = "WISP_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<Address>,
    /// What every container takes.
    #[command(flatten)]
    pub environment: EnvironmentArgs,
}

pub(super) fn run(args: InstanceArgs) -> ExitCode {
    let beginning = match beginning(&args) {
        Ok(beginning) => beginning,
        Err((exit, message)) => {
            eprintln!("wisp-host: {message}");
            return exit.into();
        }
    };
    match begin(beginning, &args.environment.common()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("wisp-host: {error:#}");
            Exit::Internal.into()
        }
    }
}

fn beginning(args: &InstanceArgs) -> Result<Beginning, (Exit, String)> {
    let artifact = |message| (Exit::Artifact, message);
    // Before anything else is opened: where one is missing, another file would get its number.
    let folder = descriptor::take(descriptor::CODE, "the folder of artifacts").map_err(artifact)?;
    let key = descriptor::take(descriptor::KEY, "the seal key").map_err(artifact)?;
    let key = SealKey::read(key, Path::new("at descriptor 4")).map_err(|error| artifact(error.to_string()))?;
    Ok(Beginning {
        endpoint: endpoint(args).map_err(|message| (Exit::Spec, message))?,
        instance: args.instance.clone(),
        namespace: args.namespace.clone(),
        token: Token::Fixed(args.token.clone()),
        listen: args.listen.clone().unwrap_or_else(|| everywhere(args.pod_ip)),
        announced: Announced::At(args.pod_ip),
        artifacts: Artifacts::Beneath(OwnedFd::from(folder)),
        key,
    })
}

fn endpoint(args: &InstanceArgs) -> Result<ControlEndpoint, String> {
    match (&args.control_ca, args.control.to_string().starts_with("https:")) {
        (Some(ca), true) => {
            let server_name = args.control_name.clone();
            Ok(args.control.clone().with_tls(ClientTls { ca_pem: ca.clone(), identity: None, server_name }))
        }
        (None, true) => {
            Err("WISP_CONTROL is https and WISP_CONTROL_CA is not set; give the authority as PEM".to_owned())
        }
        (_, false) => Ok(args.control.clone()),
    }
}

/// All addresses of the family that the pod is reached by.
fn everywhere(pod_ip: IpAddr) -> Address {
    let unspecified = match pod_ip {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    Address::Tcp(SocketAddr::new(unspecified, PORT))
}
