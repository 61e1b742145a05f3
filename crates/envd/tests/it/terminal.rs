//! Terminals: size, input, output, reconnecting.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use wrenn_rpc::{
    connectrpc::{CodecFormat, ConnectError, ErrorCode, client::CallOptions},
    process::{
        CloseStdinRequest, ConnectRequest, ConnectResponse, PTY, ProcessInput, SendInputRequest,
        SendSignalRequest, Signal, StartRequest, StartResponse, UpdateRequest,
        process_input::Input, pty,
    },
};

use crate::envd::{Envd, Ran, as_user, by_pid, is_soak, program, shell};

const PATIENCE: Duration = Duration::from_secs(60);
const REPLAY: usize = 256 << 10;

pub(crate) fn window(cols: u32, rows: u32) -> PTY {
    let size = pty::Size {
        cols,
        rows,
        ..Default::default()
    };
    PTY {
        size: size.into(),
        ..PTY::default()
    }
}

pub(crate) fn on_terminal(request: StartRequest, cols: u32, rows: u32) -> StartRequest {
    StartRequest {
        pty: window(cols, rows).into(),
        ..request
    }
}

/// One client of a terminal: what it has seen so far, and its end.
struct Client {
    pid: u32,
    seen: watch::Receiver<Ran>,
    end: JoinHandle<Option<ConnectError>>,
}

macro_rules! follow {
    ($stream:expr, $message:ty) => {{
        let mut stream = $stream;
        let (tell, mut seen) = watch::channel(Ran::default());
        let end = tokio::spawn(async move {
            while let Ok(Some(message)) = stream.message::<$message>().await {
                let event = message.to_owned_message().event.into_option().unwrap();
                tell.send_modify(|ran| ran.take(event));
            }
            stream.error().cloned()
        });
        let started = seen.wait_for(|ran| ran.pid.is_some());
        let pid = timeout(PATIENCE, started).await.unwrap().unwrap().pid;
        Client {
            pid: pid.unwrap(),
            seen,
            end,
        }
    }};
}

impl Client {
    async fn start(envd: &Envd, request: StartRequest) -> Self {
        let client = envd.processes(CodecFormat::Proto);
        let stream = client.start_with_options(request, CallOptions::default());
        follow!(stream.await.unwrap(), StartResponse)
    }

    async fn attach(envd: &Envd, pid: u32, options: CallOptions) -> Self {
        let client = envd.processes(CodecFormat::Proto);
        let request = ConnectRequest {
            process: by_pid(pid).into(),
            ..ConnectRequest::default()
        };
        let stream = client.connect_with_options(request, options);
        follow!(stream.await.unwrap(), ConnectResponse)
    }

    /// Waits until the terminal shows this text.
    async fn shows(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let shown = self.seen.wait_for(|ran| {
            ran.terminal
                .windows(bytes.len())
                .any(|window| window == bytes)
        });
        let shown = timeout(PATIENCE, shown).await.map(|shown| shown.is_ok());
        assert_eq!(shown, Ok(true), "{text} in {:?}", self.text());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.borrow().terminal).into_owned()
    }

    /// Waits for the end; what was seen.
    async fn ended(self) -> Ran {
        let fault = timeout(PATIENCE, self.end).await.unwrap().unwrap();
        assert!(fault.is_none(), "{fault:?}");
        let ran = self.seen.borrow().clone();
        assert!(ran.stdout.is_empty() && ran.stderr.is_empty() && ran.end.is_some());
        ran
    }
}

async fn send(envd: &Envd, pid: u32, input: Input) -> Result<(), ConnectError> {
    let input = ProcessInput {
        input: Some(input),
        ..Default::default()
    };
    let request = SendInputRequest {
        process: by_pid(pid).into(),
        input: input.into(),
        ..Default::default()
    };
    let client = envd.processes(CodecFormat::Json);
    client.send_input(request).await.map(drop)
}

async fn types(envd: &Envd, pid: u32, text: &str) {
    let input = Input::Pty(text.as_bytes().to_vec());
    send(envd, pid, input).await.unwrap();
}

