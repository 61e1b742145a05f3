//! Recovery and upkeep on the control plane's machine.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use wrenn_testkit::{
    client::Client,
    control_plane::{Options, Replica, World, eventually},
    person::{PASSWORD, Person},
    postgres::Postgres,
};

use crate::wrenn::{Installation, Ran, binary, pipe_to};

/// The control plane's machine.
struct Machine {
    world: World,
    home: TempDir,
}

impl Machine {
    async fn new() -> Self {
        Self {
            world: World::new().await.unwrap(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn replica(&self) -> Replica {
        self.world.replica(Options::default()).unwrap()
    }

    async fn admin(&self, arguments: &[&str]) -> Ran {
        self.admin_with(&[], arguments).await
    }

    /// With other settings.
    async fn admin_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
        admin(&self.world, self.home.path(), settings, arguments).await
    }

    fn at(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// Ends `replica` and waits until the database has seen it.
    async fn end(&self, replica: Replica) {
        replica.kill();
        eventually("the database is left alone", async || {
            let left = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'wrenn'";
            count(&self.world, left).await == 0
        })
        .await
        .unwrap();
    }
}

async fn admin(world: &World, home: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = binary(home, &[&["admin"], arguments].concat());
    command
        .envs(world.settings())
        .envs(settings.iter().copied());
    pipe_to(command, b"").await
}

async fn count(world: &World, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement)
        .fetch_one(&world.db)
        .await
        .unwrap()
}

/// What the operator did, oldest first: resource, action, status.
async fn written(world: &World) -> Vec<(String, String, String)> {
    sqlx::query_as(
        "SELECT resource_type, action, status FROM audit_logs
         WHERE actor_type = 'system' AND actor_name = 'operator' ORDER BY created_at, id",
    )
    .fetch_all(&world.db)
    .await
    .unwrap()
}

fn row(resource: &str, action: &str, status: &str) -> (String, String, String) {
    (resource.to_owned(), action.to_owned(), status.to_owned())
}

async fn login(replica: &Replica, email: &str, password: &str) -> u16 {
    let body = serde_json::json!({ "email": email, "password": password });
    let nobody = Client::new(replica.base_url(), None);
    nobody.post("/v1/auth/login", body).await.status
}

#[tokio::test]
async fn a_link_gives_an_account_another_password() {
    let machine = Machine::new().await;
    let replica = machine.replica();
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let made = machine.admin(&["reset-link", &ada.email]).await.exits(0);
    let (page, token) = made.stdout.trim().split_once("#token=").unwrap();
    assert!(page.ends_with("/reset/confirm"), "{made:?}");
    // What it leads to is there, also without a dashboard.
    let path = page.split_once("://").unwrap().1.split_once('/').unwrap().1;
    let asked = reqwest::Client::new()
        .get(format!("{}/{path}", replica.base_url()))
        .header("accept", "text/html")
        .send();
    let shown = asked.await.unwrap().text().await.unwrap();
    assert!(shown.contains("account.js"), "{shown}");
    assert_eq!(login(&replica, &ada.email, PASSWORD).await, 200);
    let body = serde_json::json!({ "token": token, "new_password": "another password" });
    let nobody = Client::new(replica.base_url(), None);
    let path = "/v1/me/password/reset/confirm";
    assert_eq!(nobody.post(path, body.clone()).await.status, 204);
    assert_eq!(nobody.post(path, body).await.status, 400);
    assert_eq!(login(&replica, &ada.email, PASSWORD).await, 401);
    assert_eq!(login(&replica, &ada.email, "another password").await, 200);

    machine
        .admin(&["reset-link", "nobody@example.com"])
        .await
        .exits(5);
    sqlx::query("UPDATE users SET status = 'disabled' WHERE email = $1")
        .bind(&ada.email)
        .execute(&machine.world.db)
        .await
        .unwrap();
    let refused = machine.admin(&["reset-link", &ada.email]).await.exits(6);
    assert!(refused.stderr.contains("disabled"), "{refused:?}");
    let away = [("REDIS_URL", "redis://127.0.0.1:1")];
    let away = machine
        .admin_with(&away, &["reset-link", "admin@localhost"])
        .await
        .exits(7);
    assert!(away.stderr.contains("Redis"), "{away:?}");
    assert_eq!(
        written(&machine.world).await,
        [row("user", "token_issued", "success")]
    );
}

#[tokio::test]
async fn a_host_that_is_revoked_is_nobody() {
    let installation = Installation::new().await;
    let made = installation.run(&["create", "--quiet"]).await.exits(0);
    let sandbox = made.stdout.trim().to_owned();
    let (world, home) = (&installation.world, installation.home());
    let host = installation.agent.host_id().to_string();
    let base_url = installation.replica.base_url();
    let identity = installation.agent.identity();
    identity.heartbeat(&base_url).await.unwrap();
    admin(world, home, &[], &["revoke-host", &host])
        .await
        .exits(2);
    admin(world, home, &[], &["revoke-host", "localhost", "--yes"])
        .await
        .exits(2);
    let unknown = wrenn_ids::HostId::new().to_string();
    admin(world, home, &[], &["revoke-host", &unknown, "--yes"])
        .await
        .exits(5);
    let done = admin(world, home, &[], &["revoke-host", &host, "--yes"])
        .await
        .exits(0);
    assert_eq!(done.stdout.trim(), host);
    assert!(identity.heartbeat(&base_url).await.is_err());
    assert_eq!(identity.refresh(&base_url).await.unwrap(), 401);
    let shown = installation
        .run(&["sandbox", "get", &sandbox, "--json"])
        .await
        .exits(0);
    assert!(shown.stdout.contains("\"missing\""), "{shown:?}");
    installation.run(&["create", "--quiet"]).await.exits(7);
    assert_eq!(written(world).await, [row("host", "revoke", "success")]);
}

#[tokio::test]
async fn sealed_values_move_to_the_newest_key() {
    let installation = Installation::new().await;
    let create = ["create", "--quiet", "-e", "SECRET=walrus"];
    let id = installation.run(&create).await.exits(0).stdout;
    let (world, home) = (&installation.world, installation.home());
    let sealed = async || -> String {
        let envs = "SELECT convert_from(envs, 'UTF8') FROM sandboxes WHERE envs IS NOT NULL";
        sqlx::query_scalar(envs).fetch_one(&world.db).await.unwrap()
    };
    let before = sealed().await;
    let (old, new) = (
        format!("0:{}", "ab".repeat(32)),
        format!("b:{}", "cd".repeat(32)),
    );
    // Without the key that sealed it, it stays as it is, and somebody is told.
    let ring = [("WRENN_ENCRYPTION_KEY", new.as_str())];
    let refused = admin(world, home, &ring, &["reseal"]).await.exits(9);
    assert!(
        refused.stderr.contains("WRENN_ENCRYPTION_KEY"),
        "{refused:?}"
    );
    assert_eq!(sealed().await, before);
    let both = format!("{new},{old}");
    let ring = [("WRENN_ENCRYPTION_KEY", both.as_str())];
    let done = admin(world, home, &ring, &["reseal"]).await.exits(0);
    assert_eq!(done.stdout, "1\n");
    let after = sealed().await;
    assert!(after.starts_with("v1:b:") && after != before, "{after}");
    let again = admin(world, home, &ring, &["reseal"]).await.exits(0);
    assert_eq!(again.stdout, "0\n");
    // The old key is not needed any more.
    let keys = wrenn_control_plane::SealingKeys::parse(&new).unwrap();
    let plain = keys
        .open(&format!("sandbox:{}:envs", id.trim()), &after)
        .unwrap();
    assert_eq!(plain, br#"{"SECRET":"walrus"}"#);
    let actions = written(world).await;
    assert_eq!(actions, vec![row("platform", "reseal", "success"); 3]);
}

#[tokio::test]
async fn what_has_served_its_time_is_counted_and_removed() {
    let machine = Machine::new().await;
    let old = "INSERT INTO mail_outbox (id, recipient, template, created_at)
               SELECT gen_random_uuid(), 'a@example.com', 'reset', now() - interval '2 days'
               FROM generate_series(1, 3)";
    sqlx::query(old).execute(&machine.world.db).await.unwrap();
    let mail = async || count(&machine.world, "SELECT count(*) FROM mail_outbox").await;
    let look = machine.admin(&["gc", "--dry-run", "--json"]).await.exits(0);
    let look: serde_json::Value = serde_json::from_str(&look.stdout).unwrap();
    let of_mail = |rows: &serde_json::Value| {
        let rows = rows.as_array().unwrap().clone();
        let found = rows.into_iter().find(|row| row["what"] == "old mail");
        found.unwrap()["rows"].clone()
    };
    assert_eq!((of_mail(&look), mail().await), (3.into(), 3));
    let done = machine.admin(&["gc"]).await.exits(0);
    assert!(done.stdout.contains("3     old mail"), "{done:?}");
    assert_eq!(mail().await, 0);
    let again = machine.admin(&["gc", "--json"]).await.exits(0);
    assert_eq!(of_mail(&serde_json::from_str(&again.stdout).unwrap()), 0);
    let actions = written(&machine.world).await;
    assert_eq!(actions, vec![row("platform", "collect", "success"); 2]);
}

/// `bytes` with their dump replaced by what `change` makes of it, and a checksum that fits.
fn forged(bytes: &[u8], change: impl FnOnce(&str, &[u8]) -> (String, Vec<u8>)) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.splitn(3, |byte| *byte == b'\n').collect();
    let dump = &lines[2][..lines[2].len() - 73];
    let (head, dump) = change(std::str::from_utf8(lines[1]).unwrap(), dump);
    let mut forged = [lines[0], b"\n", head.as_bytes(), b"\n", &dump].concat();
    let sum = hex::encode(Sha256::digest(&forged));
    forged.extend(format!("\nsha256 {sum}\n").into_bytes());
    forged
}

#[tokio::test]
async fn a_backup_brings_everything_back_and_nothing_else_is_believed() {
    let machine = Machine::new().await;
    let replica = machine.replica();
    Person::sign_up(&replica, "ada").await.unwrap();
    let file = machine.at("backup");
    // While it runs.
    let made = machine.admin(&["backup", &file]).await.exits(0);
    assert_eq!(made.stdout.trim(), file);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let actions = written(&machine.world).await;
    assert_eq!(actions, [row("platform", "backup", "success")]);
    machine.admin(&["backup", &file]).await.exits(6);
    Person::sign_up(&replica, "bob").await.unwrap();
    let bob = async || login_exists(&machine.world, "bob@example.com").await;

    // What is no whole backup of ours is refused, whoever uses the database.
    let whole = fs::read(&file).unwrap();
    let wrong = machine.at("wrong");
    let check = async |bytes: &[u8], code: i32, says: &str| {
        fs::write(&wrong, bytes).unwrap();
        let refused = machine
            .admin(&["restore", &wrong, "--yes"])
            .await
            .exits(code);
        assert!(refused.stderr.contains(says), "{refused:?}");
        assert!(bob().await, "{says}");
    };
    check(b"-- PostgreSQL database dump\n", 2, "no backup").await;
    check(&whole[..whole.len() - 100], 1, "damaged").await;
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    check(&flipped, 1, "damaged").await;
    machine
        .admin(&["restore", &machine.at("nothing"), "--yes"])
        .await
        .exits(1);
    // A running control plane.
    let refused = machine.admin(&["restore", &file, "--yes"]).await.exits(6);
    assert!(refused.stderr.contains("control plane"), "{refused:?}");
    assert!(bob().await);

    machine.end(replica).await;
    machine.admin(&["restore", &file]).await.exits(2);
    let newer = forged(&whole, |head, dump| {
        let head = head.replace("\"schema\":", "\"schema\":999");
        (head, dump.to_vec())
    });
    check(&newer, 6, "newer").await;
    // One that turns out bad in the middle has changed nothing.
    let half = forged(&whole, |head, dump| {
        (head.to_owned(), dump[..dump.len() / 2].to_vec())
    });
    check(&half, 1, "the database is as it was").await;
    let other_key = [("WRENN_ENCRYPTION_KEY", &*"cd".repeat(32))];
    let refused = machine
        .admin_with(&other_key, &["restore", &file, "--yes"])
        .await
        .exits(1);
    assert!(
        refused.stderr.contains("WRENN_ENCRYPTION_KEY"),
        "{refused:?}"
    );
    assert!(bob().await);

    machine.admin(&["restore", &file, "--yes"]).await.exits(0);
    assert!(!bob().await);
    let replica = machine.replica();
    assert_eq!(login(&replica, "ada@example.com", PASSWORD).await, 200);
    // What only the schema keeps is kept as before.
    let removed = sqlx::query("DELETE FROM audit_logs")
        .execute(&machine.world.db)
        .await;
    assert!(removed.is_err());
    Person::sign_up(&replica, "bob").await.unwrap();
    let actions = written(&machine.world).await;
    assert_eq!(
        actions,
        [
            row("platform", "backup", "info"),
            row("platform", "restore", "success")
        ]
    );
    // And it can be backed up and restored again.
    let second = machine.at("second");
    machine.admin(&["backup", &second]).await.exits(0);
    machine.end(replica).await;
    machine.admin(&["restore", &second, "--yes"]).await.exits(0);
    assert!(bob().await);
}

async fn login_exists(world: &World, email: &str) -> bool {
    let found = "SELECT EXISTS (SELECT 1 FROM users WHERE email = $1)";
    sqlx::query_scalar(found)
        .bind(email)
        .fetch_one(&world.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_backup_fills_an_empty_database() {
    let machine = Machine::new().await;
    let file = machine.at("backup");
    machine.admin(&["backup", &file]).await.exits(0);
    let url = Postgres::shared().empty_database().await.unwrap();
    let elsewhere = [("DATABASE_URL", url.as_str())];
    let refused = machine
        .admin_with(&elsewhere, &["backup", &machine.at("b2")])
        .await
        .exits(1);
    assert!(refused.stderr.contains("empty"), "{refused:?}");
    assert!(!Path::new(&machine.at("b2")).exists());
    machine
        .admin_with(&elsewhere, &["restore", &file, "--yes"])
        .await
        .exits(0);
    let promoted = machine
        .admin_with(&elsewhere, &["promote", "admin@localhost"])
        .await;
    promoted.exits(0);
    // The password of a URL stands in no process list: the programs get it otherwise.
    let with_password = url.replacen("user=wrenn", "user=wrenn&password=walrus", 1);
    let elsewhere = [("DATABASE_URL", with_password.as_str())];
    machine
        .admin_with(&elsewhere, &["backup", &machine.at("b3")])
        .await
        .exits(0);
}

#[tokio::test]
async fn units_are_printed_or_put_in_place() {
    let machine = Machine::new().await;
    let printed = binary(machine.home.path(), &["admin", "systemd-units"]);
    let printed = pipe_to(printed, b"").await.exits(0);
    for name in [
        "wrenn.service",
        "wrenn-control-plane.service",
        "wrenn-host-agent.service",
    ] {
        assert!(
            printed.stdout.contains(&format!("/{name}\n")),
            "{printed:?}"
        );
    }
    let dir = machine.at("");
    let arguments = ["admin", "systemd-units", "--install", "--dir", &dir];
    let install = async || pipe_to(binary(machine.home.path(), &arguments), b"").await;
    assert_eq!(install().await.exits(0).stdout.lines().count(), 3);
    assert!(install().await.exits(0).stdout.is_empty());
    fs::write(machine.at("wrenn.service"), "[Service]\n").unwrap();
    install().await.exits(6);
}
