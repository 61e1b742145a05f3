//! Requests, from the wire to checked values.

use std::{collections::HashSet, str::FromStr, time::Duration};

use wrenn_ids::{HostId, ParseIdError, SandboxId};
use wrenn_rpc::{buffa::EnumValue, hostagent};

use super::error::CallError;
use crate::{
    envd::{Launch, Stdin},
    sandbox::{
        Egress, Internet, OnIdle, Operation, PauseReason, Spec, Update, check_envs, check_user,
    },
};

use wrenn_rpc::{connectrpc::ErrorCode, hostagent::error_detail::Reason};

/// Bounds of api.md §1 and §8.1.
const PATH: usize = 4096;
const CMD: usize = 4096;
const ARGS: usize = 256 * 1024;
/// Sandboxes that one fork makes.
const CHILDREN: usize = 20;

/// Parses an id by the grammar of its kind.
pub(super) fn id<T: FromStr<Err = ParseIdError>>(
    field: &'static str,
    text: &str,
) -> Result<T, CallError> {
    text.parse()
        .map_err(|error| CallError::invalid(format!("{field} {error}")))
}

/// Parses the operation and refuses one that is meant for another host.
pub(super) fn operation(
    operation: Option<&hostagent::Operation>,
    own: HostId,
) -> Result<Operation, CallError> {
    let operation = operation.ok_or_else(|| CallError::invalid("operation is missing"))?;
    if id::<HostId>("operation.host_id", &operation.host_id)? != own {
        let message = "this is another host";
        return Err(CallError::new(
            ErrorCode::FailedPrecondition,
            Reason::WRONG_HOST,
            message,
        ));
    }
    Ok(Operation::new(&operation.op_id, operation.generation)?)
}

/// Parses what a sandbox shall be.
pub(super) fn spec(request: hostagent::CreateSandboxRequest) -> Result<Spec, CallError> {
    let network = request.network.into_option();
    let egress = network.map_or(
        Egress {
            internet: Internet::Open,
            allow_out: Vec::new(),
            deny_out: Vec::new(),
        },
        egress,
    );
    let spec = Spec {
        sandbox_id: id("sandbox_id", &request.sandbox_id)?,
        template_id: id("template_id", &request.template_id)?,
        vcpus: request.vcpus,
        memory_mib: request.memory_mib,
        disk_mib: request.disk_mib,
        envs: request.envs.into_iter().collect(),
        network: egress,
        idle_timeout_sec: request.idle_timeout_sec,
        on_idle: on_idle(request.on_idle)?.unwrap_or_default(),
        default_user: Some(request.default_user).filter(|user| !user.is_empty()),
    };
    spec.check()?;
    Ok(spec)
}

fn egress(network: hostagent::NetworkPolicy) -> Egress {
    Egress {
        internet: if network.allow_internet {
            Internet::Open
        } else {
            Internet::Closed
        },
        allow_out: network.allow_out,
        deny_out: network.deny_out,
    }
}

/// Parses what happens to an idle sandbox; `None` when nothing is said.
pub(super) fn on_idle(on_idle: EnumValue<hostagent::OnIdle>) -> Result<Option<OnIdle>, CallError> {
    match on_idle.as_known() {
        Some(hostagent::OnIdle::Unspecified) => Ok(None),
        Some(hostagent::OnIdle::Pause) => Ok(Some(OnIdle::Pause)),
        Some(hostagent::OnIdle::Destroy) => Ok(Some(OnIdle::Destroy)),
        None => Err(CallError::invalid("on_idle is none that this agent knows")),
    }
}

/// Parses why a sandbox is to be paused.
pub(super) fn pause_reason(
    reason: EnumValue<hostagent::PauseReason>,
) -> Result<PauseReason, CallError> {
    use hostagent::PauseReason as Wire;
    match reason.as_known() {
        Some(Wire::Unspecified | Wire::User) => Ok(PauseReason::User),
        Some(Wire::Idle) => Ok(PauseReason::Idle),
        Some(Wire::HostDrain) => Ok(PauseReason::HostDrain),
        Some(Wire::HostDisconnected) => Ok(PauseReason::HostDisconnected),
        Some(Wire::PauseAll) => Ok(PauseReason::PauseAll),
        None => Err(CallError::invalid("reason is none that this agent knows")),
    }
}

/// Parses the names of a fork's children: new ones, each once.
pub(super) fn children(source: SandboxId, ids: &[String]) -> Result<Vec<SandboxId>, CallError> {
    if ids.is_empty() || ids.len() > CHILDREN {
        return Err(CallError::invalid(format!(
            "child_ids must be 1 to {CHILDREN}"
        )));
    }
    let parsed: Vec<SandboxId> = ids
        .iter()
        .map(|child| id("child_ids", child))
        .collect::<Result<_, _>>()?;
    let distinct: HashSet<_> = parsed.iter().chain([&source]).collect();
    if distinct.len() <= parsed.len() {
        return Err(CallError::invalid("child_ids must be distinct"));
    }
    Ok(parsed)
}

