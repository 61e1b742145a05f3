//! Brings up `lo` and the guest's device by route netlink, for kernels that do not apply `ip=` themselves.
//!
//! Every request replaces what is there, so a kernel that did apply it is no special case.

use std::{io, net::Ipv4Addr, os::fd::OwnedFd};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
    netdevice::name_to_index, netlink::SocketAddrNetlink, recv, sendto, socket_with, sockopt,
};
use thiserror::Error;

use super::cmdline::Address;

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const REPLY_TIME: std::time::Duration = std::time::Duration::from_secs(5);

// linux/netlink.h and linux/rtnetlink.h
/// NETLINK_ROUTE is number zero, which is the default of the family.
const ROUTE_PROTOCOL: Option<Protocol> = None;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const AF_INET: u8 = 2;
const HEADER: usize = 16;

/// A network step that the kernel refused.
#[derive(Debug, Error)]
pub(crate) enum NetworkError {
    #[error("open a netlink socket")]
    Socket(#[source] io::Error),
    #[error("find the device {device}")]
    Device { device: String, source: io::Error },
    #[error("{attempt}")]
    Request {
        attempt: &'static str,
        source: io::Error,
    },
}

/// Brings `lo` and the device of `address` up, with its address, its default route and the route to the
/// metadata service.
pub(super) fn configure(address: &Address) -> Result<(), NetworkError> {
    let kernel = Netlink::open().map_err(NetworkError::Socket)?;
    let lo = kernel.index("lo")?;
    let device = kernel.index(&address.device)?;
    kernel.request("bring lo up", link_up(lo))?;
    kernel.request("bring the device up", link_up(device))?;
    kernel.request(
        "set the address",
        new_address(device, address.guest, address.prefix),
    )?;
    kernel.request(
        "add the default route",
        default_route(device, address.gateway),
    )?;
    kernel.request(
        "add the route to the metadata service",
        host_route(device, METADATA),
    )
}

/// Gives the address of the metadata service to this machine itself.
#[cfg(test)]
pub(crate) fn be_the_metadata_service() -> Result<(), NetworkError> {
    let kernel = Netlink::open().map_err(NetworkError::Socket)?;
    let lo = kernel.index("lo")?;
    kernel.request("bring lo up", link_up(lo))?;
    kernel.request("set the address", new_address(lo, METADATA, 32))
}

struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            ROUTE_PROTOCOL,
        )?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(REPLY_TIME))?;
        Ok(Self { socket })
    }

    fn index(&self, device: &str) -> Result<u32, NetworkError> {
        name_to_index(&self.socket, device).map_err(|fault| NetworkError::Device {
            device: device.into(),
            source: fault.into(),
        })
    }

    /// Sends one request and waits for the kernel's verdict.
    fn request(&self, attempt: &'static str, message: Vec<u8>) -> Result<(), NetworkError> {
        self.exchange(message)
            .map_err(|source| NetworkError::Request { attempt, source })
    }

    fn exchange(&self, message: Vec<u8>) -> io::Result<()> {
        sendto(
            &self.socket,
            &message,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )?;
        let mut reply = [0; 4096];
        let (length, _) = recv(&self.socket, &mut reply, RecvFlags::empty())?;
        verdict(&reply[..length])
    }
}

/// Reads an acknowledgement: an error message whose number is zero is a success.
fn verdict(reply: &[u8]) -> io::Result<()> {
    let kind = reply
        .get(4..6)
        .map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let number = reply
        .get(HEADER..HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match (kind, number) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => {
            Err(io::Error::from_raw_os_error(number.saturating_neg()))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an unexpected reply from the kernel",
        )),
    }
}

fn link_up(index: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    message(RTM_NEWLINK, 0, body)
}

fn new_address(index: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut body = vec![AF_INET, prefix, 0, RT_SCOPE_UNIVERSE];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, address.octets());
    attribute(&mut body, IFA_ADDRESS, address.octets());
    message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body)
}

fn default_route(index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut body = route(0, RT_SCOPE_UNIVERSE);
    attribute(&mut body, RTA_GATEWAY, gateway.octets());
    attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body)
}

fn host_route(index: u32, destination: Ipv4Addr) -> Vec<u8> {
    let mut body = route(32, RT_SCOPE_LINK);
    attribute(&mut body, RTA_DST, destination.octets());
    attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body)
}

fn route(destination_bits: u8, scope: u8) -> Vec<u8> {
    vec![
        AF_INET,
        destination_bits,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        scope,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ]
}

/// All our attributes are four bytes long, so none needs padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn message(kind: u16, flags: u16, body: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).expect("our messages are below 100 bytes");
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_their_own_length() {
        for one in [
            link_up(1),
            new_address(2, METADATA, 30),
            default_route(2, METADATA),
            host_route(2, METADATA),
        ] {
            assert_eq!(one[..4], u32::try_from(one.len()).unwrap().to_ne_bytes());
            assert_eq!(one.len() % 4, 0);
        }
    }

    #[test]
    fn a_verdict_is_read_and_rubbish_is_an_error() {
        let mut reply = message(NLMSG_ERROR, 0, vec![0; 4]);
        assert!(verdict(&reply).is_ok());
        reply[HEADER..].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        assert_eq!(
            verdict(&reply).unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
        reply[HEADER..].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert!(verdict(&reply).is_err());
        assert!(verdict(&[]).is_err());
        assert!(verdict(&[0; 17]).is_err());
    }

    #[test]
    fn the_kernel_accepts_lo_being_brought_up() {
        // Idempotent on the build machine, and proof that the framing is the kernel's.
        let kernel = Netlink::open().unwrap();
        let lo = kernel.index("lo").unwrap();
        kernel.request("bring lo up", link_up(lo)).unwrap();
        assert!(
            kernel
                .request("bring nothing up", link_up(0x7fff_fff0))
                .is_err()
        );
    }
}
