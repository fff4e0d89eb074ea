//! Nothing but a place: checks of the tree itself are in `tests/`, the bare server that benchmarks compare with in
//! `src/bin/`.

#![forbid(unsafe_code)]
