//! Background programs and the list of processes.

use serde_json::{Value, json};

use crate::setup::Setup;

#[tokio::test]
async fn a_background_program_runs_until_it_is_ended() {
    let setup = Setup::new().await;
    let sandbox = setup.client.create().await;
    let path = format!("/v1/sandboxes/{}", sandbox.id);
    let exec = async |body: Value| setup.client.post(&format!("{path}/exec"), body).await;
    let list = async || setup.client.get(&format!("{path}/processes")).await.json;
    let end = async |process: &str| {
        let path = format!("{path}/processes/{process}");
        setup.client.delete(&path).await
    };

    let sleep =
        |tag: &str| json!({ "cmd": "sleep", "args": ["600"], "background": true, "tag": tag });
    let named = exec(sleep("server")).await;
    assert_eq!(named.status, 202, "{named:?}");
    let pid = named.json["pid"].as_u64().unwrap();
    let expected = json!({ "sandbox_id": sandbox.id.to_string(), "cmd": "sleep", "pid": pid, "tag": "server" });
    assert_eq!(named.json, expected);
    let expected = json!([{ "pid": pid, "tag": "server", "cmd": "sleep", "args": ["600"] }]);
    assert_eq!(list().await["processes"], expected);
    assert_eq!(exec(sleep("server")).await.code(), "conflict");

    let automatic = exec(json!({ "cmd": "sleep", "args": ["600"], "background": true })).await;
    let tag = automatic.json["tag"].as_str().unwrap().to_owned();
    assert!(tag.starts_with("proc-") && tag.len() == 13, "{tag}");
    assert_eq!(list().await["processes"].as_array().unwrap().len(), 2);

    assert_eq!(end(&format!("{tag}?signal=SIGTERM")).await.status, 204);
    assert_eq!(end(&pid.to_string()).await.status, 204);
    let gone = async || list().await["processes"] == json!([]);
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while !gone().await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("ended processes leave the list");
    assert_eq!(end("server").await.code(), "not_found");
    assert_eq!(end("99999999999").await.code(), "invalid_request");
    let signal = end("server?signal=SIGHUP").await;
    assert_eq!((signal.status, signal.code()), (400, "invalid_request"));

    let missing = exec(json!({ "cmd": "/no/such/program", "background": true })).await;
    assert_eq!((missing.status, missing.code()), (400, "invalid_request"));
}
