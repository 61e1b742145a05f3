//! The host agent's own needs, for sandboxes on this machine itself.

use wrenn_host_agent::{Config, KvmProbe, Outcome as Need};
use wrenn_virtual_host::kvm;

use super::{Check, Group, Verdict};
use crate::{
    DONE, Outcome,
    context::Context,
    error::{Exit, chain},
    out::Style,
};

/// Runs a one-page VM; the agent knows no KVM by itself.
pub(crate) fn kvm_probe() -> Result<(), String> {
    kvm::usable().map_err(|why| chain(&why))
}

/// Shows what `wrenn host-agent --check` found.
pub(crate) fn show_host(context: &Context, checks: &[wrenn_host_agent::Check]) -> Outcome {
    let mut met = true;
    for check in checks {
        let (style, word) = match check.outcome {
            Need::Met => (Style::Good, "ok"),
            Need::Missing => {
                met = false;
                (Style::Bad, "fail")
            }
        };
        context.out.line(&format!(
            "{}  {:<18} {}",
            context.out.paint(style, &format!("{word:<4}")),
            check.name,
            check.found
        ))?;
        if check.outcome == Need::Missing {
            context.out.line(&format!(
                "      {:<18} → {} ({})",
                "", check.remedy, check.needed
            ))?;
        }
    }
    Ok(if met { DONE } else { Exit::Unhealthy })
}

/// The same for `wrenn doctor`; where a virtual host carries the agent they do not matter.
pub(super) fn checks() -> Vec<Check> {
    let group = Group::Host;
    if let Err(why) = kvm::usable() {
        return vec![group.skip("host agent", format!("runs in the virtual host: {why}"))];
    }
    if !rustix::process::geteuid().is_root() {
        return vec![group.skip(
            "host agent",
            "needs root here; as another user it runs in the virtual host",
        )];
    }
    let config = match Config::from_env(KvmProbe::new(kvm_probe)) {
        Ok(config) => config,
        Err(error) => {
            return vec![group.fail("settings", error.to_string(), "wrenn host-agent --help")];
        }
    };
    wrenn_host_agent::checks::run(&config)
        .into_iter()
        .map(|check| {
            let missing = check.outcome == Need::Missing;
            let verdict = if missing { Verdict::Fail } else { Verdict::Ok };
            group.check(
                check.name,
                verdict,
                check.found,
                missing.then_some(check.remedy),
            )
        })
        .collect()
}
