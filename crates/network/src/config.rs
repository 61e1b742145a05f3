//! What the operator decides.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::Cidr;

/// Settings of a host's [`crate::Network`].
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Slots kept ready.
    pub ready: usize,
    /// While half of [`Self::ready`] are left, none is built for so long after one was taken or
    /// [`crate::Network::hush`] was called: building would slow down the start that it was taken for.
    pub quiet: Duration,
    /// Pause before a number is used again, so that late packets of the previous guest find nobody.
    pub rest: Duration,
    /// The only addresses that guests may ask for names (port 53, UDP and TCP), private ones included.
    pub resolvers: Vec<Ipv4Addr>,
    /// Networks closed to all guests in addition to the private ones: the control plane's, for example.
    pub closed: Vec<Cidr>,
    /// User id of slot 0's VM; the TAP of slot `i` may be opened by user `uid_base + i`.
    pub uid_base: u32,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            ready: 8,
            quiet: Duration::from_secs(1),
            rest: Duration::from_secs(3),
            resolvers: Vec::new(),
            closed: Vec::new(),
            uid_base: 200_000,
        }
    }
}
