//! What the parts of Wisp that run on a cluster share.

#![forbid(unsafe_code)]
