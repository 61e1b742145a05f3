//! What a guest must not reach: other guests, the host, the control plane, private and metadata addresses.
//! Each of them answers the host itself, so that a refusal means something.

use wrenn_ids::SandboxId;
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::fixture::{create_at_once, destroy, exec, get, host, sh};

/// On the internet, as far as the test is concerned (a documentation address).
pub(crate) const PUBLIC: &str = "203.0.113.2";
/// In networks that are closed to guests: private, shared, link-local, of a metadata service, benchmarking.
const PRIVATE: [&str; 6] = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.170.2",
    "198.18.0.1",
];

/// Tries TCP connections from within a guest, all at once; says where one was made.
const CONNECT: &str = "import socket, sys, threading
def connect(target):
    address, port = target.rsplit(':', 1)
    try:
        socket.create_connection((address, int(port)), timeout=10).close()
        print(target)
    except OSError:
        pass
tries = [threading.Thread(target=connect, args=(target,)) for target in sys.argv[1:]]
for one in tries: one.start()
for one in tries: one.join()
";

/// Makes a namespace that has all these addresses, with an ssh server in it, and routes there.
pub(crate) fn open_the_world(host: &AgentHost) {
    let mut script = "set -e; ip netns add outside
        ip link add out0 type veth peer name eth0 netns outside
        ip address add 192.0.2.1/30 dev out0; ip link set out0 up
        ip -n outside address add 192.0.2.2/30 dev eth0; ip -n outside link set eth0 up
        ip -n outside route add default via 192.0.2.1
        ip netns exec outside /usr/sbin/sshd"
        .to_owned();
    for address in PRIVATE.iter().chain([&PUBLIC]) {
        script.push_str(&format!(
            "\nip -n outside address add {address}/32 dev eth0; ip route add {address}/32 via 192.0.2.2"
        ));
    }
    host.shell(&script).expect("the world is made");
}

pub(crate) fn close_the_world(host: &AgentHost) {
    host.shell("kill $(ip netns pids outside); ip netns del outside")
        .expect("the world ends");
}

/// The host's end of a sandbox's link: 10.12.0.0 + 2 × slot, where the sandbox is at 10.11.0.0 + slot.
fn host_end(host_ip: &str) -> String {
    let address: std::net::Ipv4Addr = host_ip.parse().expect("an address");
    let slot = address.to_bits() & 0xffff;
    let base = std::net::Ipv4Addr::new(10, 12, 0, 0).to_bits();
    std::net::Ipv4Addr::from_bits(base + 2 * slot).to_string()
}

pub(crate) fn reached(host: &AgentHost, from: SandboxId, targets: &[String]) -> Vec<String> {
    let mut words = vec!["python3", "-c", CONNECT];
    words.extend(targets.iter().map(String::as_str));
    let tried = exec(host, from, &words).expect("it runs");
    assert_eq!(
        tried.exit_code,
        0,
        "{}",
        String::from_utf8_lossy(&tried.stderr)
    );
    let said = String::from_utf8(tried.stdout).expect("text");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn a_guest_reaches_the_internet_and_nothing_private() {
    let host = host();
    let [one, two] = create_at_once(&host);
    open_the_world(&host);
    sh(
        &host,
        two,
        "python3 -m http.server 8000 --bind 0.0.0.0 >/dev/null 2>&1 & \
         until curl -s -o /dev/null http://127.0.0.1:8000; do sleep 0.1; done",
    );
    let ip_of = |id: SandboxId| get(&host, id).expect("it runs").host_ip;
    let (own, other) = (ip_of(one), ip_of(two));
    let control_plane = format!("10.0.2.2:{}", host.authority.port);
    let mut closed = vec![
        format!("{other}:8000"),
        format!("{other}:49983"),
        format!("{own}:49983"),
        "10.0.2.15:9443".to_owned(),
        "10.0.2.15:22".to_owned(),
        format!("{}:9443", host_end(&own)),
        format!("{}:22", host_end(&other)),
        "192.0.2.1:22".to_owned(),
        control_plane,
    ];
    closed.extend(PRIVATE.map(|address| format!("{address}:22")));
    let public = format!("{PUBLIC}:22");

    // All of them are there.
    for target in closed.iter().chain([&public]) {
        let path = target.replace(':', "/");
        host.shell(&format!("timeout 20 bash -c '</dev/tcp/{path}'"))
            .expect("it answers the host");
    }
    // The namespace and loopback have nothing to answer with, and the guest is tried there all the same.
    let mut targets = closed;
    targets.extend(
        ["169.254.0.22:9443", "169.254.0.22:22", "127.0.0.1:9443"]
            .map(str::to_owned)
            .into_iter()
            .chain([public.clone()]),
    );
    assert_eq!(reached(&host, one, &targets), [public]);

    its_metadata_are_its_own(&host, one, two);
    destroy(&host, one);
    destroy(&host, two);
    close_the_world(&host);
}

/// The metadata service has nothing without a token and nothing secret with one.
fn its_metadata_are_its_own(host: &AgentHost, one: SandboxId, two: SandboxId) {
    let line = "t=$(curl -s -m 5 -X PUT -H 'X-metadata-token-ttl-seconds: 60' \
                http://169.254.169.254/latest/api/token); curl -s -m 5 http://169.254.169.254/ | head -c 200; \
                echo; curl -s -m 5 -H \"X-metadata-token: $t\" -H 'Accept: application/json' http://169.254.169.254/";
    let metadata = sh(host, one, line);
    let (without, with) = metadata.split_once('\n').expect("two answers");
    let name = |id: SandboxId| id.to_string().trim_start_matches("sb-").to_owned();
    assert!(!without.contains("instanceID"), "{without}");
    assert!(with.contains(&name(one)), "{with}");
    assert!(!metadata.contains(&name(two)), "{metadata}");
}