async fn resize(envd: &Envd, pid: u32, cols: u32, rows: u32) -> Result<(), ConnectError> {
    let request = UpdateRequest {
        process: by_pid(pid).into(),
        pty: window(cols, rows).into(),
        ..Default::default()
    };
    let client = envd.processes(CodecFormat::Json);
    client.update(request).await.map(drop)
}

async fn kill(envd: &Envd, pid: u32) {
    let request = SendSignalRequest {
        process: by_pid(pid).into(),
        signal: Signal::Sigkill.into(),
        ..Default::default()
    };
    let client = envd.processes(CodecFormat::Proto);
    client.send_signal(request).await.unwrap();
}

async fn shown_by(envd: &Envd, request: StartRequest) -> String {
    let client = Client::start(envd, request).await;
    String::from_utf8(client.ended().await.terminal).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_the_size_that_was_asked_for_and_then_another() {
    let envd = Envd::start(&[]);
    let sized = |cols, rows| on_terminal(program("stty", &["size"]), cols, rows);
    assert_eq!(shown_by(&envd, sized(100, 40)).await, "40 100\r\n");
    assert_eq!(shown_by(&envd, sized(0, 0)).await, "24 80\r\n");
    let mut unsized_terminal = sized(0, 0);
    unsized_terminal.pty = PTY::default().into();
    assert_eq!(shown_by(&envd, unsized_terminal).await, "24 80\r\n");

    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut client = Client::start(&envd, on_terminal(shell(script), 80, 24)).await;
    client.shows("ready").await;
    resize(&envd, client.pid, 132, 50).await.unwrap();
    client.shows("50 132").await;
    let refused = resize(&envd, client.pid, 10_001, 1).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    kill(&envd, client.pid).await;
    let ran = client.ended().await;
    assert_eq!(ran.status(), "signal: killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_in_a_terminal_is_what_a_person_expects() {
    let envd = Envd::start(&[]);
    let script = "echo $TERM; tty -s && echo tty; echo out >/dev/tty; stat -c %U:%a $(tty)";
    let client = envd.processes(CodecFormat::Proto);
    let mut request = on_terminal(shell(script), 80, 24);
    request.process.get_or_insert_default().cwd = Some("/".to_owned());
    let stream = client
        .start_with_options(request, as_user("nobody"))
        .await
        .unwrap();
    let client = follow!(stream, StartResponse);
    let ran = client.ended().await;
    let text = String::from_utf8(ran.terminal).unwrap();
    assert_eq!(text, "xterm-256color\r\ntty\r\nout\r\nnobody:620\r\n");

    let mut client = Client::start(&envd, on_terminal(program("/bin/sh", &["-i"]), 80, 24)).await;
    types(&envd, client.pid, "echo $((6*7))\n").await;
    client.shows("42\r\n").await;
    types(&envd, client.pid, "sleep 1000; echo status $?\n").await;
    client.shows("status $?").await;
    // The echo shows that the line was read; the job may not be in the foreground yet, so ask again.
    timeout(PATIENCE, async {
        while !client.text().contains("status 130") {
            types(&envd, client.pid, "\u{3}").await;
            let _ = timeout(Duration::from_millis(200), client.seen.changed()).await;
            if client.text().ends_with("# ") {
                types(&envd, client.pid, "echo status $?\n").await;
            }
        }
    })
    .await
    .expect("Ctrl-C ends the job");
    types(&envd, client.pid, "exit 7\n").await;
    let ran = client.ended().await;
    assert_eq!(ran.status(), "exit status 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_input_is_typed_and_each_kind_of_input_has_its_process() {
    let envd = Envd::start(&[]);
    let cat = Client::start(&envd, on_terminal(program("cat", &[]), 80, 24)).await;
    let pipe_cat = crate::processes::started(&envd, program("cat", &[])).await;
    let wrong = |result: Result<(), ConnectError>| result.unwrap_err().code;
    let (failed, stdin) = (ErrorCode::FailedPrecondition, Input::Stdin(b"x".to_vec()));
    assert_eq!(wrong(send(&envd, cat.pid, stdin).await), failed);
    let typed = Input::Pty(b"x".to_vec());
    assert_eq!(wrong(send(&envd, pipe_cat.0, typed).await), failed);
    assert_eq!(wrong(resize(&envd, pipe_cat.0, 80, 24).await), failed);
    let close = CloseStdinRequest {
        process: by_pid(cat.pid).into(),
        ..Default::default()
    };
    let client = envd.processes(CodecFormat::Proto);
    assert_eq!(wrong(client.close_stdin(close).await.map(drop)), failed);

    types(&envd, cat.pid, "line\n\u{4}").await;
    let ran = cat.ended().await;
    assert_eq!(ran.status(), "exit status 0");
    assert_eq!(ran.terminal, b"line\r\nline\r\n");
    kill(&envd, pipe_cat.0).await;
    pipe_cat.1.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reconnects_sees_the_tail_and_then_everything() {
    let envd = Envd::start(&[]);
    // Lines of 80 bytes on the terminal: 79 and a carriage return before the newline.
    let script = "seq -f %077.0f 1 20000; read line; seq -f %077.0f 20001 20100; read line";
    let mut first = Client::start(&envd, on_terminal(shell(script), 80, 24)).await;
    first.shows(&format!("{:077}", 20_000)).await;
    let replay = CallOptions::default().with_header("x-wrenn-replay", "1");
    let mut second = Client::attach(&envd, first.pid, replay).await;
    let mut third = Client::attach(&envd, first.pid, CallOptions::default()).await;
    second.shows(&format!("{:077}", 20_000)).await;
    types(&envd, first.pid, "\n").await;
    for client in [&mut first, &mut second, &mut third] {
        client.shows(&format!("{:077}", 20_100)).await;
    }
    types(&envd, first.pid, "\n").await;
    let (whole, tail, live) = (
        first.ended().await,
        second.ended().await,
        third.ended().await,
    );
    assert!(
        whole.terminal.ends_with(&tail.terminal),
        "no gap, no overlap"
    );
    assert!(
        whole.terminal.ends_with(&live.terminal),
        "no gap, no overlap"
    );
    assert!(
        tail.terminal.starts_with(b"000"),
        "begins with a whole line"
    );
    let kept = tail.terminal.len() - live.terminal.len();
    assert!((REPLAY - 79..=REPLAY).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_under_load_loses_nothing() {
    let envd = Envd::start(&[]);
    let mut first = Client::start(&envd, on_terminal(shell("read line; seq 300000"), 80, 24)).await;
    types(&envd, first.pid, "\n").await;
    first.shows("\n1000\r\n").await;
    let replay = CallOptions::default().with_header("x-wrenn-replay", "1");
    let second = Client::attach(&envd, first.pid, replay).await;
    let (whole, tail) = (first.ended().await, second.ended().await);
    assert!(whole.terminal.ends_with(b"\n300000\r\n"));
    assert!(whole.terminal.ends_with(&tail.terminal));
    assert!(tail.terminal.len() > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn much_output_arrives_whole() {
    let length = if is_soak() { 100_000_000 } else { 10_000_000 };
    let envd = Envd::start(&[]);
    let script = format!("stty -opost; head -c {length} /dev/zero | tr '\\0' x");
    let ran = Client::start(&envd, on_terminal(shell(&script), 80, 24)).await;
    let ran = ran.ended().await;
    assert_eq!(ran.terminal.len(), length);
    assert!(ran.terminal.iter().all(|byte| *byte == b'x'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_ends_with_its_leader() {
    let envd = Envd::start(&[]);
    let script = "(trap '' HUP; exec sleep 1000) & echo left";
    let ran = Client::start(&envd, on_terminal(shell(script), 80, 24)).await;
    let ran = ran.ended().await;
    assert_eq!(
        (ran.terminal.as_slice(), ran.status()),
        (&b"left\r\n"[..], "exit status 0")
    );
}
