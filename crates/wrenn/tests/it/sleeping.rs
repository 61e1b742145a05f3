//! Pausing and resuming from the command line.

use serde_json::Value;

use crate::wrenn::Installation;

async fn create(installation: &Installation, more: &[&str]) -> String {
    let created = installation
        .run(&[&["create", "-q"], more].concat())
        .await
        .exits(0);
    created.stdout.trim().to_owned()
}

fn sorted(stdout: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn many_are_paused_pinged_and_resumed_a_line_for_each() {
    let installation = Installation::new().await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(create(&installation, &["--label", "job=1"]).await);
    }
    let other = create(&installation, &[]).await;
    let pinged = installation
        .run(&["sandbox", "ping", "--label", "job=1"])
        .await
        .exits(0);
    assert_eq!(sorted(&pinged.stdout), ids);

    let paused = installation
        .run(&["pause", "--label", "job=1"])
        .await
        .exits(0);
    let lines: Vec<String> = ids.iter().map(|id| format!("{id}  paused")).collect();
    assert_eq!(sorted(&paused.stdout), lines);
    // Those that sleep already are left alone; named, they are done.
    let all = installation.run(&["pause", "--all"]).await.exits(0);
    assert_eq!(all.stdout, format!("{other}  paused\n"));
    let again = installation.run(&["pause", &other]).await.exits(0);
    assert_eq!(again.stdout, format!("{other}  paused\n"));
    let none = installation.run(&["pause", "--all"]).await.exits(0);
    assert!(
        none.stdout.is_empty() && none.stderr.contains("No sandboxes"),
        "{none:?}"
    );

    let json = installation
        .run(&["--json", "sandbox", "resume", &other])
        .await
        .exits(0);
    let sandbox: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&sandbox["id"], &sandbox["status"]),
        (&Value::from(other.as_str()), &Value::from("running"))
    );
    let resumed = installation
        .run(&["resume", "--status", "paused", "-q"])
        .await
        .exits(0);
    assert_eq!(sorted(&resumed.stdout), ids);
    assert!(installation.agent.census().iter().all(|one| !one.paused));
}

#[tokio::test]
async fn one_that_fails_does_not_keep_the_others() {
    let installation = Installation::new().await;
    let (gone, kept) = (
        create(&installation, &[]).await,
        create(&installation, &[]).await,
    );
    installation.run(&["rm", &gone]).await.exits(0);
    let partly = installation.run(&["pause", &gone, &kept]).await.exits(1);
    assert_eq!(partly.stdout, format!("{kept}  paused\n"));
    assert!(
        partly.stderr.contains("1 sandbox could not be paused"),
        "{partly:?}"
    );
}

#[tokio::test]
async fn a_command_wakes_its_sandbox_unless_that_is_off() {
    let installation = Installation::new().await;
    let willing = create(&installation, &[]).await;
    let unwilling = create(&installation, &["--no-auto-resume"]).await;
    installation.run(&["pause", "--all"]).await.exits(0);
    let ran = installation
        .run(&["exec", &willing, "--", "echo", "awake"])
        .await
        .exits(0);
    assert_eq!(ran.stdout, "awake\n");
    let refused = installation
        .run(&["exec", &unwilling, "--", "true"])
        .await
        .exits(125);
    assert!(
        refused
            .stderr
            .contains(&format!("wrenn resume {unwilling}")),
        "{refused:?}"
    );
    installation.run(&["resume", &unwilling]).await.exits(0);
    installation
        .run(&["exec", &unwilling, "--", "true"])
        .await
        .exits(0);
}
