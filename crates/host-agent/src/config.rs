//! Settings of the agent, from the environment. All faults are reported at once.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    path::PathBuf,
    time::Duration,
};

use crate::{checks::KvmProbe, identity::Token};

/// Each holds some megabytes and a network slot.
const MAX_READY: usize = 64;

/// Everything the agent is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// `WRENN_CP_URL`: where to register and send heartbeats.
    pub control_plane_url: String,
    /// `WRENN_REGISTRATION_TOKEN` (or `_FILE`): needed on the first start only.
    pub registration_token: Option<Token>,
    /// `WRENN_AGENT_LISTEN`: where the RPC server listens.
    pub listen: SocketAddr,
    /// `WRENN_ADDRESS`: `host:port` that the control plane dials.
    pub address: String,
    /// `WRENN_STATE_DIR`: everything durable.
    pub state_dir: PathBuf,
    /// `WRENN_IMAGES_DIR`: `kernels/`, `templates/`, `bin/`, read only.
    pub images_dir: PathBuf,
    /// `WRENN_FIRECRACKER_DIR`: `firecracker` and `jailer`, if not in the images.
    pub firecracker_dir: Option<PathBuf>,
    /// `WRENN_GUEST_DNS`: resolvers given to guests; the host's by default.
    pub guest_dns: Vec<Ipv4Addr>,
    /// `WRENN_GUEST_CA`: PEM bundle added to the guests' trusted roots.
    pub guest_ca: Option<String>,
    /// `WRENN_AGENT_METRICS_LISTEN`: Prometheus text, loopback only.
    pub metrics_listen: SocketAddr,
    /// `WRENN_TEST_FAILPOINTS`: a file that arms failpoints; for tests, see [`crate::failpoint`].
    pub failpoints: Option<PathBuf>,
    /// `WRENN_WARM_MAX_MIB`: disk for warm snapshots, that creations are restores of; 8192 by default, 0 = none
    /// are made.
    pub warm_max_mib: u64,
    /// `WRENN_FLAT_MAX_MIB`: disk for flat copies of paused sandboxes' memory, that resumptions map; 8192 by
    /// default, 0 = none are made.
    pub flat_max_mib: u64,
    /// `WRENN_READY_VMS`: VMMs that are started ahead, each with a network slot, for sandboxes that are restored;
    /// 4 by default.
    pub ready_vms: usize,
    /// `WRENN_SPARES`: sandboxes that are restored ahead, of the kinds that were created last; 2 by default.
    pub spares: usize,
    /// `WRENN_PREFETCH`: `on` (default) or `off`: whether a page server brings what was used after the last
    /// resumption ahead of the guest.
    pub prefetch: Prefetch,
    /// `WRENN_DISCONNECT_PAUSE_SEC`: how long the control plane may be lost before everything is paused; 900 by
    /// default, 0 = never.
    pub disconnect_pause: Option<Duration>,
    /// The program that serves the pages of a restored VM, with its first arguments: this program's own
    /// `page-server` command.
    pub page_server: (PathBuf, Vec<String>),
    /// Runs a one-page test VM; given by the binary.
    pub kvm_probe: KvmProbe,
}

/// Whether pages are brought ahead of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefetch {
    /// They are, and what is used is recorded.
    On,
    /// Neither.
    Off,
}

