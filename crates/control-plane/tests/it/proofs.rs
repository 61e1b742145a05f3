//! What a credential opens, what it does not, how soon it ends, and what proving it costs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrenn_ids::SandboxId;
use wrenn_testkit::{
    client::Client,
    control_plane::{Options, World, eventually},
    person::{PASSWORD, Person},
    simulated_agent::Capacity,
};

use crate::{
    exec_stream::{Socket, refused, shell},
    setup::Setup,
};

/// Somebody who is a member of the installation's team and acts for it, in a session.
struct Colleague {
    person: Person,
    client: Client,
    token: String,
}

async fn colleague(setup: &Setup, name: &str) -> Colleague {
    let person = Person::sign_up(&setup.replica, name).await.unwrap();
    sqlx::query("INSERT INTO users_teams (team_id, user_id, role) VALUES ($1, $2, 'member')")
        .bind(setup.world.team.as_uuid())
        .bind(person.id.as_uuid())
        .execute(&setup.world.db)
        .await
        .unwrap();
    let nobody = Client::new(setup.replica.base_url(), None);
    let request = nobody
        .request(reqwest::Method::POST, "/v1/auth/login")
        .header("x-wrenn-client", "cli")
        .json(&json!({ "email": person.email, "password": PASSWORD }));
    let login = nobody.send(request).await;
    let own = login.json["token"].as_str().unwrap();
    let own = Client::with_token(setup.replica.base_url(), own);
    let body = json!({ "team_id": setup.world.team.to_string() });
    let switched = own.post("/v1/auth/switch-team", body).await;
    assert_eq!(switched.status, 200, "{switched:?}");
    let token = switched.json["token"].as_str().unwrap().to_owned();
    Colleague {
        client: Client::with_token(setup.replica.base_url(), &token),
        person,
        token,
    }
}

async fn started(socket: &mut Socket) {
    socket.send(shell("echo ready; sleep 300")).await;
    while socket.next().await.unwrap()["type"] != "stdout" {}
}

#[tokio::test]
async fn a_user_token_opens_a_socket_in_each_of_the_three_ways() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let ada = colleague(&setup, "ada").await;
    let bearer = format!("Bearer {}", ada.token);
    let query = format!("?token={}", ada.token);
    let mut header = Socket::open_as(&setup, id, "", Some(("authorization", &bearer)))
        .await
        .unwrap();
    started(&mut header).await;
    let mut address = Socket::open_as(&setup, id, &query, None).await.unwrap();
    started(&mut address).await;
    let mut frame = Socket::open_as(&setup, id, "", None).await.unwrap();
    frame
        .send(json!({ "type": "auth", "token": ada.token }))
        .await;
    started(&mut frame).await;

    // A token of somebody else's team, and what is none.
    let eve = Person::sign_up(&setup.replica, "eve").await.unwrap();
    let foreign = format!("?token={}", eve.token);
    let nonsense = "?token=a.b.c";
    for (query, status) in [(&*foreign, 404), (nonsense, 401)] {
        let answer = Socket::open_as(&setup, id, query, None).await;
        assert_eq!(refused(answer.err().unwrap()), status, "{query}");
    }
    let mut frame = Socket::open_as(&setup, id, "", None).await.unwrap();
    frame
        .send(json!({ "type": "auth", "token": "a.b.c" }))
        .await;
    assert_eq!(frame.rest().await.1, 4401);
    // Where no socket is opened, the address is no place for a token.
    let nobody = Client::new(setup.replica.base_url(), None);
    let plain = nobody.get(&format!("/v1/sandboxes/{id}{query}")).await;
    assert_eq!(plain.status, 401);
}

