//! Creating, listing, finding, copying and removing sandboxes.

use std::path::Path;

use serde_json::Value;

use crate::wrenn::{Installation, finish};

fn id_of(stdout: &str) -> String {
    stdout
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_sandbox_lives_from_create_to_rm() {
    let installation = Installation::new().await;
    let empty = installation.run(&["sandbox", "ls"]).await.exits(0);
    assert_eq!(
        (
            empty.stdout.as_str(),
            empty.stderr.contains("wrenn sandbox create")
        ),
        ("", true)
    );

    let created = installation
        .run(&[
            "sandbox",
            "create",
            "--template",
            "minimal",
            "--label",
            "job=42",
        ])
        .await
        .exits(0);
    let id = id_of(&created.stdout);
    assert_eq!(created.stdout, format!("{id}  running\n"));

    let listed = installation.run(&["sb", "ls"]).await.exits(0);
    let mut lines = listed.stdout.lines();
    assert!(lines.next().unwrap().starts_with("ID "));
    let row = lines.next().unwrap();
    assert!(
        row.starts_with(&id) && row.contains("running") && row.contains("512 MiB"),
        "{row}"
    );
    assert_eq!(
        installation
            .run(&["ls", "-q", "--label", "job=42"])
            .await
            .stdout,
        format!("{id}\n")
    );
    assert_eq!(
        installation
            .run(&["ls", "-q", "--label", "job=43"])
            .await
            .stdout,
        ""
    );

    let json: Value =
        serde_json::from_str(&installation.run(&["ls", "--json"]).await.exits(0).stdout).unwrap();
    assert_eq!(json[0]["id"], id.as_str());
    let shown = installation
        .run(&["sandbox", "get", "@last"])
        .await
        .exits(0);
    assert!(
        shown.stdout.contains(&id) && shown.stdout.contains("job=42"),
        "{shown:?}"
    );
    installation
        .run(&["sandbox", "ping", &id[..12]])
        .await
        .exits(0);

    assert_eq!(
        installation.run(&["rm", &id]).await.exits(0).stdout,
        format!("{id}\n")
    );
    installation.run(&["rm", &id]).await.exits(0);
    assert_eq!(installation.agent.census().len(), 0);
    assert!(
        installation
            .run(&["ls", "--all"])
            .await
            .stdout
            .contains("stopped")
    );
}

#[tokio::test]
async fn references_are_unique_beginnings() {
    let installation = Installation::new().await;
    let none = installation
        .run(&["sandbox", "get", "@last"])
        .await
        .exits(5);
    assert!(none.stderr.contains("wrenn sandbox create"), "{none:?}");
    let one = id_of(&installation.run(&["create"]).await.exits(0).stdout);
    let two = id_of(&installation.run(&["create"]).await.exits(0).stdout);
    let common = &one[..8];
    assert!(
        two.starts_with(common),
        "ids of the same minute begin alike"
    );
    let ambiguous = installation.run(&["sandbox", "get", common]).await.exits(5);
    assert!(
        ambiguous.stderr.contains(&one) && ambiguous.stderr.contains(&two),
        "{ambiguous:?}"
    );
    installation
        .run(&["sandbox", "get", "sb-zzzz"])
        .await
        .exits(5);
    installation
        .run(&["sandbox", "get", "nonsense"])
        .await
        .exits(2);
    assert!(
        installation
            .run(&["sandbox", "get", "@last"])
            .await
            .exits(0)
            .stdout
            .contains(&two)
    );
    installation.run(&["rm", "--all", "--yes"]).await.exits(0);
    assert_eq!(installation.agent.census().len(), 0);
}

#[tokio::test]
async fn errors_have_exit_codes_and_next_steps() {
    let installation = Installation::new().await;
    let unknown = installation
        .run(&["create", "--template", "nope"])
        .await
        .exits(5);
    assert!(
        unknown.stderr.starts_with("error: ") && unknown.stderr.contains("request "),
        "{unknown:?}"
    );
    installation
        .run(&["create", "--vcpus", "33"])
        .await
        .exits(2);
    installation
        .run(&["create", "--memory", "64M"])
        .await
        .exits(2);
    installation
        .run(&["create", "--memory", "lots"])
        .await
        .exits(2);
    installation.run(&["crate"]).await.exits(2);

    let json = installation
        .run(&["--json", "create", "--template", "nope"])
        .await
        .exits(5);
    let error: Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["error"]["code"], "not_found");
    assert!(
        error["error"]["request_id"].is_string() && error["error"]["hint"].is_string(),
        "{error}"
    );

    let mut foreign = installation.command(&["ls"]);
    foreign.env("WRENN_API_KEY", "wrn_00000000000000000000000000000000");
    finish(foreign).await.exits(3);
    let mut nowhere = installation.command(&["ls"]);
    nowhere.env("WRENN_BASE_URL", "http://127.0.0.1:9");
    assert!(finish(nowhere).await.exits(7).stderr.contains("wrenn up"));
    let mut none = installation.command(&["ls"]);
    none.env_remove("WRENN_API_KEY")
        .env_remove("WRENN_BASE_URL")
        .env("WRENN_STATE_DIR", "/nonexistent");
    finish(none).await.exits(3);
}

