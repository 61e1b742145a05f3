//! `run` and `exec`: bytes through unchanged, exit codes passed on, nothing left behind.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::wrenn::{Installation, finish};

#[tokio::test]
async fn output_and_exit_code_pass_through_and_the_sandbox_goes() {
    let installation = Installation::new().await;
    let ran = installation
        .run(&[
            "run",
            "--",
            "sh",
            "-c",
            "printf out; printf err >&2; exit 7",
        ])
        .await
        .exits(7);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out", "err"));
    for code in [0, 1, 125, 126, 255] {
        installation
            .run(&["run", "--", "sh", "-c", &format!("exit {code}")])
            .await
            .exits(code);
    }
    installation
        .run(&["run", "--", "sh", "-c", "kill -9 $$"])
        .await
        .exits(137);
    assert!(
        installation
            .run(&["run", "--", "/no/such/program"])
            .await
            .exits(127)
            .stderr
            .contains("no/such")
    );
    assert_eq!(installation.agent.census().len(), 0);
}

#[tokio::test]
async fn bytes_of_every_kind_pass_both_ways() {
    let installation = Installation::new().await;
    let mut bytes = vec![0u8; 3_000_000];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (index as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .to_le_bytes()[4];
    }
    let ran = installation
        .pipe(&["run", "--", "cat"], &bytes)
        .await
        .exits(0);
    assert_eq!(ran.stderr, "");
    assert!(ran.bytes == bytes, "{} bytes came back", ran.bytes.len());
    assert_eq!(
        installation
            .pipe(&["run", "--", "wc", "-c"], b"")
            .await
            .exits(0)
            .stdout
            .trim(),
        "0"
    );
}

#[tokio::test]
async fn environment_directory_and_limit_are_obeyed() {
    let installation = Installation::new().await;
    let mut command = installation.command(&[
        "run",
        "-e",
        "A=1",
        "-e",
        "B",
        "--",
        "sh",
        "-c",
        "echo $A $B",
    ]);
    command.env("B", "copied");
    assert_eq!(finish(command).await.exits(0).stdout, "1 copied\n");
    installation
        .run(&["run", "--time-limit", "1s", "--", "sleep", "60"])
        .await
        .exits(124);
    let one_word = installation
        .run(&["run", "echo a && echo b"])
        .await
        .exits(2);
    assert!(
        one_word.stderr.contains("-- sh -c 'echo a && echo b'"),
        "{one_word:?}"
    );
    assert_eq!(installation.agent.census().len(), 0);
}

#[tokio::test]
async fn our_own_failures_are_125() {
    let installation = Installation::new().await;
    installation
        .run(&["run", "--template", "nope", "--", "true"])
        .await
        .exits(125);
    installation
        .run(&["exec", "sb-zzzz", "--", "true"])
        .await
        .exits(125);
    let mut nowhere = installation.command(&["run", "--", "true"]);
    nowhere.env("WRENN_BASE_URL", "http://127.0.0.1:9");
    finish(nowhere).await.exits(125);
}

#[tokio::test]
async fn exec_uses_a_sandbox_that_stays() {
    let installation = Installation::new().await;
    installation.run(&["create"]).await.exits(0);
    assert_eq!(
        installation
            .run(&["exec", "@last", "--", "echo", "hi"])
            .await
            .exits(0)
            .stdout,
        "hi\n"
    );
    installation
        .run(&["exec", "@last", "--", "sh", "-c", "exit 9"])
        .await
        .exits(9);
    assert_eq!(installation.agent.census().len(), 1);
    let kept = installation
        .run(&["run", "--keep", "--", "true"])
        .await
        .exits(0);
    assert!(
        kept.stdout.is_empty() && kept.stderr.contains("kept sb-"),
        "{kept:?}"
    );
    assert_eq!(installation.agent.census().len(), 2);
}

async fn interrupted_by(signal: Signal, code: i32) {
    let installation = Installation::new().await;
    let mut child = installation
        .command(&["run", "--", "sh", "-c", "echo started; sleep 60"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started"));
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(code));
    assert_eq!(installation.agent.census().len(), 0);
}

#[tokio::test]
async fn ctrl_c_ends_command_and_sandbox() {
    interrupted_by(Signal::INT, 130).await;
}

#[tokio::test]
async fn sigterm_ends_command_and_sandbox() {
    interrupted_by(Signal::TERM, 143).await;
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_an_endless_command() {
    let installation = Installation::new().await;
    let mut child = installation
        .command(&["run", "--", "yes"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 1000];
    stdout.read_exact(&mut some).await.unwrap();
    drop(stdout);
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(141));
    assert_eq!(installation.agent.census().len(), 0);
}

#[tokio::test]
async fn the_sandbox_of_a_killed_run_is_removed_by_the_next() {
    let installation = Installation::new().await;
    let mut child = installation
        .command(&["run", "--", "sh", "-c", "echo started; sleep 60"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started"));
    child.kill().await.unwrap();
    assert_eq!(installation.agent.census().len(), 1);
    installation
        .run(&["run", "--", "sleep", "2"])
        .await
        .exits(0);
    assert_eq!(installation.agent.census().len(), 0);
}
