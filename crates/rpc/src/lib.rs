//! RPC contracts and their generated Connect code.
//!
//! The contracts are the files of `proto/`; `cargo xtask codegen` turns them into `src/generated`, which
//! is checked in and tested for staleness. Nothing else in the tree names the code generator's runtime
//! but through this crate's re-exports, so that a change of library stays here.

#[rustfmt::skip]
#[allow(clippy::all, reason = "generated: the lints are for code that people write")]
mod generated;

pub use buffa;
pub use buffa_types;
pub use connectrpc;

/// What a host agent serves to the control plane.
pub mod hostagent {
    pub use super::generated::wrenn::hostagent::v1::*;
}

/// Processes of the guest, served by envd.
pub mod process {
    pub use super::generated::process::*;
}

/// Files of the guest, served by envd.
pub mod filesystem {
    pub use super::generated::filesystem::*;
}
