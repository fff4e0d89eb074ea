//! What the fleet does, by the idea.

mod going;
mod lasting;
mod scaling;
mod waking;
