//! Files that cannot be written: whatever fails, a sandbox is as it was, with all that it holds, also for the
//! next agent; and once there is room again the operation is done.
//!
//! One file of each operation by chance of `WRENN_FILES_SEED`, every file of each with `WRENN_SOAK`.

use wrenn_rpc::{connectrpc::ErrorCode, hostagent::error_detail::Reason};

use crate::{
    calls::pause,
    cases::{Case, end, seed, settled},
    fault_points::{FILES, Operation, chosen},
    fixture::{host, reason},
    random::Random,
};

impl Case<'_> {
    /// Has the agent fail at a file with `errno`.
    fn fail(self, operation: Operation, point: &str, errno: &str, census: &str) {
        let when = format!("{operation:?} {point} {errno}");
        tracing::warn!("{when}");
        let host = self.host;
        self.prepare(operation);
        let before = self.state();
        host.arm(&format!("{point}={errno}")).expect("arm");
        let error = host.block_on(self.call(operation)).expect_err(&when);
        if (errno, operation) == ("enospc", Operation::Pause) {
            assert_eq!(reason(&error), Reason::HOST_DISK_FULL, "{when}: {error}");
        }
        host.disarm().expect("disarm");
        assert_eq!(self.state(), before, "{when}");
        assert!(!self.is_kept(), "{when}");
        for child in self.children {
            assert_eq!(settled(host, child), None, "{when}");
        }
        // Also for an agent that knows only what is on the disk.
        host.kill_agent().expect("it starts again");
        assert_eq!(self.state(), before, "{when}");
        self.is_whole(self.id, &when);
        self.prepare(operation);
        let again = host.block_on(self.call(operation));
        again.unwrap_or_else(|error| panic!("{when}: {error}\n{}", host.log()));
        assert!(self.made(operation, &when), "{when}");
        self.is_whole(self.id, &when);
        self.clear(&when, census);
    }
}

#[test]
fn a_file_that_cannot_be_written_changes_nothing() {
    let host = host();
    let before = host.census().expect("count");
    let (census, template) = seed(&host);
    let mut random = Random::seeded("WRENN_FILES_SEED");
    for (operation, point, errno) in chosen(&mut random, &FILES, &["enospc", "eio"]) {
        Case::new(&host, template).fail(operation, point, errno, &census);
    }
    end(&host, template, &before);
}

#[test]
fn a_full_disk_refuses_the_pause_and_the_sandbox_runs_on() {
    let host = host();
    let before = host.census().expect("count");
    let (census, template) = seed(&host);
    let case = Case::new(&host, template);
    host.shell(
        "cd /var/lib/wrenn && sync && \
         fallocate -l $(($(stat -f -c '%a * %S' .) - 1048576)) filler",
    )
    .expect("fill the disk");
    let error = host
        .block_on(pause(&host, case.id))
        .expect_err("it is full");
    let told = (error.code, reason(&error));
    host.shell("rm /var/lib/wrenn/filler").expect("make room");
    assert_eq!(told, (ErrorCode::ResourceExhausted, Reason::HOST_DISK_FULL));
    case.is_whole(case.id, "after a full disk");
    host.block_on(pause(&host, case.id)).expect("there is room");
    case.is_whole(case.id, "after a full disk");
    case.clear("after a full disk", &census);
    end(&host, template, &before);
}