#[tokio::test]
async fn who_loses_authority_loses_open_sockets_within_5_seconds() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let mut open = Vec::new();
    let names = ["removed", "deactivated", "changed", "gone", "stays"];
    for name in names {
        let colleague = colleague(&setup, name).await;
        let query = format!("?token={}", colleague.token);
        let mut socket = Socket::open_as(&setup, id, &query, None).await.unwrap();
        started(&mut socket).await;
        open.push((colleague, socket));
    }
    let [removed, deactivated, changed, gone, stays] = &mut open[..] else {
        panic!("five");
    };
    // Two of them behind the server's back: nobody says so, and it is seen all the same.
    for statement in [
        "DELETE FROM users_teams m USING users u WHERE u.id = m.user_id AND u.name = 'removed'",
        "UPDATE users SET status = 'disabled' WHERE name = 'deactivated'",
    ] {
        sqlx::query(statement)
            .execute(&setup.world.db)
            .await
            .unwrap();
    }
    let begun = Instant::now();
    let password = json!({ "current_password": PASSWORD, "new_password": "another password" });
    let answer = changed.0.client.post("/v1/me/password", password).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        gone.0
            .client
            .post("/v1/auth/logout", json!({}))
            .await
            .status,
        204
    );
    for (colleague, socket) in [removed, deactivated, changed, gone] {
        assert_eq!(socket.rest().await.1, 4401, "{}", colleague.person.email);
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{}",
            colleague.person.email
        );
        assert!([401, 403].contains(&colleague.client.get("/v1/sandboxes").await.status));
    }
    assert_eq!(stays.0.client.get("/v1/sandboxes").await.status, 200);
    stays.1.send(json!({ "type": "stop" })).await;
    assert_eq!(stays.1.rest().await.1, 1000);
}

#[tokio::test]
async fn a_credential_of_one_kind_is_nothing_on_the_routes_of_another() {
    let setup = Setup::new().await;
    let ada = colleague(&setup, "ada").await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let (key, user) = (setup.world.api_key.clone(), ada.token.clone());
    let host = setup.agent.identity().token.clone();
    let heartbeat = format!("/v1/hosts/{}/heartbeat", setup.agent.host_id());
    let send = async |method: &str, path: &str, name: &'static str, value: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = nobody.request(method, path).header(name, value);
        nobody.send(request).await.status
    };
    let bearer = |token: &str| format!("Bearer {token}");
    for (method, path) in [("GET", "/v1/me"), ("GET", "/v1/sandboxes")] {
        for token in [&key, &host, "", "a.b.c"] {
            let status = send(method, path, "authorization", &bearer(token)).await;
            assert_eq!(status, 401, "{path} {token}");
        }
        for token in [&user, &host] {
            assert_eq!(send(method, path, "x-api-key", token).await, 401, "{path}");
        }
        assert_eq!(
            send(method, path, "authorization", &bearer(&user)).await,
            200,
            "{path}"
        );
    }
    // A key has no account.
    assert_eq!(send("GET", "/v1/me", "x-api-key", &key).await, 401);
    for token in [&key, &user] {
        assert_eq!(send("POST", &heartbeat, "x-host-token", token).await, 401);
    }
    assert_eq!(
        send("POST", &heartbeat, "authorization", &bearer(&user)).await,
        401
    );
    // With two on one request the key is the one.
    let both = nobody
        .request(reqwest::Method::GET, "/v1/sandboxes")
        .header("authorization", bearer(&user))
        .header("x-api-key", format!("wrn_{}", "0".repeat(32)));
    assert_eq!(nobody.send(both).await.status, 401);
    // One-time tokens and refresh tokens are no bearers, and bearers none of them.
    for (path, field) in [
        ("/v1/auth/activate", "token"),
        ("/v1/auth/device/token", "device_code"),
        ("/v1/auth/oauth/exchange", "code"),
    ] {
        for token in [&key, &user, &host] {
            let answer = nobody.post(path, json!({ field: token })).await;
            assert_eq!(
                (answer.status, answer.code()),
                (400, "invalid_token"),
                "{path}"
            );
        }
    }
    let refresh = nobody
        .post("/v1/auth/refresh", json!({ "refresh_token": user }))
        .await;
    assert_eq!(refresh.status, 401);
}

