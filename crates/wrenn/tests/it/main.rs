//! The binary as its users call it: help texts, and client commands against a real control plane with a
//! simulated host agent.

mod help;
mod sandbox;
mod streams;
mod wrenn;
