//! Every operation of the document × every identity, and what each leaves in the audit log. An operation
//! without a row fails the test; the table that follows from the rows is a golden file, for people to read.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use wrenn_ids::{SandboxId, TeamId};
use wrenn_testkit::{
    client::Client, control_plane::Options, person::Person, simulated_agent::Capacity,
};

use crate::{contract::golden, setup::Setup};

/// Who may do what; the columns of the matrix follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Anybody.
    Public,
    /// Nobody by a header: whoever holds a secret in the body. Without it the answer is this, for everybody.
    Secret(u16),
    /// A person with a valid token.
    Person,
    /// A key, or a member of the token's team; those of another team see their own.
    Team,
    /// A member of the token's team, and no key.
    Member,
    /// A key or a member of the team that owns the path's sandbox.
    Sandbox,
    /// A member of the path's team with at least this role.
    RoleIn(Role),
    /// Who administers everything, or teams.
    Teams,
    /// Who administers everything, or a part that nobody here administers.
    Other,
    /// Who administers everything, or hosts; a team adds its own, which the tests of hosts show.
    AddsHosts,
    /// Who administers everything, and the administrators and owner of the team that brought the path's host.
    KeepsHost,
    /// The host that the path names.
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Role {
    Member,
    Admin,
    Owner,
}

/// Whether it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// One row for each caller that is proven.
    Row,
    /// One row for each request.
    Always,
    No,
}

use Access::*;
use Log::{Always, No, Row};

