//! The grammars of names, paths and amounts.
//!
//! Each function takes the name of the field it judges and refuses with a sentence that fits behind it:
//! "`vcpus` must be 1 to 32". Texts are judged byte by byte; no regular expressions are involved.

use std::{collections::BTreeMap, net::IpAddr};

use crate::sandbox::RESERVED_METADATA;

/// One field of a request that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct Invalid {
    /// The field, as written in the request.
    pub field: String,
    /// What it must be.
    pub reason: String,
}

impl Invalid {
    /// `field` breaks the rule that `reason` states.
    #[must_use]
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// Port of the guest agent, which no rule may open.
pub const GUEST_AGENT_PORT: u16 = 49983;

fn ensure(condition: bool, field: &str, reason: &str) -> Result<(), Invalid> {
    if condition {
        Ok(())
    } else {
        Err(Invalid::new(field, reason))
    }
}

/// First byte alphanumeric, then alphanumeric or in `more`, `max` bytes at most.
fn is_word(text: &str, more: &[u8], max: usize) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= max
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || more.contains(byte))
}

/// Name of a template, snapshot or channel: `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`, without `..`.
///
/// # Errors
/// The text is no such name.
pub fn template_name(field: &str, name: &str) -> Result<(), Invalid> {
    ensure(
        is_word(name, b"._-", 64) && !name.contains(".."),
        field,
        "must be 1 to 64 letters, digits, `.`, `_` or `-`, begin with a letter or digit and have no `..`",
    )
}

/// Name of a user or an API key: 1–100 characters without control characters, not all blank.
///
/// # Errors
/// The text is no such name.
pub fn display_name(field: &str, name: &str) -> Result<(), Invalid> {
    let length = name.trim().chars().count();
    ensure(
        (1..=100).contains(&length) && !name.chars().any(char::is_control),
        field,
        "must be 1 to 100 characters without control characters",
    )
}

/// Name of a team: `^[A-Za-z0-9 _\-@']{1,128}$`, not all blank.
///
/// # Errors
/// The text is no such name.
pub fn team_name(field: &str, name: &str) -> Result<(), Invalid> {
    let shape = (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" _-@'".contains(&byte));
    ensure(
        shape && !name.trim().is_empty(),
        field,
        "must be 1 to 128 letters, digits, spaces or `_-@'`, not all blank",
    )
}

