//! What of ours exists on this host, whoever made it: for leak tests.

use std::path::Path;

use crate::slot::LINK_MARK;
use crate::{Result, Slot, namespace, nft, thread};

/// Our things, sorted, so that two censuses can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Slots with a named namespace.
    pub namespaces: Vec<Slot>,
    /// Slots with a link on the host.
    pub links: Vec<Slot>,
    /// Elements in the host table's set of slots (two a slot).
    pub admitted: usize,
}

/// Counts. Starts `nft`, so it is not for request paths.
pub async fn census() -> Result<Census> {
    thread::run("census", || {
        Ok(Census {
            namespaces: namespace::list()?,
            links: namespace::marked(Path::new("/sys/class/net"), LINK_MARK)?,
            admitted: nft::count_admitted()?,
        })
    })
    .await
}
