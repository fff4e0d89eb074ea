//! What the fleet does, by the idea.

mod cost;
mod going;
mod lasting;
mod scaling;
mod waking;
