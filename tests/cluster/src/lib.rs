//! A real Kubernetes of one node for tests: etcd, the control plane, the kubelet, kube-proxy, containerd, DNS and two
//! registries, all of them the programs that production runs. A cluster is up in seconds, has siblings beside it if
//! need be, and leaves nothing behind, however the test ends. It does not fake, patch or stub a component, and it has
//! one node only.
//!
//! In the order of the data:
//! - [`Settings`] is what a test chooses; `machine` says whether this machine can run a cluster at all
//! - `place` gives it a number, and so its names and addresses; `programs` finds what `tests/cluster/build` has built, and
//!   [`static_programs`] what `make static` has
//! - `certificates` and `configuration` write what the components read
//! - `node` starts `node/keeper`, which makes the node and takes it down; `component` names what runs in it
//! - [`Cluster`] is all of it in a test's hand, [`Shared`] one for many tests; `disturbance` is what a test does to it
//! - [`Image`] makes images, [`Registry`] takes them
//! - `wisp` installs Wisp on it, by its chart
//! - [`ask`] and `call` are how servers and programs are asked, [`until`] is how a test waits
//!
//! `tests/cluster/README.md` tells people how to use it.

#![forbid(unsafe_code)]

mod ask;
mod call;
mod certificates;
mod cluster;
mod component;
mod configuration;
mod deadline;
mod disturbance;
mod image;
mod machine;
mod node;
mod place;
mod programs;
mod registry;
mod settings;
mod shared;
mod wisp;

pub use ask::{ask, ask_until};
pub use cluster::Cluster;
pub use component::Component;
pub use deadline::until;
pub use image::Image;
pub use programs::{ingress_programs, static_programs};
pub use registry::{Access, Registry};
pub use settings::{Containerd, Lifetime, Settings};
pub use shared::{Lent, Shared, can_run};
pub use wisp::{WISP_DOMAIN, WISP_NAMESPACE, WISP_PROGRAMS, repository};
