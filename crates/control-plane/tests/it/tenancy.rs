//! Random teams, people and things: whatever the id and whoever asks, nothing of another team is read, changed,
//! or told apart from what does not exist.
//!
//! The seed of a run is printed when it fails; `WRENN_SEED` repeats it.

use reqwest::Method;
use serde_json::{Value, json};
use wrenn_ids::{HostId, KeyId, SandboxId, TeamId, TemplateId};
use wrenn_testkit::{client::Client, person::Person};

use crate::setup::Setup;

/// Numbers that a seed determines (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// A team, whoever acts for it, and the ids of what it has.
struct Team {
    id: TeamId,
    actors: Vec<(String, Client)>,
    sandboxes: Vec<String>,
    templates: Vec<(String, String)>,
    keys: Vec<String>,
    /// A host that it brought.
    host: String,
    /// People who are in no other team.
    people: Vec<String>,
}

async fn team(setup: &Setup, random: &mut Random, number: usize) -> Team {
    let owner = Person::sign_up(&setup.replica, &format!("Owner{number}"))
        .await
        .unwrap();
    let id = owner.team;
    let host = crate::hosts::brought(setup, id).await;
    let tagged = "INSERT INTO host_tags (host_id, tag) VALUES ($1, 'theirs')";
    sqlx::query(tagged)
        .bind(host.as_uuid())
        .execute(&setup.world.db)
        .await
        .unwrap();
    let mut team = Team {
        id,
        host: host.to_string(),
        people: vec![owner.id.to_string()],
        actors: vec![(format!("owner {number}"), owner.client.clone())],
        sandboxes: Vec::new(),
        templates: Vec::new(),
        keys: Vec::new(),
    };
    for extra in 0..random.below(3) {
        let name = format!("Member{number}x{extra}");
        let person = Person::sign_up(&setup.replica, &name).await.unwrap();
        let there = person.joining(&owner).await.unwrap();
        let role = ["member", "admin"][random.below(2)];
        let path = format!("/v1/teams/{id}/members/{}", person.id);
        owner.client.patch(&path, json!({ "role": role })).await;
        let client = there.client;
        team.actors.push((format!("{role} {number}"), client));
        team.people.push(person.id.to_string());
    }
    for _ in 0..=random.below(2) {
        let (path, key) = owner.key().await.unwrap();
        let id = path.strip_prefix("/v1/api-keys/").unwrap();
        team.keys.push(id.to_owned());
        let client = Client::new(setup.replica.base_url(), Some(&key));
        team.actors.push((format!("key {number}"), client));
    }
    for _ in 0..=random.below(3) {
        let by = random.below(team.actors.len());
        let sandbox = team.actors[by].1.create().await;
        if random.below(2) == 0 {
            let path = format!("/v1/sandboxes/{}/pause", sandbox.id);
            assert_eq!(owner.client.post(&path, json!({})).await.status, 200);
        }
        team.sandboxes.push(sandbox.id.to_string());
    }
    let name = format!("saved-{number}");
    let body = json!({ "sandbox_id": team.sandboxes[0], "name": name });
    let made = owner.client.post("/v1/snapshots", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    team.templates
        .push((made.json["id"].as_str().unwrap().to_owned(), name));
    team
}

/// Everything that a foreign request must not have changed.
async fn state(setup: &Setup) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', 's', id, status, generation, metadata, timeout_sec) FROM sandboxes
         UNION ALL SELECT concat_ws(' ', 't', id, name, status) FROM templates
         UNION ALL SELECT concat_ws(' ', 'k', id, revoked_at) FROM api_keys
         UNION ALL SELECT concat_ws(' ', 'm', team_id, user_id, role) FROM users_teams
         UNION ALL SELECT concat_ws(' ', 'n', id, name, deleted_at) FROM teams
         UNION ALL SELECT concat_ws(' ', 'h', id, draining, deleted_at) FROM hosts WHERE type = 'byoc'
         UNION ALL SELECT concat_ws(' ', 'g', host_id, tag) FROM host_tags
         ORDER BY 1",
    )
    .fetch_all(&setup.world.db)
    .await
    .unwrap()
}

