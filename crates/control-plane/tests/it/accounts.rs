//! Sign-up, login, sessions and passwords.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, Replica, World, eventually},
    person::{PASSWORD, Person},
};

async fn start(settings: Vec<(&'static str, String)>) -> (World, Replica, Client) {
    let world = World::new().await.unwrap();
    let options = Options {
        settings,
        ..Options::default()
    };
    let replica = world.replica(options).unwrap();
    let nobody = Client::new(replica.base_url(), None);
    (world, replica, nobody)
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

#[tokio::test]
async fn whoever_signs_up_owns_a_team_and_can_log_in() {
    let (_world, replica, nobody) = start(Vec::new()).await;
    let ada = Person::sign_up(&replica, "Ada").await.unwrap();
    let me = ada.client.get("/v1/me").await;
    assert_eq!(
        me.json,
        json!({
            "id": ada.id.to_string(), "name": "Ada", "email": "ada@example.com", "has_password": true,
            "is_admin": false, "permissions": [], "providers": [],
        })
    );
    assert_eq!(ada.client.get("/v1/sandboxes").await.json, json!([]));
    let again = json!({ "email": "ADA@example.com", "password": PASSWORD, "name": "Eve" });
    check(
        &nobody.post("/v1/auth/signup", again).await,
        409,
        "email_taken",
    );
    let login = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        nobody.post("/v1/auth/login", body).await
    };
    let right = login("Ada@Example.com", PASSWORD).await;
    assert_eq!(right.status, 200, "{right:?}");
    assert_eq!(right.json["team_id"], json!(ada.team.to_string()));
    assert_eq!(right.json["refresh_token"], Value::Null);
    let wrong = login("ada@example.com", "wrong password").await;
    check(&wrong, 401, "unauthorized");
    let unknown = login("eve@example.com", "wrong password").await;
    assert_eq!((wrong.status, wrong.bytes), (unknown.status, unknown.bytes));
    for (field, body) in [
        (
            "email",
            json!({ "email": "a", "password": PASSWORD, "name": "A" }),
        ),
        (
            "password",
            json!({ "email": "a@b", "password": "1234567", "name": "A" }),
        ),
        (
            "name",
            json!({ "email": "a@b", "password": PASSWORD, "name": " " }),
        ),
    ] {
        let refused = nobody.post("/v1/auth/signup", body).await;
        check(&refused, 400, "invalid_request");
        assert_eq!(refused.json["error"]["details"]["field"], field);
    }
}

#[tokio::test]
async fn two_sign_ups_with_one_address_make_one_account() {
    let (world, _replica, nobody) = start(Vec::new()).await;
    let sign_up = async || {
        let body = json!({ "email": "a@example.com", "password": PASSWORD, "name": "A" });
        nobody.post("/v1/auth/signup", body).await.status
    };
    let (one, two, three) = tokio::join!(sign_up(), sign_up(), sign_up());
    let mut statuses = [one, two, three];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409]);
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM users WHERE email = 'a@example.com'),
                (SELECT count(*) FROM teams WHERE name = 'A''s team'),
                (SELECT count(*) FROM users_teams m JOIN users u ON u.id = m.user_id
                 WHERE u.email = 'a@example.com' AND m.role = 'owner' AND m.is_default)",
    )
    .fetch_one(&world.db)
    .await
    .unwrap();
    assert_eq!(counts, (1, 1, 1));
}

#[tokio::test]
async fn sign_up_can_be_closed_and_setup_makes_one_administrator() {
    let settings = vec![
        ("WRENN_SIGNUP", "example.com".to_owned()),
        ("WRENN_SETUP_TOKEN", "the set-up token".to_owned()),
    ];
    let (world, replica, nobody) = start(settings).await;
    let body = |email: &str| json!({ "email": email, "password": PASSWORD, "name": "A" });
    check(
        &nobody.post("/v1/auth/signup", body("a@example.org")).await,
        403,
        "signup_disabled",
    );
    Person::sign_up(&replica, "ada").await.unwrap();
    let setup = async |token: &str| {
        let mut body = body("root@example.org");
        body["setup_token"] = json!(token);
        nobody.post("/v1/auth/setup", body).await
    };
    check(&setup("another").await, 400, "invalid_token");
    // The administrator that `wrenn up` makes is one already.
    check(&setup("the set-up token").await, 409, "conflict");
    assert_eq!(
        nobody.get("/v1/auth/config").await.json["setup_required"],
        false
    );
    sqlx::query("UPDATE users SET is_admin = false")
        .execute(&world.db)
        .await
        .unwrap();
    assert_eq!(
        nobody.get("/v1/auth/config").await.json["setup_required"],
        true
    );
    let made = setup("the set-up token").await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.json["token"].as_str().unwrap();
    let root = Client::with_token(replica.base_url(), token);
    assert_eq!(root.get("/v1/me").await.json["is_admin"], true);
    check(&setup("the set-up token").await, 409, "conflict");
}

