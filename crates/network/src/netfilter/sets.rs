//! Elements of nftables sets (`linux/netfilter/nf_tables.h`).

use super::message::{ACK, CREATE, Message, attribute, nested};
use super::socket::Socket;
use crate::nft::{SLOTS, TABLE};
use crate::policy::Range;
use crate::{Result, Slot};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENTS: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENTS: u16 = SUBSYSTEM << 8 | 14;
/// `NFPROTO_INET`: the family of our tables.
const INET: u8 = 1;

// NFTA_SET_ELEM_LIST_*
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
// NFTA_LIST_ELEM
const ELEMENT: u16 = 1;
// NFTA_SET_ELEM_*
const ELEMENT_KEY: u16 = 1;
const ELEMENT_FLAGS: u16 = 3;
// NFTA_DATA_VALUE
const DATA_VALUE: u16 = 1;
// NFT_SET_ELEM_INTERVAL_END
const INTERVAL_END: u32 = 1;
/// Ranges in one message, so that its list stays below an attribute's 64 KiB.
const RANGES_A_MESSAGE: usize = 500;

/// Replaces the contents of interval sets in this thread's namespace, all in one transaction.
pub(crate) fn replace(sets: &[(&str, &[Range])]) -> Result<()> {
    let mut batch = Batch::default();
    for (set, ranges) in sets {
        batch.change(DELETE_ELEMENTS, set, None); // no list of elements: all of them
        for part in ranges.chunks(RANGES_A_MESSAGE) {
            let elements: Vec<u8> = part.iter().flat_map(interval).collect();
            batch.change(NEW_ELEMENTS, set, Some(&elements));
        }
    }
    batch.commit("replace egress rules")
}

/// Lets packets of a slot onto the host (in the host's namespace). Doing it twice is fine.
pub(crate) fn admit(slot: Slot) -> Result<()> {
    let mut batch = Batch::default();
    batch.change(NEW_ELEMENTS, SLOTS, Some(&slot_elements(slot)));
    batch.commit("admit a slot")
}

/// Takes that back; a slot that was not admitted is fine.
pub(crate) fn refuse(slot: Slot) -> Result<()> {
    let mut batch = Batch::default();
    batch.change(DELETE_ELEMENTS, SLOTS, Some(&slot_elements(slot)));
    match batch.commit("refuse a slot") {
        Err(crate::Error::Netfilter {
            source: rustix::io::Errno::NOENT,
            ..
        }) => Ok(()),
        other => other,
    }
}

/// One element a source address, `ifname . ipv4_addr`: the link's name padded to 16 bytes, the address.
fn slot_elements(slot: Slot) -> Vec<u8> {
    let link = slot.link();
    let key = |source: std::net::Ipv4Addr| {
        let mut key = [0; 20];
        key[..link.len()].copy_from_slice(link.as_bytes());
        key[16..].copy_from_slice(&source.octets());
        key
    };
    slot.sources()
        .into_iter()
        .flat_map(|source| element(&key(source), 0))
        .collect()
}

/// A range is its first address and, marked as an end, the one after its last (none after the very last).
fn interval(range: &Range) -> Vec<u8> {
    let mut bytes = element(&range.start().to_be_bytes(), 0);
    if let Some(after) = range.end().checked_add(1) {
        bytes.extend(element(&after.to_be_bytes(), INTERVAL_END));
    }
    bytes
}

fn element(key: &[u8], flags: u32) -> Vec<u8> {
    let mut contents = nested(ELEMENT_KEY, &attribute(DATA_VALUE, key));
    if flags != 0 {
        contents.extend(attribute(ELEMENT_FLAGS, &flags.to_be_bytes()));
    }
    nested(ELEMENT, &contents)
}

/// Changes that take effect together or not at all.
#[derive(Default)]
struct Batch {
    messages: Vec<u8>,
    count: u32,
}

impl Batch {
    fn change(&mut self, kind: u16, set: &str, elements: Option<&[u8]>) {
        self.count += 1;
        let create = if kind == NEW_ELEMENTS { CREATE } else { 0 };
        let mut message = Message::new(kind, ACK | create, self.count, INET, 0);
        message.text(LIST_TABLE, TABLE);
        message.text(LIST_SET, set);
        if let Some(elements) = elements {
            message.nested(LIST_ELEMENTS, elements);
        }
        self.messages.extend(message.finish());
    }

    fn commit(self, action: &'static str) -> Result<()> {
        let mut bytes = Message::new(BATCH_BEGIN, 0, 0, 0, SUBSYSTEM).finish();
        bytes.extend(self.messages);
        bytes.extend(Message::new(BATCH_END, 0, self.count + 1, 0, SUBSYSTEM).finish());
        Socket::open()?.transact(action, &bytes, 1..=self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_before_its_end_element_and_the_last_address_has_none() {
        assert_eq!(
            interval(&(1..=3)),
            [
                element(&[0, 0, 0, 1], 0),
                element(&[0, 0, 0, 4], INTERVAL_END)
            ]
            .concat()
        );
        assert_eq!(interval(&(0..=u32::MAX)), element(&[0; 4], 0));
    }

    #[test]
    fn a_slot_is_admitted_by_link_and_address_together() {
        let mut key = [0; 20];
        key[..3].copy_from_slice(b"wv1");
        key[16..].copy_from_slice(&[10, 12, 0, 3]);
        let mut expected = element(&key, 0);
        key[16..].copy_from_slice(&[10, 11, 0, 1]);
        expected.extend(element(&key, 0));
        assert_eq!(slot_elements(Slot::MIN), expected);
    }
}
