//! Which server, which team, as whom: contexts, `--team`, and what wins over what.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::Value;
use wrenn_testkit::person::Person;

use crate::wrenn::{Installation, Ran, finish};

impl Installation {
    fn config_file(&self) -> PathBuf {
        self.home().join(".config/wrenn/config.toml")
    }

    /// As a person, with more variables.
    async fn with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command = self.as_person(arguments);
        command.envs(variables.iter().copied());
        finish(command).await
    }

    /// The team that a sandbox made by `arguments` belongs to.
    async fn team_of_new(&self, variables: &[(&str, &str)], arguments: &[&str]) -> String {
        let arguments = [&["sandbox", "create", "--json"], arguments].concat();
        let made = self.with(variables, &arguments).await.exits(0);
        // As it was accepted, and as it runs.
        let made = made.stdout.lines().next_back().unwrap();
        let made: Value = serde_json::from_str(made).unwrap();
        made["team_id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn contexts_are_listed_shown_used_and_forgotten() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    let none = installation.with(&[], &["context", "ls"]).await.exits(0);
    assert!(
        none.stdout.is_empty() && none.stderr.contains("wrenn login"),
        "{none:?}"
    );
    let key = installation.world.api_key.clone();
    let store = installation.as_person(&["login", "--api-key-stdin", "--name", "robot"]);
    installation.pipe_to(store, key.as_bytes()).await.exits(0);
    let arguments = [
        "login",
        "--email",
        &ada.email,
        "--password-stdin",
        "--name",
        "ada",
    ];
    let login = installation.as_person(&arguments);
    let password = wrenn_testkit::person::PASSWORD.as_bytes();
    installation.pipe_to(login, password).await.exits(0);

    // Whatever shows them, no secret does.
    let stored = fs::read_to_string(installation.config_file()).unwrap();
    let secrets: Vec<&str> = stored
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| ["api_key", "token", "refresh_token"].contains(name))
        .map(|(_, value)| value.trim_matches('"'))
        .collect();
    assert_eq!(secrets.len(), 3);
    for arguments in [
        &["context", "ls"][..],
        &["context", "ls", "--json"],
        &["context", "show", "robot"],
        &["context", "show", "ada", "--json"],
    ] {
        let shown = installation.with(&[], arguments).await.exits(0);
        for secret in &secrets {
            assert!(!shown.stdout.contains(secret), "{arguments:?}");
        }
    }
    let listed = installation.with(&[], &["context", "ls", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.exits(0).stdout).unwrap();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["current"]),
        (&"ada".into(), &true.into())
    );
    assert_eq!(listed[0]["team"], ada.team.to_string());
    assert_eq!(listed[1]["api_key_prefix"], key[..10]);

    installation
        .with(&[], &["context", "use", "robot"])
        .await
        .exits(0);
    installation
        .with(&[], &["context", "use", "robot"])
        .await
        .exits(0);
    installation.with(&[], &["key", "ls"]).await.exits(3);
    installation
        .with(&[], &["--context", "ada", "key", "ls"])
        .await
        .exits(0);
    installation
        .with(&[("WRENN_CONTEXT", "ada")], &["key", "ls"])
        .await
        .exits(0);
    // A flag wins over the environment.
    let both = [("WRENN_CONTEXT", "ada")];
    installation
        .with(&both, &["--context", "robot", "key", "ls"])
        .await
        .exits(3);
    let missing = installation
        .with(&[], &["context", "use", "nobody"])
        .await
        .exits(5);
    assert!(missing.stderr.contains("wrenn context ls"), "{missing:?}");
    installation
        .with(&[], &["--context", "nobody", "key", "ls"])
        .await
        .exits(5);

    let gone = installation
        .with(&[], &["context", "rm", "robot", "ada"])
        .await
        .exits(0);
    assert!(gone.stderr.contains("session"), "{gone:?}");
    installation
        .with(&[], &["context", "rm", "robot"])
        .await
        .exits(0);
    installation.with(&[], &["context", "show"]).await.exits(2);
}

