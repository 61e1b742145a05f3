//! The HTTP edge: routes, extractors, handlers. Nothing below it knows of requests.
//!
//! A handler extracts (which authenticates and authorises), calls one function of `app/` and turns the
//! answer into a wire type. A handler cannot obtain a [`extract::SandboxOf`] or a team without the check.

mod admin;
mod admin_sandboxes;
mod audit_logs;
mod auth;
mod client_ip;
mod cookies;
mod cors;
mod documents;
mod error;
mod exec;
mod exec_stream;
mod extract;
mod files;
mod governed;
mod health;
mod hosts;
mod idempotency;
mod keys;
mod me;
mod middleware;
mod oauth;
mod processes;
mod sandboxes;
mod snapshots;
mod teams;
mod view;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, routing::get};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::extract::ActsFor;
pub(crate) use self::middleware::rewrite;
use crate::state::App;

/// Largest JSON body.
const JSON_LIMIT: usize = 1 << 20;
/// Largest body of a request that carries credentials.
const AUTH_LIMIT: usize = 16 << 10;
/// Routes whose clients give up at 5 s.
const QUICK: Duration = Duration::from_millis(4900);
/// Routes that write a snapshot.
const SLOW: Duration = Duration::from_secs(55);
/// All other routes that do not stream or run programs.
const USUAL: Duration = Duration::from_secs(30);

/// What people do about themselves. Bodies are small: some carry credentials of nobody yet.
fn accounts() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(auth::config))
        .routes(routes!(auth::setup))
        .routes(routes!(auth::signup))
        .routes(routes!(auth::activate))
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::logout_all))
        .routes(routes!(auth::switch_team))
        .routes(routes!(auth::device_start))
        .routes(routes!(auth::device_token))
        .routes(routes!(auth::cli_code))
        .routes(routes!(auth::cli_exchange))
        .routes(routes!(oauth::start))
        .routes(routes!(oauth::callback))
        .routes(routes!(oauth::exchange))
        .routes(routes!(me::get, me::update, me::delete))
        .routes(routes!(me::change_password))
        .routes(routes!(me::reset_password))
        .routes(routes!(me::confirm_reset))
        .routes(routes!(me::sessions))
        .routes(routes!(me::end_session))
        .routes(routes!(me::connect))
        .routes(routes!(me::disconnect))
        .routes(routes!(me::device))
        .routes(routes!(me::approve_device))
        .routes(routes!(me::deny_device))
        .routes(routes!(me::search))
        .layer(DefaultBodyLimit::max(AUTH_LIMIT))
}

fn within(limit: Duration, routes: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
    routes.layer(axum::middleware::from_fn_with_state(
        limit,
        middleware::deadline,
    ))
}

/// What is done to one sandbox by those whose it is.
fn of_one_sandbox() -> OpenApiRouter<Arc<App>> {
    let quick = OpenApiRouter::new()
        .routes(routes!(sandboxes::resume))
        .routes(routes!(sandboxes::ping));
    let slow = OpenApiRouter::new().routes(routes!(sandboxes::pause));
    let usual = OpenApiRouter::new()
        .routes(routes!(sandboxes::update))
        .routes(routes!(sandboxes::fork))
        .routes(routes!(processes::list))
        .routes(routes!(processes::signal));
    // These have their own limits: a program's, or no progress for 60 s.
    let own_limits = OpenApiRouter::new()
        .routes(routes!(exec::exec))
        .routes(routes!(exec_stream::open))
        .routes(routes!(files::read))
        .routes(routes!(files::stream_read));
    let uploads = OpenApiRouter::new()
        .routes(routes!(files::write))
        .routes(routes!(files::stream_write))
        .layer(DefaultBodyLimit::disable());
    within(QUICK, quick)
        .merge(within(SLOW, slow))
        .merge(within(USUAL, usual))
        .merge(own_limits)
        .merge(uploads)
}

