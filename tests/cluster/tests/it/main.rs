//! A cluster does what a cluster does. All tests here share one.

#![forbid(unsafe_code)]

mod components;
mod fixture;
mod images;
mod pods;
