//! The control plane on real PostgreSQL and Redis, with simulated host agents.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod admin_sandboxes;
mod administration;
mod audit;
mod authorisation;
mod bad_input;
mod contract;
mod cors;
mod crash;
mod device;
mod exec_stream;
mod files;
mod fork;
mod host_care;
mod hosts;
mod keys;
mod lifecycle;
mod limits;
mod mail;
mod mutual_tls;
mod oauth;
mod outage;
mod pause;
mod processes;
mod proofs;
mod quota;
mod reconciliation;
mod registration;
mod settings;
mod setup;
mod snapshot;
mod teams;
mod tenancy;
mod wake;