/// Address of a person: at most 254 characters, one `@` with something on both sides, no blanks.
///
/// # Errors
/// The text is no such address.
pub fn email(field: &str, email: &str) -> Result<(), Invalid> {
    let sides = email.split_once('@');
    let shape = sides.is_some_and(|(user, domain)| {
        !user.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    let blank = |c: char| c.is_whitespace() || c.is_control();
    ensure(
        shape && email.chars().count() <= 254 && !email.contains(blank),
        field,
        "must be an address with one `@`, without blanks, of at most 254 characters",
    )
}

/// A password: 8–1024 bytes.
///
/// # Errors
/// It is shorter or longer.
pub fn password(field: &str, password: &str) -> Result<(), Invalid> {
    ensure(
        (8..=1024).contains(&password.len()),
        field,
        "must have 8 to 1024 bytes",
    )
}

/// Label for placement: `^[a-z0-9][a-z0-9._-]{0,31}$`.
///
/// # Errors
/// The text is no such label.
pub fn host_tag(field: &str, tag: &str) -> Result<(), Invalid> {
    ensure(
        is_word(tag, b"._-", 32) && !tag.bytes().any(|byte| byte.is_ascii_uppercase()),
        field,
        "must be 1 to 32 lowercase letters, digits, `.`, `_` or `-`",
    )
}

/// Name of a process: `^[A-Za-z0-9._-]{1,64}$`, not all digits (those are pids).
///
/// # Errors
/// The text is no such name.
pub fn process_tag(field: &str, tag: &str) -> Result<(), Invalid> {
    let shape = (1..=64).contains(&tag.len())
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    ensure(
        shape && !tag.bytes().all(|byte| byte.is_ascii_digit()),
        field,
        "must be 1 to 64 letters, digits, `.`, `_` or `-` and not only digits",
    )
}

/// Environment: keys `^[A-Za-z_][A-Za-z0-9_]{0,127}$`, values ≤ 32 KiB without NUL, ≤ 256 entries.
///
/// # Errors
/// The map breaks one of these.
pub fn envs(field: &str, envs: &BTreeMap<String, String>) -> Result<(), Invalid> {
    ensure(envs.len() <= 256, field, "must have at most 256 entries")?;
    for (key, value) in envs {
        let bytes = key.as_bytes();
        let shape = bytes.len() <= 128
            && bytes
                .first()
                .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        ensure(
            shape,
            field,
            "keys must be 1 to 128 letters, digits or `_` and not begin with a digit",
        )?;
        ensure(
            value.len() <= 32 * 1024 && !value.contains('\0'),
            field,
            "values must be at most 32 KiB without NUL",
        )?;
    }
    Ok(())
}

/// Metadata: keys `^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$`, values ≤ 512 characters, ≤ 32 pairs, none
/// of the reserved keys.
///
/// # Errors
/// The map breaks one of these.
pub fn metadata(field: &str, pairs: &BTreeMap<String, String>) -> Result<(), Invalid> {
    ensure(pairs.len() <= 32, field, "must have at most 32 pairs")?;
    for (key, value) in pairs {
        ensure(
            is_word(key, b"._/-", 63),
            field,
            "keys must be 1 to 63 letters, digits, `.`, `_`, `/` or `-` and begin with a letter or digit",
        )?;
        ensure(
            !RESERVED_METADATA.contains(&key.as_str()),
            field,
            "must not set a reserved key (kernel_version, vmm_version, agent_version, envd_version)",
        )?;
        ensure(
            value.chars().count() <= 512 && !value.contains('\0'),
            field,
            "values must be at most 512 characters without NUL",
        )?;
    }
    Ok(())
}

/// Path in the guest: 1–4096 bytes without NUL.
///
/// # Errors
/// The text is no such path.
pub fn guest_path(field: &str, path: &str) -> Result<(), Invalid> {
    ensure(
        (1..=4096).contains(&path.len()) && !path.contains('\0'),
        field,
        "must be 1 to 4096 bytes without NUL",
    )
}

/// User of the guest: a name or a number, ≤ 32 bytes.
///
/// # Errors
/// The text is no such name.
pub fn guest_user(field: &str, user: &str) -> Result<(), Invalid> {
    let shape = (1..=32).contains(&user.len())
        && user
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !user.starts_with('-');
    ensure(
        shape,
        field,
        "must be 1 to 32 letters, digits, `.`, `_` or `-`",
    )
}

/// Program: 1 byte to 4 KiB without NUL.
///
/// # Errors
/// The text is no such program.
pub fn command(field: &str, cmd: &str) -> Result<(), Invalid> {
    ensure(
        (1..=4096).contains(&cmd.len()) && !cmd.contains('\0'),
        field,
        "must be 1 to 4096 bytes without NUL",
    )
}

/// Arguments: 256 KiB in all, without NUL.
///
/// # Errors
/// The list breaks one of these.
pub fn arguments(field: &str, args: &[String]) -> Result<(), Invalid> {
    let total: usize = args.iter().map(|arg| arg.len() + 1).sum();
    ensure(
        total <= 256 * 1024 && !args.iter().any(|arg| arg.contains('\0')),
        field,
        "must be at most 256 KiB in all, without NUL",
    )
}

/// Virtual CPUs: 1–32.
///
/// # Errors
/// The number is out of range.
pub fn vcpus(field: &str, vcpus: u32) -> Result<(), Invalid> {
    ensure((1..=32).contains(&vcpus), field, "must be 1 to 32")
}

/// Memory in MiB: 128–65536, even.
///
/// # Errors
/// The number is out of range or odd.
pub fn memory_mb(field: &str, memory: u32) -> Result<(), Invalid> {
    ensure(
        (128..=65536).contains(&memory) && memory.is_multiple_of(2),
        field,
        "must be an even number from 128 to 65536",
    )
}

/// Sandboxes of one fork: 1–20.
///
/// # Errors
/// The number is outside.
pub fn fork_count(field: &str, count: u32) -> Result<(), Invalid> {
    ensure((1..=20).contains(&count), field, "must be 1 to 20")
}

/// Disk in MiB: 1024–102400.
///
/// # Errors
/// The number is out of range.
pub fn disk_size_mb(field: &str, disk: u32) -> Result<(), Invalid> {
    ensure(
        (1024..=102_400).contains(&disk),
        field,
        "must be 1024 to 102400",
    )
}

/// Idle time in seconds: 0 (never) to 30 days.
///
/// # Errors
/// The number is out of range.
pub fn idle_timeout_sec(field: &str, seconds: u32) -> Result<(), Invalid> {
    ensure(seconds <= 2_592_000, field, "must be 0 to 2592000")
}

/// Time limit of a program in seconds: 1–86400.
///
/// # Errors
/// The number is out of range.
pub fn exec_timeout_sec(field: &str, seconds: u32) -> Result<(), Invalid> {
    ensure((1..=86_400).contains(&seconds), field, "must be 1 to 86400")
}

/// Ports open without a credential: at most 16, never 0 nor the guest agent's.
///
/// # Errors
/// The list breaks one of these.
pub fn public_ports(field: &str, ports: &[u16]) -> Result<(), Invalid> {
    ensure(ports.len() <= 16, field, "must be at most 16 ports")?;
    ensure(
        ports
            .iter()
            .all(|port| *port != 0 && *port != GUEST_AGENT_PORT),
        field,
        "must be ports 1 to 65535 other than 49983",
    )
}

/// Networks in CIDR notation: at most 64.
///
/// # Errors
/// The list breaks one of these.
pub fn networks(field: &str, networks: &[String]) -> Result<(), Invalid> {
    ensure(networks.len() <= 64, field, "must be at most 64 networks")?;
    ensure(
        networks.iter().all(|network| is_cidr(network)),
        field,
        "must be networks such as 203.0.113.0/24",
    )
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let digits = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
    match (address.parse::<IpAddr>(), prefix.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => digits && bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => digits && bits <= 128,
        _ => false,
    }
}

/// Address of a host's agent: `host:port`, host an IP address (IPv6 in brackets) or a DNS name.
///
/// # Errors
/// The text is no such address.
pub fn host_address(field: &str, address: &str) -> Result<(), Invalid> {
    let valid = address.rsplit_once(':').is_some_and(|(host, port)| {
        let port_ok = port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0);
        port_ok && is_host(host)
    });
    ensure(
        valid,
        field,
        "must be `host:port` with a DNS name or an IP address",
    )
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    (1..=253).contains(&host.len())
        && host
            .split('.')
            .all(|label| is_word(label, b"-", 63) && !label.ends_with('-'))
}

/// Short technical text (architecture, version): 1–64 printable ASCII characters without space.
///
/// # Errors
/// The text is none.
pub fn label(field: &str, text: &str) -> Result<(), Invalid> {
    ensure(
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
        field,
        "must be 1 to 64 printable ASCII characters",
    )
}

/// Key of an idempotent request: 1–128 printable ASCII characters.
///
/// # Errors
/// The text is no such key.
pub fn idempotency_key(field: &str, key: &str) -> Result<(), Invalid> {
    ensure(
        (1..=128).contains(&key.len())
            && key
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' '),
        field,
        "must be 1 to 128 printable ASCII characters",
    )
}

