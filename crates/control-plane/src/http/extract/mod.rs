//! Extractors: what a handler is given is proven.

mod actor;
mod body;
mod host;
mod path;
mod query;
mod sandbox;
mod user;
mod visitor;

pub(crate) use actor::{api_key_actor, presented_key, token_actor};
pub(crate) use body::{JsonBody, OptionalJsonBody};
pub(crate) use host::HostIdentity;
pub(crate) use path::{Id, UserInPath};
pub(crate) use query::Query;
pub(crate) use sandbox::{SandboxOf, path_id, sandbox_of};
#[expect(unused_imports, reason = "routes of people join one by one")]
pub(crate) use user::{
    Audit, Everything, Hosts, PlatformAdmin, TeamAdmin, TeamMember, TeamOwner, Teams, Templates,
    User, Users, presented_token,
};
pub(crate) use visitor::session_kind;
