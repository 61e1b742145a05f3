//! Fixtures of the test suite: what tests start, steer and look at. Nothing here is part of the product.

pub mod agent_authority;
pub mod bench;
pub mod client;
pub mod control_plane;
pub mod fake_firecracker;
pub mod github_stub;
pub mod images;
pub mod person;
pub mod postgres;
pub mod redis;
mod server;
pub mod simulated_agent;
pub mod smtp_sink;
pub mod virtual_host_agent;
