//! Renewal of this replica's client certificate: 24 h of life, renewed each 12 h.

use std::sync::Arc;

use crate::{
    app::{Error, Result},
    state::App,
};

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    app.identity.renew().map_err(Error::internal)
}
