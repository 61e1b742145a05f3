//! Every operation of the document × every identity. An operation without a row fails the test.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use wrenn_testkit::{client::Client, control_plane::Options, simulated_agent::Capacity};

use crate::setup::Setup;

/// Who may do what; the columns of the matrix follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Anybody.
    Public,
    /// A live key; another team's key sees its own team.
    Team,
    /// A live key of the team that owns the path's sandbox.
    Sandbox,
    /// The host that the path names.
    Host,
    /// Whoever holds the token in the body.
    BodyToken,
}

const TABLE: &[(&str, &str, Access)] = &[
    ("GET", "/healthz", Access::Public),
    ("GET", "/readyz", Access::Public),
    ("GET", "/metrics", Access::Public),
    ("GET", "/openapi.json", Access::Public),
    ("GET", "/openapi.yaml", Access::Public),
    ("GET", "/docs", Access::Public),
    ("POST", "/v1/sandboxes", Access::Team),
    ("GET", "/v1/sandboxes", Access::Team),
    ("GET", "/v1/hosts", Access::Team),
    ("GET", "/v1/sandboxes/{id}", Access::Sandbox),
    ("PATCH", "/v1/sandboxes/{id}", Access::Sandbox),
    ("POST", "/v1/sandboxes/{id}/ping", Access::Sandbox),
    ("POST", "/v1/sandboxes/{id}/fork", Access::Sandbox),
    ("GET", "/v1/snapshots", Access::Team),
    ("POST", "/v1/snapshots", Access::Team),
    ("DELETE", "/v1/snapshots/{name}", Access::Team),
    ("POST", "/v1/sandboxes/{id}/pause", Access::Sandbox),
    ("POST", "/v1/sandboxes/{id}/resume", Access::Sandbox),
    ("POST", "/v1/sandboxes/{id}/exec", Access::Sandbox),
    ("GET", "/v1/sandboxes/{id}/exec/stream", Access::Sandbox),
    ("GET", "/v1/sandboxes/{id}/processes", Access::Sandbox),
    (
        "DELETE",
        "/v1/sandboxes/{id}/processes/{process}",
        Access::Sandbox,
    ),
    ("POST", "/v1/sandboxes/{id}/files/write", Access::Sandbox),
    (
        "POST",
        "/v1/sandboxes/{id}/files/stream/write",
        Access::Sandbox,
    ),
    ("POST", "/v1/sandboxes/{id}/files/read", Access::Sandbox),
    (
        "POST",
        "/v1/sandboxes/{id}/files/stream/read",
        Access::Sandbox,
    ),
    ("POST", "/v1/hosts/register", Access::BodyToken),
    ("POST", "/v1/hosts/auth/refresh", Access::BodyToken),
    ("POST", "/v1/hosts/{id}/heartbeat", Access::Host),
    // Last: it ends the sandbox that the others ask for.
    ("DELETE", "/v1/sandboxes/{id}", Access::Sandbox),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    None,
    Malformed,
    UnknownKey,
    RevokedKey,
    ForeignKey,
    MalformedHost,
    OtherHost,
    Host,
    Key,
}

const IDENTITIES: &[Identity] = &[
    Identity::None,
    Identity::Malformed,
    Identity::UnknownKey,
    Identity::RevokedKey,
    Identity::ForeignKey,
    Identity::MalformedHost,
    Identity::OtherHost,
    Identity::Host,
    Identity::Key,
];

/// `None`: allowed, that is neither 401 nor 403 nor 404.
fn expected(access: Access, identity: Identity) -> Option<u16> {
    match (access, identity) {
        (Access::Public, _) | (Access::Team, Identity::Key | Identity::ForeignKey) => None,
        (Access::Sandbox, Identity::Key) | (Access::Host, Identity::Host) => None,
        (Access::Sandbox, Identity::ForeignKey) => Some(404),
        (Access::Host, Identity::OtherHost) => Some(403),
        (Access::BodyToken, _) => Some(401),
        _ => Some(401),
    }
}

