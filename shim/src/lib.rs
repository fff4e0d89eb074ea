//! `containerd-shim-wisp-v1`, the containerd shim of Wisp: one daemon for each pod, which makes the pod's containers and
//! answers containerd for them.
//!
//! A container runs a WebAssembly component, when its image is one or its command names one; the process is then
//! `wisp-host`, which comes from the node and never from the image. Any other container is an ordinary Linux container,
//! so that pods may have init containers and sidecars.
//!
//! It does not serve requests, compile or check seals: that is the host's. It knows nothing of functions either: to it a
//! pod is a pod, and the command that asks for an instance is one word. Namespaces, cgroups, mounts and seccomp are
//! libcontainer's, where nothing shorter does the same.
//!
//! In the order of the data: [`action`] tells containerd's actions from the program's own errands. `start` finds or
//! starts the pod's [`daemon`] and announces its [`task_api`]; it hands containerd's calls by [`service`] to the
//! [`pod`] with its [`container`]s and their [`process`]es. To make one, [`launch`] runs this program anew with an
//! [`order`]: [`create`] makes the pod's own container as a [`sandbox`] around a [`pause`], whose root is [`empty`]. Of
//! any other it finds out what the [`workload`] is, or that it is the [`instance`] of a function, asks containerd for the [`image`] when it
//! must, has the [`artifact`] of a component compiled, decides its [`preopens`], moves itself into its [`cgroup`], makes
//! it [`lean`] down to its [`procfs`], takes its filter of system calls [`compiled`], and lets libcontainer build the
//! rest around the [`executor`], which becomes the program. [`gate`] tells when it has, [`reaper`] how it ended,
//! [`events`] tells containerd; [`stats`] and [`cgroup`] say what it uses.
//! [`exec`] adds a process to a container, behind the container's [`filter`]. [`undo`] takes everything away, also after a
//! crash, by what is in the [`state_dir`].

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
// The walk above is for whoever reads the source: none of it is public.
#![allow(rustdoc::private_intra_doc_links, reason = "the modules are private, and so is this page")]

mod action;
mod artifact;
mod cgroup;
mod compiled;
mod container;
mod containerd;
mod create;
mod daemon;
mod empty;
mod events;
mod exec;
mod executor;
mod filter;
mod gate;
mod image;
mod instance;
mod launch;
mod lean;
mod options;
mod order;
mod pause;
mod pod;
mod preopens;
mod process;
mod procfs;
mod reaper;
mod respond;
mod sandbox;
mod service;
mod start;
mod state_dir;
mod stats;
mod stdio;
mod task_api;
mod undo;
mod workload;

pub use action::run;
