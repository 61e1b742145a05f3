//! stub
use crate::http::HttpError;
pub(crate) async fn download() -> HttpError { HttpError::fixed(501, "not implemented") }
