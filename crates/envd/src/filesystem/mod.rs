//! stub
pub(crate) mod service;