const TABLE: &[(&str, &str, Access, Log)] = &[
    ("GET", "/healthz", Public, No),
    ("GET", "/readyz", Public, No),
    ("GET", "/metrics", Public, No),
    ("GET", "/openapi.json", Public, No),
    ("GET", "/openapi.yaml", Public, No),
    ("GET", "/docs", Public, No),
    ("GET", "/v1/auth/config", Public, No),
    ("POST", "/v1/auth/setup", Secret(400), Always),
    ("POST", "/v1/auth/signup", Secret(400), Always),
    ("POST", "/v1/auth/activate", Secret(400), Always),
    ("POST", "/v1/auth/login", Secret(400), No),
    ("POST", "/v1/auth/refresh", Secret(401), No),
    ("POST", "/v1/auth/device", Secret(400), No),
    ("POST", "/v1/auth/device/token", Secret(400), No),
    ("POST", "/v1/auth/cli/exchange", Secret(400), No),
    ("GET", "/v1/auth/oauth/{provider}", Secret(404), No),
    ("GET", "/v1/auth/oauth/{provider}/callback", Secret(404), No),
    ("POST", "/v1/auth/oauth/exchange", Secret(400), No),
    ("POST", "/v1/me/password/reset", Secret(400), No),
    ("POST", "/v1/me/password/reset/confirm", Secret(400), Always),
    ("POST", "/v1/auth/switch-team", Person, No),
    ("GET", "/v1/auth/device/{user_code}", Person, No),
    ("POST", "/v1/auth/device/{user_code}/approve", Member, No),
    ("POST", "/v1/auth/device/{user_code}/deny", Person, No),
    ("POST", "/v1/auth/cli/code", Person, No),
    ("GET", "/v1/me", Person, No),
    ("PATCH", "/v1/me", Person, Row),
    ("DELETE", "/v1/me", Person, Row),
    ("POST", "/v1/me/password", Person, Row),
    ("GET", "/v1/me/sessions", Person, No),
    ("DELETE", "/v1/me/sessions/{id}", Person, No),
    ("GET", "/v1/me/providers/{provider}/connect", Person, No),
    ("DELETE", "/v1/me/providers/{provider}", Person, Row),
    ("GET", "/v1/users/search", Person, No),
    ("GET", "/v1/teams", Person, No),
    ("POST", "/v1/teams", Person, Row),
    ("GET", "/v1/teams/{team_id}", RoleIn(Role::Member), No),
    (
        "GET",
        "/v1/teams/{team_id}/members",
        RoleIn(Role::Member),
        No,
    ),
    ("GET", "/v1/teams/{team_id}/quota", RoleIn(Role::Member), No),
    ("PATCH", "/v1/teams/{team_id}", RoleIn(Role::Admin), Row),
    (
        "POST",
        "/v1/teams/{team_id}/members",
        RoleIn(Role::Admin),
        Row,
    ),
    (
        "PATCH",
        "/v1/teams/{team_id}/members/{user_id}",
        RoleIn(Role::Admin),
        Row,
    ),
    (
        "DELETE",
        "/v1/teams/{team_id}/members/{user_id}",
        RoleIn(Role::Admin),
        Row,
    ),
    (
        "POST",
        "/v1/teams/{team_id}/transfer",
        RoleIn(Role::Owner),
        Row,
    ),
    // The owner's only team: 409.
    ("DELETE", "/v1/teams/{team_id}", RoleIn(Role::Owner), Row),
    ("GET", "/v1/api-keys", Member, No),
    ("POST", "/v1/api-keys", Member, Row),
    ("DELETE", "/v1/api-keys/{id}", Member, Row),
    ("GET", "/v1/audit-logs", Member, No),
    ("GET", "/v1/admin/audit-logs", Other, No),
    ("GET", "/v1/admin/teams", Teams, No),
    ("GET", "/v1/admin/sandboxes", Teams, No),
    ("POST", "/v1/admin/sandboxes", Teams, Row),
    ("GET", "/v1/admin/sandboxes/{id}", Teams, No),
    ("PATCH", "/v1/admin/sandboxes/{id}", Teams, Row),
    ("POST", "/v1/admin/sandboxes/{id}/ping", Teams, No),
    ("POST", "/v1/admin/sandboxes/{id}/fork", Teams, Row),
    ("POST", "/v1/admin/sandboxes/{id}/exec", Teams, No),
    ("GET", "/v1/admin/sandboxes/{id}/exec/stream", Teams, Row),
    ("GET", "/v1/admin/sandboxes/{id}/processes", Teams, No),
    (
        "DELETE",
        "/v1/admin/sandboxes/{id}/processes/{process}",
        Teams,
        No,
    ),
    ("POST", "/v1/admin/sandboxes/{id}/files/write", Teams, No),
    (
        "POST",
        "/v1/admin/sandboxes/{id}/files/stream/write",
        Teams,
        No,
    ),
    ("POST", "/v1/admin/sandboxes/{id}/files/read", Teams, No),
    (
        "POST",
        "/v1/admin/sandboxes/{id}/files/stream/read",
        Teams,
        No,
    ),
    // A template of the platform needs more than its sandboxes.
    ("POST", "/v1/admin/sandboxes/{id}/snapshot", Other, Row),
    ("POST", "/v1/admin/sandboxes/{id}/pause", Teams, Row),
    ("POST", "/v1/admin/sandboxes/{id}/resume", Teams, Row),
    ("DELETE", "/v1/admin/sandboxes/{id}", Teams, Row),
    ("PUT", "/v1/admin/teams/{id}/byoc", Teams, Row),
    ("PUT", "/v1/admin/teams/{id}/quota", Teams, Row),
    ("DELETE", "/v1/admin/teams/{id}", Teams, Row),
    ("GET", "/v1/admin/users", Other, No),
    ("PUT", "/v1/admin/users/{id}/active", Other, Row),
    ("PUT", "/v1/admin/users/{id}/admin", Other, Row),
    ("PUT", "/v1/admin/users/{id}/permissions", Other, Row),
    ("POST", "/v1/sandboxes", Team, Row),
    ("GET", "/v1/sandboxes", Team, No),
    ("GET", "/v1/hosts", Member, No),
    ("GET", "/v1/hosts/{id}", Member, No),
    ("POST", "/v1/hosts", AddsHosts, Row),
    ("POST", "/v1/hosts/{id}/token", KeepsHost, Row),
    ("PATCH", "/v1/hosts/{id}", KeepsHost, Row),
    ("GET", "/v1/hosts/{id}/delete-preview", KeepsHost, No),
    ("GET", "/v1/hosts/{id}/tags", KeepsHost, No),
    ("POST", "/v1/hosts/{id}/tags", KeepsHost, Row),
    ("DELETE", "/v1/hosts/{id}/tags/{tag}", KeepsHost, Row),
    // It has a sandbox: 409.
    ("DELETE", "/v1/hosts/{id}", KeepsHost, Row),
    ("GET", "/v1/sandboxes/{id}", Sandbox, No),
    ("PATCH", "/v1/sandboxes/{id}", Sandbox, Row),
    ("POST", "/v1/sandboxes/{id}/ping", Sandbox, No),
    ("POST", "/v1/sandboxes/{id}/fork", Sandbox, Row),
    ("GET", "/v1/snapshots", Team, No),
    ("POST", "/v1/snapshots", Team, Row),
    ("DELETE", "/v1/snapshots/{name}", Team, Row),
    ("POST", "/v1/sandboxes/{id}/pause", Sandbox, Row),
    ("POST", "/v1/sandboxes/{id}/resume", Sandbox, Row),
    ("POST", "/v1/sandboxes/{id}/exec", Sandbox, No),
    ("GET", "/v1/sandboxes/{id}/exec/stream", Sandbox, Row),
    ("GET", "/v1/sandboxes/{id}/processes", Sandbox, No),
    (
        "DELETE",
        "/v1/sandboxes/{id}/processes/{process}",
        Sandbox,
        No,
    ),
    ("POST", "/v1/sandboxes/{id}/files/write", Sandbox, No),
    ("POST", "/v1/sandboxes/{id}/files/stream/write", Sandbox, No),
    ("POST", "/v1/sandboxes/{id}/files/read", Sandbox, No),
    ("POST", "/v1/sandboxes/{id}/files/stream/read", Sandbox, No),
    ("POST", "/v1/hosts/register", Secret(401), Always),
    ("POST", "/v1/hosts/auth/refresh", Secret(401), No),
    ("POST", "/v1/hosts/{id}/heartbeat", Host, No),
    // Last: they end what the others ask for.
    ("DELETE", "/v1/sandboxes/{id}", Sandbox, Row),
    (
        "POST",
        "/v1/teams/{team_id}/leave",
        RoleIn(Role::Member),
        Row,
    ),
    ("POST", "/v1/auth/logout", Person, No),
    ("POST", "/v1/auth/logout-all", Person, No),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    None,
    MalformedKey,
    UnknownKey,
    RevokedKey,
    ForeignKey,
    Key,
    MalformedToken,
    StaleToken,
    Deactivated,
    RemovedMember,
    ForeignOwner,
    PartialAdmin,
    PlatformAdmin,
    Member,
    Admin,
    Owner,
    MalformedHost,
    OtherHost,
    Host,
}

