//! `WRENN_CORS_ORIGINS`: whose pages may call from a browser.

use super::sources::Values;
use crate::origins::normal;

const NAME: &str = "WRENN_CORS_ORIGINS";

/// A fault is noted; the list is empty then, and where nothing is set.
pub(super) fn cors_origins(values: &mut Values) -> Vec<String> {
    let Some(text) = values.get(NAME) else {
        return Vec::new();
    };
    let origins: Option<Vec<_>> = text.split(',').map(normal).collect();
    if origins.is_none() {
        let problem = "must be origins such as https://app.example.com, separated by commas";
        values.fault(NAME, problem);
    }
    origins.unwrap_or_default()
}
