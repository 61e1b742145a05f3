//! The audit log as it grows, and of a stretch of time.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout},
};
use wrenn_testkit::person::Person;

use crate::wrenn::{Installation, finish};

/// A `wrenn audit -f` that goes on.
struct Following {
    _child: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(installation: &Installation, arguments: &[&str]) -> Self {
        let arguments = [&["audit", "-f"], arguments].concat();
        let mut command = installation.as_person(&arguments);
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            _child: child,
            lines,
        }
    }

    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(30), self.lines.next_line());
        next.await.unwrap().unwrap().unwrap()
    }
}

#[tokio::test]
async fn the_log_is_followed_each_row_once_and_with_its_outcome() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    installation.log_in(&ada).await.exits(0);
    let rename = async |name: &str| {
        let path = format!("/v1/teams/{}", ada.team);
        let body = serde_json::json!({ "name": name });
        ada.client.patch(&path, body).await.status
    };
    assert_eq!(rename("One").await, 204);
    assert_eq!(rename("Two").await, 204);
    let mut following =
        Following::start(&installation, &["--type", "team", "--limit", "1", "--json"]);
    let mut seen = vec![following.next().await];
    // One that fails is a row too.
    assert_eq!(rename("").await, 400);
    seen.push(following.next().await);
    assert_eq!(rename("Three").await, 204);
    seen.push(following.next().await);
    let seen: Vec<Value> = seen
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = seen
        .iter()
        .map(|row| {
            (
                row["type"].as_str().unwrap(),
                row["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("audit", "success"),
            ("audit", "error"),
            ("audit", "success")
        ]
    );
    let ids: std::collections::BTreeSet<_> =
        seen.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    // For people, from now on.
    let mut lines = Following::start(&installation, &["--limit", "0", "--type", "team"]);
    // It has begun when it has asked once; the renaming before that may be the one that it begins with.
    let line = loop {
        assert_eq!(rename("Four").await, 204);
        let next = tokio::time::timeout(Duration::from_secs(3), lines.lines.next_line());
        if let Ok(line) = next.await {
            break line.unwrap().unwrap();
        }
    };
    assert!(line.contains("ada") && line.contains("rename"), "{line}");
}

#[tokio::test]
async fn a_stretch_of_time_is_named_by_its_age_or_its_beginning() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    installation.log_in(&ada).await.exits(0);
    finish(installation.as_person(&["key", "create", "ci"]))
        .await
        .exits(0);
    let rows = async |since: &str| {
        let arguments = [
            "audit", "--type", "api_key", "--all", "--json", "--since", since,
        ];
        let shown = finish(installation.as_person(&arguments)).await.exits(0);
        let rows: Value = serde_json::from_str(&shown.stdout).unwrap();
        rows.as_array().unwrap().len()
    };
    assert_eq!(rows("10m").await, 1);
    assert_eq!(rows("2h ago").await, 1);
    assert_eq!(rows("3d").await, 1);
    assert_eq!(rows("2020-01-01T00:00:00Z").await, 1);
    assert_eq!(rows("2999-01-01T00:00:00Z").await, 0);
    for wrong in ["yesterday", "10", "-1h"] {
        let since = format!("--since={wrong}");
        let refused = finish(installation.as_person(&["audit", &since]))
            .await
            .exits(2);
        assert!(refused.stderr.contains("2h"), "{refused:?}");
    }
}
