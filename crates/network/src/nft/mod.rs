//! Our nftables tables, applied through `nft -j -f` in one transaction each.
//!
//! This starts a program, so it happens only where nobody waits: when the agent starts and when a slot is
//! made ready. What changes on a request goes through [`crate::netfilter::sets`].

pub(crate) mod host;
pub(crate) mod namespace;
mod words;

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use nftables::schema::{NfListObject, NfObject, Nftables};

use crate::config::NetworkConfig;
use crate::policy::{Cidr, Range, merge};
use crate::{Error, Result};

/// Name of our table, on the host and in each namespace.
pub(crate) const TABLE: &str = "wrenn";
/// The host's set of links and the addresses that may come from them.
pub(crate) const SLOTS: &str = "slots";
/// A namespace's set of destinations that are reachable although denied.
pub(crate) const ALLOW: &str = "allow";
/// A namespace's set of destinations that are not reachable.
pub(crate) const DENY: &str = "deny";

const CLOSED: &str = "closed";
const RESOLVERS: &str = "resolvers";

/// What no guest reaches (RFC 6890 and its updates): this network, private, shared (CGNAT), loopback,
/// link-local with the metadata addresses, protocol assignments, benchmarking, multicast, reserved and
/// broadcast. Documentation networks stay open: tests use them as the internet.
const ALWAYS_CLOSED: [(Ipv4Addr, u8); 11] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn closed(config: &NetworkConfig) -> Vec<Range> {
    let always = ALWAYS_CLOSED
        .into_iter()
        .filter_map(|(address, prefix)| Cidr::new(address, prefix));
    merge(
        always
            .chain(config.closed.iter().copied())
            .map(|network| network.range()),
    )
}

/// Applies a table in this thread's namespace.
pub(crate) fn apply(action: &'static str, table: &Nftables<'_>) -> Result<()> {
    let commands = serde_json::to_vec(table).map_err(|source| Error::NftJson { action, source })?;
    // Its standard input by this name: `-` means `/dev/stdin` to nft, which a bare host does not have.
    run(action, &["-j", "-f", "/proc/self/fd/0"], &commands).map(drop)
}

/// Number of elements in the host's set of slots; 0 without our table.
pub(crate) fn count_admitted() -> Result<usize> {
    let action = "list the slots";
    let answer = match run(action, &["-j", "list", "set", "inet", TABLE, SLOTS], &[]) {
        Err(Error::Nft { said, .. }) if said.contains("No such file or directory") => return Ok(0),
        other => other?,
    };
    let listed: Nftables<'_> =
        serde_json::from_slice(&answer).map_err(|source| Error::NftJson { action, source })?;
    let elements = |object: &NfObject<'_>| match object {
        NfObject::ListObject(NfListObject::Set(set)) => {
            set.elem.as_ref().map_or(0, |elements| elements.len())
        }
        _ => 0,
    };
    Ok(listed.objects.iter().map(elements).sum())
}

/// Runs `nft` in this thread's namespace. (The library's own runner loses what `nft` says on its standard
/// error, which is the only place where it says what is wrong.)
fn run(action: &'static str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let failed = |source| Error::NftStart { action, source };
    let mut nft = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // It reads all of its input before it says anything, so writing first cannot block for ever. If it ends
    // early instead, its own words tell more than the broken pipe does.
    let written = nft
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let output = nft.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .chars()
            .take(1000)
            .collect();
        return Err(Error::Nft { action, said });
    }
    written.map_err(failed)?;
    Ok(output.stdout)
}