/// Settings that cannot be used, all of them.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// One sentence a fault, each naming its variable.
    pub faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the agent's settings: {}", self.faults.join("; "))
    }
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// With every fault, not the first alone.
    pub fn from_env(kvm_probe: KvmProbe) -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var(name).ok(), kvm_probe)
    }

    fn read(
        variable: impl Fn(&str) -> Option<String>,
        kvm_probe: KvmProbe,
    ) -> Result<Self, ConfigError> {
        let mut source = Source {
            variable,
            faults: Vec::new(),
        };
        let control_plane_url = source.parse("WRENN_CP_URL", "", |text| {
            (text.starts_with("http://") || text.starts_with("https://"))
                .then(|| text.trim_end_matches('/').to_owned())
                .ok_or("must be an http:// or https:// address")
        });
        let listen: Option<SocketAddr> =
            source.parse("WRENN_AGENT_LISTEN", "0.0.0.0:9443", socket_address);
        let metrics_listen = source.parse("WRENN_AGENT_METRICS_LISTEN", "127.0.0.1:9444", |text| {
            let address = socket_address(text)?;
            if address.ip().is_loopback() {
                Ok(address)
            } else {
                Err("must be a loopback address")
            }
        });
        let state_dir = source.parse("WRENN_STATE_DIR", "/var/lib/wrenn", absolute);
        let images_dir = match source.text("WRENN_IMAGES_DIR") {
            Some(_) => source.parse("WRENN_IMAGES_DIR", "", absolute),
            None => state_dir.clone(),
        };
        let guest_dns = match source.text("WRENN_GUEST_DNS") {
            Some(_) => source.parse("WRENN_GUEST_DNS", "", resolvers),
            None => Some(host_resolvers()),
        };
        let address = match source.text("WRENN_ADDRESS") {
            Some(_) => source.parse("WRENN_ADDRESS", "", |text| {
                host_and_port(text)
                    .then(|| text.to_owned())
                    .ok_or("must be host:port")
            }),
            None => control_plane_url
                .as_deref()
                .zip(listen)
                .and_then(|(url, listen)| {
                    let found = detect_address(url, listen.port());
                    if found.is_none() {
                        source.fault("WRENN_ADDRESS", "is not set and could not be detected");
                    }
                    found
                }),
        };
        let warm_max_mib = source.parse("WRENN_WARM_MAX_MIB", "8192", mib);
        let flat_max_mib = source.parse("WRENN_FLAT_MAX_MIB", "8192", mib);
        let ready_vms = source.parse("WRENN_READY_VMS", "4", ready);
        let spares = source.parse("WRENN_SPARES", "2", ready);
        let prefetch = source.parse("WRENN_PREFETCH", "on", |text| match text {
            "on" => Ok(Prefetch::On),
            "off" => Ok(Prefetch::Off),
            _ => Err("must be on or off"),
        });
        let disconnect_pause = source.parse("WRENN_DISCONNECT_PAUSE_SEC", "900", |text| {
            let seconds: u32 = text.parse().map_err(|_| "must be a number of seconds")?;
            Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
        });
        let registration_token = source.secret("WRENN_REGISTRATION_TOKEN");
        let guest_ca = source.file("WRENN_GUEST_CA");
        let firecracker_dir = source.text("WRENN_FIRECRACKER_DIR").map(PathBuf::from);
        let failpoints = source.text("WRENN_TEST_FAILPOINTS").map(PathBuf::from);

        match (
            control_plane_url,
            listen,
            metrics_listen,
            state_dir,
            images_dir,
            guest_dns,
            address,
            warm_max_mib,
            flat_max_mib,
            ready_vms,
            spares,
            prefetch,
            disconnect_pause,
        ) {
            (
                Some(control_plane_url),
                Some(listen),
                Some(metrics_listen),
                Some(state_dir),
                Some(images_dir),
                Some(guest_dns),
                Some(address),
                Some(warm_max_mib),
                Some(flat_max_mib),
                Some(ready_vms),
                Some(spares),
                Some(prefetch),
                Some(disconnect_pause),
            ) if source.faults.is_empty() => Ok(Self {
                control_plane_url,
                registration_token: registration_token.map(Token::new),
                listen,
                address,
                state_dir,
                images_dir,
                firecracker_dir,
                guest_dns,
                guest_ca,
                metrics_listen,
                failpoints,
                warm_max_mib,
                flat_max_mib,
                ready_vms,
                spares,
                prefetch,
                disconnect_pause,
                // The running program, also after its file was replaced by a newer one.
                page_server: ("/proc/self/exe".into(), vec!["page-server".to_owned()]),
                kvm_probe,
            }),
            _ => Err(ConfigError {
                faults: source.faults,
            }),
        }
    }
}

/// Variables, and what was wrong with those read so far.
struct Source<F> {
    variable: F,
    faults: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Source<F> {
    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|text| !text.is_empty())
    }

    fn fault(&mut self, name: &str, reason: &str) {
        self.faults.push(format!("{name} {reason}"));
    }

    fn parse<T>(
        &mut self,
        name: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        let parsed = if text.is_empty() {
            Err("is required")
        } else {
            parse(&text)
        };
        parsed.map_err(|reason| self.fault(name, reason)).ok()
    }

    /// The content of the file that a variable names.
    fn file(&mut self, name: &str) -> Option<String> {
        let path = self.text(name)?;
        fs::read_to_string(&path)
            .map_err(|error| {
                self.fault(
                    name,
                    &format!("names {path}, which cannot be read: {error}"),
                )
            })
            .ok()
    }

    /// A secret given as it is, or as `<NAME>_FILE`.
    fn secret(&mut self, name: &str) -> Option<String> {
        self.text(name)
            .or_else(|| self.file(&format!("{name}_FILE")))
            .map(|text| text.trim().to_owned())
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "must be an address and port, like 0.0.0.0:9443")
}

