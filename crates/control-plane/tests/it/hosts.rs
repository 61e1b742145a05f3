//! Who sees which hosts, and who is told where a sandbox is.

use serde_json::{Value, json};
use wrenn_ids::{HostId, TeamId};
use wrenn_testkit::{client::Client, person::Person};

use crate::setup::Setup;

/// A host that this team brought.
pub(crate) async fn brought(setup: &Setup, team: TeamId) -> HostId {
    let id = HostId::new();
    let statement =
        "INSERT INTO hosts (id, type, team_id, status) VALUES ($1, 'byoc', $2, 'pending')";
    sqlx::query(statement)
        .bind(id.as_uuid())
        .bind(team.as_uuid())
        .execute(&setup.world.db)
        .await
        .unwrap();
    id
}

/// The hosts of a list, and the names of the teams that brought them.
async fn listed(client: &Client) -> Vec<(String, Value)> {
    let answer = client.get("/v1/hosts").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let hosts = answer.json.as_array().unwrap().iter();
    let mut hosts: Vec<_> = hosts
        .map(|host| {
            (
                host["id"].as_str().unwrap().to_owned(),
                host["team_name"].clone(),
            )
        })
        .collect();
    hosts.sort_by(|one, other| one.0.cmp(&other.0));
    hosts
}

#[tokio::test]
async fn administrators_see_all_hosts_and_others_those_of_their_team() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    let ada = Person::sign_up(replica, "Ada").await.unwrap();
    let bob = Person::sign_up(replica, "Bob").await.unwrap();
    let regular = setup.agent.host_id();
    let (of_ada, of_bob) = (
        brought(&setup, ada.team).await,
        brought(&setup, bob.team).await,
    );

    let mut all = vec![
        (regular.to_string(), Value::Null),
        (of_ada.to_string(), json!("Ada's team")),
        (of_bob.to_string(), json!("Bob's team")),
    ];
    all.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(listed(&root.client).await, all);
    assert_eq!(
        listed(&ada.client).await,
        [(of_ada.to_string(), Value::Null)]
    );
    // A member sees what an owner does, and only for the team that they act for.
    let member = bob.joining(&ada).await.unwrap();
    assert_eq!(listed(&member.client).await, listed(&ada.client).await);
    let status =
        async |client: &Client, host: HostId| client.get(&format!("/v1/hosts/{host}")).await.status;
    for (client, seen, hidden) in [
        (
            &ada.client,
            vec![of_ada],
            vec![regular, of_bob, HostId::new()],
        ),
        (&bob.client, vec![of_bob], vec![of_ada]),
        (
            &root.client,
            vec![regular, of_ada, of_bob],
            vec![HostId::new()],
        ),
    ] {
        for host in seen {
            assert_eq!(status(client, host).await, 200, "{host}");
        }
        for host in hidden {
            assert_eq!(status(client, host).await, 404, "{host}");
        }
    }
    // Who administers hosts alone sees them all, who administers teams does not.
    for (part, count) in [("hosts", 3), ("teams", 0)] {
        let person = Person::sign_up(replica, part).await.unwrap();
        person.may_administer(world, part).await.unwrap();
        assert_eq!(listed(&person.client).await.len(), count, "{part}");
    }
    let by_key = setup.client.get("/v1/hosts").await;
    assert_eq!((by_key.status, by_key.code()), (401, "unauthorized"));
    let odd = root.client.get("/v1/hosts/host-1").await;
    assert_eq!((odd.status, odd.code()), (400, "invalid_request"));
}

#[tokio::test]
async fn where_a_sandbox_is_is_told_to_administrators_and_to_teams_with_their_own_hosts() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let host = json!(setup.agent.host_id().to_string());
    let told = async |client: &Client| {
        let sandbox = client.create().await;
        let path = format!("/v1/sandboxes/{}", sandbox.id);
        let one = client.get(&path).await.json["host_id"].clone();
        let list = client.get("/v1/sandboxes").await;
        assert_eq!(list.json[0]["host_id"], one);
        let paused = client.post(&format!("{path}/pause"), json!({})).await;
        assert_eq!(paused.json["host_id"], one);
        assert_eq!(json!(sandbox.host_id.map(|id| id.to_string())), one);
        one
    };
    let ada = Person::sign_up(replica, "Ada").await.unwrap();
    assert_eq!(told(&ada.client).await, Value::Null);
    let (_, key) = ada.key().await.unwrap();
    let key = Client::new(replica.base_url(), Some(&key));
    assert_eq!(told(&key).await, Value::Null);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    assert_eq!(told(&root.client).await, host);
    // As if the host were theirs.
    for statement in [
        "UPDATE teams SET is_byoc = true WHERE id = $1",
        "UPDATE hosts SET type = 'byoc', team_id = $1",
    ] {
        sqlx::query(statement)
            .bind(ada.team.as_uuid())
            .execute(&world.db)
            .await
            .unwrap();
    }
    assert_eq!(told(&key).await, host);
    assert_eq!(told(&ada.client).await, host);
}
