//! Query strings, where a key may stand several times or hold a comma list.

use std::str::FromStr;

use axum::{extract::FromRequestParts, http::request::Parts};
use wrenn_api::{ErrorCode, Invalid};

use super::super::error::{ApiError, ApiResult};

/// The pairs of a query string, in order; none has a NUL, which no column of text can hold.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        if pairs
            .iter()
            .any(|(key, value)| key.contains('\0') || value.contains('\0'))
        {
            let text = "the query string has a NUL";
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        Ok(Self(pairs))
    }
}

impl Query {
    /// The last value of a key that is not empty.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rfind(|(name, value)| name == key && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(name, value)| name == key && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a key, comma lists taken apart.
    pub(crate) fn list<T>(&self, key: &str) -> ApiResult<Vec<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.all(key)
            .flat_map(|value| value.split(','))
            .map(|item| item.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|error| Invalid::new(key, format!("is wrong: {error}")).into())
    }

    /// A value of this type.
    pub(crate) fn parsed<T>(&self, key: &str) -> ApiResult<Option<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(key)
            .map(str::parse)
            .transpose()
            .map_err(|error| Invalid::new(key, format!("is wrong: {error}")).into())
    }
}
