//! Every call in every protocol, and what no client library sends.

use std::{future::Future, io::Write as _, pin::Pin, time::Duration};

use flate2::{Compression, write::GzEncoder};
use tokio::time::timeout;
use wrenn_rpc::{
    connectrpc::{
        CodecFormat, ConnectError, ErrorCode, Protocol,
        client::{CallOptions, HttpClient},
    },
    filesystem::{
        CreateWatcherRequest, EventType, FileType, FilesystemClient, GetWatcherEventsRequest,
        ListDirRequest, MakeDirRequest, MoveRequest, RemoveRequest, RemoveWatcherRequest,
        StatRequest, WatchDirRequest, WatchDirResponse, watch_dir_response,
    },
    process::{
        CloseStdinRequest, ConnectRequest, ConnectResponse, ListRequest, ProcessClient,
        ProcessInput, SendInputRequest, SendSignalRequest, Signal, StartRequest, StartResponse,
        StreamInputRequest, UpdateRequest,
        process_input::Input,
        stream_input_request::{DataEvent, StartEvent},
    },
};

use crate::{
    envd::{Envd, Ran, by_pid, program, shell},
    processes::started,
    terminal::{on_terminal, window},
};

const LATE: Duration = Duration::from_secs(30);
const PROTOS: [&str; 2] = [
    include_str!("../../../rpc/proto/process/process.proto"),
    include_str!("../../../rpc/proto/filesystem/filesystem.proto"),
];
const WIRES: [(Protocol, CodecFormat); 3] = [
    (Protocol::Connect, CodecFormat::Json),
    (Protocol::Connect, CodecFormat::Proto),
    (Protocol::Grpc, CodecFormat::Proto),
];
/// The largest number that the kernel gives is less.
const NOBODY: u32 = 5_000_000;

/// A client of an envd that speaks one protocol, and a place for its files.
struct Wire<'a> {
    envd: &'a Envd,
    processes: ProcessClient<HttpClient>,
    files: FilesystemClient<HttpClient>,
    directory: tempfile::TempDir,
}

/// Makes a call that must do what it is for, then one that must be refused; returns the refusal.
type Call = for<'a> fn(&'a Wire<'a>) -> Pin<Box<dyn Future<Output = Option<ConnectError>> + 'a>>;

/// Every call, with the code of its refusal; `List` refuses nobody.
const CALLS: [(&str, Call, Option<ErrorCode>); 17] = [
    ("process.Process/List", |wire| Box::pin(wire.list()), None),
    (
        "process.Process/Connect",
        |wire| Box::pin(wire.connect()),
        Some(ErrorCode::NotFound),
    ),
    (
        "process.Process/Start",
        |wire| Box::pin(wire.start()),
        Some(ErrorCode::InvalidArgument),
    ),
    (
        "process.Process/Update",
        |wire| Box::pin(wire.update()),
        Some(ErrorCode::FailedPrecondition),
    ),
    (
        "process.Process/StreamInput",
        |wire| Box::pin(wire.stream_input()),
        Some(ErrorCode::InvalidArgument),
    ),
    (
        "process.Process/SendInput",
        |wire| Box::pin(wire.send_input()),
        Some(ErrorCode::NotFound),
    ),
    (
        "process.Process/SendSignal",
        |wire| Box::pin(wire.send_signal()),
        Some(ErrorCode::NotFound),
    ),
    (
        "process.Process/CloseStdin",
        |wire| Box::pin(wire.close_stdin()),
        Some(ErrorCode::NotFound),
    ),
    (
        "filesystem.Filesystem/Stat",
        |wire| Box::pin(wire.stat()),
        Some(ErrorCode::NotFound),
    ),
    (
        "filesystem.Filesystem/MakeDir",
        |wire| Box::pin(wire.make_dir()),
        Some(ErrorCode::AlreadyExists),
    ),
    (
        "filesystem.Filesystem/Move",
        |wire| Box::pin(wire.rename()),
        Some(ErrorCode::NotFound),
    ),
    (
        "filesystem.Filesystem/ListDir",
        |wire| Box::pin(wire.list_dir()),
        Some(ErrorCode::NotFound),
    ),
    (
        "filesystem.Filesystem/Remove",
        |wire| Box::pin(wire.remove()),
        Some(ErrorCode::InvalidArgument),
    ),
    (
        "filesystem.Filesystem/WatchDir",
        |wire| Box::pin(wire.watch_dir()),
        Some(ErrorCode::NotFound),
    ),
    (
        "filesystem.Filesystem/CreateWatcher",
        |wire| Box::pin(wire.create_watcher()),
        Some(ErrorCode::InvalidArgument),
    ),
    (
        "filesystem.Filesystem/GetWatcherEvents",
        |wire| Box::pin(wire.get_watcher_events()),
        Some(ErrorCode::NotFound),
    ),
    (
        "filesystem.Filesystem/RemoveWatcher",
        |wire| Box::pin(wire.remove_watcher()),
        Some(ErrorCode::NotFound),
    ),
];

