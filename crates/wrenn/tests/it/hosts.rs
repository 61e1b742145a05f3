//! Hosts, as people and operators type them.

use serde_json::Value;
use wrenn_testkit::{
    control_plane::eventually,
    person::Person,
    simulated_agent::{Capacity, SimulatedAgent},
};

use crate::wrenn::{Installation, Ran, finish};

async fn host(installation: &Installation, arguments: &[&str]) -> Ran {
    let words: Vec<&str> = ["host"].iter().chain(arguments).copied().collect();
    finish(installation.as_person(&words)).await
}

#[tokio::test]
async fn a_host_is_added_labelled_drained_and_removed() {
    let installation = Installation::new().await;
    let (world, replica) = (&installation.world, &installation.replica);
    let sandbox = installation.run(&["create", "--quiet"]).await.exits(0);
    let sandbox = sandbox.stdout.trim();
    let refused = host(&installation, &["ls"]).await.exits(3);
    assert!(refused.stderr.contains("wrenn login"), "{refused:?}");
    let ada = Person::sign_up(replica, "ada").await.unwrap();
    installation.log_in(&ada).await.exits(0);
    let none = host(&installation, &["ls"]).await.exits(0);
    assert!(none.stderr.contains("No hosts"), "{none:?}");
    host(&installation, &["token", "--type", "byoc"])
        .await
        .exits(4);
    ada.may_administer(world, "hosts").await.unwrap();

    let words = ["add", "--provider", "Ours", "--zone", "z 1", "--tag", "gpu"];
    let added = host(&installation, &words).await.exits(0);
    let first = added.stdout.trim().to_owned();
    assert!(added.stderr.contains("wrenn host-agent"), "{added:?}");
    let listed = host(&installation, &["ls", "--json"]).await.exits(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed[0]["tags"][0], "gpu");
    let again = host(&installation, &["token", &id[..24]]).await.exits(0);
    let register = async |token: &str| {
        SimulatedAgent::register(&replica.base_url(), token, Capacity::default()).await
    };
    assert!(register(&first).await.is_err());
    let agent = register(again.stdout.trim()).await.unwrap();
    agent
        .identity()
        .heartbeat(&replica.base_url())
        .await
        .unwrap();
    host(&installation, &["token", &id]).await.exits(6);
    host(&installation, &["get", "host-"]).await.exits(2);
    let shown = host(&installation, &["get", &id]).await.exits(0);
    assert!(
        shown.stdout.contains("online") && shown.stdout.contains("z 1"),
        "{shown:?}"
    );
    let tags = host(&installation, &["tag", &id, "ssd", "a"])
        .await
        .exits(0);
    assert_eq!(tags.stdout, "a\ngpu\nssd\n");
    let tags = host(&installation, &["tag", &id, "gpu", "a", "--remove"]).await;
    assert_eq!(tags.exits(0).stdout, "ssd\n");

    // The one with a sandbox is kept, unless it is said so and confirmed.
    let busy = installation.agent.host_id().to_string();
    let drained = host(&installation, &["drain", &busy]).await.exits(0);
    assert!(drained.stdout.contains("draining"), "{drained:?}");
    let kept = host(&installation, &["rm", &busy]).await.exits(6);
    assert!(
        kept.stderr.contains(sandbox) && kept.stderr.contains("--force"),
        "{kept:?}"
    );
    host(&installation, &["rm", &busy, "--force"])
        .await
        .exits(2);
    let gone = host(&installation, &["rm", &busy, &id, "--force", "--yes"]).await;
    assert_eq!(gone.exits(0).stdout, format!("{busy}\n{id}\n"));
    let nothing = host(&installation, &["rm", &busy]).await.exits(0);
    assert!(nothing.stderr.contains("no such host"), "{nothing:?}");
    assert!(installation.agent.census().is_empty());
}

#[tokio::test]
async fn what_nobody_knows_is_destroyed_when_an_operator_says_so() {
    let installation = Installation::new().await;
    let world = &installation.world;
    installation.run(&["create", "--quiet"]).await.exits(0);
    sqlx::query("DELETE FROM sandboxes")
        .execute(&world.db)
        .await
        .unwrap();
    eventually("it is stopped", async || {
        installation.agent.census().iter().all(|one| one.paused)
    })
    .await
    .unwrap();
    let purge = async |words: &[&str]| {
        let words: Vec<&str> = ["host", "purge-unknown"]
            .iter()
            .chain(words)
            .copied()
            .collect();
        let mut command = installation.as_person(&words);
        command.envs(world.settings());
        finish(command).await
    };
    purge(&[]).await.exits(2);
    assert_eq!(purge(&["--yes"]).await.exits(0).stdout, "1\n");
    eventually("it is gone", async || {
        installation.agent.census().is_empty()
    })
    .await
    .unwrap();
}
