//! Calls to host agents: Connect RPC over HTTP/2 on TLS 1.3, both sides authenticated.

pub(crate) mod error;
pub(crate) mod identity;
pub(crate) mod pool;
mod verify;

pub(crate) use pool::{Client, Pool};
