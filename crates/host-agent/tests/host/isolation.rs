//! What a guest must not reach: other guests, the host, the control plane, private and metadata addresses.

use crate::fixture::{create, destroy, exec, get, host, sh};

/// Tries a TCP connection from within a guest; its exit code is 0 only if one was made.
const CONNECT: &str = r#"import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    print(error)
    sys.exit(1)
"#;

#[test]
fn a_guest_reaches_nothing_private() {
    let host = host();
    let (one, two) = (create(&host), create(&host));
    let other = get(&host, two).expect("it runs").host_ip;
    sh(
        &host,
        two,
        "(python3 -m http.server 8000 --bind 0.0.0.0 >/dev/null 2>&1 &) ; sleep 1",
    );
    let gateway = host.shell("ip -4 -o addr show dev wv1 | awk '{print $4}' | cut -d/ -f1");
    let gateway = gateway.expect("a slot has a link").trim().to_owned();
    let own = host.shell("ip -4 -o addr show | grep ' 10.0.2' | awk '{print $4}' | cut -d/ -f1");
    let own = own.expect("the host has an address").trim().to_owned();
    let control_plane = host.authority.port.to_string();

    // The control plane does answer the host itself, so that a refusal below means something.
    host.shell(&format!(
        "timeout 10 bash -c '</dev/tcp/10.0.2.2/{control_plane}'"
    ))
    .expect("it is there");
    let targets = [
        (other.as_str(), "8000", "another guest"),
        (other.as_str(), "49983", "another guest's agent"),
        (own.as_str(), "9443", "the agent"),
        (own.as_str(), "22", "the host"),
        (gateway.as_str(), "9443", "the agent, by the gateway"),
        (gateway.as_str(), "22", "the host, by the gateway"),
        ("169.254.0.22", "9443", "the agent, by the namespace"),
        ("10.0.2.2", control_plane.as_str(), "the control plane"),
        ("10.0.0.1", "80", "a private network"),
        ("172.16.0.1", "80", "a private network"),
        ("192.168.0.1", "80", "a private network"),
        ("100.64.0.1", "80", "carrier addresses"),
        ("169.254.0.1", "80", "link-local addresses"),
        ("169.254.170.2", "80", "another metadata service"),
        ("127.0.0.1", "9443", "the host's loopback"),
    ];
    for (address, port, what) in targets {
        let tried = exec(&host, one, &["python3", "-c", CONNECT, address, port]).expect("it runs");
        assert_eq!(tried.exit_code, 1, "{what} at {address}:{port} was reached");
    }

    // The metadata service is its own, and has nothing without a token and nothing secret with one.
    let line = "t=$(curl -s -m 5 -X PUT -H 'X-metadata-token-ttl-seconds: 60' \
                http://169.254.169.254/latest/api/token); curl -s -m 5 http://169.254.169.254/ | head -c 200; \
                echo; curl -s -m 5 -H \"X-metadata-token: $t\" -H 'Accept: application/json' http://169.254.169.254/";
    let metadata = sh(&host, one, line);
    assert!(
        metadata.contains(one.to_string().trim_start_matches("sb-")),
        "{metadata}"
    );
    assert!(
        !metadata
            .lines()
            .next()
            .unwrap_or_default()
            .contains("instanceID"),
        "{metadata}"
    );
    assert!(!metadata.contains(two.to_string().trim_start_matches("sb-")));

    destroy(&host, one);
    destroy(&host, two);
}