/// The sandboxes of the platform's own team, and what its administrators may do with those of others.
fn administered_sandboxes() -> OpenApiRouter<Arc<App>> {
    let quick = OpenApiRouter::new()
        .routes(routes!(admin_sandboxes::create, admin_sandboxes::list))
        .routes(routes!(admin_sandboxes::get, admin_sandboxes::delete));
    let slow = OpenApiRouter::new().routes(routes!(admin_sandboxes::snapshot));
    OpenApiRouter::new()
        .nest("/v1/admin/sandboxes", of_one_sandbox())
        .merge(within(QUICK, quick))
        .merge(within(SLOW, slow))
        .layer(axum::Extension(ActsFor::Platform))
}

/// The router table, by deadline and body limit.
fn table() -> OpenApiRouter<Arc<App>> {
    let quick = OpenApiRouter::new()
        .routes(routes!(sandboxes::create, sandboxes::list))
        .routes(routes!(sandboxes::get, sandboxes::delete));
    let slow = OpenApiRouter::new()
        .routes(routes!(snapshots::create, snapshots::list))
        .routes(routes!(hosts::delete));
    let usual = OpenApiRouter::new()
        .routes(routes!(snapshots::delete))
        .routes(routes!(hosts::list, hosts::add))
        .routes(routes!(hosts::get, hosts::update))
        .routes(routes!(hosts::token))
        .routes(routes!(hosts::preview))
        .routes(routes!(hosts::tags, hosts::tag))
        .routes(routes!(hosts::untag))
        .routes(routes!(teams::list, teams::create))
        .routes(routes!(teams::get, teams::rename, teams::delete))
        .routes(routes!(teams::members, teams::add))
        .routes(routes!(teams::change_role, teams::remove))
        .routes(routes!(teams::leave))
        .routes(routes!(teams::transfer))
        .routes(routes!(teams::quota))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::revoke))
        .routes(routes!(audit_logs::list))
        .routes(routes!(audit_logs::list_all))
        .routes(routes!(admin::teams))
        .routes(routes!(admin::delete_team))
        .routes(routes!(admin::set_byoc))
        .routes(routes!(admin::set_quota))
        .routes(routes!(admin::users))
        .routes(routes!(admin::set_active))
        .routes(routes!(admin::set_admin))
        .routes(routes!(admin::set_permissions))
        .routes(routes!(hosts::heartbeat))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics));
    let credentials = OpenApiRouter::new()
        .routes(routes!(hosts::register))
        .routes(routes!(hosts::refresh))
        .layer(DefaultBodyLimit::max(AUTH_LIMIT));
    // What is nested comes first: a nested path would replace what the document says of the same one.
    OpenApiRouter::with_openapi(documents::ApiDoc::openapi())
        .nest("/v1/sandboxes", of_one_sandbox())
        .merge(administered_sandboxes())
        .merge(within(QUICK, quick))
        .merge(within(SLOW, slow))
        .merge(within(USUAL, usual))
        .merge(within(USUAL, credentials))
        .merge(within(USUAL, accounts()))
        .routes(routes!(documents::openapi_json))
        .routes(routes!(documents::openapi_yaml))
        .routes(routes!(documents::docs))
}

/// The table's routes and their document.
fn documented() -> (Router<Arc<App>>, utoipa::openapi::OpenApi) {
    let (router, mut document) = table().split_for_parts();
    documents::complete(&mut document);
    (router, document)
}

/// The document of every route.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().1
}

/// Every route behind the layers that all share.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, document) = documented();
    router
        .route("/docs/{*file}", get(documents::docs_file))
        .fallback(documents::fallback)
        .method_not_allowed_fallback(documents::method_not_allowed)
        .layer(axum::Extension(documents::Documents::new(&document)))
        .layer(DefaultBodyLimit::max(JSON_LIMIT))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            governed::govern,
        ))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            cors::cross_origin,
        ))
        .layer(axum::middleware::from_fn(middleware::observe))
        .with_state(app)
}
