//! Extractors: what a handler is given is proven.

mod actor;
mod body;
mod host;
mod host_keeper;
mod path;
mod query;
mod sandbox;
mod user;
mod visitor;

pub(crate) use actor::{ActsFor, presented_key};
pub(crate) use body::{JsonBody, OptionalJsonBody};
pub(crate) use host::HostIdentity;
pub(crate) use path::{Id, TagInPath, UserInPath};
pub(crate) use query::Query;
pub(crate) use sandbox::{AnySandbox, SandboxOf, path_id, sandbox_of};
pub(crate) use user::{
    Audit, Everything, PlatformAdmin, TeamAdmin, TeamMember, TeamOwner, Teams, Templates, User,
    Users, presented_token,
};
pub(crate) use visitor::session_kind;
