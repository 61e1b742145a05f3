//! Links, addresses, routes and neighbours by rtnetlink, in the namespace where the socket was opened.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::{Error as NetlinkError, Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::{Error, Result};

/// A netlink socket in one namespace.
pub(crate) struct Links {
    handle: Handle,
}

/// Opens a socket in this thread's namespace and runs `work` with it.
pub(crate) async fn with<T>(work: impl AsyncFnOnce(Links) -> Result<T>) -> Result<T> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|source| Error::Runtime {
        purpose: "netlink connection",
        source,
    })?;
    let work = std::pin::pin!(work(Links { handle }));
    let connection = std::pin::pin!(connection);
    match futures::future::select(work, connection).await {
        futures::future::Either::Left((outcome, _)) => outcome,
        futures::future::Either::Right(((), work)) => work.await,
    }
}

impl Links {
    /// Makes a veth pair: `name` here, `peer` at once in the other namespace.
    pub(crate) async fn add_veth(
        &self,
        name: &str,
        peer: &str,
        namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let there = LinkUnspec::new_with_name(peer)
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let pair = LinkVeth::new(name, peer)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(there)))
            .build();
        self.handle
            .link()
            .add(pair)
            .execute()
            .await
            .map_err(failed("make the veth pair", name))
    }

    /// Gives a link its address and brings it up.
    pub(crate) async fn configure(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<u32> {
        let index = self.index(name).await?;
        let add = self.handle.address().add(index, address.into(), prefix);
        add.execute()
            .await
            .map_err(failed("give an address to", name))?;
        self.up(index, name).await?;
        Ok(index)
    }

    /// Brings a link up.
    pub(crate) async fn up(&self, index: u32, name: &str) -> Result<()> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(failed("bring up", name))
    }

    /// Gives a link a hardware address.
    pub(crate) async fn hardware_address(&self, index: u32, mac: [u8; 6]) -> Result<()> {
        let change = LinkUnspec::new_with_index(index)
            .address(mac.to_vec())
            .build();
        self.handle
            .link()
            .set(change)
            .execute()
            .await
            .map_err(failed("give a hardware address to", &index.to_string()))
    }

    /// Routes `destination` (a network, or everything with prefix 0) by a gateway on `index`.
    pub(crate) async fn route(
        &self,
        destination: Ipv4Addr,
        prefix: u8,
        gateway: Ipv4Addr,
        index: u32,
    ) -> Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination, prefix)
            .gateway(gateway)
            .output_interface(index)
            .build();
        self.handle
            .route()
            .add(route)
            .execute()
            .await
            .map_err(failed("add a route by", &gateway.to_string()))
    }

    /// Fixes the hardware address of a neighbour, so that it is neither asked for nor believed.
    pub(crate) async fn neighbour(
        &self,
        index: u32,
        address: Ipv4Addr,
        mac: [u8; 6],
    ) -> Result<()> {
        let add = self.handle.neighbours().add(index, address.into());
        let add = add
            .link_layer_address(&mac)
            .state(NeighbourState::Permanent);
        add.execute()
            .await
            .map_err(failed("fix the neighbour", &address.to_string()))
    }

    /// Deletes a link, and with it its peer; none is success.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let Some(index) = self.find(name).await? else {
            return Ok(());
        };
        match self.handle.link().del(index).execute().await {
            Err(error) if !is_missing(&error) => Err(failed("delete", name)(error)),
            _ => Ok(()),
        }
    }

    async fn index(&self, name: &str) -> Result<u32> {
        self.find(name)
            .await?
            .ok_or_else(|| failed("find", name)(NetlinkError::RequestFailed))
    }

    async fn find(&self, name: &str) -> Result<Option<u32>> {
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        match found.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed("look for", name)(error)),
        }
    }
}

/// ENODEV.
fn is_missing(error: &NetlinkError) -> bool {
    const ENODEV: i32 = 19;
    matches!(error, NetlinkError::NetlinkError(message) if message.raw_code() == -ENODEV)
}

fn failed(action: &'static str, link: &str) -> impl FnOnce(NetlinkError) -> Error {
    let link = link.to_owned();
    move |source| Error::Link {
        action,
        link,
        source: Box::new(source),
    }
}