/// Logs in as a command line does; answers token and refresh token.
async fn cli_session(nobody: &Client, email: &str) -> (String, String) {
    let request = nobody
        .request(Method::POST, "/v1/auth/login")
        .header("x-wrenn-client", "cli")
        .json(&json!({ "email": email, "password": PASSWORD }));
    let answer = nobody.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |name: &str| answer.json[name].as_str().unwrap().to_owned();
    (text("token"), text("refresh_token"))
}

async fn refresh(nobody: &Client, token: &str) -> Answer {
    let body = json!({ "refresh_token": token });
    nobody.post("/v1/auth/refresh", body).await
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_copy_ends_the_session() {
    let (world, replica, nobody) = start(Vec::new()).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let (token, first) = cli_session(&nobody, &ada.email).await;
    let client = Client::with_token(replica.base_url(), &token);
    // Two tabs at once, and a retry: one successor.
    let (one, two) = tokio::join!(refresh(&nobody, &first), refresh(&nobody, &first));
    let three = refresh(&nobody, &first).await;
    let successor = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["refresh_token"].as_str().unwrap().to_owned()
    };
    let second = successor(&one);
    assert_eq!(
        [successor(&two), successor(&three)],
        [second.clone(), second.clone()]
    );
    assert_ne!(first, second);
    let third = successor(&refresh(&nobody, &second).await);
    check(&refresh(&nobody, &first).await, 401, "unauthorized");
    assert_eq!(client.get("/v1/me").await.status, 200);
    // The token before, when its time for retries is over.
    sqlx::query("UPDATE user_sessions SET rotated_at = now() - interval '11 s'")
        .execute(&world.db)
        .await
        .unwrap();
    check(&refresh(&nobody, &second).await, 401, "unauthorized");
    check(&refresh(&nobody, &third).await, 401, "unauthorized");
    check(&client.get("/v1/me").await, 401, "unauthorized");
    let written: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit_logs WHERE action = 'credential_reuse'")
            .fetch_one(&world.db)
            .await
            .unwrap();
    assert_eq!(written, 1);
}

