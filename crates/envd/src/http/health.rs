//! `GET /health`: that envd answers, and in which version.

use http::{HeaderName, HeaderValue, StatusCode};

/// The version whose behaviour the E2B SDKs may expect.
const COMPATIBLE_WITH: HeaderValue = HeaderValue::from_static("0.6.4");
const OWN: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));

/// The versions, as `/health` and `/init` tell them.
pub(super) const VERSIONS: [(HeaderName, HeaderValue); 2] = [
    (HeaderName::from_static("x-wrenn-version"), OWN),
    (HeaderName::from_static("x-envd-version"), COMPATIBLE_WITH),
];

pub(super) async fn health() -> (StatusCode, [(HeaderName, HeaderValue); 2]) {
    (StatusCode::NO_CONTENT, VERSIONS)
}
