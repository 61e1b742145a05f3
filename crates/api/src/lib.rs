//! REST and WebSocket wire types of the public API.
//!
//! What a client and the control plane say to each other and nothing of how: no I/O, no HTTP library, no
//! database. Types serialise exactly as the API contract writes them; optional fields of answers are
//! omitted when absent, and an explicit `null` in a request equals an absent field.
//!
//! [`grammar`] holds the rules for names, paths and limits, so that every side refuses the same texts.

#[macro_use]
mod closed_set;

pub mod account;
pub mod admin;
pub mod api_key;
pub mod audit;
pub mod authority;
pub mod error;
pub mod exec;
pub mod file;
pub mod grammar;
pub mod health;
pub mod host;
pub mod sandbox;
pub mod stream;
pub mod team;
pub mod template;
mod time;

pub use account::{AuthResponse, Session, SessionKind};
pub use authority::{Permission, Role};
pub use closed_set::UnknownValue;
pub use error::{ErrorBody, ErrorCode, ErrorInfo};
pub use exec::{
    BackgroundExec, Encoding, Exec, ExecResult, Process, ProcessSelector, Processes, Signal,
};
pub use grammar::Invalid;
pub use sandbox::{
    CreateSandbox, ForkSandbox, OnIdle, Reason, Sandbox, SandboxStatus, UpdateSandbox,
};
pub use template::{CreateSnapshot, Template, TemplateType};
pub use time::Time;