fn cookie(answer: &Answer) -> String {
    let header = answer.header("set-cookie");
    header.split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_browser_holds_its_session_in_a_cookie_that_only_the_dashboard_can_use() {
    let public = "https://wrenn.example.com";
    let (_world, replica, nobody) = start(vec![("CP_PUBLIC_URL", public.to_owned())]).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let login = nobody
        .request(Method::POST, "/v1/auth/login")
        .header("x-wrenn-client", "dashboard")
        .json(&json!({ "email": ada.email, "password": PASSWORD }));
    let login = nobody.send(login).await;
    assert_eq!(login.json["refresh_token"], Value::Null);
    let set = login.header("set-cookie");
    assert!(set.starts_with("__Host-wrenn_refresh="), "{set}");
    for part in [
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Secure",
        "; Max-Age=2592000",
    ] {
        assert!(set.contains(part), "{set}");
    }
    let held = cookie(&login);
    let ask = |path: &str| -> RequestBuilder {
        nobody.request(Method::POST, path).header("cookie", &held)
    };
    for (client, origin) in [
        (None, Some(public)),
        (Some("dashboard"), None),
        (Some("dashboard"), Some("https://evil.example.com")),
        (Some("cli"), Some(public)),
    ] {
        let mut request = ask("/v1/auth/refresh");
        if let Some(client) = client {
            request = request.header("x-wrenn-client", client);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        check(&nobody.send(request).await, 403, "forbidden");
    }
    let dashboard = |request: RequestBuilder| {
        request
            .header("x-wrenn-client", "dashboard")
            .header("origin", public)
    };
    let renewed = nobody.send(dashboard(ask("/v1/auth/refresh"))).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    assert_ne!(cookie(&renewed), held);
    // A cookie is a credential of these two routes alone.
    assert_eq!(
        nobody
            .send(dashboard(ask("/v1/auth/logout-all")))
            .await
            .status,
        401
    );
    let out = nobody.send(dashboard(ask("/v1/auth/logout"))).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    check(
        &nobody.send(dashboard(ask("/v1/auth/refresh"))).await,
        401,
        "unauthorized",
    );
}

#[tokio::test]
async fn sessions_are_listed_and_ended_and_logout_all_voids_every_token() {
    let (_world, replica, nobody) = start(Vec::new()).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let eve = Person::sign_up(&replica, "eve").await.unwrap();
    let (first, _) = cli_session(&nobody, &ada.email).await;
    let (second, refresh_token) = cli_session(&nobody, &ada.email).await;
    let (first, second) = (
        Client::with_token(replica.base_url(), &first),
        Client::with_token(replica.base_url(), &second),
    );
    let listed = second.get("/v1/me/sessions").await.json;
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["current"]),
        (&json!("cli"), &json!(true))
    );
    assert_eq!(listed[1]["current"], json!(false));
    let other = format!("/v1/me/sessions/{}", listed[1]["id"].as_str().unwrap());
    assert_eq!(eve.client.get("/v1/me/sessions").await.json, json!([]));
    check(&eve.client.delete(&other).await, 404, "not_found");
    assert_eq!(second.delete(&other).await.status, 204);
    check(&first.get("/v1/me").await, 401, "unauthorized");
    assert_eq!(second.get("/v1/me").await.status, 200);
    assert_eq!(
        second.post("/v1/auth/logout-all", json!({})).await.status,
        204
    );
    for client in [&second, &ada.client] {
        check(&client.get("/v1/me").await, 401, "unauthorized");
    }
    check(&refresh(&nobody, &refresh_token).await, 401, "unauthorized");
    assert_eq!(eve.client.get("/v1/me").await.status, 200);
    // Without a session there is nothing to end, and that is no error.
    assert_eq!(
        eve.client.post("/v1/auth/logout", json!({})).await.status,
        204
    );
}

#[tokio::test]
async fn a_changed_password_voids_what_was_made_under_the_one_before() {
    let (_world, replica, nobody) = start(Vec::new()).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let change = async |client: &Client, current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        client.post("/v1/me/password", body).await
    };
    check(
        &change(&ada.client, "wrong one", "another password").await,
        401,
        "wrong_password",
    );
    check(
        &change(&ada.client, PASSWORD, "short").await,
        400,
        "invalid_request",
    );
    let changed = change(&ada.client, PASSWORD, "another password").await;
    assert_eq!(changed.status, 200, "{changed:?}");
    check(&ada.client.get("/v1/me").await, 401, "unauthorized");
    let token = changed.json["token"].as_str().unwrap();
    let renewed = Client::with_token(replica.base_url(), token);
    assert_eq!(renewed.get("/v1/me").await.status, 200);
    assert_eq!(changed.json["team_id"], json!(ada.team.to_string()));
    assert!(Person::log_in(&replica, &ada.email).await.is_err());
    let body = json!({ "email": ada.email, "password": "another password" });
    assert_eq!(nobody.post("/v1/auth/login", body).await.status, 200);
    // Without mail the answer is the same, and nothing comes of it.
    for email in [&*ada.email, "nobody@example.com", ""] {
        let asked = nobody
            .post("/v1/me/password/reset", json!({ "email": email }))
            .await;
        assert_eq!(asked.status, 204, "{asked:?}");
    }
}

