//! Create, use, destroy; and that nothing stays behind.

use wrenn_rpc::hostagent::SandboxState;

use crate::fixture::{create, destroy, exec, get, host, sh};

#[test]
fn a_sandbox_is_created_used_and_destroyed_without_a_trace() {
    let host = host();
    let before = host.census().expect("count");
    let id = create(&host);

    let sandbox = get(&host, id).expect("it is there");
    assert_eq!(sandbox.state.as_known(), Some(SandboxState::Running));
    assert_eq!(sandbox.guest_ip, "169.254.0.21");
    assert!(!sandbox.versions.kernel.is_empty() && !sandbox.versions.envd.is_empty());

    let done = exec(&host, id, &["python3", "-c", "print(6*7)"]).expect("it runs");
    assert_eq!((done.exit_code, done.stdout.as_slice()), (0, &b"42\n"[..]));
    assert_eq!(sh(&host, id, "hostname").trim(), id.to_string());
    assert_eq!(
        sh(&host, id, "id -un; pwd; echo $HOME"),
        "root\n/root\n/root\n"
    );

    destroy(&host, id);
    destroy(&host, id);
    assert!(get(&host, id).is_err());
    host.await_census(&before).expect("nothing is left");
}
