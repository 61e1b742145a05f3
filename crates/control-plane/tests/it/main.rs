//! The control plane on real PostgreSQL and Redis, with simulated host agents.

mod lifecycle;