/// The calls that the contracts have.
fn contracts() -> Vec<String> {
    let mut all = Vec::new();
    for proto in PROTOS {
        let (mut package, mut service) = ("", "");
        for line in proto.lines() {
            let mut words = line.trim().split([' ', ';', '(']);
            match (words.next(), words.next()) {
                (Some("package"), Some(name)) => package = name,
                (Some("service"), Some(name)) => service = name,
                (Some("rpc"), Some(name)) => all.push(format!("{package}.{service}/{name}")),
                _ => {}
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_contracts_works_and_refuses_in_every_protocol() {
    assert_eq!(CALLS.map(|(name, ..)| name.to_owned()), *contracts());
    let envd = Envd::start(&[]);
    for (protocol, codec) in WIRES {
        let wire = Wire::new(&envd, protocol, codec);
        for (name, call, expected) in CALLS {
            let refusal = timeout(LATE, call(&wire)).await;
            let refusal = refusal.unwrap_or_else(|_| panic!("{name} {protocol:?} {codec:?}: late"));
            let seen = refusal.as_ref().map(|refusal| refusal.code);
            assert_eq!(seen, expected, "{name} {protocol:?} {codec:?}: {refusal:?}");
            let told = refusal.and_then(|refusal| refusal.message);
            assert_eq!(told.is_some(), expected.is_some(), "{name}: {told:?}");
        }
    }
}

impl<'a> Wire<'a> {
    fn new(envd: &'a Envd, protocol: Protocol, codec: CodecFormat) -> Self {
        let transport = match protocol {
            Protocol::Grpc => HttpClient::plaintext_http2_only(),
            _ => HttpClient::plaintext(),
        };
        let config = envd.config(codec).with_protocol(protocol);
        Self {
            envd,
            processes: ProcessClient::new(transport.clone(), config.clone()),
            files: FilesystemClient::new(transport, config),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory.path().display())
    }

    /// What a process has told when it has ended.
    async fn told(&self, pid: u32) -> Ran {
        let options = CallOptions::default().with_header("x-wrenn-replay", "1");
        self.envd.follow(pid, options).await.unwrap()
    }

    async fn list(&self) -> Option<ConnectError> {
        let mut request = program("sleep", &["1000"]);
        request.tag = Some(self.path("listed"));
        let (pid, _follower) = started(self.envd, request).await;
        let all = self.processes.list(ListRequest::default()).await.unwrap();
        let all = all.into_owned().processes;
        let one = all.iter().find(|one| one.pid == pid).unwrap();
        let config = one.config.as_option().unwrap();
        assert_eq!(
            (config.cmd.as_str(), &config.args[..]),
            ("sleep", &["1000".to_owned()][..])
        );
        assert_eq!(one.tag, Some(self.path("listed")));
        None
    }

    async fn connect(&self) -> Option<ConnectError> {
        let (pid, _follower) = started(self.envd, shell("read word; echo $word; exit 4")).await;
        let request = |pid| ConnectRequest {
            process: by_pid(pid).into(),
            ..Default::default()
        };
        let mut stream = self.processes.connect(request(pid)).await.unwrap();
        let mut ran = Ran::default();
        while let Some(message) = stream.message::<ConnectResponse>().await.unwrap() {
            ran.take(message.to_owned_message().event.into_option().unwrap());
            if ran.stdout.is_empty() && ran.end.is_none() {
                crate::processes::input(self.envd, pid, b"word\n")
                    .await
                    .unwrap();
            }
        }
        assert_eq!((ran.text(), ran.status()), ("word\n", "exit status 4"));
        let mut refused = match self.processes.connect(request(NOBODY)).await {
            Ok(stream) => stream,
            Err(refusal) => return Some(refusal),
        };
        let message = refused.message::<ConnectResponse>().await;
        message.err().or_else(|| refused.error().cloned())
    }

    async fn run(&self, request: StartRequest) -> Result<Ran, ConnectError> {
        let mut stream = self.processes.start(request).await?;
        let mut ran = Ran::default();
        while let Some(message) = stream.message::<StartResponse>().await? {
            ran.take(message.to_owned_message().event.into_option().unwrap());
        }
        stream.error().map_or(Ok(ran), |fault| Err(fault.clone()))
    }

    async fn start(&self) -> Option<ConnectError> {
        let script = "printf '\\377\\0'; echo told >&2; exit 3";
        let ran = self.run(shell(script)).await.unwrap();
        assert_eq!(
            (&ran.stdout[..], &ran.stderr[..]),
            (&[0xff, 0][..], &b"told\n"[..])
        );
        let end = ran.end.unwrap();
        assert_eq!((end.exit_code, end.exited), (3, true));
        let ran = self.run(shell("kill -9 $$")).await.unwrap();
        assert_eq!(ran.end.unwrap().exit_code, -1);
        self.run(program("", &[])).await.err()
    }

    async fn update(&self) -> Option<ConnectError> {
        let request = on_terminal(shell("read word; stty size"), 80, 24);
        let (pid, follower) = started(self.envd, request).await;
        let update = |pid| UpdateRequest {
            process: by_pid(pid).into(),
            pty: window(33, 44).into(),
            ..Default::default()
        };
        self.processes.update(update(pid)).await.unwrap();
        let input = Input::Pty(b"\n".to_vec());
        self.send(pid, input).await.unwrap();
        let ran = follower.await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&ran.terminal).contains("44 33"));
        let (pid, _follower) = started(self.envd, shell("read word")).await;
        self.processes.update(update(pid)).await.err()
    }

    async fn stream_input(&self) -> Option<ConnectError> {
        let (pid, follower) = started(self.envd, shell("read a b; echo $b $a")).await;
        let start = StartEvent {
            process: by_pid(pid).into(),
            ..Default::default()
        };
        let data = |text: &str| {
            let input = ProcessInput {
                input: Some(Input::Stdin(text.into())),
                ..Default::default()
            };
            let data = DataEvent {
                input: input.into(),
                ..Default::default()
            };
            StreamInputRequest {
                event: Some(data.into()),
                ..Default::default()
            }
        };
        let start = StreamInputRequest {
            event: Some(start.into()),
            ..Default::default()
        };
        let twice = futures::stream::iter([start.clone(), start.clone()]);
        let refused = self.processes.stream_input(twice).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
        let requests = futures::stream::iter([start, data("one "), data("two\n")]);
        self.processes.stream_input(requests).await.unwrap();
        assert_eq!(follower.await.unwrap().unwrap().text(), "two one\n");
        let headless = futures::stream::iter([data("x")]);
        self.processes.stream_input(headless).await.err()
    }

    async fn send(&self, pid: u32, input: Input) -> Result<(), ConnectError> {
        let input = ProcessInput {
            input: Some(input),
            ..Default::default()
        };
        let request = SendInputRequest {
            process: by_pid(pid).into(),
            input: input.into(),
            ..Default::default()
        };
        self.processes.send_input(request).await.map(drop)
    }

    async fn send_input(&self) -> Option<ConnectError> {
        let (pid, _follower) = started(self.envd, shell("read word; echo $word")).await;
        let input = Input::Stdin("wörd\n".into());
        self.send(pid, input.clone()).await.unwrap();
        assert_eq!(self.told(pid).await.text(), "wörd\n");
        self.send(NOBODY, input).await.err()
    }

    async fn send_signal(&self) -> Option<ConnectError> {
        let (pid, _follower) = started(self.envd, program("sleep", &["1000"])).await;
        let request = |pid| SendSignalRequest {
            process: by_pid(pid).into(),
            signal: Signal::Sigterm.into(),
            ..Default::default()
        };
        self.processes.send_signal(request(pid)).await.unwrap();
        assert_eq!(self.told(pid).await.status(), "signal: terminated");
        self.processes.send_signal(request(pid)).await.err()
    }

    async fn close_stdin(&self) -> Option<ConnectError> {
        let (pid, _follower) = started(self.envd, program("cat", &[])).await;
        let request = |pid| CloseStdinRequest {
            process: by_pid(pid).into(),
            ..Default::default()
        };
        self.processes.close_stdin(request(pid)).await.unwrap();
        assert_eq!(self.told(pid).await.status(), "exit status 0");
        self.processes.close_stdin(request(pid)).await.err()
    }

    async fn stat(&self) -> Option<ConnectError> {
        let path = self.path("told");
        std::fs::write(&path, "12345").unwrap();
        let stat = |path: &str| {
            self.files.stat(StatRequest {
                path: path.to_owned(),
                ..Default::default()
            })
        };
        let entry = stat(&path).await.unwrap().into_owned().entry;
        let entry = entry.into_option().unwrap();
        assert_eq!((entry.size, entry.path.as_str()), (5, path.as_str()));
        assert_eq!(entry.r#type, FileType::File);
        assert!(entry.modified_time.as_option().unwrap().seconds > 1_700_000_000);
        stat(&self.path("missing")).await.err()
    }

    async fn make_dir(&self) -> Option<ConnectError> {
        let path = self.path("made/within");
        let make = || {
            self.files.make_dir(MakeDirRequest {
                path: path.clone(),
                ..Default::default()
            })
        };
        let entry = make().await.unwrap().into_owned().entry.into_option();
        assert_eq!(entry.unwrap().r#type, FileType::Directory);
        assert!(std::fs::metadata(&path).unwrap().is_dir());
        make().await.err()
    }

    async fn rename(&self) -> Option<ConnectError> {
        let (source, destination) = (self.path("source"), self.path("moved/there"));
        std::fs::write(&source, "bytes").unwrap();
        let rename = || {
            self.files.r#move(MoveRequest {
                source: source.clone(),
                destination: destination.clone(),
                ..Default::default()
            })
        };
        let entry = rename().await.unwrap().into_owned().entry.into_option();
        assert_eq!(entry.unwrap().path, destination);
        assert_eq!(std::fs::read(&destination).unwrap(), b"bytes");
        rename().await.err()
    }

    async fn list_dir(&self) -> Option<ConnectError> {
        let path = self.path("listing");
        std::fs::create_dir_all(format!("{path}/a/b")).unwrap();
        let list = |path: String| {
            self.files.list_dir(ListDirRequest {
                path,
                depth: 2,
                ..Default::default()
            })
        };
        let entries = list(path.clone()).await.unwrap().into_owned().entries;
        let names: Vec<_> = entries.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        list(self.path("missing")).await.err()
    }

    async fn remove(&self) -> Option<ConnectError> {
        let path = self.path("removed");
        std::fs::create_dir_all(format!("{path}/a/b")).unwrap();
        let remove = |path: &str| {
            self.files.remove(RemoveRequest {
                path: path.to_owned(),
                ..Default::default()
            })
        };
        remove(&path).await.unwrap();
        assert!(!std::fs::exists(&path).unwrap());
        remove("/").await.err()
    }

    async fn watch_dir(&self) -> Option<ConnectError> {
        use watch_dir_response::Event;
        let path = self.path("watched");
        std::fs::create_dir(&path).unwrap();
        let watch = |path: &str| {
            self.files.watch_dir(WatchDirRequest {
                path: path.to_owned(),
                include_entry: true,
                ..Default::default()
            })
        };
        let mut stream = watch(&path).await.unwrap();
        let mut events = Vec::new();
        while events.len() < 2 {
            let message = stream.message::<WatchDirResponse>().await.unwrap().unwrap();
            events.push(message.to_owned_message().event.unwrap());
            if events.len() == 1 {
                std::fs::write(format!("{path}/new"), "").unwrap();
            }
        }
        assert!(matches!(events[0], Event::Start(_)), "{events:?}");
        let Event::Filesystem(event) = &events[1] else {
            panic!("{events:?}")
        };
        assert_eq!((event.name.as_str(), event.entry.is_set()), ("new", true));
        assert_eq!(event.r#type, EventType::EVENT_TYPE_CREATE);
        let mut refused = match watch(&self.path("missing")).await {
            Ok(stream) => stream,
            Err(refusal) => return Some(refusal),
        };
        let message = refused.message::<WatchDirResponse>().await;
        message.err().or_else(|| refused.error().cloned())
    }

    async fn watcher(&self, path: &str) -> Result<String, ConnectError> {
        let request = CreateWatcherRequest {
            path: path.to_owned(),
            ..Default::default()
        };
        let created = self.files.create_watcher(request).await?;
        Ok(created.into_owned().watcher_id)
    }

    async fn create_watcher(&self) -> Option<ConnectError> {
        let id = self.watcher(&self.path("")).await.unwrap();
        assert!(id.len() == 21 && id.starts_with('w'), "{id}");
        let file = self.path("file");
        std::fs::write(&file, "").unwrap();
        self.watcher(&file).await.err()
    }

    async fn get_watcher_events(&self) -> Option<ConnectError> {
        let path = self.path("polled");
        std::fs::create_dir(&path).unwrap();
        let id = self.watcher(&path).await.unwrap();
        std::fs::create_dir(format!("{path}/new")).unwrap();
        let poll = |id: &str| {
            self.files.get_watcher_events(GetWatcherEventsRequest {
                watcher_id: id.to_owned(),
                ..Default::default()
            })
        };
        let events = poll(&id).await.unwrap().into_owned().events;
        let names: Vec<_> = events.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["new"]);
        poll("w-nobody").await.err()
    }

    async fn remove_watcher(&self) -> Option<ConnectError> {
        let id = self.watcher(&self.path("")).await.unwrap();
        let remove = || {
            self.files.remove_watcher(RemoveWatcherRequest {
                watcher_id: id.clone(),
                ..Default::default()
            })
        };
        remove().await.unwrap();
        remove().await.err()
    }
}

fn check(envd: &Envd, path: &str, headers: &str, body: &[u8], expected: (u16, &str)) -> String {
    let (status, head, answer) = envd.http(&format!("POST /{path}"), headers, body);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_eq!(status, expected.0, "{path} {headers}: {answer}");
    assert!(answer.contains(expected.1), "{path} {headers}: {answer}");
    head
}

fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], message].concat()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