#[tokio::test]
async fn files_go_in_and_out_unchanged() {
    let installation = Installation::new().await;
    let id = id_of(&installation.run(&["create"]).await.exits(0).stdout);
    let dir = tempfile::tempdir().unwrap();
    let local = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let content: Vec<u8> = (0..300_000u32)
        .map(|number| (number * 7 % 251) as u8)
        .collect();
    std::fs::write(local("in"), &content).unwrap();

    installation
        .run(&["cp", &local("in"), &format!("{id}:/root/out")])
        .await
        .exits(0);
    assert_eq!(
        installation
            .run(&["cp", &format!("{id}:/root/out"), "-"])
            .await
            .exits(0)
            .bytes,
        content
    );
    installation
        .run(&["cp", &format!("{id}:/root/out"), &local("back")])
        .await
        .exits(0);
    assert_eq!(std::fs::read(local("back")).unwrap(), content);
    installation
        .run(&["cp", &format!("{id}:/root/out"), &local("back")])
        .await
        .exits(6);
    installation
        .run(&["cp", "--force", &format!("{id}:/root/out"), &local("back")])
        .await
        .exits(0);

    installation
        .pipe(
            &["cp", "-", &format!("{id}:/root/piped")],
            b"through a pipe",
        )
        .await
        .exits(0);
    installation
        .run(&[
            "cp",
            &format!("{id}:/root/piped"),
            dir.path().to_str().unwrap(),
        ])
        .await
        .exits(0);
    assert_eq!(std::fs::read(local("piped")).unwrap(), b"through a pipe");

    installation
        .run(&["cp", &format!("{id}:/missing"), "-"])
        .await
        .exits(5);
    assert!(!Path::new(&local("missing")).exists());
    installation
        .run(&["cp", &format!("{id}:/missing"), &local("missing")])
        .await
        .exits(5);
    assert!(!Path::new(&local("missing")).exists());
    installation
        .run(&["cp", &local("in"), &local("other")])
        .await
        .exits(2);
    installation
        .run(&["cp", dir.path().to_str().unwrap(), &format!("{id}:/root/x")])
        .await
        .exits(2);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

#[tokio::test]
async fn the_api_can_be_called_directly() {
    let installation = Installation::new().await;
    let created = installation
        .run(&[
            "api",
            "POST",
            "/v1/sandboxes",
            "-f",
            "vcpus=2",
            "-f",
            "template=minimal",
        ])
        .await
        .exits(0);
    let sandbox: Value = serde_json::from_str(&created.stdout).unwrap();
    assert_eq!(sandbox["vcpus"], 2);
    let path = format!("/v1/sandboxes/{}", sandbox["id"].as_str().unwrap());
    installation.run(&["api", "GET", &path]).await.exits(0);
    installation.run(&["api", "DELETE", &path]).await.exits(0);
    installation.run(&["api", "GET", "v1"]).await.exits(2);
    let listed = installation
        .pipe(
            &["api", "POST", "/v1/sandboxes", "-d", "@-"],
            br#"{"vcpus":0}"#,
        )
        .await
        .exits(2);
    assert!(listed.stderr.contains("vcpus"), "{listed:?}");
}
