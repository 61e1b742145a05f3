//! The agent in a virtual host, driven over mutual TLS as the control plane drives it: real Firecracker,
//! device-mapper, namespaces and guests. A test has a machine of its own; the next one has it after it.

mod bad_input;
mod calls;
mod cases;
mod contact;
mod contents;
mod copies;
mod crashes;
mod creation;
mod fault_points;
mod faulting;
mod faults;
mod files;
mod fixture;
mod flat;
mod guest;
mod isolation;
mod kills;
mod lifecycle;
mod model;
mod moves;
mod pausing;
mod power;
mod programs;
mod random;
mod room;
mod sdk;
mod spares;
mod warm;
mod working_sets;