const UNARY: &str = "Content-Type: application/json\r\n";
const STREAM: &str = "Content-Type: application/connect+json\r\n";

#[test]
fn encodings_are_what_their_headers_say() {
    let envd = Envd::start(&[]);
    let stat = br#"{"path":"/etc/passwd"}"#;
    let path = "filesystem.Filesystem/Stat";
    let found = (200, r#""name":"passwd""#);
    let with = |headers: &str| format!("{UNARY}{headers}\r\n");
    check(
        &envd,
        path,
        &with("Content-Encoding: identity\r\nAccept-Encoding: identity"),
        stat,
        found,
    );
    check(
        &envd,
        path,
        &with("Content-Encoding: gzip"),
        &packed(stat),
        found,
    );
    check(
        &envd,
        path,
        &with("Content-Encoding: br"),
        stat,
        (501, "unimplemented"),
    );
    check(
        &envd,
        path,
        &with("Content-Encoding: gzip"),
        stat,
        (400, "invalid_argument"),
    );

    let path = "process.Process/Start";
    let echo = br#"{"process":{"cmd":"echo","args":["hi"]},"unknown":[1]}"#;
    let with = |headers: &str| format!("{STREAM}{headers}\r\n");
    // "hi\n" in base64.
    let said = (200, r#"{"event":{"data":{"stdout":"aGkK"}}}"#);
    let head = check(
        &envd,
        path,
        &with("Connect-Content-Encoding: identity"),
        &framed(0, echo),
        said,
    );
    assert!(
        head.contains("content-type: application/connect+json"),
        "{head}"
    );
    let gzip = with("Connect-Content-Encoding: gzip");
    check(&envd, path, &gzip, &framed(1, &packed(echo)), said);
}

/// A stream's refusal comes after its head, which is 200.
#[test]
fn bytes_that_are_no_request_are_refused_and_the_next_one_is_served() {
    let envd = Envd::start(&[]);
    let unary = "filesystem.Filesystem/Stat";
    let stream = "process.Process/Start";
    let proto = "Content-Type: application/proto\r\n";
    let refused = "invalid_argument";
    for body in [&b"{"[..], b"nothing", br#"{"path":7}"#, b"\xff"] {
        check(&envd, unary, UNARY, body, (400, refused));
    }
    // A field that is longer than what there is; a field of number zero; a varint without an end.
    for body in [
        &b"\x0a\x7f/etc"[..],
        b"\x00\x00",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        check(&envd, unary, proto, body, (400, refused));
    }
    check(
        &envd,
        unary,
        "Content-Type: text/plain\r\n",
        b"{}",
        (415, ""),
    );
    check(
        &envd,
        "filesystem.Filesystem/Nothing",
        UNARY,
        b"{}",
        (501, "unimplemented"),
    );

    // Nobody gets back at length what nobody can use.
    let long = format!(
        r#"{{"process":{{"pid":1}},"signal":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    let head = check(
        &envd,
        "process.Process/SendSignal",
        UNARY,
        long.as_bytes(),
        (400, refused),
    );
    assert!(head.contains("content-length: 8"), "{head}");

    let start = br#"{"process":{"cmd":"true"}}"#;
    let torn = framed(0, start);
    for body in [
        &b""[..],
        b"\0",
        b"\0\0\0\0",
        &torn[..torn.len() - 1],
        &framed(0, b"{"),
        // Packed, they say, and with no word of how.
        &framed(1, start),
    ] {
        check(&envd, stream, STREAM, body, (200, r#""error""#));
    }
    // A length alone makes nobody reserve that much.
    let before = envd.peak();
    check(
        &envd,
        stream,
        STREAM,
        b"\0\xff\xff\xff\xff{}",
        (200, "resource_exhausted"),
    );
    // Nor does little that unpacks to much.
    let bomb = packed(&vec![b' '; 64 << 20]);
    let headers = format!("{UNARY}Content-Encoding: gzip\r\n");
    check(&envd, unary, &headers, &bomb, (429, "resource_exhausted"));
    assert!(envd.peak() < before + 40 * 1024, "{} KiB", envd.peak());

    for timeout in ["soon", "-1", "12345678901", "1.5", ""] {
        let headers = format!("{UNARY}Connect-Timeout-Ms: {timeout}\r\n");
        check(&envd, unary, &headers, b"{}", (400, refused));
    }
    check(&envd, stream, STREAM, &torn, (200, "exit status 0"));
}

/// HTTP/1.1 has no other way for a stream whose length is not known.
#[tokio::test]
async fn a_stream_of_input_may_come_in_chunks() {
    let envd = Envd::start(&[]);
    let (pid, follower) = started(&envd, shell("read a b; echo $b $a")).await;
    let start = format!(r#"{{"start":{{"process":{{"pid":{pid}}}}}}}"#);
    // "one " and "two\n" in base64.
    let data = |text| format!(r#"{{"data":{{"input":{{"stdin":"{text}"}}}}}}"#);
    let frames = [start, data("b25lIA=="), data("dHdvCg==")].map(|one| framed(0, one.as_bytes()));
    let mut body = Vec::new();
    for frame in &frames {
        // Where a chunk ends says nothing about where a frame does.
        for piece in [&frame[..3], &frame[3..]] {
            body.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            body.extend([piece, b"\r\n"].concat());
        }
    }
    body.extend(b"0\r\n\r\n");
    let answer = envd.chunked("POST /process.Process/StreamInput", STREAM, &body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("content-type: application/connect+json"),
        "{answer}"
    );
    assert_eq!(follower.await.unwrap().unwrap().text(), "two one\n");
}
