//! Ctrl-C in the middle of `wrenn up`, where no host is started: `life` has the one that boots.

use crate::user::{User, eventually};

#[test]
fn interrupted_while_services_start_it_stops_them_again() {
    let user = User::new();
    let arguments = ["up", "--host", "none", "--listen", &user.listen];
    let up = user.start(&arguments);
    let half = user.state().join("postgres/data.new");
    eventually("the database is being made", || half.exists());
    up.interrupt();
    up.end().failed(130, &["Interrupted"]);
    user.assert_nothing_runs();
    assert!(!half.exists(), "initdb was waited for, not killed");
    user.run(&["status"], 7);
    assert!(user.run(&arguments, 0).contains("API key"));
    user.run(&["down"], 0);
    user.assert_nothing_runs();
}

#[test]
fn interrupted_when_it_found_a_platform_it_leaves_that_alone() {
    let user = User::new();
    user.run(&["up", "--host", "none", "--listen", &user.listen], 0);
    let control_plane = user.pid("control-plane");
    let again = user.start(&["up"]);
    again.interrupt();
    let said = again.end();
    assert!(matches!(said.code, Some(0 | 130) | None), "{}", said.stderr);
    assert_eq!(user.pid("control-plane"), control_plane);
    user.run(&["status"], 0);
}