#[tokio::test]
async fn a_person_makes_sandboxes_and_the_row_says_who() {
    let setup = Setup::new().await;
    let ada = colleague(&setup, "ada").await;
    let made = ada.client.post("/v1/sandboxes", json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.sandbox().id;
    // The whole team sees it, and nobody else does.
    assert_eq!(setup.client.sandbox(id).await.id, id);
    let eve = Person::sign_up(&setup.replica, "eve").await.unwrap();
    let path = format!("/v1/sandboxes/{id}");
    let foreign = eve.client.get(&path).await;
    let unknown = eve
        .client
        .get(&format!("/v1/sandboxes/{}", SandboxId::new()))
        .await;
    assert_eq!((foreign.status, unknown.status), (404, 404));
    let by: (String, uuid::Uuid) =
        sqlx::query_as("SELECT created_by_type, created_by FROM sandboxes WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
    assert_eq!(by, ("user".to_owned(), ada.person.id.as_uuid()));
    assert_eq!(ada.client.delete(&path).await.status, 204);
}

/// Transactions that this database has committed; a statement of its own is one.
async fn commits(world: &World) -> i64 {
    sqlx::query_scalar(
        "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(&world.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn reading_a_sandbox_by_key_takes_one_statement_and_by_token_two() {
    const READS: i64 = 1000;
    let setup = Setup::new().await;
    let ada = colleague(&setup, "ada").await;
    let (running, stopped) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    let path = format!("/v1/sandboxes/{stopped}");
    assert_eq!(setup.client.delete(&path).await.status, 204);
    // All together, because PostgreSQL counts what a connection has done up to ten seconds later.
    let before = commits(&setup.world).await;
    let mut expected = 0;
    for id in [running, stopped] {
        for (client, statements) in [(&setup.client, 1), (&ada.client, 2)] {
            for _ in 0..READS {
                let answer = client.get(&format!("/v1/sandboxes/{id}")).await;
                assert_eq!(answer.status, 200);
            }
            expected += statements * READS;
        }
    }
    let counted = async || commits(&setup.world).await - before;
    eventually("the statements are counted", async || {
        counted().await >= expected
    })
    .await
    .unwrap();
    // What came before, some 450, may be counted now; one more of a kind of read would be 1,000 more. What the host
    // of a running one says is good for a second.
    let counted = counted().await;
    assert!(counted < expected + READS * 9 / 10, "{counted}");
}

#[tokio::test]
async fn a_revoked_key_loses_its_open_sockets_at_once_and_no_other_does() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "ada").await.unwrap();
    let id = ada.client.create().await.id;
    let ((path, revoked), (_, kept)) = (ada.key().await.unwrap(), ada.key().await.unwrap());
    // On another replica than the one that revokes it.
    let second = setup.world.replica(Options::default()).unwrap();
    let mut there = Socket::open(&setup, id, Some(&revoked)).await.unwrap();
    let mut stays = Socket::open(&setup, id, Some(&kept)).await.unwrap();
    started(&mut there).await;
    started(&mut stays).await;
    let client = Client::with_token(second.base_url(), &ada.token);
    let begun = Instant::now();
    assert_eq!(client.delete(&path).await.status, 204);
    let (frames, code) = there.rest().await;
    assert_eq!(code, 4401);
    assert_eq!(frames.last().unwrap()["fatal"], json!(true), "{frames:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    stays.send(json!({ "type": "stop" })).await;
    assert_eq!(stays.rest().await.1, 1000);
}

#[tokio::test]
async fn open_sockets_are_asked_about_all_at_once() {
    const OPEN: i64 = 60;
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "ada").await.unwrap();
    let id = ada.client.create().await.id;
    let (_, key) = ada.key().await.unwrap();
    let mut open = Vec::new();
    for _ in 0..OPEN {
        let mut socket = Socket::open(&setup, id, Some(&key)).await.unwrap();
        started(&mut socket).await;
        open.push(socket);
    }
    // Two that end behind the server's back, one after the other: so two times all were asked about.
    let mut ending = Vec::new();
    for _ in 0..2 {
        let (path, key) = ada.key().await.unwrap();
        let mut socket = Socket::open(&setup, id, Some(&key)).await.unwrap();
        started(&mut socket).await;
        ending.push((path, socket));
    }
    let before = commits(&setup.world).await;
    for (path, socket) in &mut ending {
        let key: wrenn_ids::KeyId = path.rsplit('/').next().unwrap().parse().unwrap();
        sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE id = $1")
            .bind(key.as_uuid())
            .execute(&setup.world.db)
            .await
            .unwrap();
        assert_eq!(socket.rest().await.1, 4401);
    }
    // One by one they would be 60 statements each time, beside those of the background.
    let counted = commits(&setup.world).await - before;
    assert!(counted < 2 * OPEN, "{counted}");
    for socket in &mut open {
        socket.send(json!({ "type": "stop" })).await;
        assert_eq!(socket.rest().await.1, 1000);
    }
}

#[tokio::test]
async fn an_operation_remembers_who_had_it_done() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "Ada").await.unwrap();
    let (path, key) = ada.key().await.unwrap();
    let key_id = path.rsplit('/').next().unwrap();
    let by_key = Client::new(setup.replica.base_url(), Some(&key));
    let person = json!({ "type": "user", "id": ada.id.to_string(), "name": "Ada" });
    let program = json!({ "type": "api_key", "id": key_id, "name": "k" });
    let system = json!({ "type": "system" });
    for (client, actor) in [(&ada.client, &person), (&by_key, &program)] {
        let id = client.create().await.id;
        let path = format!("/v1/sandboxes/{id}");
        for what in ["pause", "resume", "fork"] {
            let done = client.post(&format!("{path}/{what}"), json!({})).await;
            assert!([200, 201].contains(&done.status), "{done:?}");
        }
        let body = json!({ "sandbox_id": id.to_string() });
        assert_eq!(client.post("/v1/snapshots", body).await.status, 201);
        let paused = client.post(&format!("{path}/pause"), json!({})).await;
        assert_eq!(paused.status, 200);
        // Whoever uses it wakes it; that it wakes is the platform's doing.
        let exec = format!("{path}/exec");
        let used = client.post(&exec, json!({ "cmd": "true" })).await;
        assert_eq!(used.status, 200);
        assert_eq!(client.delete(&path).await.status, 204);
        let told: Vec<(String, Value)> = sqlx::query_as(
            "SELECT kind, actor FROM sandbox_ops WHERE sandbox_id = $1 ORDER BY created_at, id",
        )
        .bind(id.as_uuid())
        .fetch_all(&setup.world.db)
        .await
        .unwrap();
        let expected = [
            ("create", actor),
            ("pause", actor),
            ("resume", actor),
            ("fork", actor),
            ("snapshot", actor),
            ("pause", actor),
            ("resume", &system),
            ("destroy", actor),
        ];
        let told: Vec<_> = told.iter().map(|(kind, actor)| (&**kind, actor)).collect();
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn other_requests_stay_fast_while_fifty_people_log_in() {
    let setup = Setup::with(Options::default(), Capacity::default()).await;
    let ada = Person::sign_up(&setup.replica, "ada").await.unwrap();
    let nobody = Client::new(setup.replica.base_url(), None);
    let begun = Instant::now();
    let logins = (0..50).map(|_| {
        let body = json!({ "email": ada.email, "password": PASSWORD });
        let nobody = nobody.clone();
        tokio::spawn(async move { nobody.post("/v1/auth/login", body).await.status })
    });
    let logins: Vec<_> = logins.collect();
    let mut slowest = Duration::ZERO;
    let mut during = 0;
    while !logins.iter().all(tokio::task::JoinHandle::is_finished) {
        let asked = Instant::now();
        assert_eq!(setup.client.get("/v1/sandboxes").await.status, 200);
        slowest = slowest.max(asked.elapsed());
        during += 1;
    }
    for login in logins {
        assert_eq!(login.await.unwrap(), 200);
    }
    assert!(during >= 10, "{during}");
    // One that stood behind the hashes would take about as long as all of them.
    let bound = (begun.elapsed() / 2).max(Duration::from_secs(1));
    assert!(slowest < bound, "{slowest:?} of {bound:?}");
}

#[tokio::test]
async fn the_time_of_a_login_does_not_tell_whether_the_address_is_known() {
    let setup = Setup::new().await;
    let ada = Person::sign_up(&setup.replica, "ada").await.unwrap();
    let nobody = Client::new(setup.replica.base_url(), None);
    let time = async |email: &str| {
        let body = json!({ "email": email, "password": "wrong password" });
        let begun = Instant::now();
        let answer = nobody.post("/v1/auth/login", body).await;
        assert_eq!(
            (answer.status, answer.json["error"]["details"].clone()),
            (401, Value::Null)
        );
        begun.elapsed()
    };
    // Other tests hash in this process too and stand in the same queue: the shortest times tell the cost, and
    // they come nearer to it with each try. A path without the hash would be shorter by far, for ever.
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for tries in 1..=400 {
        known = known.min(time(&ada.email).await);
        unknown = unknown.min(time("nobody@example.com").await);
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        if tries >= 15 && (0.8..1.25).contains(&ratio) {
            // It is the hash that takes the time in both.
            assert!(unknown > Duration::from_millis(5), "{unknown:?}");
            return;
        }
    }
    panic!("known {known:?}, unknown {unknown:?}");
}
