//! Typed client of Firecracker's API and jailed launch.
