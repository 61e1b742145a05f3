//! The crash matrix: what is killed at a step of an operation. Whatever it is, a sandbox runs or is paused with all
//! that it holds, or is gone as one whose VM has died; and what was told to be done is done.
//!
//! One step of each operation by chance of `WRENN_KILLS_SEED`, every step of each with `WRENN_SOAK`; those whose
//! names contain `WRENN_CASES`, if that is set.

use wrenn_rpc::hostagent::SandboxState;
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::pause,
    cases::{Case, end, seed, settled},
    fault_points::{Operation, STEPS, chosen},
    fixture::{SERVED, host},
    random::Random,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Vmm,
    PageServer,
}

const VICTIMS: [Victim; 3] = [Victim::Agent, Victim::Vmm, Victim::PageServer];

impl Case<'_> {
    /// Kills `victim` when the operation stands at `point`.
    fn kill(self, operation: Operation, point: &str, victim: Victim, census: &str) {
        let when = format!("{operation:?} {point} {victim:?}");
        tracing::warn!("{when}");
        let host = self.host;
        self.prepare(operation);
        host.arm(&format!("{SERVED}\n{point}=stop")).expect("arm");
        let call = self.call(operation);
        let answer = host.block_on(async {
            let call = tokio::spawn(call);
            host.await_stop().expect(&when);
            // It stands at the point once.
            if victim == Victim::Agent {
                host.arm(SERVED).expect("arm");
                host.kill_agent().expect(&when);
            } else {
                kill_in_cgroups(host, victim);
                host.go_on_with(SERVED).expect(&when);
            }
            call.await.expect("the call ends")
        });
        let told = answer.as_ref().map_err(|error| error.code);
        tracing::warn!("  told {told:?}, then {:?}", self.state());
        if victim == Victim::Agent {
            assert!(answer.is_err(), "{when}: the connection breaks");
        }
        self.judge(operation, point, victim, answer.is_ok(), &when);
        self.clear(&when, census);
    }

    fn judge(&self, operation: Operation, point: &str, victim: Victim, done: bool, when: &str) {
        let host = self.host;
        let found = self.state();
        if operation == Operation::Destroy {
            // Told or not, it goes as soon as an agent runs.
            assert_eq!(found, None, "{when}");
            return;
        }
        let made = self.made(operation, when);
        // A child whose VM dies once its record says that it runs has ended.
        let ended = operation == Operation::Fork && point == "resume.after.running";
        assert!(
            made || !done || ended,
            "{when}: what was told to be made is not there"
        );
        if operation == Operation::Fork && !done && victim != Victim::Agent {
            let there = self.children.map(|child| settled(host, child));
            assert!(
                there.iter().all(Option::is_none) || made,
                "{when}: {there:?}"
            );
        }
        match found {
            // Its VM has died.
            None => {
                let ran = operation != Operation::Resume || point == "resume.after.running";
                let was_paused = operation == Operation::Pause && done;
                assert!(
                    victim != Victim::Agent && ran && !was_paused,
                    "{when}: it is lost"
                );
            }
            Some(now) => {
                let recorded = victim == Victim::Agent && point == "pause.after.paused";
                if recorded || (operation == Operation::Pause && done) {
                    assert_eq!(now, SandboxState::Paused, "{when}");
                }
                self.is_whole(self.id, when);
                let again = host.block_on(pause(host, self.id));
                again.unwrap_or_else(|error| panic!("{when}: {error}\n{}", host.log()));
                self.is_whole(self.id, when);
            }
        }
    }
}

/// Kills every Firecracker or every page server that runs, and sees them end. Threads of the kernel are in a VM's
/// cgroup too, and have no command line.
fn kill_in_cgroups(host: &AgentHost, victim: Victim) {
    let word = match victim {
        Victim::Vmm => "^/firecracker",
        _ => "page-server",
    };
    let kill = format!(
        "for p in $(cat /sys/fs/cgroup/wrenn/*/cgroup.procs); do \
         grep -qa '{word}' /proc/$p/cmdline || continue; kill -9 $p; \
         while [ -e /proc/$p ] && ! grep -q '^State:.Z' /proc/$p/status; do :; done; done"
    );
    host.shell(&kill).expect("kill");
}

#[test]
fn whatever_is_killed_at_a_step_nothing_is_lost() {
    let host = host();
    let before = host.census().expect("count");
    host.arm(SERVED).expect("arm");
    let (census, template) = seed(&host);
    let mut random = Random::seeded("WRENN_KILLS_SEED");
    for (operation, point, victim) in chosen(&mut random, &STEPS, &VICTIMS) {
        Case::new(&host, template).kill(operation, point, victim, &census);
    }
    host.disarm().expect("disarm");
    end(&host, template, &before);
}
