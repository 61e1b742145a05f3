//! Short words for the library's long ones, so that a table reads like nft's own syntax.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use nftables::batch::Batch;
use nftables::expr::{
    CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix,
    Range as NftRange, SetItem,
};
use nftables::schema::{
    Chain, NfListObject, Nftables, Rule, Set, SetFlag, SetType, SetTypeValue, Table,
};
use nftables::stmt::{JumpTarget, Match, NAT, NATFamily, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use super::TABLE;
use crate::policy::Range;

pub(super) type Value = Expression<'static>;
pub(super) type Part = Statement<'static>;

/// A table that replaces its predecessor as a whole.
pub(super) struct TableWriter(Batch<'static>);

/// Where a chain hooks in.
pub(super) struct Hook {
    pub(super) kind: NfChainType,
    pub(super) hook: NfHook,
    pub(super) priority: i32,
    pub(super) policy: NfChainPolicy,
}

impl TableWriter {
    pub(super) fn new() -> Self {
        let table = || {
            NfListObject::Table(Table {
                family: NfFamily::INet,
                name: TABLE.into(),
                handle: None,
            })
        };
        let mut batch = Batch::new();
        batch.add(table()); // so that deleting it cannot fail
        batch.delete(table());
        batch.add(table());
        Self(batch)
    }

    /// A set of address ranges.
    pub(super) fn ranges(&mut self, name: &'static str, ranges: &[Range]) {
        let elements = ranges.iter().map(range).collect();
        self.set(
            name,
            SetTypeValue::Single(SetType::Ipv4Addr),
            Some(SetFlag::Interval),
            elements,
        );
    }

    /// A set of keys.
    pub(super) fn set(
        &mut self,
        name: &'static str,
        of: SetTypeValue<'static>,
        flag: Option<SetFlag>,
        elements: Vec<Value>,
    ) {
        self.0.add(NfListObject::Set(Box::new(Set {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: name.into(),
            set_type: of,
            flags: flag.map(|flag| HashSet::from([flag])),
            elem: (!elements.is_empty()).then(|| elements.into()),
            ..Set::default()
        })));
    }

    /// A chain with its rules. Chains that are jumped to come first.
    pub(super) fn chain(&mut self, name: &'static str, hook: Option<Hook>, rules: Vec<Vec<Part>>) {
        let hook = hook.as_ref();
        self.0.add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: name.into(),
            _type: hook.map(|hook| hook.kind),
            hook: hook.map(|hook| hook.hook),
            prio: hook.map(|hook| hook.priority),
            policy: hook.map(|hook| hook.policy),
            ..Chain::default()
        }));
        for rule in rules {
            self.0.add(NfListObject::Rule(Rule {
                family: NfFamily::INet,
                table: TABLE.into(),
                chain: name.into(),
                expr: rule.into(),
                ..Rule::default()
            }));
        }
    }

    pub(super) fn finish(self) -> Nftables<'static> {
        self.0.to_nftables()
    }
}

pub(super) fn filter(hook: NfHook, priority: i32, policy: NfChainPolicy) -> Option<Hook> {
    Some(Hook {
        kind: NfChainType::Filter,
        hook,
        priority,
        policy,
    })
}

pub(super) fn nat(hook: NfHook, priority: i32) -> Option<Hook> {
    Some(Hook {
        kind: NfChainType::NAT,
        hook,
        priority,
        policy: NfChainPolicy::Accept,
    })
}

pub(super) fn input_link() -> Value {
    meta(MetaKey::Iifname)
}

pub(super) fn output_link() -> Value {
    meta(MetaKey::Oifname)
}

pub(super) fn family() -> Value {
    meta(MetaKey::Nfproto)
}

pub(super) fn source() -> Value {
    field("ip", "saddr")
}

pub(super) fn destination() -> Value {
    field("ip", "daddr")
}

pub(super) fn source_mac() -> Value {
    field("ether", "saddr")
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Expression::String(text.into().into())
}

pub(super) fn address(address: Ipv4Addr) -> Value {
    text(address.to_string())
}

pub(super) fn network(first: Ipv4Addr, prefix: u32) -> Value {
    Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(address(first)),
        len: prefix,
    }))
}

pub(super) fn concat(values: impl IntoIterator<Item = Value>) -> Value {
    Expression::Named(NamedExpression::Concat(values.into_iter().collect()))
}

/// `@name`.
pub(super) fn set(name: &str) -> Value {
    text(format!("@{name}"))
}

pub(super) fn is(left: Value, right: Value) -> Part {
    Statement::Match(Match {
        left,
        right,
        op: Operator::EQ,
    })
}

pub(super) fn is_not(left: Value, right: Value) -> Part {
    Statement::Match(Match {
        left,
        right,
        op: Operator::NEQ,
    })
}

/// `ct state established,related`.
pub(super) fn is_answer() -> Part {
    ct_in("state", &["established", "related"])
}

/// `ct state invalid`.
pub(super) fn is_stray() -> Part {
    ct_in("state", &["invalid"])
}

/// `ct status dnat`.
pub(super) fn is_redirected() -> Part {
    ct_in("status", &["dnat"])
}

/// A question for a name: port 53, or 853 for the same over TLS.
pub(super) fn is_name_query() -> [Part; 2] {
    let one_of = |items: Vec<Value>| {
        Expression::Named(NamedExpression::Set(
            items.into_iter().map(SetItem::Element).collect(),
        ))
    };
    [
        is(
            meta(MetaKey::L4proto),
            one_of(vec![text("tcp"), text("udp")]),
        ),
        is(
            field("th", "dport"),
            one_of(vec![Expression::Number(53), Expression::Number(853)]),
        ),
    ]
}

pub(super) fn accept() -> Part {
    Statement::Accept(None)
}

pub(super) fn drop() -> Part {
    Statement::Drop(None)
}

pub(super) fn jump(chain: &'static str) -> Part {
    Statement::Jump(JumpTarget {
        target: chain.into(),
    })
}

pub(super) fn dnat(to: Ipv4Addr) -> Part {
    Statement::DNAT(Some(translation(to)))
}

pub(super) fn snat(to: Ipv4Addr) -> Part {
    Statement::SNAT(Some(translation(to)))
}

pub(super) fn masquerade() -> Part {
    Statement::Masquerade(None)
}

fn translation(to: Ipv4Addr) -> NAT<'static> {
    NAT {
        addr: Some(address(to)),
        family: Some(NATFamily::IP),
        port: None,
        flags: None,
    }
}

fn meta(key: MetaKey) -> Value {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn field(protocol: &'static str, field: &'static str) -> Value {
    let field = PayloadField {
        protocol: protocol.into(),
        field: field.into(),
    };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn ct_in(key: &'static str, words: &[&'static str]) -> Part {
    let left = Expression::Named(NamedExpression::CT(CT {
        key: key.into(),
        family: None,
        dir: None,
    }));
    let right = Expression::List(words.iter().map(|word| text(*word)).collect());
    Statement::Match(Match {
        left,
        right,
        op: Operator::IN,
    })
}

fn range(range: &Range) -> Value {
    let (first, last) = (
        Ipv4Addr::from_bits(*range.start()),
        Ipv4Addr::from_bits(*range.end()),
    );
    if first == last {
        return address(first);
    }
    Expression::Range(Box::new(NftRange {
        range: [address(first), address(last)],
    }))
}
