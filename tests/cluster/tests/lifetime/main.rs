//! Clusters beside one another, their ends, and what stands still in them. Each test has a cluster of its own, because
//! it ends or disturbs it.

#![forbid(unsafe_code)]

mod disturbed;
mod ends;
mod older;
mod siblings;
mod traces;
