//! How hosts join, rotate their credentials and are shut out.

use reqwest::Method;
use serde_json::{Value, json};
use wrenn_api::SandboxStatus;
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, World, hold_at},
    person::Person,
    simulated_agent::{Capacity, SimulatedAgent},
};

use crate::setup::Setup;

fn csr() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap()
}

fn registration(token: &str, csr: &str) -> Value {
    json!({
        "token": token, "address": "127.0.0.1:1", "arch": "x86_64", "cpu_cores": 1, "memory_mb": 1024,
        "disk_gb": 10, "csr_pem": csr, "agent_version": "1",
    })
}

#[tokio::test]
async fn a_token_registers_exactly_one_host() {
    let world = World::new().await.unwrap();
    let replica = world.replica(Options::default()).unwrap();
    let nobody = Client::new(replica.base_url(), None);
    let token = world.registration_token().await.unwrap();

    let bad = nobody
        .post("/v1/hosts/register", registration(&token, "nonsense"))
        .await;
    assert_eq!(
        (bad.status, &bad.json["error"]["details"]["field"]),
        (400, &json!("csr_pem"))
    );

    let (one, two) = (csr(), csr());
    let (one, two) = tokio::join!(
        nobody.post("/v1/hosts/register", registration(&token, &one)),
        nobody.post("/v1/hosts/register", registration(&token, &two)),
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 401], "{one:?} {two:?}");

    // Redis never held the token itself.
    let client = redis::Client::open(world.redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: String = world.registration_token().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(!keys.is_empty() && !keys.iter().any(|key| key.contains(&token)));
}

async fn refresh(client: &Client, token: &str) -> Answer {
    client
        .post(
            "/v1/hosts/auth/refresh",
            json!({ "refresh_token": token, "csr_pem": csr() }),
        )
        .await
}

