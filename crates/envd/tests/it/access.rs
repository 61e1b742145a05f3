//! Who is let in, and what everybody is told.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use wrenn_rpc::connectrpc::client::CallOptions;

use crate::{
    envd::{Envd, Kept, shell},
    processes::{is_running, started},
};

fn check(envd: &Envd, line: &str, headers: &str, expected: u16) -> String {
    let (status, _, body) = envd.http(line, headers, b"{}");
    let body = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(status, expected, "{line} {headers}: {body}");
    body
}

#[test]
fn health_tells_the_versions_and_unknown_paths_are_not_found() {
    let envd = Envd::start(&[]);
    let (status, head, _) = envd.http("GET /health", "", b"");
    assert_eq!(status, 204);
    assert!(head.contains("x-envd-version: 0.6.4"), "{head}");
    assert!(
        head.contains(concat!("x-wrenn-version: ", env!("CARGO_PKG_VERSION"))),
        "{head}"
    );
    let body = check(&envd, "GET /nothing", "", 404);
    assert_eq!(body, r#"{"code":404,"message":"not found"}"#);
    check(&envd, "DELETE /health", "", 405);
    check(&envd, "GET /freeze", "", 405);
}

#[test]
fn metrics_tell_of_processors_memory_and_disk() {
    let envd = Envd::start(&[]);
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs()
    };
    let before = now();
    let body = check(&envd, "GET /metrics", "", 200);
    let told: BTreeMap<&str, f64> = serde_json::from_str(&body).unwrap();
    let names: Vec<_> = told.keys().copied().collect();
    assert_eq!(
        names,
        [
            "cpu_count",
            "cpu_used_pct",
            "disk_total",
            "disk_used",
            "mem_cache",
            "mem_total",
            "mem_total_mib",
            "mem_used",
            "mem_used_mib",
            "ts",
        ]
    );
    let whole = |name: &str| told[name] as u64;
    assert!((before..=now()).contains(&whole("ts")), "{body}");
    let count = std::thread::available_parallelism().unwrap().get();
    assert_eq!(whole("cpu_count"), count as u64);
    assert!((0.0..=100.0).contains(&told["cpu_used_pct"]), "{body}");
    for (part, all) in [("mem_used", "mem_total"), ("disk_used", "disk_total")] {
        assert!(0 < whole(part) && whole(part) < whole(all), "{body}");
    }
    for name in ["mem_total", "mem_used"] {
        assert_eq!(whole(&format!("{name}_mib")), whole(name) >> 20);
    }
}

