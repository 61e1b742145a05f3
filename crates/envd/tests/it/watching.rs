//! Watching: streamed and polled.

use std::{fs, time::Duration};

use tokio::time::timeout;
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode, client::CallOptions},
    filesystem::{
        CreateWatcherRequest, EventType, FilesystemEvent, GetWatcherEventsRequest,
        RemoveWatcherRequest, WatchDirRequest, WatchDirResponse, watch_dir_response::Event,
    },
};

use crate::envd::{Envd, is_soak};

const PATIENCE: Duration = Duration::from_secs(60);

fn text(event: &FilesystemEvent) -> String {
    let kind = match event.r#type.as_known().unwrap() {
        EventType::EVENT_TYPE_CREATE => "create",
        EventType::EVENT_TYPE_WRITE => "write",
        EventType::EVENT_TYPE_REMOVE => "remove",
        EventType::EVENT_TYPE_RENAME => "rename",
        EventType::EVENT_TYPE_CHMOD => "chmod",
        EventType::EVENT_TYPE_UNSPECIFIED => "unspecified",
    };
    format!("{kind} {}", event.name)
}

async fn create(envd: &Envd, path: &str, recursive: bool) -> Result<String, ConnectError> {
    let request = CreateWatcherRequest {
        path: path.to_owned(),
        recursive,
        ..Default::default()
    };
    let created = envd.files().create_watcher(request).await?;
    Ok(created.into_owned().watcher_id)
}

async fn events(envd: &Envd, id: &str) -> Result<Vec<String>, ConnectError> {
    let request = GetWatcherEventsRequest {
        watcher_id: id.to_owned(),
        ..Default::default()
    };
    let got = envd.files().get_watcher_events(request).await?.into_owned();
    Ok(got.events.iter().map(text).collect())
}

#[tokio::test]
async fn what_happened_before_a_poll_is_in_its_answer() {
    let envd = Envd::start(&[]);
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    let id = create(&envd, path, true).await.unwrap();
    assert_eq!(events(&envd, &id).await.unwrap(), [""; 0]);
    for round in 0..200 {
        let name = format!("f{round}");
        fs::write(root.path().join(&name), "x").unwrap();
        let expected = [format!("create {name}"), format!("write {name}")];
        assert_eq!(events(&envd, &id).await.unwrap(), expected);
    }
    // Through the API: made, given to its user, written.
    let upload = |body: &[u8]| {
        let line = format!("POST /files?path={path}/up");
        let kind = "Content-Type: application/octet-stream\r\n";
        assert_eq!(envd.http(&line, kind, body).0, 200);
    };
    upload(b"new");
    let expected = ["create up", "chmod up", "write up"];
    assert_eq!(events(&envd, &id).await.unwrap(), expected);
    upload(b"other");
    let told = events(&envd, &id).await.unwrap();
    assert!(told.iter().all(|event| event != "create up"), "{told:?}");
    assert_eq!(told.last().unwrap(), "write up");

    let remove = || RemoveWatcherRequest {
        watcher_id: id.clone(),
        ..Default::default()
    };
    envd.files().remove_watcher(remove()).await.unwrap();
    let gone = envd.files().remove_watcher(remove()).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
    assert_eq!(
        events(&envd, &id).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn a_stream_begins_when_the_watch_is_in_place_and_then_tells_all() {
    let envd = Envd::start(&[]);
    let root = tempfile::tempdir().unwrap();
    let request = WatchDirRequest {
        path: root.path().to_str().unwrap().to_owned(),
        recursive: true,
        include_entry: true,
        ..Default::default()
    };
    let options = CallOptions::default().with_header("keepalive-ping-interval", "1");
    let client = envd.files();
    let mut stream = client
        .watch_dir_with_options(request, options)
        .await
        .unwrap();
    let mut next = async || {
        let message = timeout(PATIENCE, stream.message::<WatchDirResponse>()).await;
        let message = message.unwrap().unwrap().unwrap();
        message.to_owned_message().event.unwrap()
    };
    assert!(matches!(next().await, Event::Start(_)));
    assert!(matches!(next().await, Event::Keepalive(_)));
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(root.path().join("a/b/c"), "hello").unwrap();
    let mut told = Vec::new();
    while told.len() < 4 {
        if let Event::Filesystem(event) = next().await {
            if event.name == "a/b/c" {
                let entry = event.entry.as_option().unwrap();
                assert!(entry.path.ends_with("/a/b/c"), "{entry:?}");
            }
            told.push(text(&event));
        }
    }
    assert_eq!(
        told,
        ["create a", "create a/b", "create a/b/c", "write a/b/c"]
    );
}

#[tokio::test]
async fn a_flood_is_told_whole_or_said_to_be_lost() {
    let renames = if is_soak() { 10_000 } else { 2_000 };
    let envd = Envd::start(&[]);
    let root = tempfile::tempdir().unwrap();
    let id = create(&envd, root.path().to_str().unwrap(), false)
        .await
        .unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("f0"), "").unwrap();
    let mut told = Vec::new();
    for round in 0..renames {
        fs::rename(at(&format!("f{round}")), at(&format!("f{}", round + 1))).unwrap();
        if round % 1000 == 0 {
            told.extend(events(&envd, &id).await.unwrap());
        }
    }
    told.extend(events(&envd, &id).await.unwrap());
    assert_eq!(told.len(), 1 + 2 * renames);
    assert_eq!(*told.last().unwrap(), format!("create f{renames}"));

    // Nobody takes these: the buffer is full, and the watcher says so once and is gone.
    for round in 0..20_000 {
        fs::write(at(&format!("g{round}")), "").unwrap();
    }
    let lost = events(&envd, &id).await.unwrap_err();
    assert_eq!(lost.code, ErrorCode::ResourceExhausted);
    assert_eq!(lost.message.as_deref(), Some("events lost"));
    assert_eq!(
        events(&envd, &id).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused() {
    let envd = Envd::start(&[]);
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let code = async |path: &str| create(&envd, path, false).await.unwrap_err().code;
    assert_eq!(
        code(file.to_str().unwrap()).await,
        ErrorCode::InvalidArgument
    );
    assert_eq!(code("/no/such/directory").await, ErrorCode::NotFound);
    assert_eq!(code("a\0b").await, ErrorCode::InvalidArgument);
    let path = root.path().to_str().unwrap();
    let mut ids = Vec::new();
    let refused = loop {
        match create(&envd, path, false).await {
            Ok(id) => ids.push(id),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert!((100..=256).contains(&ids.len()), "{}", ids.len());
    let request = RemoveWatcherRequest {
        watcher_id: ids[0].clone(),
        ..Default::default()
    };
    envd.files().remove_watcher(request).await.unwrap();
    // The kernel frees a watcher after the answer.
    timeout(PATIENCE, async {
        while create(&envd, path, false).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("there is room again");
}