/// Whether a caller's request id may be used: `[A-Za-z0-9._-]{1,64}`.
#[must_use]
pub fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(rule: impl Fn(&str, &str) -> Result<(), Invalid>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule("f", text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(rule("f", text).is_err(), "{text:?}");
        }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn template_names_never_reach_outside_their_directory() {
        let long = "a".repeat(64);
        let too_long = "a".repeat(65);
        check(
            template_name,
            &["minimal", "a", "A.b_c-9", &long],
            &[
                "", ".", "..", "a..b", "../a", "a/b", "-a", "a b", "é", "a\0", &too_long,
            ],
        );
    }

    #[test]
    fn team_names_hold_no_markup() {
        let long = "a".repeat(128);
        let too_long = "a".repeat(129);
        check(
            team_name,
            &["a", "Ada's team", "a_b-c@d 1", &long],
            &["", " ", "a<b", "a\tb", "é", &too_long],
        );
    }

    #[test]
    fn addresses_have_one_at_and_passwords_a_length() {
        let long = format!("{}@b", "a".repeat(252));
        let too_long = format!("{}@b", "a".repeat(253));
        check(
            email,
            &["a@b", "A.b+c@example.com", "ä@ö", &long],
            &["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", &too_long],
        );
        let (least, most) = ("a".repeat(8), "a".repeat(1024));
        check(
            password,
            &[&least, "ääää", &most],
            &["", "1234567", &"a".repeat(1025)],
        );
    }

    #[test]
    fn process_tags_are_never_pids() {
        check(
            process_tag,
            &["a", "1a", "proc-0a1b2c3d"],
            &["", "123", "a b", "a/b"],
        );
    }

    #[test]
    fn host_tags_are_lowercase() {
        check(host_tag, &["gpu", "zone.a-1"], &["GPU", "", "-a", "a b"]);
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        check(
            host_address,
            &[
                "127.0.0.1:9443",
                "[::1]:1",
                "a.example:65535",
                "localhost:80",
            ],
            &[
                "127.0.0.1",
                ":80",
                "a:0",
                "a:65536",
                "a:+1",
                "a b:1",
                "::1:80",
                "-a:1",
                "a..b:1",
            ],
        );
    }

    #[test]
    fn environments_are_bounded() {
        for good in [map(&[]), map(&[("_A1", "")]), map(&[("PATH", "/bin")])] {
            assert_eq!(envs("envs", &good), Ok(()));
        }
        for bad in [
            map(&[("1A", "")]),
            map(&[("A-B", "")]),
            map(&[("", "")]),
            map(&[("A", "\0")]),
        ] {
            assert!(envs("envs", &bad).is_err(), "{bad:?}");
        }
        let many = (0..257).map(|i| (format!("A{i}"), String::new())).collect();
        assert!(envs("envs", &many).is_err());
        assert!(envs("envs", &map(&[("A", &"x".repeat(32 * 1024 + 1))])).is_err());
    }

    #[test]
    fn metadata_is_bounded_and_keeps_reserved_keys_free() {
        assert_eq!(metadata("m", &map(&[("a/b.c", &"é".repeat(512))])), Ok(()));
        for bad in [
            ("", "x"),
            (".a", "x"),
            ("envd_version", "x"),
            ("a", &*"é".repeat(513)),
        ] {
            assert!(metadata("m", &map(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_are_cidr() {
        let check = |text: &str, ok: bool| {
            assert_eq!(networks("n", &[text.to_owned()]).is_ok(), ok, "{text}");
        };
        check("0.0.0.0/0", true);
        check("2001:db8::/32", true);
        check("10.0.0.0", false);
        check("10.0.0.0/33", false);
        check("10.0.0.0/+8", false);
        check("x/8", false);
    }

    proptest! {
        #[test]
        fn no_text_panics_a_grammar(text in ".{0,80}") {
            for rule in [template_name, display_name, host_tag, process_tag, guest_path, guest_user,
                command, host_address, label, idempotency_key] {
                let _ = rule("field", &text);
            }
            let _ = networks("field", std::slice::from_ref(&text));
            let _ = is_request_id(&text);
        }
    }
}
