//! People sign in, act as themselves and sign out again.

use serde_json::Value;
use tokio::process::Command;
use wrenn_testkit::person::{PASSWORD, Person};

use crate::wrenn::{Installation, Ran, finish};

impl Installation {
    /// The binary without a key of the environment.
    pub(crate) fn as_person(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env_remove("WRENN_API_KEY");
        command
    }

    pub(crate) async fn log_in(&self, person: &Person) -> Ran {
        let arguments = ["login", "--email", &person.email, "--password-stdin"];
        self.pipe_to(self.as_person(&arguments), PASSWORD.as_bytes())
            .await
    }
}

#[tokio::test]
async fn a_person_logs_in_acts_and_logs_out() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    let out = finish(installation.as_person(&["whoami"])).await.exits(3);
    assert!(out.stderr.contains("wrenn login"), "{out:?}");
    let wrong = ["login", "--email", &ada.email, "--password-stdin"];
    let wrong = installation.as_person(&wrong);
    let wrong = installation
        .pipe_to(wrong, b"wrong password")
        .await
        .exits(3);
    assert!(!wrong.stderr.contains("wrong password"), "{wrong:?}");
    let done = installation.log_in(&ada).await.exits(0);
    assert_eq!(done.stdout, "ada (ada@example.com)\n");
    let me = finish(installation.as_person(&["whoami", "--json"]))
        .await
        .exits(0);
    let me: Value = serde_json::from_str(&me.stdout).unwrap();
    assert_eq!(me["email"], "ada@example.com");
    // She acts for her own team, not for the one of the key.
    let listed = finish(installation.as_person(&["sandbox", "ls", "--json"])).await;
    assert_eq!(listed.exits(0).stdout.trim(), "[]");
    let ended = finish(installation.as_person(&["logout"])).await.exits(0);
    assert!(ended.stderr.contains("signed out"), "{ended:?}");
    finish(installation.as_person(&["whoami"])).await.exits(3);
    let live = "SELECT count(*) FROM user_sessions WHERE ended_at IS NULL";
    let live: i64 = sqlx::query_scalar(live)
        .fetch_one(&installation.world.db)
        .await
        .unwrap();
    assert_eq!(live, 0);
}

#[tokio::test]
async fn parallel_commands_renew_a_login_once() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    installation.log_in(&ada).await.exits(0);
    // The token is outdated: as no token at all is.
    let path = installation.home().join(".config/wrenn/config.toml");
    let stored = std::fs::read_to_string(&path).unwrap();
    let lines = stored.lines().map(|line| match line.split_once(" = ") {
        Some(("token", _)) => "token = \"e30.e30.x\"".to_owned(),
        _ => line.to_owned(),
    });
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let run = || finish(installation.as_person(&["whoami"]));
    let (one, two, three) = tokio::join!(run(), run(), run());
    for ran in [one, two, three] {
        assert!(ran.exits(0).stdout.contains("ada@example.com"));
    }
    let rotated = "SELECT count(*) FROM user_sessions WHERE prev_hash IS NOT NULL";
    let rotated: i64 = sqlx::query_scalar(rotated)
        .fetch_one(&installation.world.db)
        .await
        .unwrap();
    assert_eq!(rotated, 1);
}

#[tokio::test]
async fn a_key_is_stored_from_standard_input() {
    let installation = Installation::new().await;
    let key = format!("{}\n", installation.world.api_key);
    let login = installation.as_person(&["login", "--api-key-stdin", "--name", "work"]);
    let stored = installation.pipe_to(login, key.as_bytes()).await.exits(0);
    assert!(!stored.stderr.contains(installation.world.api_key.as_str()));
    let who = finish(installation.as_person(&["whoami"])).await.exits(0);
    assert!(
        who.stdout.contains(&installation.world.api_key[..10]),
        "{who:?}"
    );
    assert!(!who.stdout.contains(installation.world.api_key.as_str()));
    finish(installation.as_person(&["sandbox", "ls"]))
        .await
        .exits(0);
}
