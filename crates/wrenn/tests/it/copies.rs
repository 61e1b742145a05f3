//! Forks and snapshots from the command line.

use serde_json::Value;

use crate::wrenn::Installation;

#[tokio::test]
async fn a_fork_prints_a_line_for_each_child() {
    let installation = Installation::new().await;
    let created = installation.run(&["create", "-q"]).await.exits(0);
    let source = created.stdout.trim();
    let forked = installation
        .run(&["sandbox", "fork", "-n", "3", source])
        .await
        .exits(0);
    assert_eq!(forked.stdout.lines().count(), 3);
    for line in forked.stdout.lines() {
        assert!(
            line.starts_with("sb-") && line.ends_with("  running"),
            "{line}"
        );
        assert!(!line.starts_with(source));
    }
    let json = installation
        .run(&["--json", "sandbox", "fork", source])
        .await
        .exits(0);
    let children: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(children.as_array().unwrap().len(), 1);
    installation
        .run(&["sandbox", "fork", "-n", "21", source])
        .await
        .exits(2);
    assert_eq!(installation.agent.census().len(), 5);
}

#[tokio::test]
async fn a_snapshot_is_made_used_listed_and_deleted() {
    let installation = Installation::new().await;
    let none = installation.run(&["snapshot", "ls"]).await.exits(0);
    assert!(
        none.stdout.is_empty() && none.stderr.contains("wrenn snapshot create"),
        "{none:?}"
    );
    installation.run(&["create"]).await.exits(0);
    let made = installation
        .run(&["snapshot", "create", "@last", "mine"])
        .await
        .exits(0);
    assert!(made.stdout.starts_with("mine  96 MiB in "), "{made:?}");
    let taken = installation
        .run(&["snapshot", "create", "@last", "mine"])
        .await
        .exits(6);
    assert!(taken.stderr.contains("--overwrite"), "{taken:?}");
    installation
        .run(&["snapshot", "create", "@last", "mine", "--overwrite"])
        .await
        .exits(0);
    installation
        .run(&["create", "--template", "mine"])
        .await
        .exits(0);

    let listed = installation.run(&["template", "ls"]).await.exits(0);
    let mut lines = listed.stdout.lines();
    assert!(lines.next().unwrap().starts_with("NAME "));
    let row = lines.next().unwrap();
    assert!(
        row.starts_with("mine") && row.contains("snapshot") && row.contains("512 MiB"),
        "{row}"
    );
    assert!(lines.next().unwrap().starts_with("minimal"));
    let names = installation.run(&["snapshot", "ls", "-q"]).await.exits(0);
    assert_eq!(names.stdout, "mine\n");

    let partly = installation
        .run(&["snapshot", "rm", "nope", "mine"])
        .await
        .exits(1);
    assert_eq!(partly.stdout, "mine\n");
    assert!(partly.stderr.contains("nope: "), "{partly:?}");
    installation
        .run(&["snapshot", "rm", "minimal"])
        .await
        .exits(1);
    installation.run(&["snapshot", "rm", "../x"]).await.exits(2);
    assert!(installation.agent.snapshots().is_empty());
}
