//! The activator as its users meet it: real clients before it, real servers behind it, and a scripted autoscaler.

mod failing;
mod limits;
mod protocols;
mod rig;
mod streaming;
mod waiting;
