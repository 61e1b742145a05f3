//! Extractors: what a handler is given is proven.

mod actor;
mod body;
mod host;
mod query;
mod sandbox;

pub(crate) use actor::{api_key_actor, presented_key};
pub(crate) use body::{JsonBody, OptionalJsonBody};
pub(crate) use host::HostIdentity;
pub(crate) use query::Query;
pub(crate) use sandbox::{SandboxOf, path_id, sandbox_of};