#[tokio::test]
async fn people_rename_themselves_switch_teams_and_leave_for_good() {
    let (world, replica, nobody) = start(Vec::new()).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let eve = Person::sign_up(&replica, "eve").await.unwrap();
    let renamed = ada
        .client
        .patch("/v1/me", json!({ "name": " Ada L. " }))
        .await;
    assert_eq!(
        (renamed.status, &renamed.json["name"]),
        (200, &json!("Ada L."))
    );
    let switch = async |client: &Client, team: &str| {
        client
            .post("/v1/auth/switch-team", json!({ "team_id": team }))
            .await
    };
    check(
        &switch(&ada.client, &eve.team.to_string()).await,
        403,
        "forbidden",
    );
    let unknown = wrenn_ids::TeamId::new().to_string();
    check(&switch(&ada.client, &unknown).await, 403, "forbidden");
    sqlx::query("INSERT INTO users_teams (team_id, user_id, role) VALUES ($1, $2, 'member')")
        .bind(eve.team.as_uuid())
        .bind(ada.id.as_uuid())
        .execute(&world.db)
        .await
        .unwrap();
    let switched = switch(&ada.client, &eve.team.to_string()).await;
    assert_eq!(switched.json["team_id"], json!(eve.team.to_string()));
    let (session, refresh_token) = cli_session(&nobody, &ada.email).await;
    let session = Client::with_token(replica.base_url(), &session);
    assert_eq!(switch(&session, &eve.team.to_string()).await.status, 200);
    let renewed = refresh(&nobody, &refresh_token).await;
    assert_eq!(renewed.json["team_id"], json!(eve.team.to_string()));

    let leave = async |who: &Person, confirmation: &str| {
        let request = who.client.request(Method::DELETE, "/v1/me");
        who.client
            .send(request.json(&json!({ "confirmation": confirmation })))
            .await
    };
    check(
        &leave(&eve, "eve@example.com").await,
        409,
        "owns_team_with_members",
    );
    check(
        &leave(&ada, "eve@example.com").await,
        400,
        "invalid_request",
    );
    assert_eq!(leave(&ada, "ADA@example.com").await.status, 204);
    check(&ada.client.get("/v1/me").await, 403, "account_deactivated");
    assert!(Person::log_in(&replica, &ada.email).await.is_err());
    let live: bool = sqlx::query_scalar("SELECT deleted_at IS NULL FROM teams WHERE id = $1")
        .bind(ada.team.as_uuid())
        .fetch_one(&world.db)
        .await
        .unwrap();
    assert!(!live, "a team that only she was in goes with her");
    // The address is free again, for another account.
    let again = Person::sign_up(&replica, "ada").await.unwrap();
    assert_ne!(again.id, ada.id);
    assert_eq!(leave(&eve, "eve@example.com").await.status, 204);
}

#[tokio::test]
async fn a_search_tells_active_people_by_the_beginning_of_their_address() {
    let (world, replica, _nobody) = start(Vec::new()).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    for name in ["a_b", "axb", "gone"] {
        Person::sign_up(&replica, name).await.unwrap();
    }
    sqlx::query("UPDATE users SET status = 'disabled' WHERE name = 'gone'")
        .execute(&world.db)
        .await
        .unwrap();
    let find = async |email: &str| {
        let email = email.replace('%', "%25");
        let path = format!("/v1/users/search?email={email}");
        let found = ada.client.get(&path).await;
        let names = found.json.as_array().map(|found| {
            let names = found
                .iter()
                .map(|one| one["email"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        });
        (found.status, names.unwrap_or_default())
    };
    let check = async |email: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|&email| email.to_owned()).collect();
        assert_eq!(find(email).await, (200, expected), "{email}");
    };
    check("ada@", &["ada@example.com"]).await;
    check("ADA@EX", &["ada@example.com"]).await;
    check("a_b@", &["a_b@example.com"]).await;
    check("a%@", &[]).await;
    check("gone@", &[]).await;
    for short in ["", "ad", "ada", "a@"] {
        assert_eq!(find(short).await.0, 400, "{short}");
    }
}

#[tokio::test]
async fn a_deactivated_account_is_out_and_told_so() {
    let (world, replica, nobody) = start(Vec::new()).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    sqlx::query("UPDATE users SET status = 'disabled' WHERE id = $1")
        .bind(ada.id.as_uuid())
        .execute(&world.db)
        .await
        .unwrap();
    check(&ada.client.get("/v1/me").await, 403, "account_deactivated");
    check(
        &ada.client.get("/v1/sandboxes").await,
        403,
        "account_deactivated",
    );
    let login = async |password: &str| {
        let body = json!({ "email": ada.email, "password": password });
        nobody.post("/v1/auth/login", body).await
    };
    check(&login(PASSWORD).await, 403, "account_disabled");
    check(&login("wrong password").await, 401, "unauthorized");
}