/// The owner leaves last: what they own ends for everybody.
const IDENTITIES: &[Identity] = &[
    Identity::None,
    Identity::MalformedKey,
    Identity::UnknownKey,
    Identity::RevokedKey,
    Identity::ForeignKey,
    Identity::MalformedToken,
    Identity::StaleToken,
    Identity::Deactivated,
    Identity::RemovedMember,
    Identity::ForeignOwner,
    Identity::PartialAdmin,
    Identity::PlatformAdmin,
    Identity::MalformedHost,
    Identity::OtherHost,
    Identity::Host,
    Identity::Member,
    Identity::Admin,
    Identity::Owner,
    Identity::Key,
];

/// `None`: admitted.
fn expected(access: Access, identity: Identity) -> Option<u16> {
    use Identity as I;
    match access {
        Access::Public => return None,
        Access::Secret(status) => return Some(status),
        Access::Host => {
            return match identity {
                I::Host => None,
                I::OtherHost => Some(403),
                _ => Some(401),
            };
        }
        _ => {}
    }
    match identity {
        I::None | I::MalformedKey | I::UnknownKey | I::RevokedKey => return Some(401),
        I::MalformedToken | I::StaleToken => return Some(401),
        I::MalformedHost | I::OtherHost | I::Host => return Some(401),
        I::Deactivated => return Some(403),
        I::Key | I::ForeignKey => {
            return match (access, identity) {
                (Access::Team, _) | (Access::Sandbox, I::Key) => None,
                (Access::Sandbox, _) => Some(404),
                // A key is nobody where people are asked for.
                _ => Some(401),
            };
        }
        _ => {}
    }
    let role = match identity {
        I::Member => Some(Role::Member),
        I::Admin => Some(Role::Admin),
        I::Owner => Some(Role::Owner),
        _ => None,
    };
    let refused = match access {
        Access::Person => None,
        // Their token names the team that they were removed from.
        Access::Team | Access::Member | Access::Sandbox | Access::AddsHosts | Access::KeepsHost
            if identity == I::RemovedMember =>
        {
            Some(403)
        }
        Access::Team | Access::Member => None,
        Access::Sandbox if role.is_some() => None,
        Access::Sandbox => Some(404),
        Access::RoleIn(least) if role >= Some(least) => None,
        Access::RoleIn(_) => Some(403),
        Access::AddsHosts | Access::KeepsHost if identity == I::PlatformAdmin => None,
        Access::KeepsHost if role >= Some(Role::Admin) => None,
        Access::KeepsHost if role.is_none() => Some(404),
        Access::Teams if identity == I::PartialAdmin => None,
        Access::Teams | Access::Other if identity == I::PlatformAdmin => None,
        _ => Some(403),
    };
    // What only an owner meets: they stay.
    refused
}

