//! The control plane: the public API, and the work behind it.
//!
//! Request path: router table → extractor (authenticates, authorises, loads) → handler → one function of
//! `app/` → database and host client → wire type. Long work is a row first; `background/` finishes it
//! whatever happens to the replica that began it.
//!
//! Every replica is stateless: all truth is in PostgreSQL, Redis holds what may be lost.
//!
//! The binary uses [`Config::load`], [`ca`], [`migrate`], [`bootstrap`] and [`serve`].

mod app;
mod auth;
mod background;
pub mod bootstrap;
mod bus;
pub mod ca;
pub mod config;
mod hosts;
mod http;
mod limits;
mod listen;
mod mail;
mod oauth;
pub mod operator;
mod origins;
mod sealing;
mod server;
mod state;
mod streams;
mod telemetry;

pub use config::{Config, Faults, Sources};
pub use http::openapi;
pub use sealing::{SealError, SealingKeys};
pub use server::{ServeError, Server, serve};
pub use state::Checkpoint;

/// Applies every migration that the database lacks. Safe to call from several replicas at once.
///
/// # Errors
/// The database is away, or a migration fails.
pub async fn migrate(database_url: &str) -> Result<(), wrenn_database::Error> {
    let pool = wrenn_database::connect_lazy(database_url, 1)?;
    let outcome = wrenn_database::migrate(&pool, None).await;
    pool.close().await;
    outcome
}
