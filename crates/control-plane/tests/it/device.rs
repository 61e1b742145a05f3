//! Command lines are let in by somebody in a browser.

use serde_json::{Value, json};
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, Replica, World},
    person::Person,
};

async fn start() -> (World, Replica, Client) {
    let world = World::new().await.unwrap();
    let replica = world.replica(Options::default()).unwrap();
    let nobody = Client::new(replica.base_url(), None);
    (world, replica, nobody)
}

/// Asks to be let in; answers device code and user code.
async fn ask(nobody: &Client) -> (String, String) {
    let body = json!({ "client_name": "wrenn on laptop" });
    let codes = nobody.post("/v1/auth/device", body).await;
    assert_eq!(codes.status, 201, "{codes:?}");
    assert_eq!(
        (&codes.json["interval"], &codes.json["expires_in"]),
        (&json!(5), &json!(600))
    );
    assert!(
        codes.json["verification_url"]
            .as_str()
            .unwrap()
            .ends_with("/device")
    );
    let text = |name: &str| codes.json[name].as_str().unwrap().to_owned();
    (text("device_code"), text("user_code"))
}

async fn poll(nobody: &Client, code: &str) -> Answer {
    nobody
        .post("/v1/auth/device/token", json!({ "device_code": code }))
        .await
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

#[tokio::test]
async fn an_approved_command_line_is_signed_in_once() {
    let (_world, replica, nobody) = start().await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let (device, user) = ask(&nobody).await;
    let pending = poll(&nobody, &device).await;
    assert_eq!(
        (pending.status, pending.json),
        (202, json!({ "status": "pending" }))
    );
    let path = format!("/v1/auth/device/{}", user.to_lowercase());
    check(&nobody.get(&path).await, 401, "unauthorized");
    let waiting = ada.client.get(&path).await;
    assert_eq!(waiting.json["client_name"], "wrenn on laptop");
    assert_eq!(waiting.json["ip"], "127.0.0.1");
    let eve = Person::sign_up(&replica, "eve").await.unwrap();
    let approve = format!("{path}/approve");
    let foreign = json!({ "team_id": eve.team.to_string() });
    check(&ada.client.post(&approve, foreign).await, 403, "forbidden");
    let own = json!({ "team_id": ada.team.to_string() });
    assert_eq!(ada.client.post(&approve, own.clone()).await.status, 204);
    check(
        &eve.client.post(&approve, json!({})).await,
        404,
        "not_found",
    );
    check(
        &ada.client.post(&format!("{path}/deny"), json!({})).await,
        404,
        "not_found",
    );
    let let_in = poll(&nobody, &device).await;
    assert_eq!(let_in.status, 200, "{let_in:?}");
    assert_eq!(let_in.json["team_id"], own["team_id"]);
    assert!(let_in.json["refresh_token"].is_string());
    let client = Client::with_token(replica.base_url(), let_in.json["token"].as_str().unwrap());
    let sessions = client.get("/v1/me/sessions").await.json;
    assert_eq!(sessions[0]["client"], "wrenn on laptop");
    check(&poll(&nobody, &device).await, 400, "invalid_token");
}

#[tokio::test]
async fn a_refused_or_outdated_command_line_stays_outside() {
    let (_world, replica, nobody) = start().await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let (device, user) = ask(&nobody).await;
    let deny = format!("/v1/auth/device/{user}/deny");
    assert_eq!(ada.client.post(&deny, json!({})).await.status, 204);
    check(&poll(&nobody, &device).await, 400, "invalid_token");
    check(&poll(&nobody, "unknown").await, 400, "invalid_token");
    for code in ["BCDF-GHJK", "AAAA-AAAA", "x"] {
        check(
            &ada.client.get(&format!("/v1/auth/device/{code}")).await,
            404,
            "not_found",
        );
    }
    // Approved, and then everything that she had approved is void.
    let (device, user) = ask(&nobody).await;
    let approve = format!("/v1/auth/device/{user}/approve");
    assert_eq!(ada.client.post(&approve, json!({})).await.status, 204);
    assert_eq!(
        ada.client
            .post("/v1/auth/logout-all", json!({}))
            .await
            .status,
        204
    );
    check(&poll(&nobody, &device).await, 400, "invalid_token");
}

#[tokio::test]
async fn a_browser_hands_its_person_to_a_command_line_on_the_same_machine() {
    let (_world, replica, nobody) = start().await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let verifier = "a verifier that only the command line knows";
    // base64url of the SHA-256 of it.
    let challenge: String = sqlx::query_scalar(
        "SELECT rtrim(translate(encode(sha256($1::bytea), 'base64'), '+/', '-_'), '=')",
    )
    .bind(verifier.as_bytes())
    .fetch_one(&_world.db)
    .await
    .unwrap();
    let code = async |challenge: &str, uri: &str| {
        let body = json!({ "code_challenge": challenge, "redirect_uri": uri });
        ada.client.post("/v1/auth/cli/code", body).await
    };
    let home = "http://127.0.0.1:4711/callback";
    check(&code("short", home).await, 400, "invalid_request");
    check(
        &code(&challenge, "https://example.com/").await,
        400,
        "invalid_request",
    );
    let exchange = async |code: &Value, verifier: &str| {
        let body = json!({ "code": code, "code_verifier": verifier });
        nobody.post("/v1/auth/cli/exchange", body).await
    };
    let first = code(&challenge, home).await;
    assert_eq!(first.status, 201, "{first:?}");
    check(
        &exchange(&first.json["code"], "another").await,
        400,
        "invalid_token",
    );
    check(
        &exchange(&first.json["code"], verifier).await,
        400,
        "invalid_token",
    );
    let second = code(&challenge, home).await;
    let done = exchange(&second.json["code"], verifier).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json["user_id"], json!(ada.id.to_string()));
    assert!(done.json["refresh_token"].is_string());
    check(
        &exchange(&second.json["code"], verifier).await,
        400,
        "invalid_token",
    );
}
