//! The host's table: who may come in from slots, and where to.

use nftables::schema::{Nftables, SetType, SetTypeValue};
use nftables::types::{NfChainPolicy, NfHook};

use super::words::*;
use super::{CLOSED, RESOLVERS, SLOTS, closed};
use crate::config::NetworkConfig;
use crate::slot::{LINK_MARK, VETH_BASE};
use crate::{Slot, nft};

/// The table, with `standing` slots already admitted.
pub(crate) fn table(config: &NetworkConfig, standing: &[Slot]) -> Nftables<'static> {
    let any_slot = || text(format!("{LINK_MARK}*"));
    let from_slot = || is(input_link(), any_slot());
    let to_slot = || is(output_link(), any_slot());

    let mut table = TableWriter::new();
    table.ranges(CLOSED, &closed(config));
    let resolvers = config.resolvers.iter().copied().map(address).collect();
    table.set(
        RESOLVERS,
        SetTypeValue::Single(SetType::Ipv4Addr),
        None,
        resolvers,
    );
    let admitted = standing.iter().flat_map(|slot| {
        slot.sources()
            .map(|source| concat([text(slot.link()), address(source)]))
    });
    let key = vec![SetType::Ifname, SetType::Ipv4Addr];
    table.set(
        SLOTS,
        SetTypeValue::Concatenated(key.into()),
        None,
        admitted.collect(),
    );

    table.chain(
        "genuine",
        filter(NfHook::Prerouting, -300, NfChainPolicy::Accept),
        vec![
            vec![from_slot(), is_not(family(), text("ipv4")), drop()],
            vec![
                from_slot(),
                is_not(concat([input_link(), source()]), set(SLOTS)),
                drop(),
            ],
        ],
    );
    let [protocol, port] = is_name_query();
    table.chain(
        "from_slot",
        None,
        vec![
            vec![is_answer(), accept()],
            vec![to_slot(), drop()],
            vec![protocol, port, is(destination(), set(RESOLVERS)), accept()],
            vec![is(destination(), set(CLOSED)), drop()],
            vec![accept()],
        ],
    );
    table.chain(
        "forward",
        filter(NfHook::Forward, 0, NfChainPolicy::Accept),
        vec![
            vec![from_slot(), jump("from_slot")],
            vec![to_slot(), is_answer(), accept()],
            vec![to_slot(), drop()],
        ],
    );
    // The host itself answers nobody in a slot; it only hears answers.
    table.chain(
        "input",
        filter(NfHook::Input, 0, NfChainPolicy::Accept),
        vec![
            vec![from_slot(), is_answer(), accept()],
            vec![from_slot(), drop()],
        ],
    );
    let translated = vec![
        is(source(), network(VETH_BASE, 16)),
        is_not(output_link(), any_slot()),
        masquerade(),
    ];
    table.chain("outward", nat(NfHook::Postrouting, 100), vec![translated]);
    table.finish()
}

/// Applies the table (in the host's namespace).
pub(crate) fn apply(config: &NetworkConfig, standing: &[Slot]) -> crate::Result<()> {
    nft::apply("write the host's table", &table(config, standing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_rules_does_not_depend_on_the_number_of_slots() {
        let config = NetworkConfig::default();
        let commands = |slots: u16| {
            let standing: Vec<_> = (1..=slots)
                .map(|number| Slot::new(number).unwrap())
                .collect();
            serde_json::to_value(table(&config, &standing)).unwrap()["nftables"]
                .as_array()
                .unwrap()
                .len()
        };
        assert_eq!(commands(0), commands(500));
    }

    #[test]
    fn a_closed_network_of_the_operators_is_merged_with_the_fixed_ones() {
        let config = NetworkConfig {
            closed: vec![
                "10.1.0.0/16".parse().unwrap(),
                "203.0.113.7".parse().unwrap(),
            ],
            ..NetworkConfig::default()
        };
        let text = serde_json::to_string(&table(&config, &[])).unwrap();
        assert!(
            text.contains("203.0.113.7") && !text.contains("10.1.0.0"),
            "{text}"
        );
    }
}
