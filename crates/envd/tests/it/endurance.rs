//! Much of everything: output, processes, entries, bytes. Short by default, whole in a long run.

use std::{
    fs::{self, File},
    io::Read as _,
    sync::Arc,
    time::{Duration, Instant},
};

use wrenn_rpc::{
    connectrpc::{CodecFormat, ErrorCode, client::CallOptions},
    filesystem::ListDirRequest,
    process::{ConnectRequest, ListRequest, StartResponse},
};

use crate::{
    envd::{Envd, Kept, Ran, by_pid, is_soak, program, shell},
    processes::{ends, input, started},
};

const MIB: u64 = 1 << 20;
const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

#[test]
fn a_slow_reader_costs_time_and_no_memory() {
    let length = if is_soak() { 1024 * MIB } else { 160 * MIB };
    let envd = Envd::start(&[]);
    let request = program("head", &["-c", &length.to_string(), "/dev/zero"]);
    let mut stream = Kept::stream(&envd, "/process.Process/Start", &request);
    let (mut seen, mut pauses) = (0, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = stream.body().read(&mut buffer).unwrap() as u64;
        if read == 0 {
            break;
        }
        seen += read;
        // Long enough for a writer that nobody holds back to be far ahead.
        if seen / (16 * MIB) > pauses {
            pauses += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert!(seen > length);
    assert!(envd.peak() < 96 * 1024, "{} KiB", envd.peak());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_is_cut_and_others_get_everything() {
    let length = 120 * MIB;
    let envd = Envd::start(&[]);
    let script = format!("read go; head -c {length} /dev/zero");
    let (pid, follower) = started(&envd, shell(&script)).await;
    let request = ConnectRequest {
        process: by_pid(pid).into(),
        ..Default::default()
    };
    // Its head comes when it is attached.
    let mut stuck = Kept::stream(&envd, "/process.Process/Connect", &request);
    let begun = Instant::now();
    input(&envd, pid, b"go\n").await.unwrap();
    let ran = follower.await.unwrap().unwrap();
    assert_eq!(ran.stdout.len() as u64, length);
    assert_eq!(ran.status(), "exit status 0");
    assert!(
        begun.elapsed() >= Duration::from_secs(30),
        "it waited first"
    );
    let mut rest = Vec::new();
    stuck.body().read_to_end(&mut rest).unwrap();
    let end = String::from_utf8_lossy(&rest[rest.len().saturating_sub(200)..]).into_owned();
    assert!(
        end.contains(r#"{"error":{"code":"resource_exhausted""#),
        "{end}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_processes_at_once_each_have_their_own_words() {
    let envd = Arc::new(Envd::start(&[]));
    let starts = (0..200).map(|number| {
        let envd = Arc::clone(&envd);
        tokio::spawn(async move {
            let script = format!("read word; echo {number} $word");
            let (pid, follower) = started(&envd, shell(&script)).await;
            (number, pid, follower)
        })
    });
    let mut all = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        all.push(start.await.unwrap());
    }
    let client = envd.processes(CodecFormat::Proto);
    let list = client.list(ListRequest::default()).await.unwrap();
    assert_eq!(list.into_owned().processes.len(), 200);
    for (number, pid, _) in &all {
        input(&envd, *pid, format!("word-{number}\n").as_bytes())
            .await
            .unwrap();
    }
    for (number, _, follower) in all {
        let ran: Ran = follower.await.unwrap().unwrap();
        assert_eq!(ran.text(), format!("{number} word-{number}\n"));
    }
}

#[tokio::test]
async fn characters_that_are_cut_arrive_whole() {
    let envd = Envd::start(&[]);
    // Two writes, and a read between them: the halves cannot be in one chunk.
    let script = r"printf 'a\303'; read go; printf '\244\360\237'; read go; printf '\246\200'";
    let (pid, follower) = started(&envd, shell(script)).await;
    input(&envd, pid, b"\n").await.unwrap();
    input(&envd, pid, b"\n").await.unwrap();
    assert_eq!(follower.await.unwrap().unwrap().text(), "a\u{e4}\u{1f980}");
}

#[tokio::test]
async fn a_large_directory_is_listed_whole_and_a_larger_one_refused() {
    let entries = if is_soak() { 100_000 } else { 10_000 };
    let envd = Envd::start(&[]);
    let root = tempfile::tempdir().unwrap();
    for number in 0..entries {
        File::create(root.path().join(format!("{number:06}"))).unwrap();
    }
    let list = async || {
        let request = ListDirRequest {
            path: root.path().to_str().unwrap().to_owned(),
            depth: 1,
            ..Default::default()
        };
        let answer = envd.files().list_dir(request).await?;
        Ok::<_, wrenn_rpc::connectrpc::ConnectError>(answer.into_owned().entries)
    };
    let listed = list().await.unwrap();
    assert_eq!(listed.len(), entries);
    let names = listed.iter().enumerate();
    assert!(
        names
            .into_iter()
            .all(|(at, entry)| entry.name == format!("{at:06}"))
    );
    if is_soak() {
        File::create(root.path().join("one more")).unwrap();
        assert_eq!(list().await.unwrap_err().code, ErrorCode::ResourceExhausted);
    }
}

#[test]
fn large_files_go_up_and_down_through_little_memory() {
    let length = if is_soak() { 4096 * MIB } else { 256 * MIB };
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = format!("{}/large", directory.path().display());
    let mut connection = Kept::open(&envd);
    // Once small, so that what is needed only once is there.
    let line = |method: &str| format!("{method} /files?path={path}");
    connection.send(&line("POST"), OCTETS, MIB, &[1; 1 << 16]);
    assert_eq!(connection.answer().0, 200);
    let before = envd.resident();
    let piece: Vec<u8> = (0..MIB).map(|at| (at % 251) as u8).collect();
    connection.send(&line("POST"), OCTETS, length, &piece);
    assert_eq!(connection.answer().0, 200);
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    connection.send(&line("GET"), "", 0, b"");
    assert_eq!(connection.head(), (200, Some(length)));
    let mut buffer = vec![0; piece.len()];
    for _ in 0..length / MIB {
        connection.body().read_exact(&mut buffer).unwrap();
        assert!(buffer == piece);
    }
    let grown = envd.peak().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

#[tokio::test]
async fn nothing_is_left_of_a_shell_that_is_killed() {
    let envd = Envd::start(&[]);
    let script = "for n in 1 2 3; do (sleep 1000 & echo $!; wait) & done; echo done; wait";
    let client = envd.processes(CodecFormat::Proto);
    let mut stream = client.start(shell(script)).await.unwrap();
    let mut ran = Ran::default();
    while ran.stdout.iter().filter(|byte| **byte == b'\n').count() < 4 {
        let message = stream.message::<StartResponse>().await.unwrap().unwrap();
        ran.take(message.to_owned_message().event.into_option().unwrap());
    }
    let request = wrenn_rpc::process::SendSignalRequest {
        process: by_pid(ran.pid.unwrap()).into(),
        signal: wrenn_rpc::process::Signal::Sigkill.into(),
        ..Default::default()
    };
    client.send_signal(request).await.unwrap();
    for pid in ran
        .text()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
    {
        assert!(ends(pid), "{pid} lives on");
    }
    let ended = envd.follow(ran.pid.unwrap(), CallOptions::default()).await;
    assert_eq!(ended.unwrap().status(), "signal: killed");
}

#[tokio::test]
async fn no_more_processes_run_than_there_is_room_for() {
    let envd = Envd::start(&[]);
    let mut pids = Vec::new();
    let refused = loop {
        let request = program("cat", &[]);
        let client = envd.processes(CodecFormat::Proto);
        let mut stream = client.start(request).await.unwrap();
        let Ok(Some(first)) = stream.message::<StartResponse>().await else {
            break stream.error().cloned().unwrap();
        };
        let mut ran = Ran::default();
        ran.take(first.to_owned_message().event.into_option().unwrap());
        pids.push(ran.pid.unwrap());
        assert!(pids.len() <= 1024);
    };
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert_eq!(pids.len(), 1024);
    let close = wrenn_rpc::process::CloseStdinRequest {
        process: by_pid(pids[0]).into(),
        ..Default::default()
    };
    envd.processes(CodecFormat::Proto)
        .close_stdin(close)
        .await
        .unwrap();
    let ended = envd.follow(pids[0], CallOptions::default()).await;
    assert_eq!(ended.unwrap().status(), "exit status 0");
    assert_eq!(envd.sh("echo again").await.text(), "again\n");
}
