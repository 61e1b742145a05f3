//! Sandboxes that sleep are woken by their use.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use wrenn_api::SandboxStatus;
use wrenn_ids::SandboxId;
use wrenn_rpc::hostagent::PauseReason;
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, eventually},
    simulated_agent::Fault,
};

use crate::{
    exec_stream::{Socket, joined, refused, shell},
    setup::Setup,
};

async fn asleep(setup: &Setup, body: Value) -> SandboxId {
    let id = setup.client.post("/v1/sandboxes", body).await.sandbox().id;
    let pause = format!("/v1/sandboxes/{id}/pause");
    let paused = setup
        .client
        .send(setup.client.request(Method::POST, &pause))
        .await;
    assert_eq!(paused.status, 200, "{paused:?}");
    id
}

async fn exec(client: &Client, id: SandboxId) -> Answer {
    let body = json!({ "cmd": "echo", "args": ["awake"] });
    client.post(&format!("/v1/sandboxes/{id}/exec"), body).await
}

async fn upload(setup: &Setup, id: SandboxId) -> Answer {
    let form = Form::new()
        .text("path", "/f")
        .part("file", Part::bytes(b"x".to_vec()));
    let path = format!("/v1/sandboxes/{id}/files/write");
    let request = setup.client.request(Method::POST, &path);
    setup.client.send(request.multipart(form)).await
}

async fn download(setup: &Setup, id: SandboxId) -> Answer {
    let path = format!("/v1/sandboxes/{id}/files/read");
    setup.client.post(&path, json!({ "path": "/f" })).await
}

#[tokio::test]
async fn fifty_programs_at_once_wake_it_once() {
    let setup = Setup::new().await;
    let second = setup.world.replica(Options::default()).unwrap();
    let clients = [setup.client.clone(), setup.world.client(&second)];
    let id = asleep(&setup, json!({})).await;
    let answers = join_all((0..50).map(|number| exec(&clients[number % 2], id))).await;
    for answer in answers {
        assert_eq!(
            (answer.status, &answer.json["stdout"]),
            (200, &json!("awake\n")),
            "{answer:?}"
        );
    }
    assert_eq!(setup.agent.calls("ResumeSandbox"), 1);
}

#[tokio::test]
async fn every_use_wakes_it() {
    let setup = Setup::new().await;
    let id = asleep(&setup, json!({})).await;
    let again = async || {
        let pause = format!("/v1/sandboxes/{id}/pause");
        let request = setup.client.request(Method::POST, &pause);
        assert_eq!(setup.client.send(request).await.status, 200);
    };
    assert_eq!(upload(&setup, id).await.status, 204);
    again().await;
    assert_eq!(download(&setup, id).await.bytes, b"x");
    again().await;
    let background = json!({ "cmd": "true", "background": true });
    let path = format!("/v1/sandboxes/{id}/exec");
    assert_eq!(setup.client.post(&path, background).await.status, 202);
    again().await;
    let mut socket = Socket::open(&setup, id, Some(&setup.world.api_key))
        .await
        .unwrap();
    socket.send(shell("echo awake")).await;
    let (frames, code) = socket.rest().await;
    assert_eq!(
        (joined(&frames, "stdout").as_str(), code),
        ("awake\n", 1000)
    );
    assert_eq!(setup.agent.calls("ResumeSandbox"), 4);
}

#[tokio::test]
async fn with_auto_resume_off_nothing_wakes_it() {
    let setup = Setup::new().await;
    let id = asleep(&setup, json!({ "auto_resume": false })).await;
    for answer in [
        exec(&setup.client, id).await,
        upload(&setup, id).await,
        download(&setup, id).await,
    ] {
        assert_eq!((answer.status, answer.code()), (409, "invalid_state"));
    }
    let opened = Socket::open(&setup, id, Some(&setup.world.api_key)).await;
    assert_eq!(opened.map(|_| 101).unwrap_or_else(refused), 409);
    assert_eq!(setup.agent.calls("ResumeSandbox"), 0);
    assert_eq!(setup.client.sandbox(id).await.status, SandboxStatus::Paused);
}

#[tokio::test]
async fn a_file_does_not_wait_as_long_as_a_program() {
    let setup = Setup::new().await;
    let id = asleep(&setup, json!({})).await;
    let slow = Fault::Delay(Duration::from_secs(7));
    setup.agent.faults().set("ResumeSandbox", slow, 1);
    let begun = Instant::now();
    let file = async {
        let answer = upload(&setup, id).await;
        assert_eq!((answer.status, answer.code()), (503, "host_unavailable"));
        assert!(begun.elapsed() < Duration::from_secs(5));
    };
    let (program, ()) = tokio::join!(exec(&setup.client, id), file);
    assert_eq!(program.json["stdout"], "awake\n", "{program:?}");
    assert_eq!(setup.agent.calls("ResumeSandbox"), 1);
}

#[tokio::test]
async fn what_comes_while_it_falls_asleep_wakes_it_again() {
    let setup = Setup::new().await;
    // By order.
    let id = setup.client.create().await.id;
    let slow = Fault::Delay(Duration::from_millis(800));
    setup.agent.faults().set("PauseSandbox", slow, 1);
    let pause = setup
        .client
        .request(Method::POST, &format!("/v1/sandboxes/{id}/pause"));
    let during = async {
        eventually("it falls asleep", async || {
            setup.agent.calls("PauseSandbox") == 1
        })
        .await
        .unwrap();
        exec(&setup.client, id).await
    };
    let (paused, used) = tokio::join!(setup.client.send(pause), during);
    assert_eq!(paused.status, 200, "{paused:?}");
    assert_eq!(used.json["stdout"], "awake\n", "{used:?}");
    // By its host, which nobody knows of yet.
    for _ in 0..5 {
        setup.agent.pause_sandbox(id, PauseReason::Idle);
        let used = exec(&setup.client, id).await;
        assert_eq!(used.json["stdout"], "awake\n", "{used:?}");
    }
    let body = json!({ "timeout_sec": 60 });
    let id = setup.client.post("/v1/sandboxes", body).await.sandbox().id;
    for _ in 0..5 {
        setup.agent.pause_sandbox(id, PauseReason::Idle);
        let sent = upload(&setup, id).await;
        assert_eq!(sent.status, 204, "{sent:?}");
    }
}

#[tokio::test]
async fn a_pause_ends_its_sockets() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let mut socket = Socket::open(&setup, id, Some(&setup.world.api_key))
        .await
        .unwrap();
    socket.send(shell("echo here; sleep 60")).await;
    assert_eq!(socket.next().await.unwrap()["type"], "start");
    let pause = format!("/v1/sandboxes/{id}/pause");
    let request = setup.client.request(Method::POST, &pause);
    assert_eq!(setup.client.send(request).await.status, 200);
    assert_eq!(socket.rest().await.1, 4409);
}
