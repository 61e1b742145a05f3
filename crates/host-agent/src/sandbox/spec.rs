//! What a sandbox shall be: the request, parsed and bounded.

use std::{collections::BTreeMap, ops::RangeInclusive};

use wrenn_ids::{SandboxId, TemplateId};

use super::{Egress, OnIdle};

/// Bounds of api.md §4.
const VCPUS: RangeInclusive<u32> = 1..=32;
const MEMORY_MIB: RangeInclusive<u32> = 128..=65_536;
const DISK_MIB: RangeInclusive<u32> = 1024..=102_400;
/// Bounds of api.md §1.
const ENV_COUNT: usize = 256;
const ENV_KEY: usize = 128;
const ENV_VALUE: usize = 32 * 1024;
/// Longest operation id, and longest user name that any Linux guest has.
const OP_ID: usize = 64;
const USER: usize = 32;

/// Identity of one mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Chosen by the caller; repeating it returns the first result.
    pub id: String,
    /// Of the sandbox; never falls.
    pub generation: u64,
}

/// What a sandbox shall be.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its id.
    pub sandbox_id: SandboxId,
    /// What it is made from.
    pub template_id: TemplateId,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in MiB.
    pub disk_mib: u32,
    /// Its variables.
    pub envs: BTreeMap<String, String>,
    /// Where its packets may go.
    pub network: Egress,
    /// Seconds without activity; 0 = never.
    pub idle_timeout_sec: u32,
    /// What happens then.
    pub on_idle: OnIdle,
    /// User of commands that name none; the template's when absent.
    pub default_user: Option<String>,
}

/// A value out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct BadSpec {
    /// Which.
    pub field: &'static str,
    /// What it must be.
    pub reason: String,
}

impl Spec {
    /// Checks the bounds that hold for every template and host.
    ///
    /// # Errors
    /// With the first value that is out of its bounds.
    pub fn check(&self) -> Result<(), BadSpec> {
        within("vcpus", self.vcpus, VCPUS)?;
        within("memory_mib", self.memory_mib, MEMORY_MIB)?;
        if self.memory_mib % 2 == 1 {
            return Err(BadSpec {
                field: "memory_mib",
                reason: "must be even".to_owned(),
            });
        }
        within("disk_mib", self.disk_mib, DISK_MIB)?;
        if let Some(user) = &self.default_user {
            check_user("default_user", user)?;
        }
        self.network.policy()?;
        check_envs(&self.envs)
    }
}

impl Operation {
    /// Parses an operation id.
    ///
    /// # Errors
    /// When it is empty, too long or not printable ASCII.
    pub fn new(id: &str, generation: u64) -> Result<Self, BadSpec> {
        if id.is_empty() || id.len() > OP_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = format!("must be 1 to {OP_ID} printable characters");
            return Err(BadSpec {
                field: "op_id",
                reason,
            });
        }
        Ok(Self {
            id: id.to_owned(),
            generation,
        })
    }
}

/// Checks variables of a sandbox or of one command.
///
/// # Errors
/// With the first that is out of its bounds.
pub(crate) fn check_envs<'a>(
    envs: impl IntoIterator<Item = (&'a String, &'a String), IntoIter: ExactSizeIterator>,
) -> Result<(), BadSpec> {
    let bad = |reason: String| {
        Err(BadSpec {
            field: "envs",
            reason,
        })
    };
    let envs = envs.into_iter();
    if envs.len() > ENV_COUNT {
        return bad(format!("must have at most {ENV_COUNT} entries"));
    }
    for (key, value) in envs {
        let head = key
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let tail = key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !head || !tail || key.len() > ENV_KEY {
            return bad(format!(
                "must have names of letters, digits and '_', at most {ENV_KEY}"
            ));
        }
        if value.len() > ENV_VALUE || value.contains('\0') {
            return bad(format!(
                "must have values of at most {ENV_VALUE} bytes without NUL"
            ));
        }
    }
    Ok(())
}

/// Checks a guest user's name: it goes into a header of the request to the guest.
///
/// # Errors
/// When no Linux user can have it.
pub(crate) fn check_user(field: &'static str, user: &str) -> Result<(), BadSpec> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if user.is_empty() || user.len() > USER || !user.bytes().all(plain) {
        return Err(BadSpec {
            field,
            reason: format!("must be a user name of at most {USER} characters"),
        });
    }
    Ok(())
}

fn within(field: &'static str, value: u32, range: RangeInclusive<u32>) -> Result<(), BadSpec> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(BadSpec {
        field,
        reason: format!("must be {} to {}", range.start(), range.end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Spec), expected: Option<&str>) {
        let mut spec = Spec {
            sandbox_id: SandboxId::ZERO,
            template_id: TemplateId::ZERO,
            vcpus: 1,
            memory_mib: 512,
            disk_mib: 5120,
            envs: BTreeMap::new(),
            network: Egress {
                internet: crate::sandbox::Internet::Open,
                allow_out: Vec::new(),
                deny_out: Vec::new(),
            },
            idle_timeout_sec: 0,
            on_idle: OnIdle::Pause,
            default_user: None,
        };
        change(&mut spec);
        assert_eq!(
            spec.check().err().map(|error| error.field),
            expected,
            "{spec:?}"
        );
    }

    #[test]
    fn bounds_of_the_api_hold_here_too() {
        check(|_| {}, None);
        check(|spec| spec.vcpus = 0, Some("vcpus"));
        check(|spec| spec.vcpus = 33, Some("vcpus"));
        check(|spec| spec.memory_mib = 127, Some("memory_mib"));
        check(|spec| spec.memory_mib = 129, Some("memory_mib"));
        check(|spec| spec.memory_mib = 65_538, Some("memory_mib"));
        check(|spec| spec.disk_mib = 1023, Some("disk_mib"));
        check(
            |spec| spec.default_user = Some("a:b".into()),
            Some("default_user"),
        );
        check(
            |spec| spec.default_user = Some("a\r\nb".into()),
            Some("default_user"),
        );
        check(
            |spec| drop(spec.envs.insert("A=B".into(), String::new())),
            Some("envs"),
        );
        check(
            |spec| drop(spec.envs.insert("1A".into(), String::new())),
            Some("envs"),
        );
        check(
            |spec| drop(spec.envs.insert("A".into(), "x\0".into())),
            Some("envs"),
        );
        check(
            |spec| drop(spec.envs.insert("A".into(), "x".repeat(32_769))),
            Some("envs"),
        );
    }

    #[test]
    fn an_operation_id_is_short_and_printable() {
        assert!(Operation::new("0194c0de-op", 1).is_ok());
        for bad in ["", "a b", "a\n", &"a".repeat(65)] {
            assert!(Operation::new(bad, 1).is_err(), "{bad:?}");
        }
    }
}