/// How many of something are made ahead.
fn ready(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(count @ 0..=MAX_READY) => Ok(count),
        _ => Err("must be a number from 0 to 64"),
    }
}

fn mib(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "must be a number of MiB")
}

fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("must be an absolute path")
    }
}

fn resolvers(text: &str) -> Result<Vec<Ipv4Addr>, &'static str> {
    text.split(',')
        .map(|part| {
            part.trim()
                .parse()
                .map_err(|_| "must be IPv4 addresses, separated by commas")
        })
        .collect()
}

fn host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// The host's resolvers that a guest can reach too: a stub on loopback is replaced by what it forwards to.
fn host_resolvers() -> Vec<Ipv4Addr> {
    let read = |path| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .filter_map(nameserver)
            .collect::<Vec<_>>()
    };
    let usable: Vec<_> = read("/etc/resolv.conf")
        .into_iter()
        .filter(|address| !address.is_loopback())
        .collect();
    if usable.is_empty() {
        read("/run/systemd/resolve/resolv.conf")
    } else {
        usable
    }
}

fn nameserver(line: &str) -> Option<Ipv4Addr> {
    line.strip_prefix("nameserver")?.trim().parse().ok()
}

/// The local address that a connection to the control plane would leave from; no packet is sent.
fn detect_address(control_plane_url: &str, port: u16) -> Option<String> {
    let authority = control_plane_url.split("://").nth(1)?.split('/').next()?;
    let target = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:443")
    };
    let target = target.to_socket_addrs().ok()?.find(SocketAddr::is_ipv4)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(target).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) => Some(format!("{address}:{port}")),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: Result<(), &[&str]>) {
        let read = Config::read(
            |name| {
                variables
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            },
            KvmProbe::none(),
        );
        match (read, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(expected)) => {
                assert_eq!(error.faults.len(), expected.len(), "{:?}", error.faults);
                for name in expected {
                    assert!(
                        error.faults.iter().any(|fault| fault.starts_with(name)),
                        "{name}"
                    );
                }
            }
            (read, expected) => panic!("{read:?} is not {expected:?}"),
        }
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        check(&[("WRENN_CP_URL", "http://127.0.0.1:8080")], Ok(()));
        check(&[], Err(&["WRENN_CP_URL"]));
        check(
            &[
                ("WRENN_CP_URL", "ftp://x"),
                ("WRENN_AGENT_LISTEN", "9443"),
                ("WRENN_AGENT_METRICS_LISTEN", "0.0.0.0:1"),
                ("WRENN_STATE_DIR", "relative"),
                ("WRENN_GUEST_DNS", "1.1.1.1,no"),
                ("WRENN_ADDRESS", "nowhere"),
                ("WRENN_GUEST_CA", "/does/not/exist"),
                ("WRENN_WARM_MAX_MIB", "-1"),
                ("WRENN_FLAT_MAX_MIB", "many"),
                ("WRENN_READY_VMS", "65"),
                ("WRENN_SPARES", "two"),
                ("WRENN_PREFETCH", "perhaps"),
                ("WRENN_DISCONNECT_PAUSE_SEC", "soon"),
            ],
            Err(&[
                "WRENN_CP_URL",
                "WRENN_AGENT_LISTEN",
                "WRENN_AGENT_METRICS_LISTEN",
                "WRENN_STATE_DIR",
                "WRENN_GUEST_DNS",
                "WRENN_ADDRESS",
                "WRENN_GUEST_CA",
                "WRENN_WARM_MAX_MIB",
                "WRENN_FLAT_MAX_MIB",
                "WRENN_READY_VMS",
                "WRENN_SPARES",
                "WRENN_PREFETCH",
                "WRENN_DISCONNECT_PAUSE_SEC",
            ]),
        );
    }

    #[test]
    fn images_lie_in_the_state_directory_unless_said_otherwise() {
        let read = |images: Option<&str>| {
            Config::read(
                |name| match name {
                    "WRENN_CP_URL" => Some("http://127.0.0.1:1".to_owned()),
                    "WRENN_STATE_DIR" => Some("/srv/wrenn".to_owned()),
                    "WRENN_IMAGES_DIR" => images.map(str::to_owned),
                    _ => None,
                },
                KvmProbe::none(),
            )
            .unwrap()
            .images_dir
        };
        assert_eq!(read(None), PathBuf::from("/srv/wrenn"));
        assert_eq!(read(Some("/opt/wrenn")), PathBuf::from("/opt/wrenn"));
    }
}