#[tokio::test]
async fn the_file_is_private_and_keeps_what_it_does_not_know() {
    let installation = Installation::new().await;
    let file = installation.config_file();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text =
        "future = 1\n[contexts.a]\nbase_url = \"https://a.example.com\"\ncolour = \"blue\"\n";
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    for arguments in [
        &["context", "ls"][..],
        &["key", "ls"],
        &["login", "--device"],
    ] {
        let refused = installation.with(&[], arguments).await.exits(1);
        assert!(refused.stderr.contains("chmod 600"), "{refused:?}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    installation
        .with(&[], &["context", "use", "a"])
        .await
        .exits(0);
    let kept = fs::read_to_string(&file).unwrap();
    assert!(
        kept.contains("future = 1") && kept.contains("colour = \"blue\""),
        "{kept}"
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&file, "not [ toml").unwrap();
    installation.with(&[], &["context", "ls"]).await.exits(1);
}

#[tokio::test]
async fn a_command_acts_for_the_team_that_is_named() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    let eve = Person::sign_up(&installation.replica, "eve").await.unwrap();
    installation.log_in(&ada).await.exits(0);
    let (own, none) = (ada.team.to_string(), &[][..]);
    let made = installation
        .with(none, &["team", "create", "Engines", "--json"])
        .await;
    let made: Value = serde_json::from_str(&made.exits(0).stdout).unwrap();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (engines, slug) = (text("id"), text("slug"));

    assert_eq!(installation.team_of_new(none, &[]).await, own);
    assert_eq!(
        installation.team_of_new(none, &["--team", &slug]).await,
        engines
    );
    assert_eq!(
        installation.team_of_new(none, &["--team", "Engines"]).await,
        engines
    );
    let variable = [("WRENN_TEAM", engines.as_str())];
    assert_eq!(installation.team_of_new(&variable, &[]).await, engines);
    assert_eq!(
        installation.team_of_new(&variable, &["--team", &own]).await,
        own
    );
    assert_eq!(
        installation.team_of_new(&[("WRENN_TEAM", "")], &[]).await,
        own
    );

    // None of that lasts, not even when the session, whose team it was for a moment, is renewed.
    assert_eq!(
        installation.team_of_new(none, &["--team", &slug]).await,
        engines
    );
    let stored = fs::read_to_string(installation.config_file()).unwrap();
    let lines = stored.lines().map(|line| match line.split_once(" = ") {
        Some(("token", _)) => "token = \"e30.e30.x\"",
        _ => line,
    });
    fs::write(
        installation.config_file(),
        lines.collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    assert_eq!(installation.team_of_new(none, &[]).await, own);

    // This does.
    installation
        .with(none, &["team", "use", &slug])
        .await
        .exits(0);
    assert_eq!(installation.team_of_new(none, &[]).await, engines);
    let foreign = eve.team.to_string();
    let refused = installation
        .with(none, &["--team", &foreign, "key", "ls"])
        .await
        .exits(4);
    assert!(refused.stderr.contains("wrenn team"), "{refused:?}");
    installation
        .with(none, &["--team", "Looms", "key", "ls"])
        .await
        .exits(5);
    installation
        .with(none, &["--team", "Looms", "whoami"])
        .await
        .exits(0);

    // A key has its own team.
    let mut with_key = installation.command(&["sandbox", "ls", "--team", &own]);
    with_key.env("WRENN_CONTEXT", "");
    let refused = finish(with_key).await.exits(2);
    assert!(refused.stderr.contains("its own team"), "{refused:?}");

    // Who deletes the team that they act for is told what to do.
    let deleted = installation
        .with(none, &["team", "rm", &slug, "--yes"])
        .await
        .exits(0);
    assert!(deleted.stderr.contains("wrenn team use"), "{deleted:?}");
    installation
        .with(none, &["team", "use", &own])
        .await
        .exits(0);
    assert_eq!(installation.team_of_new(none, &[]).await, own);
}
