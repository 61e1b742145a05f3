//! The OpenAPI document, Swagger UI, the placeholder of the dashboard, and answers for unknown paths.
//!
//! All assets are in the binary; pages may load nothing from elsewhere.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{
        ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
    },
};
use utoipa_swagger_ui::Config as SwaggerConfig;
use wrenn_api::ErrorCode;

use super::error::{ApiError, ApiResult};
use crate::app;

/// Head of the document; paths join it from the router table.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wrenn",
        description = "Self-hosted sandboxes in Firecracker microVMs.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&Credentials),
    tags(
        (name = "accounts", description = "People: sign-up, login, sessions"),
        (name = "sandboxes", description = "Life of sandboxes"),
        (name = "processes", description = "Programs in a sandbox"),
        (name = "files", description = "Files of a sandbox"),
        (name = "teams", description = "Teams and who is in them"),
        (name = "keys", description = "What programs act for a team with"),
        (name = "audit", description = "Who did what"),
        (name = "administration", description = "All teams and all people"),
        (name = "hosts", description = "Machines that run sandboxes"),
        (name = "health", description = "Health and metrics"),
        (name = "documents", description = "This document"),
    )
)]
pub(super) struct ApiDoc;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, header) in [("api_key", "X-API-Key"), ("host_token", "X-Host-Token")] {
            let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(header)));
            components.add_security_scheme(name, scheme);
        }
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("user_token", bearer);
    }
}

/// What whoever must prove who they are can be answered by each route: that it is not theirs to ask, that they ask too
/// often, that a service is away.
const OF_ALL_PROVEN: [&str; 3] = ["403", "429", "503"];

/// Adds to each operation what no handler answers, but what stands before all of them; and tells the operations of
/// the platform's own sandboxes from those of teams, whose handlers they share.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("delete", &mut item.delete),
            ("patch", &mut item.patch),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else {
                continue;
            };
            operation.operation_id = Some(operation_id(method, path));
            if path.starts_with("/v1/admin/") {
                let none: [String; 0] = [];
                operation.tags = Some(vec!["administration".to_owned()]);
                operation.security = Some(vec![SecurityRequirement::new("user_token", none)]);
            }
            let responses = &mut operation.responses.responses;
            let Some(refusal) = responses.get("401").cloned() else {
                continue;
            };
            for status in OF_ALL_PROVEN {
                let standing = responses.entry(status.to_owned());
                standing.or_insert_with(|| refusal.clone());
            }
        }
    }
}

/// A name for an operation that no other one has: generated clients call their functions so.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    [method]
        .into_iter()
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

/// The document in both forms, made once.
#[derive(Clone)]
pub(super) struct Documents {
    json: Bytes,
    yaml: Bytes,
    swagger: Arc<SwaggerConfig<'static>>,
}

impl Documents {
    pub(super) fn new(document: &utoipa::openapi::OpenApi) -> Self {
        let json = document
            .to_pretty_json()
            .expect("a document of string keys is JSON");
        let yaml = document
            .to_yaml()
            .expect("a document of string keys is YAML");
        // Relative, so that it holds behind `/api` and behind proxies with a prefix.
        let swagger = Arc::new(SwaggerConfig::from("../openapi.json").try_it_out_enabled(true));
        Self {
            json: json.into(),
            yaml: yaml.into(),
            swagger,
        }
    }
}

/// OpenAPI 3.1 as JSON
#[utoipa::path(
    get, path = "/openapi.json", tag = "documents",
    responses((status = 200, content_type = "application/json"))
)]
pub(super) async fn openapi_json(Extension(documents): Extension<Documents>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], documents.json).into_response()
}

/// OpenAPI 3.1 as YAML
#[utoipa::path(
    get, path = "/openapi.yaml", tag = "documents",
    responses((status = 200, content_type = "application/yaml"))
)]
pub(super) async fn openapi_yaml(Extension(documents): Extension<Documents>) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], documents.yaml).into_response()
}

/// Swagger UI
#[utoipa::path(get, path = "/docs", tag = "documents", responses((status = 303)))]
pub(super) async fn docs() -> Redirect {
    // Relative for the same reason as above.
    Redirect::to("docs/index.html")
}

/// A file of Swagger UI.
pub(super) async fn docs_file(
    Path(file): Path<String>,
    Extension(documents): Extension<Documents>,
) -> ApiResult<Response> {
    let found = utoipa_swagger_ui::serve(&file, documents.swagger);
    let found = found.map_err(|error| app::Error::internal(error.to_string()))?;
    let found = found.ok_or_else(|| app::Error::not_found("page"))?;
    Ok(page(&found.content_type, found.bytes.into_owned()))
}

const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    frame-ancestors 'none'; base-uri 'none'";

fn page(kind: &str, bytes: impl Into<Bytes>) -> Response {
    let kind =
        HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (header::CONTENT_TYPE, kind),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    (headers, bytes.into()).into_response()
}

/// Served until the dashboard is built in.
const PLACEHOLDER: &str = include_str!("../../../../dashboard/placeholder/index.html");
/// So is what command lines and links in mail lead to.
const ACCOUNT: &str = include_str!("../../../../dashboard/placeholder/account.html");
const ACCOUNT_SCRIPT: &str = include_str!("../../../../dashboard/placeholder/account.js");
const ACCOUNT_PATHS: [&str; 4] = ["/cli", "/device", "/activate", "/reset/confirm"];

/// Paths without a route: the dashboard for a browser that looks around, else 404.
pub(super) async fn fallback(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let browser = method == Method::GET && accepts.is_some_and(|kinds| kinds.contains("text/html"));
    let path = uri.path();
    let inside = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // A client that names no type gets the page at the root too: it is what there is.
    let root = path == "/" && method == Method::GET;
    if browser && ACCOUNT_PATHS.contains(&path) {
        return page("text/html; charset=utf-8", ACCOUNT);
    }
    if method == Method::GET && path == "/account.js" {
        return page("text/javascript; charset=utf-8", ACCOUNT_SCRIPT);
    }
    if root || (browser && !["/v1", "/api", "/docs"].into_iter().any(inside)) {
        return page("text/html; charset=utf-8", PLACEHOLDER);
    }
    ApiError(app::Error::not_found("route")).into_response()
}

/// The path exists, with other methods.
pub(super) async fn method_not_allowed() -> (StatusCode, Response) {
    let error = ApiError::new(ErrorCode::MethodNotAllowed, "this path has other methods");
    (StatusCode::METHOD_NOT_ALLOWED, error.into_response())
}
