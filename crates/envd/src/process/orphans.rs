//! stub
use std::sync::Arc;
pub(crate) async fn reap(_: Arc<super::Processes>) {}
