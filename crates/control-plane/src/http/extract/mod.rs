//! Extractors: what a handler is given is proven.

mod actor;
mod body;
mod host;
mod path;
mod query;
mod sandbox;
mod user;
mod visitor;

pub(crate) use actor::{ActsFor, presented_key};
pub(crate) use body::{JsonBody, OptionalJsonBody};
pub(crate) use host::HostIdentity;
pub(crate) use path::{Id, UserInPath};
pub(crate) use query::Query;
pub(crate) use sandbox::{AnySandbox, SandboxOf, path_id, sandbox_of};
#[expect(unused_imports, reason = "routes that change hosts join later")]
pub(crate) use user::Hosts;
pub(crate) use user::{
    Audit, Everything, PlatformAdmin, TeamAdmin, TeamMember, TeamOwner, Teams, Templates, User,
    Users, presented_token,
};
pub(crate) use visitor::session_kind;
