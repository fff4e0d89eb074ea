//! Serves one revision of a function: hyper in front, wasmtime behind. Or runs one command to its end.
//!
//! A host takes a component that exports `wasi:http` (0.2 `incoming-handler` or 0.3 `handler`), and answers HTTP/1.1 and
//! h2c on one socket, within the limits of its [`HostSpec`](wisp_api::wire::HostSpec). As the first process of a container
//! it also runs `wasi:cli` commands. It knows neither containerd nor Kubernetes, does not route, does not queue, and never
//! compiles while it serves.
//!
//! In the order of the data:
//! - [`inspect`] says what a component is, or why it cannot be served; [`compile`] turns it into native code in a child
//!   process, where [`preview1`] first makes a component of an old module; [`seal`] signs the result; [`store`] keeps it
//!   by digest; [`load`] maps it (the one file with `unsafe`).
//! - [`engine`] holds every wasmtime setting; [`limits`], [`outbound`] and [`revision`] turn a spec into what a request
//!   needs; [`context`] is the state of one wasm instance.
//! - [`server`] accepts connections; [`handler`] admits a request; [`exchange`] drives one guest for one request, or
//!   one of several in a [`shared`] wasm instance; [`body`] carries the bytes; [`respond`] is the only map from failure to
//!   status.
//! - [`command`] runs a component that is no server.
//! - [`metrics`] counts, [`exposition`] and [`admin`] show it; [`instance`] speaks the control stream and finds its code
//!   among the [`artifacts`]; [`cli`] puts it together; [`exit`] lists exit codes.

#![deny(unsafe_code)]

pub mod admin;
pub mod artifacts;
pub mod body;
pub mod cli;
pub mod command;
pub mod compile;
pub mod context;
pub mod engine;
pub mod exchange;
pub mod exit;
pub mod exposition;
pub mod guest;
pub mod handler;
pub mod inspect;
pub mod instance;
pub mod limits;
pub mod load;
pub mod meter;
pub mod metrics;
pub mod outbound;
pub mod preview1;
pub mod respond;
pub mod revision;
pub mod seal;
pub mod server;
pub mod shared;
pub mod stdio;
pub mod store;
pub mod ticker;
