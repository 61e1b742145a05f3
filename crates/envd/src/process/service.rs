//! stub
use std::sync::Arc;
use wrenn_rpc::connectrpc::Router;
use crate::agent::Agent;
pub(crate) fn register(_agent: Arc<Agent>, router: Router) -> Router { router }
