//! The words that all parts of Wisp share: the objects a user applies, their validation, what an activator needs to
//! know of them, and the messages of the control streams. Types and pure functions only: no I/O, no runtime, no clock.
//!
//! # Glossary
//!
//! | word | meaning |
//! | --- | --- |
//! | function | what the user applies: a [`WasmFunction`] |
//! | revision | an immutable snapshot of a function's spec: a [`WasmRevision`], named `<function>-00001` |
//! | instance | one pod (or, embedded, one process) that serves one revision |
//! | host | the HTTP server inside an instance |
//! | slot | room for one request in an instance; capacity is the slots of all ready instances |
//! | demand | requests in flight plus requests waiting, for one revision |
//! | wake | demand appeared where capacity is zero |
//! | warm instance | a running host that has no revision yet; used once, for one revision |
//! | specialize | give a warm instance its revision; it never gets another |
//! | prepare | let a warm instance load a revision's compiled code ahead of need |
//! | artifact | the compiled, sealed code of one component |
//!
//! # A walk through the files, in the order of the data
//!
//! [`function`], [`revision`] and [`pool`] are the objects; [`scaling`], [`ingress`] and [`pod`] are parts of a
//! function's spec; [`quantity`] reads sizes. [`mod@validate`] holds the rules that a schema cannot. [`route`] is a
//! function as the activator sees it, [`mod@host_spec`] what a host needs of it (with [`sources`] for its environment),
//! [`fit`] says whether a warm instance will do, [`wire`] is what the parts say to one another, [`key`] and [`names`] name things,
//! [`crds`] is what a cluster installs.

#![forbid(unsafe_code)]

pub mod crds;
pub mod fit;
pub mod function;
pub mod host_spec;
pub mod ingress;
pub mod key;
pub mod names;
pub mod pod;
pub mod pool;
pub mod quantity;
pub mod revision;
pub mod route;
pub mod scaling;
pub mod sources;
pub mod status;
pub mod validate;
pub mod wire;

pub use function::{WasmFunction, WasmFunctionSpec};
pub use key::{FunctionKey, RevisionKey};
pub use kube::core::Duration;
pub use pool::{WarmPool, WarmPoolSpec};
pub use revision::{WasmRevision, WasmRevisionSpec};
pub use validate::{Problem, Target, validate};