/// Requests that name a thing by its id.
fn probes(kind: &str, id: &str) -> Vec<(Method, String, Option<Value>)> {
    let post = |path: String, body: Value| (Method::POST, path, Some(body));
    let get = |path: String| (Method::GET, path, None);
    match kind {
        "sandbox" => {
            let one = format!("/v1/sandboxes/{id}");
            vec![
                get(one.clone()),
                (
                    Method::PATCH,
                    one.clone(),
                    Some(json!({ "timeout_sec": 77 })),
                ),
                (Method::DELETE, one.clone(), None),
                post(format!("{one}/pause"), json!({})),
                post(format!("{one}/resume"), json!({})),
                post(format!("{one}/ping"), json!({})),
                post(format!("{one}/fork"), json!({})),
                post(format!("{one}/exec"), json!({ "cmd": "true" })),
                post(format!("{one}/files/read"), json!({ "path": "/etc/hosts" })),
                post(
                    format!("{one}/files/stream/read"),
                    json!({ "path": "/etc/hosts" }),
                ),
                get(format!("{one}/processes")),
                (Method::DELETE, format!("{one}/processes/1"), None),
                post("/v1/snapshots".to_owned(), json!({ "sandbox_id": id })),
                get(format!("/v1/sandboxes?cursor={id}&status=paused")),
            ]
        }
        "host" => {
            let one = format!("/v1/hosts/{id}");
            vec![
                get(one.clone()),
                (
                    Method::PATCH,
                    one.clone(),
                    Some(json!({ "draining": true })),
                ),
                get(format!("{one}/delete-preview")),
                get(format!("{one}/tags")),
                post(format!("{one}/tags"), json!({ "tag": "mine" })),
                (Method::DELETE, format!("{one}/tags/theirs"), None),
                post(format!("{one}/token"), json!({})),
                (Method::DELETE, format!("{one}?force=true"), None),
            ]
        }
        "template" => vec![
            (Method::DELETE, format!("/v1/snapshots/{id}"), None),
            post("/v1/sandboxes".to_owned(), json!({ "template": id })),
            get(format!("/v1/sandboxes?template={id}&status=error")),
        ],
        "key" => vec![(Method::DELETE, format!("/v1/api-keys/{id}"), None)],
        _ => {
            let one = format!("/v1/teams/{id}");
            vec![
                get(one.clone()),
                get(format!("{one}/members")),
                get(format!("{one}/quota")),
                (Method::PATCH, one.clone(), Some(json!({ "name": "Mine" }))),
                (Method::DELETE, one.clone(), None),
                post(
                    format!("{one}/members"),
                    json!({ "email": "owner0@example.com" }),
                ),
                post(format!("{one}/leave"), json!({})),
                post("/v1/auth/switch-team".to_owned(), json!({ "team_id": id })),
            ]
        }
    }
}

/// What an answer says, without the id that was asked for.
async fn said(client: &Client, probe: &(Method, String, Option<Value>), id: &str) -> (u16, String) {
    let request = client.request(probe.0.clone(), &probe.1);
    let request = match &probe.2 {
        Some(body) => request.json(body),
        None => request,
    };
    let answer = client.send(request).await;
    let text = String::from_utf8_lossy(&answer.bytes).replace(id, "<id>");
    (answer.status, text)
}

async fn round(setup: &Setup, seed: u64) {
    let mut random = Random(seed);
    let mut teams = Vec::new();
    for number in 0..3 {
        teams.push(
            team(
                setup,
                &mut random,
                usize::try_from(seed % 100).unwrap() * 10 + number,
            )
            .await,
        );
    }
    let before = state(setup).await;
    for (own, asking) in teams.iter().enumerate() {
        for (who, client) in &asking.actors {
            for (_, other) in teams.iter().enumerate().filter(|(index, _)| *index != own) {
                let mut things: Vec<(&str, String, String)> = Vec::new();
                for id in &other.sandboxes {
                    things.push(("sandbox", id.clone(), SandboxId::new().to_string()));
                }
                for (id, name) in &other.templates {
                    things.push(("template", id.clone(), TemplateId::new().to_string()));
                    things.push(("template", name.clone(), "unknown-name".to_owned()));
                }
                for id in &other.keys {
                    things.push(("key", id.clone(), KeyId::new().to_string()));
                }
                things.push(("host", other.host.clone(), HostId::new().to_string()));
                things.push(("team", other.id.to_string(), TeamId::new().to_string()));
                for (kind, id, unknown) in things {
                    let (real, made_up) = (probes(kind, &id), probes(kind, &unknown));
                    for (real, made_up) in real.iter().zip(&made_up) {
                        let got = said(client, real, &id).await;
                        let expected = said(client, made_up, &unknown).await;
                        assert_eq!(got, expected, "seed {seed}: {who} {} {}", real.0, real.1);
                    }
                }
                // Lists show nothing of it.
                for path in [
                    "/v1/sandboxes?status=pending,starting,running,paused,stopped,missing,error",
                    "/v1/snapshots",
                    "/v1/api-keys",
                    "/v1/teams",
                    "/v1/hosts",
                    "/v1/audit-logs?limit=200",
                ] {
                    let answer = client.get(path).await;
                    let items = match answer.json.get("items") {
                        Some(items) => items.as_array().unwrap().clone(),
                        None => answer.json.as_array().cloned().unwrap_or_default(),
                    };
                    // What one asked for oneself is in one's own log, by the id that one said.
                    let own_words = path.starts_with("/v1/audit-logs");
                    let text = serde_json::to_string(&items).unwrap();
                    let ids = other.keys.iter().chain(&other.people);
                    let ids = ids.chain(if own_words {
                        [].iter()
                    } else {
                        other.sandboxes.iter()
                    });
                    let ids = ids.chain([&other.host]);
                    for id in ids.filter(|_| !own_words) {
                        assert!(
                            !text.contains(id.as_str()),
                            "seed {seed}: {who} {path} shows {id}"
                        );
                    }
                    for item in &items {
                        let actor = item["actor_id"].as_str().unwrap_or_default();
                        let foreign = other.keys.iter().chain(&other.people).any(|id| id == actor);
                        assert!(!foreign, "seed {seed}: {who} {path} shows what {actor} did");
                    }
                }
            }
        }
    }
    assert_eq!(state(setup).await, before, "seed {seed}");
}

#[tokio::test]
async fn nothing_of_another_team_is_read_changed_or_told_apart() {
    let setup = Setup::new().await;
    sqlx::query("ALTER TABLE teams ALTER COLUMN max_sandboxes SET DEFAULT 0")
        .execute(&setup.world.db)
        .await
        .unwrap();
    let seeds = match std::env::var("WRENN_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![11, 4242],
    };
    for seed in seeds {
        round(&setup, seed).await;
    }
}
