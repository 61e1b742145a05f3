//! The cookies of the dashboard. Scripts can read none of them, and none is a credential of the API: the
//! refresh cookie renews a session, the other two bind a sign-in at a provider to the browser that began it.

use axum::http::{HeaderMap, HeaderValue, header};

use super::{
    error::{ApiError, ApiResult},
    extract::session_kind,
};
use crate::{app::signin::SESSION_DAYS, origins::Standing, state::App};
use wrenn_api::{ErrorCode, SessionKind};

/// A cookie of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// The refresh token of a browser's session.
    Refresh,
    /// What a browser holds while its person is at a provider's page.
    OauthState,
    /// Binds the code after that to the browser.
    OauthBrowser,
}

impl Cookie {
    fn name(self, app: &App) -> &'static str {
        match self {
            Self::Refresh if is_https(app) => "__Host-wrenn_refresh",
            Self::Refresh => "wrenn_refresh",
            Self::OauthState => "wrenn_oauth_state",
            Self::OauthBrowser => "wrenn_oauth_browser",
        }
    }

    const fn life_sec(self) -> u64 {
        match self {
            Self::Refresh => SESSION_DAYS as u64 * 24 * 3600,
            Self::OauthState => crate::app::oauth::STATE_SEC,
            Self::OauthBrowser => 60,
        }
    }

    /// A provider's page leads back here, which only `Lax` lets a cookie follow.
    const fn same_site(self) -> &'static str {
        match self {
            Self::Refresh => "Strict",
            Self::OauthState | Self::OauthBrowser => "Lax",
        }
    }

    fn header(self, app: &App, value: &str, life_sec: u64) -> HeaderValue {
        let secure = if is_https(app) { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; Max-Age={life_sec}; HttpOnly; SameSite={}{secure}",
            self.name(app),
            self.same_site(),
        );
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// Has the browser hold this.
    pub(super) fn set(self, app: &App, headers: &mut HeaderMap, value: &str) {
        headers.append(header::SET_COOKIE, self.header(app, value, self.life_sec()));
    }

    /// Has the browser forget it.
    pub(super) fn clear(self, app: &App, headers: &mut HeaderMap) {
        headers.append(header::SET_COOKIE, self.header(app, "", 0));
    }

    /// What the browser holds.
    pub(super) fn of<'a>(self, app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.name(app);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(known, value)| *known == name && !value.is_empty())
            .map(|(_, value)| value)
    }
}

fn is_https(app: &App) -> bool {
    app.public_url.starts_with("https://")
}

/// The refresh cookie, if the dashboard sent it: a page of somebody else's cannot set the header, and the
/// browser tells where it comes from.
///
/// # Errors
/// `forbidden` when there is one and it was not the dashboard.
pub(super) fn refresh_cookie<'a>(app: &App, headers: &'a HeaderMap) -> ApiResult<Option<&'a str>> {
    let Some(token) = Cookie::Refresh.of(app, headers) else {
        return Ok(None);
    };
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|origin| origin.to_str().ok());
    let own = origin.and_then(|origin| app.origins.standing(origin)) == Some(Standing::Own);
    if session_kind(headers) == Some(SessionKind::Browser) && own {
        return Ok(Some(token));
    }
    Err(ApiError::new(
        ErrorCode::Forbidden,
        "this cookie is taken from the dashboard only",
    ))
}
