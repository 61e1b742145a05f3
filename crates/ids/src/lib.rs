//! Typed, prefixed identifiers.
//!
//! An id is a UUIDv7 written as `<prefix>` + 25 characters of lowercase base36, zero-padded, so that ids
//! sort by creation time in both forms. The prefix is part of the type: a sandbox id never parses as a
//! host id. The all-zero value names the built-in thing of its kind (platform team, template `minimal`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Characters of the number, without the prefix: the least that hold 2^128 − 1 in base 36.
const DIGITS: usize = 25;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The text does not begin with the prefix of its kind.
    #[error("must begin with `{0}`")]
    Prefix(&'static str),
    /// Not 25 characters of `0-9a-z` after the prefix.
    #[error("must have 25 characters of 0-9 and a-z after its prefix")]
    Shape,
    /// Greater than 2^128 − 1.
    #[error("is out of range")]
    Range,
}

/// Writes `value` as 25 base36 digits.
fn write_base36(mut value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        let rest = (value % 36) as u8;
        *digit = if rest < 10 {
            b'0' + rest
        } else {
            b'a' + rest - 10
        };
        value /= 36;
    }
    f.write_str(std::str::from_utf8(&digits).expect("digits are ASCII"))
}

/// Reads exactly 25 base36 digits.
fn read_base36(text: &str) -> Result<u128, ParseIdError> {
    if text.len() != DIGITS {
        return Err(ParseIdError::Shape);
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return Err(ParseIdError::Shape),
        };
        value
            .checked_mul(36)
            .and_then(|value| value.checked_add(u128::from(digit)))
            .ok_or(ParseIdError::Range)
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;
            /// The built-in thing of this kind.
            pub const ZERO: Self = Self(Uuid::nil());

            /// A new id; greater than all made before it in other milliseconds.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a new id is an event, not a default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id with this value, as the database holds it.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The value, as the database holds it.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }


        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_base36(self.0.as_u128(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix($prefix).ok_or(ParseIdError::Prefix($prefix))?;
                read_base36(digits).map(|value| Self(Uuid::from_u128(value)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(|error| de::Error::custom(format_args!("id {error}")))
            }
        }
    )*};
}

ids! {
    /// A sandbox.
    SandboxId = "sb-";
    /// A person's account.
    UserId = "usr-";
    /// A team.
    TeamId = "team-";
    /// An API key (not the key itself).
    KeyId = "key-";
    /// A machine that runs sandboxes.
    HostId = "host-";
    /// A template.
    TemplateId = "tpl-";
    /// A template build.
    BuildId = "bld-";
    /// A notification channel.
    ChannelId = "ch-";
    /// An audit row.
    AuditId = "log-";
    /// A delivery of an event to a channel.
    DeliveryId = "dlv-";
    /// An event.
    EventId = "evt-";
    /// A person's session in a browser or a command line.
    SessionId = "ses-";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<u128, ParseIdError>) {
        assert_eq!(
            text.parse::<SandboxId>().map(|id| id.as_uuid().as_u128()),
            expected,
            "{text}"
        );
    }

    #[test]
    fn only_the_canonical_text_parses() {
        check("sb-0000000000000000000000000", Ok(0));
        check("sb-000000000000000000000000z", Ok(35));
        check("sb-f5lxx1zz5pnorynqglhzmsp33", Ok(u128::MAX));
        check("sb-f5lxx1zz5pnorynqglhzmsp34", Err(ParseIdError::Range));
        check("sb-zzzzzzzzzzzzzzzzzzzzzzzzz", Err(ParseIdError::Range));
        check(
            "usr-000000000000000000000000z",
            Err(ParseIdError::Prefix("sb-")),
        );
        check("sb-00000000000000000000000", Err(ParseIdError::Shape));
        check("sb-00000000000000000000000000", Err(ParseIdError::Shape));
        check("sb-00000000000000000000000.Z", Err(ParseIdError::Shape));
        check("sb-../../../../etc/passwd000", Err(ParseIdError::Shape));
        check("", Err(ParseIdError::Prefix("sb-")));
    }

    proptest! {
        #[test]
        fn every_value_survives_the_round_trip(value: u128) {
            let id = SandboxId::from_uuid(Uuid::from_u128(value));
            prop_assert_eq!(id.to_string().parse::<SandboxId>(), Ok(id));
            prop_assert_eq!(id.to_string().len(), 28);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<SandboxId>();
        }
    }

    #[test]
    fn a_port_and_a_sandbox_fit_one_hostname_label() {
        assert_eq!(format!("65535-{}", SandboxId::new()).len(), 34);
    }
}
