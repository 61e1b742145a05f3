//! People sign in, act as themselves and sign out again.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use reqwest::Url;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use wrenn_testkit::{
    control_plane::eventually,
    person::{PASSWORD, Person},
};

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

/// The value of a query's parameter.
fn parameter(url: &Url, wanted: &str) -> String {
    let found = url.query_pairs().find(|(name, _)| name == wanted);
    found.unwrap().1.into_owned()
}

#[tokio::test]
async fn a_browser_signs_a_command_line_in() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    // A browser that writes down where it was sent.
    let (browser, opened) = (
        installation.home().join("browser"),
        installation.home().join("url"),
    );
    let script = format!(
        "#!/bin/sh\nprintf %s \"$1\" > {0}.part && mv {0}.part {0}\n",
        opened.display()
    );
    fs::write(&browser, script).unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    let mut login = installation.as_person(&["login", "--name", "work"]);
    login.env("BROWSER", &browser).env("SSH_CONNECTION", "x");
    let running = tokio::spawn(finish(login));
    eventually("the browser is opened", async || opened.exists())
        .await
        .unwrap();
    let page = Url::parse(&fs::read_to_string(&opened).unwrap()).unwrap();
    assert!(
        page.as_str()
            .starts_with(&format!("{}/cli?", installation.replica.base_url()))
    );

    // What the person sees, and what the page does when they sign in.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |url: Url| {
        let answer = http
            .get(url)
            .header("accept", "text/html")
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = get(page.clone()).await;
    assert!(status == 200 && text.contains("/account.js"), "{text}");
    let (status, text) = get(page.join("/account.js").unwrap()).await;
    assert!(
        status == 200 && text.contains("/v1/auth/cli/code"),
        "{text}"
    );
    let back = parameter(&page, "redirect_uri");
    let body =
        json!({ "code_challenge": parameter(&page, "code_challenge"), "redirect_uri": back });
    let code = ada.client.post("/v1/auth/cli/code", body).await;
    assert_eq!(code.status, 201, "{code:?}");
    let code = code.json["code"].as_str().unwrap();
    // Other pages of the browser cannot put their own person in.
    let with = |state: &str, code: &str| {
        Url::parse_with_params(&back, [("state", state), ("code", code)]).unwrap()
    };
    assert_eq!(get(with("another", "stolen")).await.0, 400);
    assert_eq!(
        get(with("another", "stolen").join("/favicon.ico").unwrap())
            .await
            .0,
        404
    );
    let (status, text) = get(with(&parameter(&page, "state"), code)).await;
    assert!(status == 200 && text.contains("signed in"), "{text}");
    let done = running.await.unwrap().exits(0);
    assert_eq!(done.stdout, "ada (ada@example.com)\n");
    let me = finish(installation.as_person(&["whoami", "--json"]))
        .await
        .exits(0);
    assert!(me.stdout.contains("ada@example.com"), "{me:?}");
}

#[tokio::test]
async fn a_code_that_the_server_does_not_know_signs_nobody_in() {
    let installation = Installation::new().await;
    let mut login = installation.as_person(&["login"]);
    // Whatever it does not show, the address is printed.
    login.env("BROWSER", "true %s");
    let mut child = login.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let page = loop {
        let line = stderr.next_line().await.unwrap().unwrap();
        if let Ok(page) = Url::parse(line.trim()) {
            break page;
        }
    };
    let back = parameter(&page, "redirect_uri");
    let state = parameter(&page, "state");
    let back = Url::parse_with_params(&back, [("state", &*state), ("code", "unknown")]).unwrap();
    let answer = reqwest::get(back).await.unwrap();
    assert_eq!(answer.status().as_u16(), 502);
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(2));
}

#[tokio::test]
async fn where_no_browser_opens_a_code_is_shown() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    let mut login = installation.as_person(&["login"]);
    let mut child = login.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let why = stderr.next_line().await.unwrap().unwrap();
    assert!(
        why.contains("no display") && why.contains("--email"),
        "{why}"
    );
    let line = stderr.next_line().await.unwrap().unwrap();
    let code = line.rsplit(' ').next().unwrap();
    let approve = format!("/v1/auth/device/{code}/approve");
    assert_eq!(
        ada.client.post(&approve, json!({})).await.status,
        204,
        "{line}"
    );
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        "ada (ada@example.com)\n"
    );
}

#[tokio::test]
async fn a_context_that_gets_another_server_takes_no_credential_there() {
    let installation = Installation::new().await;
    let ada = Person::sign_up(&installation.replica, "ada").await.unwrap();
    installation.log_in(&ada).await.exits(0);
    let mut login = installation.as_person(&["login", "--api-key-stdin", "--name"]);
    let stored = fs::read_to_string(installation.home().join(".config/wrenn/config.toml")).unwrap();
    let name = stored
        .lines()
        .find_map(|line| line.strip_prefix("current = "))
        .unwrap();
    login
        .arg(name.trim_matches('"'))
        .env("WRENN_BASE_URL", "https://elsewhere.example.com");
    installation.pipe_to(login, b"wrn_0").await.exits(0);
    let stored = fs::read_to_string(installation.home().join(".config/wrenn/config.toml")).unwrap();
    assert!(!stored.contains("token"), "{stored}");
}
