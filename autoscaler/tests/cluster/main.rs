//! The program on a real API server: who leads, who is let in, what is written.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod hosts;
mod leading;
mod rig;
