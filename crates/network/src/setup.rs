//! Building a slot and taking it down, each on a thread of its own.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

use crate::config::NetworkConfig;
use crate::link::{self, Links};
use crate::netfilter::{conntrack, sets};
use crate::policy::EgressPolicy;
use crate::slot::{
    GATEWAY_ADDRESS, GATEWAY_MAC, GUEST_ADDRESS, GUEST_MAC, GUEST_PREFIX, LINK_MARK, TAP_NAME,
    UPLINK, VETH_PREFIX,
};
use crate::{Error, Result, Slot, namespace, nft, sysctl, tap, thread};

/// Prepares the host: forwarding, the directory of namespaces, our table with the standing slots admitted.
pub(crate) async fn host(config: NetworkConfig) -> Result<()> {
    thread::run("network", move || {
        sysctl::set(sysctl::HOST)?;
        namespace::prepare_directory()?;
        nft::host::apply(&config, &standing()?)
    })
    .await
}

/// Slots of which at least a namespace or a link exists.
pub(crate) fn standing() -> Result<Vec<Slot>> {
    let mut slots = namespace::list()?;
    slots.extend(namespace::marked(Path::new("/sys/class/net"), LINK_MARK)?);
    slots.sort();
    slots.dedup();
    Ok(slots)
}

/// Builds a slot with the default policy. Blocking; on an error what was made stays for [`take_down`].
pub(crate) fn build(slot: Slot, config: &NetworkConfig) -> Result<()> {
    let host = thread::current()?;
    thread::block_on(link::with(async |links: Links| {
        thread::leave_for_new()?;
        namespace::name_current(slot)?;
        inside(slot, config, &links).await?;
        nft::namespace::apply(slot, config)?;
        thread::enter(&host)?;
        outside(slot, &links).await
    }))
}

/// The namespace's side. `host` is a netlink socket in the host's namespace.
async fn inside(slot: Slot, config: &NetworkConfig, host: &Links) -> Result<()> {
    sysctl::set(sysctl::NAMESPACE)?;
    tap::create(config.uid_base + u32::from(slot.number()))?;
    let here = thread::current()?;
    host.add_veth(&slot.link(), UPLINK, here.as_fd()).await?;
    link::with(async |links: Links| {
        let uplink = links
            .configure(UPLINK, slot.uplink_address(), VETH_PREFIX)
            .await?;
        links
            .route(Ipv4Addr::UNSPECIFIED, 0, slot.link_address(), uplink)
            .await?;
        let tap = links
            .configure(TAP_NAME, GATEWAY_ADDRESS, GUEST_PREFIX)
            .await?;
        links.hardware_address(tap, GATEWAY_MAC).await?;
        links.neighbour(tap, GUEST_ADDRESS, GUEST_MAC).await
    })
    .await
}

/// The host's side; the slot is admitted last.
async fn outside(slot: Slot, links: &Links) -> Result<()> {
    sysctl::set(&sysctl::of_link(&slot.link()))?;
    let index = links
        .configure(&slot.link(), slot.link_address(), VETH_PREFIX)
        .await?;
    links
        .route(slot.host_address(), 32, slot.uplink_address(), index)
        .await?;
    sets::admit(slot)
}

/// Takes down whatever exists of a slot: every step is tried, all errors are told. Blocking.
pub(crate) fn take_down(slot: Slot) -> Result<()> {
    let link = slot.link();
    let steps = [
        sets::refuse(slot),
        thread::block_on(link::with(async |links: Links| links.delete(&link).await)),
        namespace::remove_name(slot),
        conntrack::forget(&slot.sources()),
    ];
    Error::of(steps.into_iter().filter_map(Result::err).collect()).map_or(Ok(()), Err)
}

/// Puts a policy in force in a slot, for open connections too. Blocking.
pub(crate) fn set_policy(slot: Slot, policy: &EgressPolicy) -> Result<()> {
    thread::enter(thread::open(&slot.namespace_path())?)?;
    let (allow, deny) = policy.ranges();
    sets::replace(&[(nft::ALLOW, &allow), (nft::DENY, &deny)])?;
    // What the guest began is judged again by its next packet; what the host began goes on undisturbed.
    conntrack::forget_from(GUEST_ADDRESS)
}
