//! A sandbox's egress rules, in the form that is recorded and in the network's own.

use serde::{Deserialize, Serialize};
use wrenn_network::{Cidr, EgressPolicy, Verdict};

use super::BadSpec;

/// Most ranges in one list (api.md §8).
const MOST: usize = 64;

/// Where a sandbox's packets may go, within what any sandbox may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// What happens to a destination that no list names.
    pub internet: Internet,
    /// Ranges that are open in any case, in CIDR notation.
    pub allow_out: Vec<String>,
    /// Ranges that are closed, unless allowed.
    pub deny_out: Vec<String>,
}

/// Whether the internet is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Internet {
    /// It is.
    Open,
    /// Only what is allowed by name is.
    Closed,
}

impl Egress {
    /// The rules as the network takes them.
    ///
    /// # Errors
    /// With the first range that is none, or when a list is too long.
    pub fn policy(&self) -> Result<EgressPolicy, BadSpec> {
        Ok(EgressPolicy {
            default: match self.internet {
                Internet::Open => Verdict::Allow,
                Internet::Closed => Verdict::Deny,
            },
            allow_out: ranges("network.allow_out", &self.allow_out)?,
            deny_out: ranges("network.deny_out", &self.deny_out)?,
        })
    }
}

fn ranges(field: &'static str, texts: &[String]) -> Result<Vec<Cidr>, BadSpec> {
    if texts.len() > MOST {
        return Err(BadSpec {
            field,
            reason: format!("must have at most {MOST} entries"),
        });
    }
    let parse = |text: &String| {
        text.parse()
            .map_err(|error: wrenn_network::BadCidr| BadSpec {
                field,
                reason: error.to_string(),
            })
    };
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: &[&str], expected: Result<usize, &str>) {
        let egress = Egress {
            internet: Internet::Closed,
            allow_out: allow.iter().map(|text| (*text).to_owned()).collect(),
            deny_out: Vec::new(),
        };
        let found = egress
            .policy()
            .map(|policy| policy.allow_out.len())
            .map_err(|error| error.field);
        assert_eq!(found, expected, "{allow:?}");
    }

    #[test]
    fn only_ranges_are_rules() {
        check(&["1.1.1.1", "8.8.8.0/24"], Ok(2));
        check(&["example.com"], Err("network.allow_out"));
        check(&["1.1.1.1/33"], Err("network.allow_out"));
        check(&["1.1.1.1"; 65], Err("network.allow_out"));
    }
}
