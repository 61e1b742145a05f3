//! stub
pub(crate) mod orphans;
pub(crate) mod service;
use std::sync::Arc;
use crate::guest::cgroup::Cgroups;
#[derive(Debug)]
pub(crate) struct Processes { cgroups: Option<Cgroups> }
impl Processes {
    pub(crate) fn new(cgroups: Option<Cgroups>) -> Arc<Self> { Arc::new(Self { cgroups }) }
    pub(crate) fn drop_subscribers(&self) {}
}
