//! stub
use crate::http::HttpError;
pub(crate) async fn upload() -> HttpError { HttpError::fixed(501, "not implemented") }
