//! The published Python package against a real guest, through the sandbox's address: `sdk-tests/python`.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use wrenn_ids::SandboxId;
use wrenn_rpc::hostagent::CreateSandboxRequest;

use crate::{
    fixture::{create_request, destroy, host},
    guest::{Envd, until},
};

/// The virtual environment with the package, made by `cargo xtask test`.
const ENVIRONMENT: &str = "WRENN_SDK_ENVIRONMENT";

#[test]
fn the_published_package_drives_a_real_guest() {
    let environment = std::env::var(ENVIRONMENT).expect("run it through `cargo xtask test host`");
    let host = host();
    let id = SandboxId::new();
    let request = CreateSandboxRequest {
        default_user: "user".to_owned(),
        ..create_request(&host, id)
    };
    host.block_on(host.client.create_sandbox(request))
        .expect("created");
    let envd = Envd::of(&host, id);

    // Free a moment ago; the forward fails if it is taken by now.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let local = free.local_addr().expect("an address");
    drop(free);
    // A connection of its own, which lives as long as the tests do.
    let forward = format!("{local}:{}:49983", envd.address);
    let mut forward = host
        .machine
        .ssh_command()
        .args(["-S", "none", "-N", "-o", "ExitOnForwardFailure=yes", "-L"])
        .arg(forward)
        .stdin(Stdio::null())
        .spawn()
        .expect("ssh starts");
    until("the forward stands", || TcpStream::connect(local).is_ok());
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk-tests/python");
    let mut pytest = Command::new(format!("{environment}/bin/python"));
    pytest
        // What hangs is told apart from what is emulated only after a longer time than natively.
        .args(["-m", "pytest", "-o", "faulthandler_timeout=300"])
        .current_dir(tests)
        .env("E2B_DEBUG", "true")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("WRENN_GUEST_URL", format!("http://{local}"))
        .env("WRENN_GUEST_TOKEN", envd.access_token);
    let status = pytest.status().expect("pytest starts");
    forward.kill().expect("the forward ends");
    forward.wait().expect("the forward ended");
    assert!(status.success(), "{status}");
    destroy(&host, id);
}
