//! The binary as its users call it: help texts, and client commands against a real control plane with a
//! simulated host agent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod contexts;
mod copies;
mod debug;
mod governance;
mod help;
mod hosts;
mod login;
mod operator;
mod sandbox;
mod sleeping;
mod streams;
mod wrenn;