#[tokio::test]
async fn wrong_passwords_are_slowed_for_their_account_alone() {
    let limits = vec![("WRENN_RATE_LIMITS", "credential=1000/1000".to_owned())];
    let (_world, replica, nobody) = start(limits).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let eve = Person::sign_up(&replica, "eve").await.unwrap();
    let login = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        nobody.post("/v1/auth/login", body).await
    };
    for email in [&*ada.email, "nobody@example.com"] {
        let mut statuses = Vec::new();
        for _ in 0..7 {
            statuses.push(login(email, "wrong password").await.status);
        }
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429], "{email}");
    }
    let blocked = login(&ada.email, PASSWORD).await;
    check(&blocked, 429, "rate_limited");
    assert!(blocked.header("retry-after").parse::<u64>().unwrap() > 800);
    assert_eq!(login(&eve.email, PASSWORD).await.status, 200);
    // Whoever is in stays in.
    assert_eq!(ada.client.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn of_a_thousand_wrong_passwords_five_are_judged_and_another_account_does_not_wait() {
    let limits = "credential=100000/100000".to_owned();
    let (_world, replica, nobody) = start(vec![("WRENN_RATE_LIMITS", limits)]).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let eve = Person::sign_up(&replica, "eve").await.unwrap();
    let login = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        nobody.post("/v1/auth/login", body).await
    };
    let guess = async |n: usize| {
        login(&ada.email, &format!("wrong password {n}"))
            .await
            .status
    };
    let mut judged = 0;
    // Fifty at once: no one of them knows yet what became of the others.
    for batch in 0..20 {
        let guesses = futures::future::join_all((0..50).map(|n| guess(batch * 50 + n)));
        let (statuses, other) = tokio::join!(guesses, login(&eve.email, PASSWORD));
        assert_eq!(other.status, 200, "{other:?}");
        judged += statuses.iter().filter(|status| **status == 401).count();
        let refused = statuses.iter().filter(|status| **status == 429).count();
        let here = statuses.iter().filter(|status| **status == 401).count();
        assert_eq!(refused + here, 50, "{statuses:?}");
    }
    assert_eq!(judged, 5, "each of the others cost no hash");
    // The right one is a guess too, until the time is over; whoever is in stays in.
    check(&login(&ada.email, PASSWORD).await, 429, "rate_limited");
    assert_eq!(ada.client.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn what_identified_a_deleted_person_is_erased_after_15_days() {
    let (world, replica, _nobody) = start(Vec::new()).await;
    for name in ["ada", "eve"] {
        let person = Person::sign_up(&replica, name).await.unwrap();
        let request = person.client.request(Method::DELETE, "/v1/me");
        let body = json!({ "confirmation": person.email });
        assert_eq!(person.client.send(request.json(&body)).await.status, 204);
    }
    sqlx::query(
        "UPDATE users SET deleted_at = now() - interval '16 days' WHERE email = 'ada@example.com'",
    )
    .execute(&world.db)
    .await
    .unwrap();
    // A replica looks as soon as it starts.
    let _other = world.replica(Options::default()).unwrap();
    eventually("she is forgotten", async || {
        let known = "SELECT count(*) FROM users WHERE email = 'ada@example.com' OR name = 'ada'
                     OR (status = 'deleted' AND email = '' AND password_hash IS NOT NULL)";
        let known: i64 = sqlx::query_scalar(known)
            .fetch_one(&world.db)
            .await
            .unwrap();
        known == 0
    })
    .await
    .unwrap();
    let eve: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE email = 'eve@example.com'")
        .fetch_one(&world.db)
        .await
        .unwrap();
    assert_eq!(eve, 1, "her days are not over");
    let told: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_logs WHERE actor_name = 'ada'")
        .fetch_one(&world.db)
        .await
        .unwrap();
    assert_eq!(told, 0);
}
