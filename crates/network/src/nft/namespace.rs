//! The table of a slot's namespace: translation, and the guest's policy.

use nftables::schema::{Nftables, SetType, SetTypeValue};
use nftables::types::{NfChainPolicy, NfHook};

use super::words::*;
use super::{ALLOW, CLOSED, DENY, RESOLVERS, closed};
use crate::config::NetworkConfig;
use crate::slot::{GATEWAY_ADDRESS, GUEST_ADDRESS, TAP_NAME, UPLINK, guest_mac_text};
use crate::{Slot, nft};

/// The table for `slot`, with the default policy.
pub(crate) fn table(slot: Slot, config: &NetworkConfig) -> Nftables<'static> {
    let from_guest = || is(input_link(), text(TAP_NAME));
    let to_guest = || is(output_link(), text(TAP_NAME));
    let from_host = || is(input_link(), text(UPLINK));
    let to_host = || is(output_link(), text(UPLINK));

    let mut table = TableWriter::new();
    table.ranges(CLOSED, &closed(config));
    table.ranges(ALLOW, &[]);
    table.ranges(DENY, &[]);
    let resolvers = config.resolvers.iter().copied().map(address).collect();
    table.set(
        RESOLVERS,
        SetTypeValue::Single(SetType::Ipv4Addr),
        None,
        resolvers,
    );

    // Before anything else looks at a packet: is it the guest's at all?
    table.chain(
        "genuine",
        filter(NfHook::Prerouting, -300, NfChainPolicy::Accept),
        vec![
            vec![
                from_guest(),
                is_not(source_mac(), text(guest_mac_text().to_lowercase())),
                drop(),
            ],
            vec![from_guest(), is_not(family(), text("ipv4")), drop()],
            vec![
                from_guest(),
                is_not(source(), address(GUEST_ADDRESS)),
                drop(),
            ],
        ],
    );
    let own_rules = || {
        vec![
            vec![is(destination(), set(ALLOW)), accept()],
            vec![is(destination(), set(DENY)), drop()],
            vec![accept()],
        ]
    };
    // A resolver may have a private address, so these are judged apart from the closed networks.
    let mut names = vec![vec![is_not(destination(), set(RESOLVERS)), drop()]];
    names.extend(own_rules());
    table.chain("names", None, names);
    let [protocol, port] = is_name_query();
    let mut egress = vec![
        vec![protocol, port, jump("names")],
        vec![is(destination(), set(CLOSED)), drop()],
    ];
    egress.extend(own_rules());
    table.chain("egress", None, egress);
    table.chain(
        "forward",
        filter(NfHook::Forward, 0, NfChainPolicy::Drop),
        vec![
            vec![is_stray(), drop()],
            vec![is_answer(), accept()],
            vec![from_host(), to_guest(), is_redirected(), accept()],
            vec![from_guest(), to_host(), jump("egress")],
        ],
    );
    table.chain(
        "input",
        filter(NfHook::Input, 0, NfChainPolicy::Drop),
        vec![
            vec![is_answer(), accept()],
            vec![
                from_guest(),
                is(destination(), address(GATEWAY_ADDRESS)),
                accept(),
            ],
        ],
    );
    table.chain(
        "inward",
        nat(NfHook::Prerouting, -100),
        vec![vec![
            from_host(),
            is(destination(), address(slot.host_address())),
            dnat(GUEST_ADDRESS),
        ]],
    );
    table.chain(
        "outward",
        nat(NfHook::Postrouting, 100),
        vec![vec![
            to_host(),
            is(source(), address(GUEST_ADDRESS)),
            snat(slot.uplink_address()),
        ]],
    );
    table.finish()
}

/// Applies the table in this thread's namespace.
pub(crate) fn apply(slot: Slot, config: &NetworkConfig) -> crate::Result<()> {
    nft::apply("write the table of a slot", &table(slot, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_one_transaction_that_begins_from_nothing() {
        let config = NetworkConfig {
            resolvers: vec![[10, 0, 2, 3].into()],
            ..NetworkConfig::default()
        };
        let json = serde_json::to_value(table(Slot::MIN, &config)).unwrap();
        let commands = json["nftables"].as_array().unwrap();
        assert!(commands[0].get("add").is_some() && commands[1].get("delete").is_some());
        let text = json.to_string();
        for expected in [
            "10.11.0.1",
            "10.12.0.3",
            "10.0.2.3",
            "02:fc:00:00:00:05",
            r#""policy":"drop""#,
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn slots_differ_in_their_addresses_only() {
        let config = NetworkConfig::default();
        let of = |slot: Slot| serde_json::to_string(&table(slot, &config)).unwrap();
        let other = Slot::new(300).unwrap();
        let renamed = of(Slot::MIN)
            .replace("10.11.0.1\"", &format!("{}\"", other.host_address()))
            .replace("10.12.0.3\"", &format!("{}\"", other.uplink_address()));
        assert_eq!(renamed, of(other));
    }
}
