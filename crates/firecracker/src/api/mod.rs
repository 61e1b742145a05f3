//! Firecracker's HTTP API, version 1.12 (its published OpenAPI document).

pub mod client;
pub mod phase;
pub mod types;
