//! `/files`: the content of one file, down and up, as a plain HTTP body.

pub(crate) mod download;
pub(crate) mod upload;
