//! A guest without a VM: it speaks Ethernet frames through a slot's TAP, as Firecracker would.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Opcode, Setter, ioctl};
use wrenn_network::{GUEST_ADDRESS, GUEST_MAC, SlotLease};

const TUNSETIFF: Opcode = 0x4004_54ca;
/// IFF_TAP | IFF_NO_PI.
const FLAGS: u16 = 0x1002;
const ICMP: u8 = 1;
const UDP: u8 = 17;
/// How long a packet that should arrive may take, and how long one that should not is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const DOUBT: Duration = Duration::from_millis(700);

pub(crate) struct Guest {
    tap: File,
    gateway_mac: [u8; 6],
    pub(crate) mac: [u8; 6],
    pub(crate) address: Ipv4Addr,
    sequence: u16,
}

/// A UDP packet that reached the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) from: (Ipv4Addr, u16),
    pub(crate) port: u16,
    pub(crate) payload: Vec<u8>,
}

impl Guest {
    pub(crate) fn attach(lease: &SlotLease) -> Self {
        let (tap, gateway_mac) = super::outside::within(&lease.namespace_path(), || {
            let tap = File::options()
                .read(true)
                .write(true)
                .open("/dev/net/tun")
                .unwrap();
            let mut request = [0u8; 40];
            request[..4].copy_from_slice(b"tap0");
            request[16..18].copy_from_slice(&FLAGS.to_ne_bytes());
            // SAFETY: TUNSETIFF reads one `struct ifreq`, which is 40 bytes long.
            unsafe { ioctl(&tap, Setter::<TUNSETIFF, [u8; 40]>::new(request)) }.unwrap();
            (tap, super::outside::mac_of("tap0"))
        });
        Self {
            tap,
            gateway_mac,
            mac: GUEST_MAC,
            address: GUEST_ADDRESS,
            sequence: 0,
        }
    }

    /// Whether `to` answers an echo request.
    pub(crate) fn reaches(&mut self, to: Ipv4Addr) -> bool {
        self.asks(to, PATIENCE)
    }

    /// Whether `to` stays silent. A reachable address answers in a fraction of this time.
    pub(crate) fn cannot_reach(&mut self, to: Ipv4Addr) -> bool {
        !self.asks(to, DOUBT)
    }

    fn asks(&mut self, to: Ipv4Addr, patience: Duration) -> bool {
        self.sequence += 1;
        let mut echo = vec![8, 0, 0, 0, 0, 1];
        echo.extend(self.sequence.to_be_bytes());
        echo.extend(b"wrenn");
        let sum = checksum(&echo);
        echo[2..4].copy_from_slice(&sum.to_be_bytes());
        self.send(to, ICMP, &echo);
        let sequence = self.sequence;
        self.receive(patience, |protocol, from, body| {
            let is_answer = protocol == ICMP && from == to && body.first() == Some(&0);
            (is_answer && body.get(6..8) == Some(&sequence.to_be_bytes())).then_some(())
        })
        .is_some()
    }

    /// Sends a UDP packet.
    pub(crate) fn tell(&mut self, to: (Ipv4Addr, u16), from_port: u16, payload: &[u8]) {
        let mut datagram = from_port.to_be_bytes().to_vec();
        datagram.extend(to.1.to_be_bytes());
        datagram.extend((payload.len() as u16 + 8).to_be_bytes());
        datagram.extend([0, 0]); // no checksum, which IPv4 allows
        datagram.extend(payload);
        self.send(to.0, UDP, &datagram);
    }

    /// The next UDP packet, if one comes.
    pub(crate) fn hears(&mut self) -> Option<Datagram> {
        self.hear(PATIENCE)
    }

    /// Whether no UDP packet comes.
    pub(crate) fn hears_nothing(&mut self) -> bool {
        self.hear(DOUBT).is_none()
    }

    fn hear(&mut self, patience: Duration) -> Option<Datagram> {
        self.receive(patience, |protocol, from, body| {
            let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            (protocol == UDP && body.len() >= 8).then(|| Datagram {
                from: (from, word(0)),
                port: word(2),
                payload: body[8..].to_vec(),
            })
        })
    }

    /// Sends bytes as a frame of another protocol (IPv6).
    pub(crate) fn send_ipv6(&mut self, packet: &[u8]) {
        self.send_frame(0x86dd, packet);
    }

    fn send(&mut self, to: Ipv4Addr, protocol: u8, body: &[u8]) {
        let mut packet = vec![0x45, 0];
        packet.extend((body.len() as u16 + 20).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        packet.extend(self.address.octets());
        packet.extend(to.octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(body);
        self.send_frame(0x0800, &packet);
    }

    fn send_frame(&mut self, kind: u16, packet: &[u8]) {
        let mut frame = self.gateway_mac.to_vec();
        frame.extend(self.mac);
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        self.tap.write_all(&frame).unwrap();
    }

    /// The first frame to the guest that `wanted` takes, given (protocol, source, body) of IPv4 packets.
    fn receive<T>(
        &mut self,
        patience: Duration,
        wanted: impl Fn(u8, Ipv4Addr, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + patience;
        let mut frame = [0; 2048];
        loop {
            let left = end.checked_duration_since(Instant::now())?;
            let wait = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            if poll(
                &mut [PollFd::new(&self.tap.as_fd(), PollFlags::IN)],
                Some(&wait),
            )
            .unwrap()
                == 0
            {
                return None;
            }
            let length = self.tap.read(&mut frame).unwrap();
            let is_ipv4 = length >= 34 && frame[12..14] == [8, 0];
            if is_ipv4 && frame[30..34] == GUEST_ADDRESS.octets() {
                let source = Ipv4Addr::new(frame[26], frame[27], frame[28], frame[29]);
                if let Some(found) = wanted(frame[23], source, &frame[34..length]) {
                    return Some(found);
                }
            }
        }
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    };
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
