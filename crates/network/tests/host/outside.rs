//! The world beyond the host: a namespace with a public address, a private one, and UDP servers.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

/// On the internet, as far as the tests are concerned.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// Beside it in the same network.
pub(crate) const OTHER_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
/// In somebody's private network, and the configured resolver.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The host's own addresses towards both.
pub(crate) const HOST_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const HOST_PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const NAME: &str = "test-outside";

pub(crate) struct Outside;

impl Outside {
    pub(crate) fn new() -> Self {
        for command in [
            format!("netns add {NAME}"),
            format!("link add test-out type veth peer name eth0 netns {NAME}"),
            format!("addr add {HOST_PUBLIC}/24 dev test-out"),
            format!("addr add {HOST_PRIVATE}/24 dev test-out"),
            "link set test-out up".into(),
            format!("-n {NAME} link set lo up"),
            format!("-n {NAME} addr add {PUBLIC}/24 dev eth0"),
            format!("-n {NAME} addr add {OTHER_PUBLIC}/24 dev eth0"),
            format!("-n {NAME} addr add {RESOLVER}/24 dev eth0"),
            format!("-n {NAME} link set eth0 up"),
            format!("-n {NAME} route add 10.0.0.0/8 via {HOST_PUBLIC}"),
        ] {
            ip(&command);
        }
        Self
    }

    /// A socket out there.
    pub(crate) fn socket(&self, address: Ipv4Addr, port: u16) -> UdpSocket {
        let socket = within(&self.path(), || UdpSocket::bind((address, port)).unwrap());
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        socket
    }

    /// A server out there that sends everything back, until the process ends.
    pub(crate) fn echo(&self, address: Ipv4Addr, port: u16) {
        let socket = self.socket(address, port);
        socket.set_read_timeout(None).unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let _ = socket.send_to(&bytes[..length], from);
            }
        });
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(NAME)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        ip(&format!("netns del {NAME}"));
        // The pair goes with its end in the namespace, but only once the kernel gets to it.
        let _ = Command::new("ip")
            .args(["link", "del", "test-out"])
            .output();
    }
}

/// Runs `work` in a namespace, on a thread of its own.
pub(crate) fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(namespace).unwrap();
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        entered.join().unwrap()
    })
}

/// Hardware address of a link in this thread's namespace.
pub(crate) fn mac_of(link: &str) -> [u8; 6] {
    let output = Command::new("ip")
        .args(["-br", "link", "show", link])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mac = text.split_whitespace().nth(2).unwrap();
    let bytes: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

pub(crate) fn ip(command: &str) {
    let output = Command::new("ip")
        .args(command.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
