//! Real namespaces and packets: runs as root inside the virtual host.
//!
//! The host's network is global, so the tests run one at a time. No VM is needed: the tests speak through
//! the TAP themselves, and a namespace stands in for the internet.

#![expect(clippy::unwrap_used, reason = "in a test, failing is the answer")]

mod guest;
mod outside;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guest::Guest;
use outside::{HOST_PRIVATE, HOST_PUBLIC, OTHER_PUBLIC, Outside, PUBLIC, RESOLVER};
use tokio::sync::MutexGuard;
use tokio::task::JoinHandle;
use wrenn_network::{
    Census, EgressPolicy, Error, GATEWAY_ADDRESS, Leftover, Network, NetworkConfig, Reaper, Slot,
    SlotLease, Verdict, census,
};

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const DEADLINE: Duration = Duration::from_secs(60);

struct Fixture {
    network: Network,
    refill: JoinHandle<()>,
    reaper: Reaper,
    reaped: Arc<Mutex<Vec<Leftover>>>,
    outside: Outside,
    _alone: MutexGuard<'static, ()>,
}

fn config() -> NetworkConfig {
    NetworkConfig {
        ready: 2,
        rest: Duration::from_secs(1),
        resolvers: vec![RESOLVER],
        ..NetworkConfig::default()
    }
}

impl Fixture {
    async fn new() -> Self {
        let alone = ALONE.lock().await;
        let reaped = Arc::new(Mutex::new(Vec::new()));
        let sink = reaped.clone();
        let reaper: Reaper = Arc::new(move |leftover| sink.lock().unwrap().push(leftover));
        let network = Network::start(config(), reaper.clone()).await.unwrap();
        let refill = keep_filled(&network);
        Self {
            network,
            refill,
            reaper,
            reaped,
            outside: Outside::new(),
            _alone: alone,
        }
    }

    async fn slot(&self) -> SlotLease {
        self.network.acquire(DEADLINE).await.unwrap()
    }

    fn reaped(&self) -> Vec<Leftover> {
        std::mem::take(&mut self.reaped.lock().unwrap())
    }

    /// Ends the pool and takes down what it kept ready.
    async fn finish(self) {
        self.refill.abort();
        let _ = self.refill.await;
        let later = Network::start(config(), self.reaper).await.unwrap();
        // A slot that was being built when the pool was stopped ends with its thread.
        let empty = async {
            while census().await.unwrap() != Census::default() {
                let left = std::mem::take(&mut *self.reaped.lock().unwrap());
                for mut leftover in left {
                    leftover.clean().await.unwrap();
                }
                let (_, failed) = later.sweep().await.unwrap();
                assert!(failed.is_empty(), "{failed:?}");
            }
        };
        tokio::time::timeout(DEADLINE, empty)
            .await
            .expect("nothing of ours is left");
    }
}

fn keep_filled(network: &Network) -> JoinHandle<()> {
    let network = network.clone();
    tokio::spawn(async move { match network.refill().await {} })
}

#[tokio::test]
async fn slots_are_handed_out_once_rest_and_leave_nothing_behind() {
    let fixture = Fixture::new().await;
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(fixture.slot().await);
    }
    let mut numbers: Vec<_> = leases.iter().map(|lease| lease.slot().number()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 5, "no two leases share a slot");
    for lease in &leases {
        let status = std::fs::metadata(lease.namespace_path()).unwrap();
        assert_ne!(
            status.ino(),
            std::fs::metadata("/proc/self/ns/net").unwrap().ino()
        );
        assert_eq!(lease.uid(), 200_000 + u32::from(lease.slot().number()));
    }
    let first = leases.remove(0);
    let (slot, released) = (first.slot(), Instant::now());
    first.release().await.unwrap();
    let found = census().await.unwrap();
    assert!(
        !found.namespaces.contains(&slot) && !found.links.contains(&slot),
        "{found:?}"
    );

    // The lowest free number is built next, but not before it has rested.
    while !leases.iter().any(|lease| lease.slot() == slot) {
        leases.push(fixture.slot().await);
        assert!(released.elapsed() < DEADLINE);
    }
    assert!(released.elapsed() >= Duration::from_secs(1));
    for lease in leases {
        lease.release().await.unwrap();
    }
    assert!(fixture.reaped().is_empty());
    fixture.finish().await;
}

#[tokio::test]
async fn a_guest_reaches_the_internet_and_its_gateway_and_nothing_private() {
    let fixture = Fixture::new().await;
    let (lease, other) = (fixture.slot().await, fixture.slot().await);
    let mut guest = Guest::attach(&lease);
    assert!(guest.reaches(PUBLIC));
    assert!(guest.reaches(GATEWAY_ADDRESS));

    for (what, address) in [
        ("the host's end of the pair", link_of(&lease, 0)),
        ("its own uplink", link_of(&lease, 1)),
        ("its own reachable address", lease.host_address()),
        ("the host's public address", HOST_PUBLIC),
        ("the host's private address", HOST_PRIVATE),
        ("another guest", other.host_address()),
        ("another guest's uplink", link_of(&other, 1)),
        ("a private network", RESOLVER),
        ("the metadata address", Ipv4Addr::new(169, 254, 169, 254)),
        ("the host's loopback", Ipv4Addr::LOCALHOST),
    ] {
        assert!(guest.cannot_reach(address), "{what}, {address}");
    }
    drop(guest);
    other.release().await.unwrap();
    lease.release().await.unwrap();
    fixture.finish().await;
}

