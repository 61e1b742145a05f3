//! A running envd and the clients of its services.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use wrenn_rpc::{
    connectrpc::{
        CodecFormat, ConnectError,
        client::{CallOptions, ClientConfig, HttpClient},
    },
    filesystem::FilesystemClient,
    process::{
        ConnectRequest, ConnectResponse, ProcessClient, ProcessConfig, ProcessEvent,
        ProcessSelector, StartRequest, StartResponse,
        process_event::{EndEvent, Event, data_event::Output},
        process_selector::Selector,
    },
};

/// An envd that ends with the test.
pub(crate) struct Envd {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Envd {
    /// Starts one and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_envd"))
            .args([
                "--no-vm",
                "--listen",
                "127.0.0.1:0",
                "--default-user",
                "root",
            ])
            .args(flags)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // What the machine lacks is told before; an envd that ends has told its address or why not.
        let address = loop {
            let Some(line) = lines.next() else {
                panic!("envd ended before it listened")
            };
            let line = line.unwrap();
            if let Some(address) = line.split('"').find_map(|word| word.parse().ok()) {
                break address;
            }
            eprintln!("envd: {line}");
        };
        std::thread::spawn(move || lines.for_each(|line| eprintln!("envd: {}", line.unwrap())));
        Self { child, address }
    }

    fn config(&self, codec: CodecFormat) -> ClientConfig {
        let uri = format!("http://{}", self.address).parse().unwrap();
        ClientConfig::new(uri).with_codec_format(codec)
    }

    pub(crate) fn processes(&self, codec: CodecFormat) -> ProcessClient<HttpClient> {
        ProcessClient::new(HttpClient::plaintext(), self.config(codec))
    }

    pub(crate) fn files(&self) -> FilesystemClient<HttpClient> {
        FilesystemClient::new(HttpClient::plaintext(), self.config(CodecFormat::Proto))
    }

    /// Runs `/bin/sh -c script` to its end.
    pub(crate) async fn sh(&self, script: &str) -> Ran {
        self.run(shell(script), CallOptions::default())
            .await
            .unwrap()
    }

    /// Runs a process to its end.
    pub(crate) async fn run(
        &self,
        request: StartRequest,
        options: CallOptions,
    ) -> Result<Ran, ConnectError> {
        self.run_as(CodecFormat::Proto, request, options).await
    }

    pub(crate) async fn run_as(
        &self,
        codec: CodecFormat,
        request: StartRequest,
        options: CallOptions,
    ) -> Result<Ran, ConnectError> {
        let mut stream = self
            .processes(codec)
            .start_with_options(request, options)
            .await?;
        let mut ran = Ran::default();
        while let Some(message) = stream.message::<StartResponse>().await? {
            ran.take(message.to_owned_message().event.into_option().unwrap());
        }
        match stream.error() {
            Some(fault) => Err(fault.clone()),
            None => Ok(ran),
        }
    }

    /// Follows a process to its end.
    pub(crate) async fn follow(&self, pid: u32, options: CallOptions) -> Result<Ran, ConnectError> {
        let request = ConnectRequest {
            process: by_pid(pid).into(),
            ..ConnectRequest::default()
        };
        let client = self.processes(CodecFormat::Proto);
        let mut stream = client.connect_with_options(request, options).await?;
        let mut ran = Ran::default();
        while let Some(message) = stream.message::<ConnectResponse>().await? {
            ran.take(message.to_owned_message().event.into_option().unwrap());
        }
        match stream.error() {
            Some(fault) => Err(fault.clone()),
            None => Ok(ran),
        }
    }

    /// One plain HTTP/1.1 exchange: status, headers as text, body.
    pub(crate) fn http(&self, line: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: envd\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end + 4..].to_vec())
    }
}

impl Drop for Envd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a stream of a process told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    pub(crate) pid: Option<u32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) terminal: Vec<u8>,
    pub(crate) end: Option<EndEvent>,
    pub(crate) keepalives: usize,
}

impl Ran {
    /// Takes one event, checking the order that is promised.
    pub(crate) fn take(&mut self, event: ProcessEvent) {
        assert!(self.end.is_none(), "nothing follows the end");
        match event.event.expect("an event") {
            Event::Start(start) => {
                assert!(self.pid.is_none(), "one start");
                self.pid = Some(start.pid);
            }
            Event::Data(data) => {
                assert!(self.pid.is_some(), "start is first");
                match data.output.expect("an output") {
                    Output::Stdout(bytes) => self.stdout.extend(bytes),
                    Output::Stderr(bytes) => self.stderr.extend(bytes),
                    Output::Pty(bytes) => self.terminal.extend(bytes),
                }
            }
            Event::End(end) => self.end = Some(*end),
            Event::Keepalive(_) => self.keepalives += 1,
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn status(&self) -> &str {
        &self.end.as_ref().expect("an end").status
    }
}

pub(crate) fn program(cmd: &str, args: &[&str]) -> StartRequest {
    let config = ProcessConfig {
        cmd: cmd.into(),
        args: args.iter().map(|one| (*one).to_owned()).collect(),
        ..ProcessConfig::default()
    };
    StartRequest {
        process: config.into(),
        ..StartRequest::default()
    }
}

pub(crate) fn shell(script: &str) -> StartRequest {
    program("/bin/sh", &["-c", script])
}

pub(crate) fn by_pid(pid: u32) -> ProcessSelector {
    ProcessSelector {
        selector: Some(Selector::Pid(pid)),
        ..ProcessSelector::default()
    }
}

pub(crate) fn by_tag(tag: &str) -> ProcessSelector {
    ProcessSelector {
        selector: Some(Selector::Tag(tag.into())),
        ..ProcessSelector::default()
    }
}

/// Options that name a user as the SDKs do.
pub(crate) fn as_user(name: &str) -> CallOptions {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    CallOptions::default().with_header(
        "authorization",
        format!("Basic {}", STANDARD.encode(format!("{name}:"))),
    )
}
