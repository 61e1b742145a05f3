//! What the control plane calls (`wrenn.hostagent.v1`), over mutual TLS 1.3 and nothing else.
//!
//! Every id, user and variable of a request is parsed by its own grammar before anything is made of it,
//! whatever the control plane checked: `invalid_argument` otherwise.

mod error;
mod exec;
mod files;
mod hosts;
mod parse;
mod processes;
mod sandboxes;
mod server;
mod service;

pub use self::server::{ServeError, Server};
