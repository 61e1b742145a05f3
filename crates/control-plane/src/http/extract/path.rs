//! Ids in paths, parsed: malformed is 400.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use wrenn_api::{Invalid, grammar};
use wrenn_ids::{ParseIdError, UserId};

use super::super::error::{ApiError, ApiResult};
use crate::state::App;

/// The `id` of the path.
pub(crate) struct Id<T>(pub(crate) T);

/// The `user_id` of the path.
pub(crate) struct UserInPath(pub(crate) UserId);

/// The parameter of this name.
async fn parameter<T>(parts: &mut Parts, app: &Arc<App>, wanted: &str) -> ApiResult<T>
where
    T: FromStr<Err = ParseIdError>,
{
    let invalid = |reason: String| ApiError::from(Invalid::new(wanted, reason));
    let params = RawPathParams::from_request_parts(parts, app).await;
    let params = params.map_err(|_| invalid("is not valid UTF-8".to_owned()))?;
    let found = params.iter().find(|(name, _)| *name == wanted);
    found
        .map_or("", |(_, value)| value)
        .parse()
        .map_err(|error: ParseIdError| invalid(error.to_string()))
}

/// The `tag` of the path: a label of a host.
pub(crate) struct TagInPath(pub(crate) String);

impl FromRequestParts<Arc<App>> for TagInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let params = RawPathParams::from_request_parts(parts, app).await;
        let params = params.map_err(|_| Invalid::new("tag", "is not valid UTF-8"))?;
        let found = params.iter().find(|(name, _)| *name == "tag");
        let tag = found.map_or("", |(_, value)| value);
        grammar::host_tag("tag", tag)?;
        Ok(Self(tag.to_owned()))
    }
}

impl<T: FromStr<Err = ParseIdError>> FromRequestParts<Arc<App>> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        parameter(parts, app, "id").await.map(Self)
    }
}

impl FromRequestParts<Arc<App>> for UserInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        parameter(parts, app, "user_id").await.map(Self)
    }
}
