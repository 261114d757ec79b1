//! A minimal Kubernetes API server with an embedded store.

#![forbid(unsafe_code)]

pub mod cache;
pub mod store;
