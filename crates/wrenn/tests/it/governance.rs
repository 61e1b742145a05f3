//! Teams, keys, the audit log and recovery, as people and operators type them.

use serde_json::Value;
use wrenn_testkit::person::Person;

use crate::wrenn::{Installation, Ran, finish};

impl Installation {
    async fn person(&self, arguments: &[&str]) -> Ran {
        finish(self.as_person(arguments)).await
    }

    /// On the control plane's machine, with its settings.
    async fn operator(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut command = self.as_person(arguments);
        command.envs(self.world.settings());
        self.pipe_to(command, stdin.as_bytes()).await
    }
}

#[tokio::test]
async fn a_team_is_made_used_filled_and_left() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    let bob = Person::sign_up(&installation.replica, "bob").await.unwrap();
    let out = installation.person(&["team", "ls"]).await.exits(3);
    assert!(out.stderr.contains("wrenn login"), "{out:?}");
    installation.log_in(&ada).await.exits(0);
    let made = installation
        .person(&["team", "create", "Engines", "--quiet"])
        .await
        .exits(0);
    let id = made.stdout.trim().to_owned();
    assert!(id.starts_with("team-"), "{made:?}");
    installation
        .person(&["team", "use", "Engines"])
        .await
        .exits(0);
    let listed = installation.person(&["team", "ls"]).await.exits(0);
    let current = listed
        .stdout
        .lines()
        .find(|line| line.starts_with('*'))
        .unwrap();
    assert!(
        current.contains("Engines") && current.contains("owner"),
        "{listed:?}"
    );
    installation
        .person(&["team", "add", &bob.email])
        .await
        .exits(0);
    installation
        .person(&["team", "add", &bob.email])
        .await
        .exits(6);
    installation
        .person(&["team", "role", &bob.email, "admin"])
        .await
        .exits(0);
    installation
        .person(&["team", "rename", "Looms"])
        .await
        .exits(0);
    let members = installation
        .person(&["team", "members", "--json"])
        .await
        .exits(0);
    let members: Value = serde_json::from_str(&members.stdout).unwrap();
    let pairs: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (&member["email"], &member["role"]))
        .collect();
    assert_eq!(
        pairs[1],
        (&Value::from(bob.email.as_str()), &Value::from("admin"))
    );
    // What cannot be undone is asked about, and there is nobody to ask.
    installation
        .person(&["team", "transfer", &bob.email])
        .await
        .exits(2);
    installation.person(&["team", "leave"]).await.exits(4);
    installation
        .person(&["team", "transfer", &bob.email, "--yes"])
        .await
        .exits(0);
    installation.person(&["team", "leave"]).await.exits(0);
    installation
        .person(&["team", "members", "--team", &id])
        .await
        .exits(4);
    let own = installation
        .person(&["team", "rm", &ada.team.to_string(), "--yes"])
        .await;
    own.exits(6);
}

#[tokio::test]
async fn a_key_is_the_only_thing_on_standard_output_and_the_log_tells_of_it() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    installation.log_in(&ada).await.exits(0);
    let made = installation.person(&["key", "create", "ci"]).await.exits(0);
    let key = made.stdout.strip_suffix('\n').unwrap();
    assert!(key.starts_with("wrn_") && key.len() == 36, "{made:?}");
    let mut with_key = installation.as_person(&["sandbox", "ls", "--json"]);
    with_key.env("WRENN_API_KEY", key);
    assert_eq!(finish(with_key).await.exits(0).stdout.trim(), "[]");
    let listed = installation
        .person(&["key", "ls", "--quiet"])
        .await
        .exits(0);
    let id = listed.stdout.trim().to_owned();
    let shown = installation.person(&["key", "ls"]).await.exits(0);
    assert!(
        shown.stdout.contains("ci") && !shown.stdout.contains(key),
        "{shown:?}"
    );
    installation.person(&["key", "rm", &id]).await.exits(0);
    let mut with_key = installation.as_person(&["sandbox", "ls"]);
    with_key.env("WRENN_API_KEY", key);
    finish(with_key).await.exits(3);
    installation
        .person(&["key", "rm", "../teams"])
        .await
        .exits(2);
    let log = installation
        .person(&["audit", "--type", "api_key", "--all", "--json"])
        .await
        .exits(0);
    let log: Value = serde_json::from_str(&log.stdout).unwrap();
    let actions: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["revoke", "create"]);
    let table = installation
        .person(&["audit", "--limit", "1", "--no-headers"])
        .await
        .exits(0);
    assert!(
        table.stdout.contains("ada") && table.stdout.lines().count() == 1,
        "{table:?}"
    );
}

#[tokio::test]
async fn an_operator_repairs_accounts_and_each_use_is_written_down() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    let create = ["admin", "create", "root@example.com", "--password-stdin"];
    installation.operator(&create, "too few").await.exits(2);
    let made = installation
        .operator(&create, wrenn_testkit::person::PASSWORD)
        .await
        .exits(0);
    assert!(made.stdout.starts_with("usr-"), "{made:?}");
    installation
        .operator(&create, wrenn_testkit::person::PASSWORD)
        .await
        .exits(6);
    let root = Person::log_in(&installation.replica, "root@example.com")
        .await
        .unwrap();
    assert_eq!(root.client.get("/v1/admin/teams").await.status, 200);
    installation
        .operator(&["admin", "promote", &ada.email], "")
        .await
        .exits(0);
    assert_eq!(ada.client.get("/v1/admin/teams").await.status, 200);
    installation
        .operator(&["admin", "demote", &ada.email], "")
        .await
        .exits(0);
    assert_eq!(ada.client.get("/v1/admin/teams").await.status, 403);
    installation
        .operator(&["admin", "revoke-sessions", &ada.email], "")
        .await
        .exits(0);
    assert_eq!(ada.client.get("/v1/teams").await.status, 401);
    installation
        .operator(&["admin", "promote", "nobody@example.com"], "")
        .await
        .exits(5);
    installation
        .operator(&["admin", "set-byoc", &ada.team.to_string()], "")
        .await
        .exits(0);
    installation
        .operator(&["admin", "demote", "admin@localhost"], "")
        .await
        .exits(0);
    installation
        .operator(&["admin", "demote", "root@example.com"], "")
        .await
        .exits(6);
    let written: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM audit_logs WHERE actor_type = 'system' AND actor_name = 'operator'
         ORDER BY created_at, id",
    )
    .fetch_all(&installation.world.db)
    .await
    .unwrap();
    let expected = [
        "set_admin",
        "set_admin",
        "set_admin",
        "revoke",
        "set_byoc",
        "set_admin",
    ];
    assert_eq!(written, expected);
}
