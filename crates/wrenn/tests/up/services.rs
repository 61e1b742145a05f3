//! How the services can be had: in the foreground, without a host, on databases of the user's own.

use wrenn_testkit::{postgres::Postgres, redis::Redis};

use crate::user::{User, eventually};

#[test]
fn in_the_foreground_it_serves_until_it_is_interrupted() {
    let user = User::new();
    let up = user.start(&[
        "up",
        "--foreground",
        "--host",
        "none",
        "--listen",
        &user.listen,
    ]);
    eventually("it serves", || user.status()["healthy"] == true);
    user.run(&["up"], 0);
    assert_eq!(
        user.status()["supervisor_pid"].as_u64(),
        Some(u64::from(up.child.id()))
    );
    user.try_run(&["up", "--foreground"])
        .failed(6, &["runs already", "wrenn down"]);
    up.interrupt();
    let said = up.end();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("is up"), "{}", said.stdout);
    user.assert_nothing_runs();
}

#[test]
fn without_a_host_the_platform_serves_and_says_so() {
    let user = User::new();
    let up = user.run(&["up", "--host", "none", "--listen", &user.listen], 0);
    assert!(up.contains("none on this machine"), "{up}");
    assert!(!user.state().join("images").exists());
    user.try_run(&["run", "--", "true"])
        .failed(125, &["no host is online"]);
    assert_eq!(user.run(&["--json", "ls"], 0), "[]\n");
    user.run(&["down"], 0);
    user.assert_nothing_runs();
}

#[test]
fn databases_and_an_address_of_the_users_own_are_used_and_remembered() {
    let (postgres, redis) = (Postgres::start().unwrap(), Redis::start().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(postgres.empty_database()).unwrap();
    let mut user = User::new();
    user.environment = vec![
        ("DATABASE_URL", database),
        ("REDIS_URL", redis.url()),
        ("WRENN_LISTEN", user.listen.clone()),
    ];
    user.run(&["up", "--host", "none"], 0);
    assert!(!user.state().join("postgres").exists() && !user.state().join("redis").exists());
    user.run(&["status"], 0);
    user.run(&["down"], 0);
    // The next one needs no telling, and the key of before opens it.
    user.environment.clear();
    user.run(&["up"], 0);
    assert!(!user.state().join("postgres").exists());
    user.run(&["ls"], 0);
    // An address that leads nowhere is said before anything changes.
    let nowhere = "postgres://nobody@127.0.0.1:1/none".to_owned();
    user.environment = vec![("DATABASE_URL", nowhere)];
    user.try_run(&["up"])
        .failed(7, &["DATABASE_URL", "out of reach"]);
    user.environment = vec![("REDIS_URL", "redis://127.0.0.1:1".to_owned())];
    user.try_run(&["up"])
        .failed(7, &["REDIS_URL", "out of reach"]);
    user.environment.clear();
    user.run(&["status"], 0);
    user.run(&["down"], 0);
    user.assert_nothing_runs();
}

#[test]
fn what_an_operator_does_while_the_platform_is_down_is_there_when_it_comes_up() {
    let user = User::new();
    user.run(&["up", "--host", "none", "--listen", &user.listen], 0);
    let file = user.home().join("backup").display().to_string();
    user.run(&["admin", "backup", &file], 0);
    let password = user.file("password", "correct horse battery");
    let create = ["admin", "create", "late@example.com", "--password-stdin"];
    let mut create = user.command(&create);
    create.stdin(std::fs::File::open(password).unwrap());
    assert!(create.output().unwrap().status.success());
    user.try_run(&["admin", "restore", &file, "--yes"])
        .failed(6, &["control plane", "wrenn down"]);
    user.run(&["down"], 0);
    // The private PostgreSQL serves as long as each of these takes.
    user.run(&["admin", "promote", "late@example.com"], 0);
    user.run(&["admin", "restore", &file, "--yes"], 0);
    user.assert_nothing_runs();
    user.try_run(&["admin", "promote", "late@example.com"])
        .failed(5, &["late@example.com"]);
    user.assert_nothing_runs();
    user.run(&["up"], 0);
    user.run(&["ls"], 0);
    user.run(&["down"], 0);
    user.assert_nothing_runs();
}
