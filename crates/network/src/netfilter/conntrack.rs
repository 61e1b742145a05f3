//! Forgetting connections (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::Ipv4Addr;

use rustix::io::Errno;

use super::message::{ACK, DUMP, Message, find};
use super::socket::Socket;
use crate::{Error, Result};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const AF_INET: u8 = 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_IP: u16 = 1;
const IPV4_SOURCE: u16 = 1;
const IPV4_DESTINATION: u16 = 2;

/// Forgets every IPv4 connection of this thread's namespace that was begun by or with one of these addresses.
pub(crate) fn forget(addresses: &[Ipv4Addr]) -> Result<()> {
    forget_where(|source, destination| {
        addresses.contains(&source) || addresses.contains(&destination)
    })
}

/// Forgets every IPv4 connection of this thread's namespace that `address` began: its next packet is judged
/// as a first one.
pub(crate) fn forget_from(address: Ipv4Addr) -> Result<()> {
    forget_where(|source, _| source == address)
}

fn forget_where(matches: impl Fn(Ipv4Addr, Ipv4Addr) -> bool) -> Result<()> {
    let socket = Socket::open()?;
    let mut tuples = Vec::new();
    let request = Message::new(GET, DUMP, 1, AF_INET, 0).finish();
    socket.dump("list connections", &request, |body| {
        // Behind `struct nfgenmsg` come the attributes.
        if let Some(tuple) = body
            .get(4..)
            .and_then(|attributes| find(attributes, TUPLE_ORIGINAL))
            && endpoints(tuple).is_some_and(|(source, destination)| matches(source, destination))
        {
            tuples.push(tuple.to_vec());
        }
    })?;
    for tuple in tuples {
        let mut message = Message::new(DELETE, ACK, 2, AF_INET, 0);
        message.nested(TUPLE_ORIGINAL, &tuple);
        match socket.transact("forget a connection", &message.finish(), [2]) {
            Ok(())
            | Err(Error::Netfilter {
                source: Errno::NOENT,
                ..
            }) => {} // it ended by itself
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Source and destination of a connection's first packet.
fn endpoints(tuple: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ip = find(tuple, TUPLE_IP)?;
    let address = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(ip, kind)?).ok()?));
    Some((address(IPV4_SOURCE)?, address(IPV4_DESTINATION)?))
}

#[cfg(test)]
mod tests {
    use super::super::message::{attribute, nested};
    use super::*;

    #[test]
    fn both_ends_of_a_tuple_are_found_and_odd_ones_ignored() {
        let mut ip = attribute(IPV4_SOURCE, &[10, 12, 0, 3]);
        ip.extend(attribute(IPV4_DESTINATION, &[1, 1, 1, 1]));
        assert_eq!(
            endpoints(&nested(TUPLE_IP, &ip)),
            Some(([10, 12, 0, 3].into(), [1, 1, 1, 1].into()))
        );
        assert_eq!(
            endpoints(&nested(TUPLE_IP, &attribute(IPV4_SOURCE, &[1, 2]))),
            None
        );
        assert_eq!(endpoints(&[]), None);
    }
}
