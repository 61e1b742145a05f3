//! Drives the real envd binary over its own protocol, as root, on a port of its own.

mod access;
mod content;
mod envd;
mod files;
mod processes;