async fn insert_key(setup: &Setup, team: uuid::Uuid, text: &str, revoked: bool) {
    let statement = "INSERT INTO api_keys (id, team_id, name, key_hash, key_prefix, revoked_at)
         VALUES ($1, $2, 'test', sha256($3::bytea), 'wrn_', CASE WHEN $4 THEN now() END)";
    sqlx::query(statement)
        .bind(uuid::Uuid::now_v7())
        .bind(team)
        .bind(text.as_bytes())
        .bind(revoked)
        .execute(&setup.world.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn every_operation_admits_exactly_whom_it_should() {
    let setup = Setup::with(Options::default(), Capacity::default()).await;
    let other = setup
        .world
        .agent(&setup.replica, Capacity::default())
        .await
        .unwrap();
    let foreign_team = uuid::Uuid::now_v7();
    sqlx::query("INSERT INTO teams (id, name, slug) VALUES ($1, 'other', '0a0a0a-0b0b0b')")
        .bind(foreign_team)
        .execute(&setup.world.db)
        .await
        .unwrap();
    let (revoked, foreign) = (
        format!("wrn_{}", "0".repeat(32)),
        format!("e2b_{}", "1".repeat(40)),
    );
    insert_key(&setup, setup.world.team.as_uuid(), &revoked, true).await;
    insert_key(&setup, foreign_team, &foreign, false).await;
    let sandbox = setup.client.create().await;
    let nobody = Client::new(setup.replica.base_url(), None);

    let document: Value =
        serde_json::from_str(&wrenn_control_plane::openapi().to_json().unwrap()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let row = TABLE.iter().any(|row| row.0 == method && row.1 == path);
            assert!(row, "{method} {path} has no row in the matrix");
        }
    }

    let csr = rcgen::CertificateParams::default()
        .serialize_request(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .pem()
        .unwrap();
    for (method, path, access) in TABLE {
        assert!(
            !document["paths"][path][method.to_lowercase()].is_null(),
            "{method} {path} is gone"
        );
        for identity in IDENTITIES {
            let id = if *access == Access::Host {
                setup.agent.host_id().to_string()
            } else {
                sandbox.id.to_string()
            };
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let has_body = matches!(method, Method::POST | Method::PATCH);
            let request = nobody.request(method.clone(), &path.replace("{id}", &id));
            let with = |name: &'static str, value: &str| -> RequestBuilder {
                request.try_clone().unwrap().header(name, value)
            };
            let request = match identity {
                Identity::None => request,
                Identity::Malformed => with("x-api-key", "wrn_not-a-key"),
                Identity::UnknownKey => with("x-api-key", &format!("wrn_{}", "f".repeat(32))),
                Identity::RevokedKey => with("x-api-key", &revoked),
                Identity::ForeignKey => with("x-api-key", &foreign),
                Identity::Key => with("x-api-key", &setup.world.api_key),
                Identity::MalformedHost => with("x-host-token", "a.b.c"),
                Identity::OtherHost => with("x-host-token", &other.identity().token),
                Identity::Host => with("x-host-token", &setup.agent.identity().token),
            };
            // Valid bodies, so that a refusal is one of authority.
            let body = match *path {
                "/v1/hosts/register" => json!({
                    "token": "0".repeat(64), "address": "127.0.0.1:1", "arch": "x86_64", "cpu_cores": 1,
                    "memory_mb": 1, "disk_gb": 1, "csr_pem": csr, "agent_version": "1",
                }),
                "/v1/hosts/auth/refresh" => {
                    json!({ "refresh_token": "0".repeat(64), "csr_pem": csr })
                }
                _ => json!({}),
            };
            let request = if has_body {
                request.json(&body)
            } else {
                request
            };
            let answer = nobody.send(request).await;
            match expected(*access, *identity) {
                Some(status) => {
                    assert_eq!(
                        answer.status, status,
                        "{identity:?} {method} {path}: {answer:?}"
                    );
                }
                None => assert!(
                    ![401, 403, 404].contains(&answer.status),
                    "{identity:?} {method} {path}: {answer:?}"
                ),
            }
        }
    }
}