/// The host's end (0) or the namespace's (1) of a slot's pair.
fn link_of(lease: &SlotLease, end: u16) -> Ipv4Addr {
    let offset = 2 * lease.slot().number() + end;
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 12, 0, 0).to_bits() + u32::from(offset))
}

/// Lets everything through the table of this thread's namespace.
fn open_table() {
    for chain in ["forward", "input"] {
        let rule = ["insert", "rule", "inet", "wrenn", chain, "accept"];
        assert!(Command::new("nft").args(rule).status().unwrap().success());
    }
}

#[tokio::test]
async fn either_table_alone_keeps_a_guest_from_what_is_private() {
    let fixture = Fixture::new().await;
    let (lease, other) = (fixture.slot().await, fixture.slot().await);
    let (mut bare, mut guest) = (Guest::attach(&lease), Guest::attach(&other));
    let private = [HOST_PUBLIC, HOST_PRIVATE, RESOLVER];
    outside::within(&lease.namespace_path(), open_table);
    for address in private {
        assert!(bare.cannot_reach(address), "{address} by the host's table");
    }
    open_table();
    for address in private {
        assert!(bare.reaches(address), "{address} without either");
    }
    for address in [HOST_PRIVATE, RESOLVER, link_of(&other, 0)] {
        assert!(guest.cannot_reach(address), "{address} by its own table");
    }
    drop((bare, guest));
    lease.release().await.unwrap();
    other.release().await.unwrap();
    fixture.finish().await;
}

#[tokio::test]
async fn what_is_not_the_guests_own_never_leaves_its_namespace() {
    let fixture = Fixture::new().await;
    let lease = fixture.slot().await;
    let mut guest = Guest::attach(&lease);
    let outside = fixture.outside.socket(PUBLIC, 4000);
    outside
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    let mut bytes = [0; 64];
    let mut arrives = |guest: &mut Guest, payload: &[u8]| {
        guest.tell((PUBLIC, 4000), 5000, payload);
        outside
            .recv_from(&mut bytes)
            .ok()
            .map(|(length, from)| (bytes[..length].to_vec(), from.ip()))
    };
    let (payload, from) = arrives(&mut guest, b"genuine").unwrap();
    assert_eq!(
        (payload.as_slice(), from),
        (b"genuine".as_slice(), HOST_PUBLIC.into()),
        "masqueraded"
    );

    guest.address = Ipv4Addr::new(203, 0, 113, 77);
    assert_eq!(arrives(&mut guest, b"foreign source"), None);
    guest.address = lease.host_address();
    assert_eq!(arrives(&mut guest, b"outer source"), None);
    guest.address = wrenn_network::GUEST_ADDRESS;
    guest.mac[5] ^= 1;
    assert_eq!(arrives(&mut guest, b"foreign mac"), None);
    guest.mac[5] ^= 1;
    guest.send_ipv6(&[0x60; 64]);
    assert!(arrives(&mut guest, b"genuine again").is_some());
    drop(guest);
    lease.release().await.unwrap();
    fixture.finish().await;
}

#[tokio::test]
async fn names_are_asked_of_the_configured_resolver_only() {
    let fixture = Fixture::new().await;
    let lease = fixture.slot().await;
    let mut guest = Guest::attach(&lease);
    for (address, port) in [(RESOLVER, 53), (RESOLVER, 54), (PUBLIC, 53), (PUBLIC, 54)] {
        fixture.outside.echo(address, port);
    }
    let mut answers = |to: (Ipv4Addr, u16), expected: bool| {
        guest.tell(to, 6000, b"question");
        let outcome = if expected {
            guest.hears().is_some_and(|heard| heard.from == to)
        } else {
            guest.hears_nothing()
        };
        assert!(outcome, "{to:?} answers: {expected}");
    };
    answers((RESOLVER, 53), true);
    answers((RESOLVER, 54), false);
    answers((PUBLIC, 53), false);
    answers((PUBLIC, 54), true);

    // Without internet there are no names either.
    lease
        .set_policy(&EgressPolicy {
            default: Verdict::Deny,
            ..EgressPolicy::default()
        })
        .await
        .unwrap();
    answers((RESOLVER, 53), false);
    drop(guest);
    lease.release().await.unwrap();
    fixture.finish().await;
}

