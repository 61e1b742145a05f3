//! The published `schemathesis` against a running control plane with its own document: whatever it sends, no answer
//! is a server error, and none is outside of what the document says.
//!
//! `WRENN_SCHEMATHESIS` names the virtual environment that it is in, as `cargo xtask test service` does. Its seed is
//! fixed; with `WRENN_SOAK` it sends ten times as much.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::json;
use tokio::{process::Command, time::timeout};
use wrenn_testkit::{
    client::Client,
    control_plane::{Options, Replica, World},
    simulated_agent::Capacity,
};

const ENVIRONMENT: &str = "WRENN_SCHEMATHESIS";
/// What makes two runs alike.
const SEED: &str = "20261123";
/// Requests for each operation, beside those that cover its parameters one by one.
const EXAMPLES: u32 = 10;
/// What an answer is asked.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";
/// For the whole.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Key,
    Administrator,
}

/// Sends what schemathesis thinks of.
async fn check(sender: Sender) {
    let environment = std::env::var_os(ENVIRONMENT)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{ENVIRONMENT} is not set: cargo xtask test service sets it"));
    let world = World::new().await.unwrap();
    let settings = vec![("WRENN_RATE_LIMITS", "off".to_owned())];
    let replica = world
        .replica(Options {
            settings,
            ..Options::default()
        })
        .unwrap();
    // Room for whatever it asks for: a host without room is an honest 503.
    let capacity = Capacity {
        cpu_cores: 4096,
        memory_mib: 64 << 20,
        disk_mib: 1 << 30,
    };
    let _agent = world.agent(&replica, capacity).await.unwrap();
    let examples = match std::env::var_os("WRENN_SOAK") {
        Some(_) => EXAMPLES * 10,
        None => EXAMPLES,
    };
    let header = match sender {
        Sender::Key => format!("X-API-Key: {}", world.api_key),
        Sender::Administrator => format!(
            "Authorization: Bearer {}",
            administrator(&world, &replica).await
        ),
    };
    let document = format!("{}/openapi.json", replica.base_url());
    let directory = tempfile::tempdir().unwrap();
    // Not its script: that names the interpreter of the directory in which the environment was made.
    let run = Command::new(environment.join("bin/python"))
        .args(["-m", "schemathesis.cli", "run"])
        .arg(&document)
        .args(["--checks", CHECKS, "--seed", SEED, "--no-shrink"])
        .args(["--max-examples", &examples.to_string()])
        .args(["--warnings", "off"])
        .args([
            "--suppress-health-check",
            "all",
            "--generation-database",
            "none",
        ])
        .args(["--header", &header])
        // It would only end what the others are sent with.
        .args(["--exclude-path", "/v1/auth/logout-all"])
        .current_dir(&directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = timeout(PATIENCE, run).await.unwrap().unwrap();
    assert!(
        done.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A token of a person who administers the platform.
async fn administrator(world: &World, replica: &Replica) -> String {
    let account =
        json!({ "email": "root@wrenn.test", "password": "correct horse", "name": "Root" });
    let client = Client::new(replica.base_url(), None);
    let answer = client.post("/v1/auth/signup", account).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    sqlx::query("UPDATE users SET is_admin = true")
        .execute(&world.db)
        .await
        .unwrap();
    answer.json["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn whatever_a_key_sends_is_answered_as_the_document_says() {
    check(Sender::Key).await;
}

#[tokio::test]
async fn whatever_an_administrator_sends_is_answered_as_the_document_says() {
    check(Sender::Administrator).await;
}
