//! The rules of this tree that no compiler checks. Each is a test; its message says what to do.

#![forbid(unsafe_code)]

mod dependencies;
mod documents;
mod source;
mod tree;