#[test]
fn a_token_closes_everything_but_health_to_others() {
    let envd = Envd::start(&[]);
    let json = "Content-Type: application/json\r\n";
    check(&envd, "GET /envs", "", 200);
    let (status, _, _) = envd.http(
        "POST /init",
        json,
        br#"{"accessToken":"secret","envVars":{"A":"1","E2B_SANDBOX":"no"}}"#,
    );
    assert_eq!(status, 204);
    check(&envd, "GET /health", "", 204);
    check(&envd, "GET /envs", "", 401);
    check(&envd, "GET /envs", "X-Access-Token: wrong\r\n", 401);
    check(&envd, "GET /metrics", "", 401);
    let body = check(&envd, "POST /process.Process/List", json, 401);
    assert!(body.contains(r#""code":"unauthenticated""#), "{body}");
    check(
        &envd,
        "POST /process.Process/List",
        &format!("{json}X-Access-Token: secret\r\n"),
        200,
    );
    let body = check(&envd, "GET /envs", "X-Access-Token: secret\r\n", 200);
    assert_eq!(
        body,
        r#"{"A":"1","E2B_SANDBOX":"true","WRENN_SANDBOX":"true"}"#
    );
    let body = check(&envd, "GET /files?path=/etc/hostname", "", 401);
    assert_eq!(
        body,
        r#"{"code":401,"message":"missing signature query parameter"}"#
    );
}

#[test]
fn init_refuses_what_it_cannot_use() {
    let envd = Envd::start(&[]);
    for (body, expected) in [
        ("{", 400),
        (r#"{"timestamp":"yesterday"}"#, 400),
        (r#"{"defaultUser":"nobody-knows"}"#, 400),
        (r#"{"entropy":"c2hvcnQ="}"#, 400),
        (r#"{"machineId":"x"}"#, 400),
        (r#"{"envVars":{"A=B":"1"}}"#, 400),
        (r#"{"volumeMounts":[{}]}"#, 501),
        (r#"{"unknown":[1,2],"lifecycleID":"x"}"#, 204),
    ] {
        let (status, ..) = envd.http(
            "POST /init",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
        assert_eq!(status, expected, "{body}");
    }
    let large = vec![b' '; (4 << 20) + 1];
    let (status, ..) = envd.http("POST /init", "Content-Type: application/json\r\n", &large);
    assert_eq!(status, 413);
}

#[tokio::test]
async fn variables_of_init_reach_processes_and_requests_override_them() {
    let envd = Envd::start(&[]);
    let body = br#"{"envVars":{"FROM":"init","KEPT":"yes"}}"#;
    assert_eq!(
        envd.http("POST /init", "Content-Type: application/json\r\n", body)
            .0,
        204
    );
    let mut request = shell("echo $FROM $KEPT $WRENN_SANDBOX $HOME $USER");
    request.process.as_option_mut().unwrap().envs = [("FROM".to_owned(), "request".to_owned())]
        .into_iter()
        .collect();
    let ran = envd.run(request, CallOptions::default()).await.unwrap();
    assert_eq!(ran.text(), "request yes true /root root\n");
}

#[test]
fn a_refusal_before_the_body_is_read_keeps_the_connection() {
    let envd = Envd::start(&[]);
    let json = "Content-Type: application/json\r\n";
    let body = br#"{"accessToken":"secret"}"#;
    assert_eq!(envd.http("POST /init", json, body).0, 204);
    let mut connection = Kept::open(&envd);
    for length in [10, 100_000, 40 << 20] {
        let octets = "Content-Type: application/octet-stream\r\nX-Access-Token: wrong\r\n";
        connection.send("POST /files?path=/x", octets, length, &[0; 1 << 16]);
        assert_eq!(connection.answer().0, 401, "{length} bytes");
        let headers = format!("{json}X-Access-Token: secret\r\n");
        connection.send("POST /process.Process/List", &headers, 2, b"{}");
        assert_eq!(connection.answer(), (200, "{}".into()), "{length} bytes");
        // Larger than a message may be.
        connection.send(
            "POST /filesystem.Filesystem/Stat",
            &headers,
            17 << 20,
            &[b' '; 1 << 16],
        );
        let (status, body) = connection.answer();
        assert_eq!(status, 429, "{length} bytes: {body}");
        assert!(body.contains(r#""code":"resource_exhausted""#), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_stream_ends_it_and_nothing_else() {
    let envd = Envd::start(&[]);
    let headers = "Content-Type: application/connect+json\r\nConnect-Timeout-Ms: 300\r\n";
    let framed = |json: &str| {
        let length = u32::try_from(json.len()).unwrap().to_be_bytes();
        [&[0], &length[..], json.as_bytes()].concat()
    };
    let over = |path: &str, request: &str| {
        let (status, _, body) = envd.http(&format!("POST {path}"), headers, &framed(request));
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, 200, "{path}: {body}");
        assert!(
            body.contains(r#"{"error":{"code":"deadline_exceeded""#),
            "{path}: {body}"
        );
        body
    };
    over("/filesystem.Filesystem/WatchDir", r#"{"path":"/tmp"}"#);
    let (pid, _stream) = started(&envd, shell("sleep 1000")).await;
    over(
        "/process.Process/Connect",
        &format!(r#"{{"process":{{"pid":{pid}}}}}"#),
    );
    assert!(is_running(pid));
}

#[test]
fn who_dawdles_with_the_first_request_is_cut_and_large_headers_are_refused() {
    let envd = Envd::start(&[]);
    let mut slow = std::net::TcpStream::connect(envd.address).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let begun = Instant::now();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost:").unwrap();
    let large = format!("X-Large: {}\r\n", "x".repeat(70 << 10));
    assert_eq!(envd.http("GET /health", &large, b"").0, 431);
    let mut rest = Vec::new();
    // The end may come as a reset.
    let _ = slow.read_to_end(&mut rest);
    let waited = begun.elapsed();
    assert!(rest.is_empty());
    assert!((9..25).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn who_comes_when_all_seats_are_taken_waits_and_is_then_told() {
    let envd = Envd::start(&[]);
    let mut seated: Vec<_> = (0..1024).map(|_| Kept::open(&envd)).collect();
    for one in [0, 1023] {
        seated[one].send("GET /health", "", 0, b"");
        assert_eq!(seated[one].answer().0, 204);
    }
    let begun = Instant::now();
    let mut late = Kept::open(&envd);
    assert_eq!(late.head().0, 503);
    let waited = begun.elapsed();
    assert!((4..10).contains(&waited.as_secs()), "{waited:?}");
    // Whoever leaves makes room.
    let mut next = Kept::open(&envd);
    seated.truncate(512);
    next.send("GET /health", "", 0, b"");
    assert_eq!(next.answer().0, 204);
}