fn next(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_refresh_survives_a_lost_answer_and_a_replay_ends_the_family() {
    let setup = Setup::new().await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let first = setup.agent.identity().refresh_token.clone();
    // The answer with `lost` never arrives: the old token is still good and replaces it.
    let lost = next(&refresh(&nobody, &first).await);
    let second = next(&refresh(&nobody, &first).await);
    assert_eq!(refresh(&nobody, &lost).await.status, 401);
    // That was a replaced token: the whole family is void.
    assert_eq!(refresh(&nobody, &second).await.status, 401);
    assert_eq!(refresh(&nobody, &first).await.status, 401);
}

#[tokio::test]
async fn a_token_whose_successor_was_used_is_a_replay() {
    let setup = Setup::new().await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let first = setup.agent.identity().refresh_token.clone();
    let second = next(&refresh(&nobody, &first).await);
    let third = next(&refresh(&nobody, &second).await);
    assert_eq!(refresh(&nobody, &first).await.status, 401);
    assert_eq!(refresh(&nobody, &third).await.status, 401);
    assert_eq!(refresh(&nobody, "no such token").await.status, 401);
}

#[tokio::test]
async fn concurrent_refreshes_lock_nobody_out() {
    let setup = Setup::new().await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let first = setup.agent.identity().refresh_token.clone();
    let (one, two) = tokio::join!(refresh(&nobody, &first), refresh(&nobody, &first));
    assert_eq!((one.status, two.status), (200, 200));
    // One of the two replaced the other; the one that was issued last goes on.
    let usable = "SELECT count(*) FROM host_refresh_tokens
                  WHERE revoked_at IS NULL AND used_at IS NULL";
    let usable: i64 = sqlx::query_scalar(usable)
        .fetch_one(&setup.world.db)
        .await
        .unwrap();
    assert_eq!(usable, 1);
}

#[tokio::test]
async fn tokens_of_one_kind_are_nothing_elsewhere() {
    let setup = Setup::new().await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let identity = setup.agent.identity();
    for token in [&identity.token, &identity.refresh_token] {
        let as_key = nobody
            .request(Method::GET, "/v1/sandboxes")
            .header("x-api-key", token);
        assert_eq!(nobody.send(as_key).await.status, 401);
    }
    let path = format!("/v1/hosts/{}/heartbeat", setup.agent.host_id());
    for token in [&identity.refresh_token, &setup.world.api_key] {
        let beat = nobody
            .request(Method::POST, &path)
            .header("x-host-token", token);
        assert_eq!(nobody.send(beat).await.status, 401);
    }
    assert_eq!(refresh(&nobody, &identity.token).await.status, 401);
}

#[tokio::test]
async fn a_second_preparation_changes_nothing_and_tells_no_secret() {
    let world = World::new().await.unwrap();
    let again = wrenn_control_plane::bootstrap::ensure(&world.db)
        .await
        .unwrap();
    assert!(again.admin_password.is_none() && again.api_key.is_none());
    assert_eq!(again.team, world.team);
    let replica = world.replica(Options::default()).unwrap();
    let agent = world.agent(&replica, Capacity::default()).await.unwrap();
    let (db, redis) = (&world.db, world.redis.url().into());
    let known = Some(agent.host_id());
    let token = wrenn_control_plane::bootstrap::host_token(db, &redis, known)
        .await
        .unwrap();
    assert!(token.is_none());
}

async fn beat(setup: &Setup, token: &str) -> u16 {
    let nobody = Client::new(setup.replica.base_url(), None);
    let path = format!("/v1/hosts/{}/heartbeat", setup.agent.host_id());
    let beat = nobody.request(Method::POST, &path);
    nobody.send(beat.header("x-host-token", token)).await.status
}

/// A token to register the host anew with, as an administrator gets it.
async fn new_token(setup: &Setup) -> String {
    let root = Person::administrator(&setup.world, &setup.replica, "Root").await;
    let path = format!("/v1/hosts/{}/token", setup.agent.host_id());
    let answer = root.unwrap().client.post(&path, json!({})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json["registration_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_revoked_host_is_nobody_until_it_registers_anew_and_its_old_tokens_are_nothing_then() {
    let setup = Setup::new().await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let old = setup.agent.identity().clone();
    assert_eq!(beat(&setup, &old.token).await, 204);
    let redis = setup.world.redis.url().into();
    let revoked =
        wrenn_control_plane::operator::host_revoke(&setup.world.db, &redis, old.host_id).await;
    assert_eq!(revoked.unwrap(), 0);
    assert_eq!(beat(&setup, &old.token).await, 401);
    assert_eq!(refresh(&nobody, &old.refresh_token).await.status, 401);

    let token = new_token(&setup).await;
    let base_url = setup.replica.base_url();
    let anew = SimulatedAgent::register(&base_url, &token, Capacity::default()).await;
    let anew = anew.unwrap();
    assert_eq!(anew.host_id(), old.host_id);
    assert_eq!(beat(&setup, &anew.identity().token).await, 204);
    // The old ones are nothing, and do the new ones no harm.
    assert_eq!(beat(&setup, &old.token).await, 401);
    assert_eq!(refresh(&nobody, &old.refresh_token).await.status, 401);
    assert_eq!(beat(&setup, &anew.identity().token).await, 204);
    let next = next(&refresh(&nobody, &anew.identity().refresh_token).await);
    assert_eq!(refresh(&nobody, &next).await.status, 200);
    // And the token that it registered with is spent.
    let replayed = registration(&token, &csr());
    assert_eq!(
        nobody.post("/v1/hosts/register", replayed).await.status,
        401
    );
}

#[tokio::test]
async fn a_replayed_refresh_token_voids_all_that_the_host_has() {
    let setup = Setup::new().await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let runs = setup.client.create().await.id;
    let first = setup.agent.identity().clone();
    let second = refresh(&nobody, &first.refresh_token).await;
    let third = refresh(&nobody, &next(&second)).await;
    let token = third.json["token"].as_str().unwrap();
    assert_eq!(beat(&setup, token).await, 204);
    assert_eq!(refresh(&nobody, &first.refresh_token).await.status, 401);
    // Whoever has which of them: none is a sign of life, and nobody dials the host.
    for token in [token, &first.token] {
        assert_eq!(beat(&setup, token).await, 401);
    }
    assert_eq!(
        setup.client.sandbox(runs).await.status,
        SandboxStatus::Missing
    );
    for _ in 0..2 {
        assert_eq!(refresh(&nobody, &first.refresh_token).await.status, 401);
    }
    let written = "SELECT count(*) FROM audit_logs WHERE action = 'credential_reuse'";
    let written: i64 = sqlx::query_scalar(written)
        .fetch_one(&setup.world.db)
        .await
        .unwrap();
    assert_eq!(written, 1);
    let token = new_token(&setup).await;
    let answer = registration(&token, &csr());
    assert_eq!(nobody.post("/v1/hosts/register", answer).await.status, 201);
}

#[tokio::test]
async fn a_crash_after_the_new_pair_is_stored_locks_no_host_out() {
    let (checkpoint, reached) = hold_at("host.refreshed");
    let options = Options {
        checkpoint: Some(checkpoint),
        ..Options::default()
    };
    let mut setup = Setup::with(options, Capacity::default()).await;
    let first = setup.agent.identity().refresh_token.clone();
    let nobody = Client::new(setup.replica.base_url(), None);
    let asked = nobody
        .request(Method::POST, "/v1/hosts/auth/refresh")
        .json(&json!({ "refresh_token": first, "csr_pem": csr() }));
    let asking = tokio::spawn(asked.send());
    reached.notified().await;
    let replica = setup.world.replica(Options::default()).unwrap();
    std::mem::replace(&mut setup.replica, replica).kill();
    asking.abort();
    let nobody = Client::new(setup.replica.base_url(), None);
    let second = next(&refresh(&nobody, &first).await);
    assert_eq!(refresh(&nobody, &second).await.status, 200);
}