#[tokio::test]
async fn a_policy_takes_effect_for_open_connections_and_allow_wins() {
    let fixture = Fixture::new().await;
    let (lease, other) = (fixture.slot().await, fixture.slot().await);
    let (mut guest, mut neighbour) = (Guest::attach(&lease), Guest::attach(&other));
    fixture.outside.echo(PUBLIC, 7000);
    let mut talks = |expected: bool| {
        guest.tell((PUBLIC, 7000), 7001, b"hello");
        if expected {
            guest.hears().is_some()
        } else {
            guest.hears_nothing()
        }
    };
    let network = "203.0.113.0/24".parse().unwrap();
    assert!(talks(true));
    let denied = EgressPolicy {
        deny_out: vec![network],
        ..EgressPolicy::default()
    };
    lease.set_policy(&denied).await.unwrap();
    assert!(talks(false), "the open flow is cut");

    let excepted = EgressPolicy {
        allow_out: vec![PUBLIC.to_string().parse().unwrap()],
        ..denied
    };
    lease.set_policy(&excepted).await.unwrap();
    assert!(talks(true));
    let only = EgressPolicy {
        default: Verdict::Deny,
        ..excepted
    };
    lease.set_policy(&only).await.unwrap();
    assert!(talks(true));

    let mut guest = guest;
    assert!(guest.cannot_reach(OTHER_PUBLIC));
    assert!(neighbour.reaches(OTHER_PUBLIC), "a policy is one slot's");
    let opened = EgressPolicy {
        allow_out: vec!["192.168.77.0/24".parse().unwrap()],
        ..EgressPolicy::default()
    };
    lease.set_policy(&opened).await.unwrap();
    assert!(
        guest.cannot_reach(RESOLVER),
        "what is closed to all stays closed"
    );
    assert!(guest.reaches(OTHER_PUBLIC));
    drop((guest, neighbour));
    lease.release().await.unwrap();
    other.release().await.unwrap();
    fixture.finish().await;
}

#[tokio::test]
async fn the_host_reaches_a_guest_and_nobody_else_does() {
    let fixture = Fixture::new().await;
    let lease = fixture.slot().await;
    let mut guest = Guest::attach(&lease);
    let agent = UdpSocket::bind("0.0.0.0:0").unwrap();
    agent
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut bytes = [0; 64];
    let mut exchange = |guest: &mut Guest| {
        agent.send_to(b"in", (lease.host_address(), 49983)).unwrap();
        let heard = guest.hears().unwrap();
        assert_eq!(
            (heard.port, heard.payload.as_slice()),
            (49983, b"in".as_slice())
        );
        guest.tell(heard.from, 49983, b"out");
        let (length, from) = agent.recv_from(&mut bytes).unwrap();
        assert_eq!(
            (&bytes[..length], from.ip()),
            (b"out".as_slice(), lease.host_address().into())
        );
    };
    exchange(&mut guest);
    // What the host began goes on under every policy.
    lease
        .set_policy(&EgressPolicy {
            default: Verdict::Deny,
            ..EgressPolicy::default()
        })
        .await
        .unwrap();
    exchange(&mut guest);

    let stranger = fixture.outside.socket(PUBLIC, 4001);
    stranger
        .send_to(b"in", (lease.host_address(), 49983))
        .unwrap();
    assert!(
        guest.hears_nothing(),
        "the host forwards nobody's packets to a guest"
    );
    drop(guest);
    lease.release().await.unwrap();
    fixture.finish().await;
}

#[tokio::test]
async fn a_detached_slot_is_adopted_a_forgotten_one_swept_and_a_dropped_one_reaped() {
    let fixture = Fixture::new().await;
    let (kept, lost, dropped) = (
        fixture.slot().await,
        fixture.slot().await,
        fixture.slot().await,
    );
    let (kept_slot, lost_slot) = (kept.slot(), lost.slot());
    let mut guest = Guest::attach(&kept);
    kept.detach();
    lost.detach();
    drop(dropped);
    let mut left = fixture.reaped();
    assert_eq!(left.len(), 1);
    left[0].clean().await.unwrap();
    fixture.refill.abort();

    let later = Network::start(config(), fixture.reaper.clone())
        .await
        .unwrap();
    assert!(
        guest.reaches(PUBLIC),
        "a new life of the agent does not disturb a guest"
    );
    let kept = later.adopt(kept_slot).await.unwrap();
    assert!(matches!(
        later.adopt(kept_slot).await,
        Err(Error::NotAdoptable { .. })
    ));
    assert!(matches!(
        later.adopt(Slot::MAX).await,
        Err(Error::NotAdoptable { .. })
    ));
    let (swept, failed) = later.sweep().await.unwrap();
    assert!(
        swept.contains(&lost_slot) && !swept.contains(&kept_slot),
        "{swept:?}"
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(guest.reaches(PUBLIC));
    drop(guest);
    kept.release().await.unwrap();
    fixture.finish().await;
}

#[tokio::test]
async fn an_empty_pool_refuses_after_the_deadline() {
    let fixture = Fixture::new().await;
    let mut leases = vec![fixture.slot().await];
    fixture.refill.abort();
    let error = loop {
        match fixture.network.acquire(Duration::from_millis(100)).await {
            Ok(lease) => leases.push(lease),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    let found = census().await.unwrap();
    assert!(found.admitted >= 2 * leases.len(), "{found:?}");
    for lease in leases {
        lease.release().await.unwrap();
    }
    fixture.finish().await;
}
