//! Keys are shown once, are their makers' and administrators' to revoke, and end at once.

use futures::future::join_all;
use serde_json::{Value, json};
use wrenn_testkit::{
    client::{Answer, Client},
    person::Person,
};

use crate::setup::Setup;

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

#[tokio::test]
async fn a_key_is_shown_once_and_only_its_hash_is_kept() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "Ada").await.unwrap();
    for (format, prefix, length) in [(json!(null), "wrn_", 36), (json!("e2b"), "e2b_", 44)] {
        let body = json!({ "name": " ci ", "format": format });
        let made = ada.client.post("/v1/api-keys", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let text = made.json["key"].as_str().unwrap();
        assert!(text.starts_with(prefix) && text.len() == length, "{text}");
        assert_eq!(made.json["key_prefix"], text[..10]);
        assert_eq!(made.json["name"], "ci");
        assert_eq!(made.json["created_by"], ada.id.to_string());
        assert_eq!(made.json["creator_email"], ada.email);
        let client = Client::new(setup.replica.base_url(), Some(text));
        assert_eq!(client.get("/v1/sandboxes").await.status, 200);
        // A key has no rights over keys.
        check(&client.get("/v1/api-keys").await, 401, "unauthorized");
        let kept = "SELECT count(*) FROM api_keys WHERE key_hash = sha256($1::bytea)";
        let kept: i64 = sqlx::query_scalar(kept)
            .bind(text.as_bytes())
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        assert_eq!(kept, 1);
    }
    let listed = ada.client.get("/v1/api-keys").await;
    let keys = listed.json.as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|key| key["key"] == Value::Null));
    for bad in [
        json!({ "name": "" }),
        json!({ "name": "a", "format": "odd" }),
        json!({}),
    ] {
        check(
            &ada.client.post("/v1/api-keys", bad).await,
            400,
            "invalid_request",
        );
    }
}

#[tokio::test]
async fn members_revoke_their_own_keys_and_administrators_all() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "Ada").await.unwrap();
    let bob = Person::sign_up(&setup.replica, "Bob").await.unwrap();
    let bob_there = bob.joining(&ada).await.unwrap();
    let member = &bob_there.client;
    let (of_ada, ada_text) = ada.key().await.unwrap();
    let (of_bob, _) = bob_there.key().await.unwrap();
    let (other_of_bob, _) = bob_there.key().await.unwrap();
    check(&member.delete(&of_ada).await, 403, "forbidden");
    assert_eq!(member.delete(&of_bob).await.status, 204);
    assert_eq!(member.delete(&of_bob).await.status, 204);
    assert_eq!(ada.client.delete(&other_of_bob).await.status, 204);
    // One of another team is as one that is not there, and stays.
    assert_eq!(bob.client.delete(&of_ada).await.status, 204);
    let with_key = Client::new(setup.replica.base_url(), Some(&ada_text));
    assert_eq!(with_key.get("/v1/sandboxes").await.status, 200);
    assert_eq!(ada.client.delete(&of_ada).await.status, 204);
    check(&with_key.get("/v1/sandboxes").await, 401, "unauthorized");
    check(
        &ada.client.delete("/v1/api-keys/odd").await,
        400,
        "invalid_request",
    );
}

#[tokio::test]
async fn a_key_that_is_revoked_during_requests_has_one_outcome_for_each() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "Ada").await.unwrap();
    for _ in 0..5 {
        let (path, key) = ada.key().await.unwrap();
        let with_key = Client::new(setup.replica.base_url(), Some(&key));
        let creations = join_all((0..8).map(|_| with_key.post("/v1/sandboxes", json!({}))));
        let (created, revoked) = tokio::join!(creations, ada.client.delete(&path));
        assert_eq!(revoked.status, 204);
        for answer in &created {
            assert!([201, 401].contains(&answer.status), "{answer:?}");
        }
        let made = created.iter().filter(|answer| answer.status == 201).count();
        // Each is a row and a sandbox on the host; each refusal is neither.
        assert_eq!(setup.census().await, (i64::try_from(made).unwrap(), made));
        for answer in created.iter().filter(|answer| answer.status == 201) {
            let path = format!("/v1/sandboxes/{}", answer.sandbox().id);
            assert_eq!(ada.client.delete(&path).await.status, 204);
        }
    }
}

#[tokio::test]
async fn a_team_has_a_hundred_keys_at_most() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "Ada").await.unwrap();
    let statement = "INSERT INTO api_keys (id, team_id, name, key_hash, key_prefix)
         SELECT gen_random_uuid(), $1, 'k', sha256(n::text::bytea), 'wrn_' FROM generate_series(1, 98) n";
    sqlx::query(statement)
        .bind(ada.team.as_uuid())
        .execute(&setup.world.db)
        .await
        .unwrap();
    let made =
        join_all((0..4).map(|_| ada.client.post("/v1/api-keys", json!({ "name": "k" })))).await;
    let mut statuses: Vec<_> = made.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 409, 409]);
}
