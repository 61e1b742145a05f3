//! The crash matrix: what is killed at a step of an operation. Whatever it is, a sandbox runs or is paused with all
//! that it holds, or is gone as one whose VM has died; and what was told to be done is done.
//!
//! One step of each operation by chance of `WRENN_KILLS_SEED`, every step of each with `WRENN_SOAK`; those whose
//! names contain `WRENN_CASES`, if that is set.

use wrenn_ids::TemplateId;
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
    /// The host loses its power.
    Machine,
}

const VICTIMS: [Victim; 4] = [
    Victim::Agent,
    Victim::Vmm,
    Victim::PageServer,
    Victim::Machine,
];

impl Victim {
    /// Whether no agent is there to answer.
    fn is_agent(self) -> bool {
        matches!(self, Self::Agent | Self::Machine)
    }
}

/// Kills `victim` when the operation on a sandbox of `template` stands at `point`.
fn kill(
    host: &mut AgentHost,
    template: TemplateId,
    (operation, point, victim): (Operation, &str, Victim),
    census: &str,
) {
    let when = format!("{operation:?} {point} {victim:?}");
    tracing::warn!("{when}");
    let case = Case::new(host, template);
    case.prepare(operation);
    host.arm(&format!("{SERVED}\n{point}=stop")).expect("arm");
    let call = host.spawn(case.call(operation));
    host.await_stop().expect(&when);
    let case = case.parted();
    // It stands at the point once.
    match victim {
        Victim::Agent => {
            host.arm(SERVED).expect("arm");
            host.kill_agent().expect(&when);
        }
        Victim::Machine => {
            host.cut_power().expect(&when);
            host.arm(SERVED).expect("arm");
        }
        Victim::Vmm | Victim::PageServer => {
            kill_in_cgroups(host, victim);
            host.go_on_with(SERVED).expect(&when);
        }
    }
    let answer = host.block_on(call).expect("the call ends");
    let case = case.of(host);
    let told = answer.as_ref().map_err(|error| error.code);
    tracing::warn!("  told {told:?}, then {:?}", case.state());
    if victim.is_agent() {
        assert!(answer.is_err(), "{when}: the connection breaks");
    }
    case.judge(operation, point, victim, answer.is_ok(), &when);
    case.clear(&when, census);
}

impl Case<'_> {
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
        if operation == Operation::Fork && !done && !victim.is_agent() {
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
                let was_paused = operation == Operation::Pause
                    && (done || (victim == Victim::Machine && point == "pause.after.paused"));
                assert!(
                    victim != Victim::Agent && ran && !was_paused,
                    "{when}: it is lost"
                );
            }
            Some(now) => {
                let recorded = victim.is_agent() && point == "pause.after.paused";
                let runs_nothing = victim == Victim::Machine;
                if recorded || runs_nothing || (operation == Operation::Pause && done) {
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
    let mut host = host();
    let before = host.census().expect("count");
    host.arm(SERVED).expect("arm");
    let (census, template) = seed(&host);
    let mut random = Random::seeded("WRENN_KILLS_SEED");
    for case in chosen(&mut random, &STEPS, &VICTIMS) {
        kill(&mut host, template, case, &census);
    }
    host.disarm().expect("disarm");
    end(&host, template, &before);
}
