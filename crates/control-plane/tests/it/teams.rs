//! Teams keep their promises: one owner, nobody without a team by accident, nothing left behind.

use futures::future::join_all;
use serde_json::{Value, json};
use wrenn_ids::{TeamId, UserId};
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, eventually},
    person::Person,
    simulated_agent::Capacity,
};

use crate::setup::Setup;

async fn people<const N: usize>(setup: &Setup, names: [&str; N]) -> [Person; N] {
    let signed_up = join_all(names.map(|name| Person::sign_up(&setup.replica, name))).await;
    let people: Vec<_> = signed_up.into_iter().map(Result::unwrap).collect();
    people.try_into().unwrap()
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

async fn add(by: &Person, team: TeamId, who: &Person) {
    let body = json!({ "email": who.email });
    let added = by
        .client
        .post(&format!("/v1/teams/{team}/members"), body)
        .await;
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(added.json["role"], "member");
}

async fn role(by: &Person, team: TeamId, who: UserId, role: &str) -> Answer {
    let path = format!("/v1/teams/{team}/members/{who}");
    by.client.patch(&path, json!({ "role": role })).await
}

async fn remove(by: &Person, team: TeamId, who: UserId) -> Answer {
    by.client
        .delete(&format!("/v1/teams/{team}/members/{who}"))
        .await
}

async fn roles(by: &Person, team: TeamId) -> Vec<(String, String)> {
    let members = by.client.get(&format!("/v1/teams/{team}/members")).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let members = members
        .json
        .as_array()
        .unwrap_or_else(|| panic!("{members:?}"))
        .clone();
    members
        .iter()
        .map(|member| (text(&member["name"]), text(&member["role"])))
        .collect()
}

async fn new_team(by: &Person, name: &str) -> TeamId {
    let made = by.client.post("/v1/teams", json!({ "name": name })).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn whoever_makes_a_team_owns_it() {
    let setup = Setup::new().await;
    let [ada] = people(&setup, ["Ada"]).await;
    let made = ada
        .client
        .post("/v1/teams", json!({ "name": "  Engines  " }))
        .await;
    assert_eq!(
        (made.status, &made.json["name"], &made.json["role"]),
        (201, &json!("Engines"), &json!("owner"))
    );
    let slug = made.json["slug"].as_str().unwrap();
    assert!(slug.len() == 13 && slug.as_bytes()[6] == b'-', "{slug}");
    let team: TeamId = made.json["id"].as_str().unwrap().parse().unwrap();
    let teams = ada.client.get("/v1/teams").await;
    let names: Vec<_> = teams
        .json
        .as_array()
        .unwrap()
        .iter()
        .map(|team| &team["name"])
        .collect();
    assert_eq!(names, [&json!("Ada's team"), &json!("Engines")]);
    let path = format!("/v1/teams/{team}");
    assert_eq!(
        ada.client
            .patch(&path, json!({ "name": "Looms" }))
            .await
            .status,
        204
    );
    let one = ada.client.get(&path).await;
    assert_eq!(one.json["team"]["name"], "Looms");
    assert_eq!(one.json["team"]["slug"], slug);
    assert_eq!(one.json["members"][0]["user_id"], ada.id.to_string());
    let quota = ada.client.get(&format!("{path}/quota")).await;
    assert_eq!(
        quota.json,
        json!({
            "limits": { "max_sandboxes": 50, "max_vcpus": 64, "max_memory_mb": 131072, "max_disk_mb": 512000 },
            "used": { "sandboxes": 0, "vcpus": 0, "memory_mb": 0, "disk_mb": 0 },
        })
    );
    for bad in ["", "   ", "<b>", "a\tb", &"a".repeat(129)] {
        check(
            &ada.client.post("/v1/teams", json!({ "name": bad })).await,
            400,
            "invalid_request",
        );
        check(
            &ada.client.patch(&path, json!({ "name": bad })).await,
            400,
            "invalid_request",
        );
    }
}

#[tokio::test]
async fn the_owner_is_protected_and_nobody_changes_their_own_role() {
    let setup = Setup::new().await;
    let [ada, bob, cy, eve] = people(&setup, ["Ada", "Bob", "Cy", "Eve"]).await;
    let team = new_team(&ada, "Engines").await;
    let path = format!("/v1/teams/{team}");
    add(&ada, team, &bob).await;
    let again = ada
        .client
        .post(&format!("{path}/members"), json!({ "email": bob.email }))
        .await;
    check(&again, 409, "conflict");
    let nobody = json!({ "email": "nobody@example.com" });
    check(
        &ada.client.post(&format!("{path}/members"), nobody).await,
        404,
        "not_found",
    );
    assert_eq!(role(&ada, team, bob.id, "admin").await.status, 204);
    // The address in any case.
    let cy_loud = json!({ "email": cy.email.to_uppercase() });
    assert_eq!(
        bob.client
            .post(&format!("{path}/members"), cy_loud)
            .await
            .status,
        201
    );
    for refused in [
        role(&bob, team, ada.id, "member").await,
        role(&bob, team, bob.id, "member").await,
        role(&ada, team, ada.id, "member").await,
        role(&ada, team, bob.id, "owner").await,
        role(&cy, team, bob.id, "member").await,
        remove(&bob, team, ada.id).await,
        remove(&cy, team, bob.id).await,
        bob.client.delete(&path).await,
        bob.client
            .post(
                &format!("{path}/transfer"),
                json!({ "user_id": bob.id.to_string() }),
            )
            .await,
        cy.client.patch(&path, json!({ "name": "Mine" })).await,
        ada.client.post(&format!("{path}/leave"), json!({})).await,
        eve.client.get(&path).await,
        eve.client
            .get(&format!("/v1/teams/{}", TeamId::new()))
            .await,
    ] {
        check(&refused, 403, "forbidden");
    }
    check(&role(&ada, team, eve.id, "admin").await, 404, "not_found");
    check(&remove(&ada, team, eve.id).await, 404, "not_found");
    check(
        &role(&ada, team, bob.id, "king").await,
        400,
        "invalid_request",
    );
    let to_eve = json!({ "user_id": eve.id.to_string() });
    check(
        &ada.client.post(&format!("{path}/transfer"), to_eve).await,
        404,
        "not_found",
    );
    let to_bob = json!({ "user_id": bob.id.to_string() });
    assert_eq!(
        ada.client
            .post(&format!("{path}/transfer"), to_bob)
            .await
            .status,
        204
    );
    let pair = |name: &str, role: &str| (name.to_owned(), role.to_owned());
    let expected = [
        pair("Bob", "owner"),
        pair("Ada", "admin"),
        pair("Cy", "member"),
    ];
    assert_eq!(roles(&bob, team).await, expected);
    assert_eq!(remove(&ada, team, cy.id).await.status, 204);
    // At once, and told as a team that does not exist is.
    let (gone, unknown) = (cy.client.get(&path).await, eve.client.get(&path).await);
    assert_eq!((gone.status, gone.bytes), (unknown.status, unknown.bytes));
    assert_eq!(
        ada.client
            .post(&format!("{path}/leave"), json!({}))
            .await
            .status,
        204
    );
    assert_eq!(roles(&bob, team).await, [pair("Bob", "owner")]);
    // Their first team is all that Ada has left.
    let own = format!("/v1/teams/{}", ada.team);
    check(&ada.client.delete(&own).await, 409, "conflict");
}

#[tokio::test]
async fn the_keys_of_whoever_is_removed_are_dead_unless_they_are_kept() {
    let setup = Setup::new().await;
    let [ada, bob] = people(&setup, ["Ada", "Bob"]).await;
    let team = new_team(&ada, "Engines").await;
    for (keep, expected) in [("", 401), ("?keep_api_keys=true", 200)] {
        add(&ada, team, &bob).await;
        let switched = bob
            .client
            .post(
                "/v1/auth/switch-team",
                json!({ "team_id": team.to_string() }),
            )
            .await;
        let token = switched.json["token"].as_str().unwrap();
        let inside = Client::with_token(setup.replica.base_url(), token);
        let made = inside.post("/v1/api-keys", json!({ "name": "ci" })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let key = Client::new(setup.replica.base_url(), made.json["key"].as_str());
        assert_eq!(key.get("/v1/sandboxes").await.status, 200);
        let path = format!("/v1/teams/{team}/members/{}{keep}", bob.id);
        assert_eq!(ada.client.delete(&path).await.status, 204);
        assert_eq!(key.get("/v1/sandboxes").await.status, expected, "{keep}");
        check(&inside.get("/v1/sandboxes").await, 403, "forbidden");
    }
}

#[tokio::test]
async fn changes_at_once_leave_exactly_one_owner() {
    let setup = Setup::new().await;
    let [ada, bob, cy] = people(&setup, ["Ada", "Bob", "Cy"]).await;
    let team = new_team(&ada, "Engines").await;
    add(&ada, team, &bob).await;
    add(&ada, team, &cy).await;
    assert_eq!(role(&ada, team, bob.id, "admin").await.status, 204);
    let all = [&ada, &bob, &cy];
    for round in 0..12 {
        let transfer = |from: &Person, to: &Person| {
            let (client, path) = (from.client.clone(), format!("/v1/teams/{team}/transfer"));
            let body = json!({ "user_id": to.id.to_string() });
            async move { client.post(&path, body).await.status }
        };
        let to = [all[(round + 1) % 3], all[(round + 2) % 3]];
        let from = all[round % 3];
        let outcomes = tokio::join!(
            transfer(from, to[0]),
            transfer(from, to[1]),
            async { remove(to[0], team, from.id).await.status },
            async { role(to[1], team, to[0].id, "member").await.status },
            async { remove(from, team, to[0].id).await.status },
            async {
                from.client
                    .post(&format!("/v1/teams/{team}/leave"), json!({}))
                    .await
                    .status
            },
        );
        let statuses = [
            outcomes.0, outcomes.1, outcomes.2, outcomes.3, outcomes.4, outcomes.5,
        ];
        assert!(
            statuses
                .iter()
                .all(|status| [204, 403, 404, 409].contains(status)),
            "{statuses:?}"
        );
        let owners: Vec<uuid::Uuid> = sqlx::query_scalar(
            "SELECT user_id FROM users_teams WHERE team_id = $1 AND role = 'owner'",
        )
        .bind(team.as_uuid())
        .fetch_all(&setup.world.db)
        .await
        .unwrap();
        assert_eq!(owners.len(), 1, "round {round}: {statuses:?}");
        // Everybody is back for the next round.
        let owner = all
            .iter()
            .find(|person| person.id.as_uuid() == owners[0])
            .unwrap();
        for person in all {
            let body = json!({ "email": person.email });
            owner
                .client
                .post(&format!("/v1/teams/{team}/members"), body)
                .await;
            role(owner, team, person.id, "admin").await;
        }
        if owner.id != all[(round + 1) % 3].id {
            let body = json!({ "user_id": all[(round + 1) % 3].id.to_string() });
            assert_eq!(
                owner
                    .client
                    .post(&format!("/v1/teams/{team}/transfer"), body)
                    .await
                    .status,
                204
            );
        }
    }
}

#[tokio::test]
async fn a_deleted_team_leaves_nothing_behind() {
    let setup = Setup::new().await;
    let [ada] = people(&setup, ["Ada"]).await;
    let team = new_team(&ada, "Engines").await;
    let switched = ada
        .client
        .post(
            "/v1/auth/switch-team",
            json!({ "team_id": team.to_string() }),
        )
        .await;
    let inside = Client::with_token(
        setup.replica.base_url(),
        switched.json["token"].as_str().unwrap(),
    );
    let key = inside.post("/v1/api-keys", json!({ "name": "ci" })).await;
    let key = Client::new(setup.replica.base_url(), key.json["key"].as_str());
    let (one, two) = (inside.create().await, key.create().await);
    let snapshot = json!({ "sandbox_id": one.id.to_string(), "name": "saved" });
    assert_eq!(inside.post("/v1/snapshots", snapshot).await.status, 201);
    assert_eq!(
        key.post(&format!("/v1/sandboxes/{}/pause", two.id), json!({}))
            .await
            .status,
        200
    );
    assert_eq!(
        ada.client.delete(&format!("/v1/teams/{team}")).await.status,
        204
    );
    check(&key.get("/v1/sandboxes").await, 401, "unauthorized");
    check(&inside.get("/v1/sandboxes").await, 403, "forbidden");
    check(
        &ada.client.get(&format!("/v1/teams/{team}")).await,
        403,
        "forbidden",
    );
    let switch = ada
        .client
        .post(
            "/v1/auth/switch-team",
            json!({ "team_id": team.to_string() }),
        )
        .await;
    assert_eq!(switch.status, 403);
    assert_eq!(
        ada.client
            .get("/v1/teams")
            .await
            .json
            .as_array()
            .unwrap()
            .len(),
        1
    );
    eventually("its sandboxes and snapshots are gone", async || {
        let left = "SELECT (SELECT count(*) FROM templates WHERE name = 'saved')
                        + (SELECT count(*) FROM sandboxes WHERE status <> 'stopped')";
        let left: i64 = sqlx::query_scalar(left)
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        left == 0 && setup.census().await == (0, 0)
    })
    .await
    .unwrap();
    let reasons: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT reason FROM sandboxes WHERE team_id = $1")
            .bind(team.as_uuid())
            .fetch_all(&setup.world.db)
            .await
            .unwrap();
    assert_eq!(reasons, ["team_deleted"]);
}

#[tokio::test]
async fn a_team_that_is_deleted_during_creations_keeps_no_sandbox() {
    let setup = Setup::new().await;
    let [ada] = people(&setup, ["Ada"]).await;
    for _ in 0..3 {
        let team = new_team(&ada, "Engines").await;
        let switched = ada
            .client
            .post(
                "/v1/auth/switch-team",
                json!({ "team_id": team.to_string() }),
            )
            .await;
        let inside = Client::with_token(
            setup.replica.base_url(),
            switched.json["token"].as_str().unwrap(),
        );
        let creations = join_all((0..10).map(|_| inside.post("/v1/sandboxes", json!({}))));
        let path = format!("/v1/teams/{team}");
        let (created, deleted) = tokio::join!(creations, ada.client.delete(&path));
        assert_eq!(deleted.status, 204);
        for answer in &created {
            assert!(
                [201, 401, 403, 409, 502, 503].contains(&answer.status),
                "{answer:?}"
            );
        }
    }
    eventually("nothing is left", async || setup.census().await == (0, 0))
        .await
        .unwrap();
}

#[tokio::test]
async fn new_teams_have_the_limits_of_the_server() {
    let options = Options {
        settings: vec![("WRENN_QUOTA_DEFAULTS", "sandboxes=1,vcpus=0".to_owned())],
        ..Options::default()
    };
    let setup = Setup::with(options, Capacity::default()).await;
    let [ada] = people(&setup, ["Ada"]).await;
    let team = new_team(&ada, "Engines").await;
    let quota = ada.client.get(&format!("/v1/teams/{team}/quota")).await;
    assert_eq!(
        quota.json["limits"],
        json!({ "max_sandboxes": 1, "max_vcpus": 0, "max_memory_mb": 131072, "max_disk_mb": 512000 })
    );
}
