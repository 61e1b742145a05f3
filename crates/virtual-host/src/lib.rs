//! Builds and runs the QEMU machine that carries the host agent where KVM is not usable,
//! and builds what every host needs: guest kernel, initrd, Firecracker and the base template.
//!
//! Three parts, each usable alone:
//! - [`kvm`] answers whether this machine can run KVM guests itself;
//! - [`image`] builds and caches images ([`image::Images::ensure`]);
//! - [`machine`] starts, attaches to and stops one QEMU machine ([`machine::VirtualHost`]).
//!
//! Everything here blocks and has a deadline; async callers use `spawn_blocking`.
//! Nothing here knows of sandboxes, teams or the control plane.

mod cache;
mod file_error;
pub mod image;
pub mod kvm;
pub mod machine;
mod tool;

pub use cache::{Cache, CacheError};
pub use file_error::FileError;
pub use machine::VirtualHost;
pub use tool::{Captured, ToolError, interrupt};

/// Receives one line for people before each step that can take more than a moment.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);
