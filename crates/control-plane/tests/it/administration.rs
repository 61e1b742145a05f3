//! Platform administrators: who they are, what each may, and that one always remains.

use serde_json::{Value, json};
use wrenn_ids::{TeamId, UserId};
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::eventually,
    person::Person,
};

use crate::setup::Setup;

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

async fn administrator(setup: &Setup, name: &str) -> Person {
    let person = Person::administrator(&setup.world, &setup.replica, name).await;
    person.unwrap()
}

async fn put(by: &Person, user: UserId, what: &str, body: Value) -> Answer {
    by.client
        .put(&format!("/v1/admin/users/{user}/{what}"), body)
        .await
}

#[tokio::test]
async fn one_active_administrator_remains() {
    let setup = Setup::new().await;
    let (ada, bob) = (
        administrator(&setup, "Ada").await,
        administrator(&setup, "Bob").await,
    );
    // The administrator that the installation made.
    sqlx::query("UPDATE users SET is_admin = false WHERE email = 'admin@localhost'")
        .execute(&setup.world.db)
        .await
        .unwrap();
    for (what, body) in [
        ("admin", json!({ "admin": false })),
        ("active", json!({ "active": false })),
        ("permissions", json!({ "permissions": [] })),
    ] {
        check(&put(&ada, ada.id, what, body).await, 409, "conflict");
    }
    for _ in 0..6 {
        // Each takes the other's rights: one of the two is left.
        let (one, two) = tokio::join!(
            put(&ada, bob.id, "admin", json!({ "admin": false })),
            put(&bob, ada.id, "active", json!({ "active": false })),
        );
        let left = "SELECT count(*) FROM users WHERE is_admin AND status = 'active'";
        let left: i64 = sqlx::query_scalar(left)
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        assert!(left >= 1, "{one:?} {two:?}");
        sqlx::query("UPDATE users SET is_admin = true, status = 'active', token_version = 0 WHERE name IN ('Ada', 'Bob')")
            .execute(&setup.world.db)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn whoever_is_shut_out_is_out_with_the_next_request_and_may_come_back() {
    let setup = Setup::new().await;
    let root = administrator(&setup, "Root").await;
    let eve = Person::sign_up(&setup.replica, "Eve").await.unwrap();
    let (_, key) = eve.key().await.unwrap();
    let key = Client::new(setup.replica.base_url(), Some(&key));
    let sandbox = eve.client.create().await;
    assert_eq!(
        put(&root, eve.id, "active", json!({ "active": false }))
            .await
            .status,
        204
    );
    check(
        &eve.client.get("/v1/teams").await,
        403,
        "account_deactivated",
    );
    let nobody = Client::new(setup.replica.base_url(), None);
    let login = json!({ "email": eve.email, "password": wrenn_testkit::person::PASSWORD });
    check(
        &nobody.post("/v1/auth/login", login).await,
        403,
        "account_disabled",
    );
    // What the team has goes on.
    assert_eq!(
        key.get(&format!("/v1/sandboxes/{}", sandbox.id))
            .await
            .status,
        200
    );
    assert_eq!(
        put(&root, eve.id, "active", json!({ "active": true }))
            .await
            .status,
        204
    );
    check(&eve.client.get("/v1/teams").await, 401, "unauthorized");
    let back = Person::log_in(&setup.replica, &eve.email).await.unwrap();
    assert_eq!(back.client.get("/v1/teams").await.status, 200);
    check(
        &put(&root, UserId::new(), "active", json!({ "active": true })).await,
        404,
        "not_found",
    );
}

#[tokio::test]
async fn each_permission_opens_its_part_and_nothing_else() {
    let setup = Setup::new().await;
    let root = administrator(&setup, "Root").await;
    let eve = Person::sign_up(&setup.replica, "Eve").await.unwrap();
    let parts = [
        ("teams", "/v1/admin/teams"),
        ("users", "/v1/admin/users"),
        ("audit", "/v1/admin/audit-logs"),
        ("teams", "/v1/admin/sandboxes"),
    ];
    for granted in ["", "hosts", "templates", "teams", "users", "audit"] {
        let list: Vec<&str> = [granted]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let body = json!({ "permissions": list });
        assert_eq!(put(&root, eve.id, "permissions", body).await.status, 204);
        for (part, path) in parts {
            let expected = if part == granted { 200 } else { 403 };
            assert_eq!(
                eve.client.get(path).await.status,
                expected,
                "{granted} {path}"
            );
        }
        // None of them makes administrators.
        check(
            &put(&eve, root.id, "admin", json!({ "admin": false })).await,
            403,
            "forbidden",
        );
        let grant = json!({ "permissions": ["teams"] });
        check(
            &put(&eve, eve.id, "permissions", grant).await,
            403,
            "forbidden",
        );
    }
    let odd = json!({ "permissions": ["everything"] });
    check(
        &put(&root, eve.id, "permissions", odd).await,
        400,
        "invalid_request",
    );
    assert_eq!(
        put(&root, eve.id, "admin", json!({ "admin": true }))
            .await
            .status,
        204
    );
    for (_, path) in parts {
        assert_eq!(eve.client.get(path).await.status, 200, "{path}");
    }
    assert_eq!(
        put(&eve, root.id, "admin", json!({ "admin": false }))
            .await
            .status,
        204
    );
    check(&root.client.get("/v1/admin/teams").await, 403, "forbidden");
}

#[tokio::test]
async fn teams_are_found_limited_and_deleted() {
    let setup = Setup::new().await;
    let root = administrator(&setup, "Root").await;
    let eve = Person::sign_up(&setup.replica, "Eve").await.unwrap();
    let found = root.client.get("/v1/admin/teams?q=eve").await;
    assert_eq!(
        (
            &found.json["total"],
            &found.json["page"],
            &found.json["per_page"],
            &found.json["total_pages"]
        ),
        (&json!(1), &json!(1), &json!(100), &json!(1))
    );
    assert_eq!(found.json["teams"][0]["owner_email"], eve.email);
    // Wild cards are letters.
    assert_eq!(
        root.client.get("/v1/admin/teams?q=%25").await.json["total"],
        0
    );
    assert_eq!(
        root.client.get("/v1/admin/users?q=eve@").await.json["total"],
        1
    );
    check(
        &root.client.get("/v1/admin/users?page=0").await,
        400,
        "invalid_request",
    );
    let team = format!("/v1/admin/teams/{}", eve.team);
    let quota = root
        .client
        .put(&format!("{team}/quota"), json!({ "max_sandboxes": 1 }))
        .await;
    assert_eq!(quota.status, 204, "{quota:?}");
    eve.client.create().await;
    let refused = eve.client.post("/v1/sandboxes", json!({})).await;
    check(&refused, 429, "quota_exceeded");
    let too_many = json!({ "max_vcpus": 4_294_967_295_u32 });
    check(
        &root.client.put(&format!("{team}/quota"), too_many).await,
        400,
        "invalid_request",
    );
    assert_eq!(
        root.client
            .put(&format!("{team}/byoc"), json!({ "enabled": true }))
            .await
            .status,
        204
    );
    assert_eq!(eve.client.get("/v1/teams").await.json[0]["is_byoc"], true);
    let all = root
        .client
        .get(&format!("/v1/admin/sandboxes?team_id={}", eve.team))
        .await;
    assert_eq!(all.json.as_array().unwrap().len(), 1);
    assert_eq!(root.client.delete(&team).await.status, 204);
    check(&root.client.delete(&team).await, 404, "not_found");
    eventually("its sandbox is gone", async || {
        setup.census().await == (0, 0)
    })
    .await
    .unwrap();
    let platform = format!("/v1/admin/teams/{}", TeamId::ZERO);
    check(&root.client.delete(&platform).await, 403, "forbidden");
    // What was done to a team is in its log, and in the one of all.
    let log = root
        .client
        .get(&format!(
            "/v1/admin/audit-logs?team_id={}&resource_type=team",
            eve.team
        ))
        .await;
    let actions: Vec<_> = log.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        ["delete", "delete", "set_byoc", "set_quota", "set_quota"]
    );
    assert_eq!(log.json["items"][4]["metadata"]["max_sandboxes"], "1");
}

#[tokio::test]
async fn the_log_is_read_page_by_page_by_those_who_may() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "Ada").await.unwrap();
    let bob = Person::sign_up(&setup.replica, "Bob").await.unwrap();
    let member = bob.joining(&ada).await.unwrap().client;
    for _ in 0..5 {
        let sandbox = ada.client.create().await;
        ada.client
            .delete(&format!("/v1/sandboxes/{}", sandbox.id))
            .await;
        assert_eq!(
            ada.client
                .post("/v1/api-keys", json!({ "name": "k" }))
                .await
                .status,
            201
        );
    }
    setup.log_is_complete().await;
    let all = ada.client.get("/v1/audit-logs?limit=200").await;
    let items = all.json["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 16, "{all:?}");
    assert!(
        items
            .iter()
            .all(|row| row["actor_name"] == "Ada" && row["actor_type"] == "user")
    );
    // Page by page they are the same rows in the same order.
    let (mut pages, mut query) = (Vec::new(), String::new());
    loop {
        let page = ada
            .client
            .get(&format!("/v1/audit-logs?limit=3{query}"))
            .await;
        pages.extend(page.json["items"].as_array().unwrap().clone());
        let (Some(before), Some(id)) = (
            page.json["next_before"].as_str(),
            page.json["next_before_id"].as_str(),
        ) else {
            break;
        };
        query = format!("&before={before}&before_id={id}");
    }
    assert_eq!(pages, items);
    let count = async |client: &Client, query: &str| {
        let page = client
            .get(&format!("/v1/audit-logs?limit=200&{query}"))
            .await;
        page.json["items"]
            .as_array()
            .unwrap_or_else(|| panic!("{page:?}"))
            .len()
    };
    assert_eq!(count(&ada.client, "resource_type=api_key").await, 5);
    assert_eq!(
        count(&ada.client, "action=create,destroy&resource_type=sandbox").await,
        10
    );
    assert_eq!(count(&ada.client, "status=error").await, 0);
    assert_eq!(count(&ada.client, &format!("actor={}", bob.id)).await, 0);
    assert_eq!(
        count(&ada.client, &format!("resource_id={}", bob.id)).await,
        1
    );
    assert_eq!(count(&ada.client, "since=2100-01-01T00:00:00Z").await, 0);
    for bad in [
        "limit=0",
        "limit=201",
        "action=odd",
        "before=yesterday",
        "before_id=log-1",
    ] {
        let page = ada.client.get(&format!("/v1/audit-logs?{bad}")).await;
        check(&page, 400, "invalid_request");
    }
    // A member does not see what concerns keys.
    assert_eq!(count(&member, "").await, 11);
    assert_eq!(count(&member, "resource_type=api_key").await, 0);
    assert_eq!(count(&bob.client, "").await, 0);
    let text = serde_json::to_string(&all.json).unwrap();
    assert!(
        !text.contains("wrn_") || text.contains("key_prefix"),
        "{text}"
    );
}