/// Parses what is to change.
pub(super) fn update(request: hostagent::UpdateSandboxRequest) -> Result<Update, CallError> {
    let network = request.network.into_option().map(egress);
    if let Some(network) = &network {
        network.policy()?;
    }
    Ok(Update {
        idle_timeout_sec: request.idle_timeout_sec,
        on_idle: on_idle(request.on_idle)?,
        network,
    })
}

/// Parses a program to run.
pub(super) fn launch(
    command: Option<hostagent::Command>,
    timeout_ms: u32,
    stdin: Stdin,
) -> Result<Launch, CallError> {
    let command = command.ok_or_else(|| CallError::invalid("command is missing"))?;
    text("command.cmd", &command.cmd, 1, CMD)?;
    let mut total = 0usize;
    for arg in &command.args {
        total = total.saturating_add(arg.len() + 1);
        text("command.args", arg, 0, ARGS)?;
    }
    if total > ARGS {
        return Err(CallError::invalid(format!(
            "command.args must have at most {ARGS} bytes"
        )));
    }
    check_envs(&command.envs)?;
    if let Some(cwd) = &command.cwd {
        path("command.cwd", cwd)?;
    }
    if let Some(user) = &command.user {
        check_user("command.user", user)?;
    }
    Ok(Launch {
        cmd: command.cmd,
        args: command.args,
        envs: command.envs.into_iter().collect(),
        cwd: command.cwd,
        user: command.user,
        stdin,
        limit: (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into())),
    })
}

/// Checks the name of a process: 1 to 64 bytes of letters, digits, `.`, `_` and `-` (api.md §1).
pub(super) fn tag(field: &'static str, tag: String) -> Result<String, CallError> {
    let shape = (1..=64).contains(&tag.len())
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if shape {
        Ok(tag)
    } else {
        Err(CallError::invalid(format!(
            "{field} must be 1 to 64 letters, digits, `.`, `_` or `-`"
        )))
    }
}

/// Checks a path of the guest.
pub(super) fn path(field: &'static str, path: &str) -> Result<(), CallError> {
    text(field, path, 1, PATH).map_err(|error| CallError {
        reason: Reason::BAD_PATH,
        ..error
    })
}

fn text(field: &'static str, text: &str, least: usize, most: usize) -> Result<(), CallError> {
    if (least..=most).contains(&text.len()) && !text.contains('\0') {
        return Ok(());
    }
    Err(CallError::invalid(format!(
        "{field} must have {least} to {most} bytes, without NUL"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: hostagent::Command, expected: Option<&str>) {
        let parsed = launch(Some(command), 0, Stdin::Null).map_err(|error| error.message);
        match (parsed, expected) {
            (Ok(_), None) => {}
            (Err(message), Some(field)) => assert!(message.starts_with(field), "{message}"),
            (parsed, expected) => panic!("{parsed:?} is not {expected:?}"),
        }
    }

    fn command(change: impl FnOnce(&mut hostagent::Command)) -> hostagent::Command {
        let mut command = hostagent::Command {
            cmd: "true".into(),
            ..Default::default()
        };
        change(&mut command);
        command
    }

    #[test]
    fn a_command_keeps_within_its_bounds() {
        check(command(|_| ()), None);
        check(command(|c| c.cmd = String::new()), Some("command.cmd"));
        check(command(|c| c.cmd = "a\0b".into()), Some("command.cmd"));
        check(command(|c| c.cmd = "a".repeat(4097)), Some("command.cmd"));
        check(
            command(|c| c.args = vec!["x".repeat(1000); 300]),
            Some("command.args"),
        );
        check(
            command(|c| c.cwd = Some(String::new())),
            Some("command.cwd"),
        );
        check(
            command(|c| c.user = Some("a b".into())),
            Some("command.user"),
        );
        check(
            command(|c| drop(c.envs.insert("A-B".into(), "1".into()))),
            Some("envs"),
        );
    }

    #[test]
    fn an_operation_for_another_host_is_refused() {
        let own = HostId::new();
        let other = HostId::new();
        let wire = |host: &str| hostagent::Operation {
            op_id: "op".into(),
            generation: 1,
            host_id: host.into(),
            ..Default::default()
        };
        assert!(operation(Some(&wire(&own.to_string())), own).is_ok());
        let refused = operation(Some(&wire(&other.to_string())), own).unwrap_err();
        assert_eq!(refused.reason, Reason::WRONG_HOST);
        for bad in ["", "..", "host-..", "sb-0000000000000000000000000"] {
            let refused = operation(Some(&wire(bad)), own).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidArgument, "{bad}");
        }
        assert!(operation(None, own).is_err());
    }
}