fn table() -> String {
    let mut text = String::from("# Refusals by identity; - is admitted. Written by the test.\n");
    for (method, path, access, log) in TABLE {
        text.push_str(&format!("\n{method} {path} (audit: {log:?})\n"));
        for identity in IDENTITIES {
            let expected = expected(*access, *identity);
            let status = expected.map_or("-".to_owned(), |status| status.to_string());
            text.push_str(&format!("  {identity:?} {status}\n"));
        }
    }
    text
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

/// The people of the matrix, by identity, with the token that each presents.
struct People {
    tokens: Vec<(Identity, String)>,
    team: TeamId,
    key: String,
    /// A sandbox of the platform's own.
    of_platform: SandboxId,
}

async fn people(setup: &Setup) -> People {
    use Identity as I;
    let owner = Person::sign_up(&setup.replica, "Owner").await.unwrap();
    let team = owner.team;
    let mut tokens = vec![(I::Owner, owner.token.clone())];
    let members = format!("/v1/teams/{team}/members");
    let inside = [
        (I::Member, "Member"),
        (I::Admin, "Admin"),
        (I::RemovedMember, "Removed"),
        (I::StaleToken, "Stale"),
        (I::Deactivated, "Deactivated"),
    ];
    for (identity, name) in inside {
        let person = Person::sign_up(&setup.replica, name).await.unwrap();
        let person = person.joining(&owner).await.unwrap();
        let path = format!("{members}/{}", person.id);
        match identity {
            I::Admin => {
                let answer = owner.client.patch(&path, json!({ "role": "admin" })).await;
                assert_eq!(answer.status, 204);
            }
            I::RemovedMember => assert_eq!(owner.client.delete(&path).await.status, 204),
            I::StaleToken => {
                let answer = person.client.post("/v1/auth/logout-all", json!({})).await;
                assert_eq!(answer.status, 204);
            }
            I::Deactivated => {
                sqlx::query("UPDATE users SET status = 'disabled' WHERE id = $1")
                    .bind(person.id.as_uuid())
                    .execute(&setup.world.db)
                    .await
                    .unwrap();
            }
            _ => {}
        }
        tokens.push((identity, person.token));
    }
    let foreign = Person::sign_up(&setup.replica, "Foreign").await.unwrap();
    tokens.push((I::ForeignOwner, foreign.token));
    let partial = Person::sign_up(&setup.replica, "Partial").await.unwrap();
    partial.may_administer(&setup.world, "teams").await.unwrap();
    tokens.push((I::PartialAdmin, partial.token));
    let root = Person::administrator(&setup.world, &setup.replica, "Platform");
    let root = root.await.unwrap();
    let of_platform = root.client.post("/v1/admin/sandboxes", json!({})).await;
    assert_eq!(of_platform.status, 201, "{of_platform:?}");
    tokens.push((I::PlatformAdmin, root.token));
    People {
        tokens,
        team,
        key: owner.key().await.unwrap().1,
        of_platform: of_platform.sandbox().id,
    }
}

#[tokio::test]
async fn every_operation_admits_exactly_whom_it_should_and_is_written_down_once() {
    golden("authorisation.txt", &table());
    let setup = Setup::with(Options::default(), Capacity::default()).await;
    let other = setup
        .world
        .agent(&setup.replica, Capacity::default())
        .await
        .unwrap();
    let people = people(&setup).await;
    let (revoked, foreign) = (
        format!("wrn_{}", "0".repeat(32)),
        format!("e2b_{}", "1".repeat(40)),
    );
    insert_key(&setup, people.team.as_uuid(), &revoked, true).await;
    insert_key(&setup, setup.world.team.as_uuid(), &foreign, false).await;
    let sandbox = Client::new(setup.replica.base_url(), Some(&people.key))
        .create()
        .await;
    // A host of the team, with a sandbox.
    let brought = crate::hosts::brought(&setup, people.team).await;
    sqlx::query(
        "INSERT INTO sandboxes (id, team_id, host_id, template_id, template_name, template_team_id,
             status, vcpus, memory_mb, disk_size_mb, created_by_type, created_by)
         SELECT gen_random_uuid(), team_id, $2, template_id, template_name, template_team_id,
             'paused', vcpus, memory_mb, disk_size_mb, created_by_type, created_by
         FROM sandboxes WHERE id = $1",
    )
    .bind(sandbox.id.as_uuid())
    .bind(brought.as_uuid())
    .execute(&setup.world.db)
    .await
    .unwrap();
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
    let (mut wrong, mut rows) = (Vec::new(), Vec::new());
    for (number, (method, path, access, log)) in TABLE.iter().enumerate() {
        assert!(
            !document["paths"][path][method.to_lowercase()].is_null(),
            "{method} {path} is gone"
        );
        let id = match (*access, *path) {
            (Access::Host, _) => setup.agent.host_id().to_string(),
            (Access::Sandbox, _) => sandbox.id.to_string(),
            (Access::KeepsHost, _) => brought.to_string(),
            (_, path) if path.starts_with("/v1/admin/sandboxes/") => people.of_platform.to_string(),
            (_, "/v1/hosts/{id}") => wrenn_ids::HostId::new().to_string(),
            (_, "/v1/api-keys/{id}") => wrenn_ids::KeyId::new().to_string(),
            (_, "/v1/me/sessions/{id}") => wrenn_ids::SessionId::new().to_string(),
            (Access::Teams, _) => TeamId::new().to_string(),
            _ => wrenn_ids::UserId::new().to_string(),
        };
        let user = wrenn_ids::UserId::new().to_string();
        let target = path
            .replace("{id}", &id)
            .replace("{team_id}", &people.team.to_string())
            .replace("{user_id}", &user)
            .replace("{tag}", "gpu");
        let has_body = matches!(*method, "POST" | "PATCH" | "PUT") || *path == "/v1/me";
        for identity in IDENTITIES {
            let request_id = format!("m.{number}.{identity:?}");
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = nobody
                .request(method.clone(), &target)
                .header("x-request-id", &request_id);
            let with = |name: &'static str, value: &str| -> RequestBuilder {
                request.try_clone().unwrap().header(name, value)
            };
            let token = people.tokens.iter().find(|(known, _)| known == identity);
            let request = match identity {
                Identity::None => request,
                Identity::MalformedKey => with("x-api-key", "wrn_not-a-key"),
                Identity::UnknownKey => with("x-api-key", &format!("wrn_{}", "f".repeat(32))),
                Identity::RevokedKey => with("x-api-key", &revoked),
                Identity::ForeignKey => with("x-api-key", &foreign),
                Identity::Key => with("x-api-key", &people.key),
                Identity::MalformedHost => with("x-host-token", "a.b.c"),
                Identity::OtherHost => with("x-host-token", &other.identity().token),
                Identity::Host => with("x-host-token", &setup.agent.identity().token),
                Identity::MalformedToken => with("authorization", "Bearer a.b.c"),
                _ => with("authorization", &format!("Bearer {}", token.unwrap().1)),
            };
            // Valid where a refusal must be one of authority; otherwise of what changes nothing.
            let body = match *path {
                "/v1/hosts/register" => json!({
                    "token": "0".repeat(64), "address": "127.0.0.1:1", "arch": "x86_64", "cpu_cores": 1,
                    "memory_mb": 1, "disk_gb": 1, "csr_pem": csr, "agent_version": "1",
                }),
                "/v1/hosts/auth/refresh" => {
                    json!({ "refresh_token": "0".repeat(64), "csr_pem": csr })
                }
                "/v1/hosts" => json!({ "type": "regular" }),
                "/v1/auth/refresh" => json!({ "refresh_token": "0".repeat(64) }),
                _ => json!({}),
            };
            let request = if has_body {
                request.json(&body)
            } else {
                request
            };
            let answer = nobody.send(request).await;
            let status = answer.status;
            let as_expected = match expected(*access, *identity) {
                Some(expected) => status == expected,
                // The owner may leave no team, and says so with the one refusal that is no want of authority.
                None if path.ends_with("/leave") && *identity == Identity::Owner => status == 403,
                None if *access == Access::Sandbox => ![401, 403, 404].contains(&status),
                None => ![401, 403, 500].contains(&status),
            };
            if !as_expected {
                wrong.push(format!(
                    "{identity:?} {method} {path}: {status} {}",
                    answer.code()
                ));
            }
            let written = match log {
                Log::No => false,
                Log::Always => true,
                Log::Row => match (expected(*access, *identity), access) {
                    (None, _) => true,
                    // Proven, and refused: their own team knows of it.
                    (Some(404), _) => true,
                    (Some(403), Access::RoleIn(_) | Access::KeepsHost) => {
                        [Identity::Member, Identity::Admin].contains(identity)
                    }
                    (Some(403), Access::AddsHosts) => [
                        Identity::Member,
                        Identity::Admin,
                        Identity::Owner,
                        Identity::ForeignOwner,
                        Identity::PartialAdmin,
                    ]
                    .contains(identity),
                    _ => false,
                },
            };
            rows.push((
                request_id,
                i64::from(written),
                format!("{identity:?} {method} {path}"),
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    setup.log_is_complete().await;
    let written: Vec<(String, i64)> = sqlx::query_as(
        "SELECT request_id, count(*) FROM audit_logs WHERE request_id LIKE 'm.%' GROUP BY 1",
    )
    .fetch_all(&setup.world.db)
    .await
    .unwrap();
    let mut missing = Vec::new();
    for (request_id, expected, what) in rows {
        let count = written
            .iter()
            .find(|(id, _)| *id == request_id)
            .map_or(0, |(_, count)| *count);
        if count != expected {
            missing.push(format!("{what}: {count} rows instead of {expected}"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
