//! A running envd and the clients of its services.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use wrenn_rpc::{
    buffa::Message,
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
        Self::begin(Command::new(env!("CARGO_BIN_EXE_envd")), flags)
    }

    /// Starts one that may have `descriptors` open, and children of it too.
    pub(crate) fn start_with_limit(descriptors: u32) -> Self {
        let mut shell = Command::new("/bin/sh");
        let script = format!(r#"ulimit -Sn {descriptors} && exec "$0" "$@""#);
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_envd")]);
        Self::begin(shell, &[])
    }

    /// Starts one that lacks a capability, such as `setuid`, and cannot get it back.
    pub(crate) fn start_without(capability: &str) -> Self {
        let mut setpriv = Command::new("/usr/bin/setpriv");
        setpriv.arg(format!("--bounding-set=-{capability}"));
        setpriv.arg(env!("CARGO_BIN_EXE_envd"));
        Self::begin(setpriv, &[])
    }

    /// Starts one as the first process of a space of process numbers, with a `/proc` that tells of it.
    pub(crate) fn start_apart() -> Self {
        let mut unshare = Command::new("/usr/bin/unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        unshare.arg(env!("CARGO_BIN_EXE_envd"));
        Self::begin(unshare, &[])
    }

    fn begin(mut command: Command, flags: &[&str]) -> Self {
        let mut child = command
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

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        all.unwrap().count()
    }

    /// The memory that it has now, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that it has had, in KiB.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// What the kernel tells of it in one of its files.
    pub(crate) fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    fn status(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    pub(crate) fn config(&self, codec: CodecFormat) -> ClientConfig {
        let uri = format!("http://{}", self.address).parse().unwrap();
        // A listing of everything that a listing may hold is larger than a client takes by itself.
        ClientConfig::new(uri)
            .with_codec_format(codec)
            .with_default_max_message_size(256 << 20)
            .with_default_element_memory_limit(1 << 30)
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
        let headers = format!("Content-Length: {}\r\n{headers}", body.len());
        let answer = self.exchange(line, &headers, body);
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end + 4..].to_vec())
    }

    /// One exchange whose body is in chunks already; all of the answer as text.
    pub(crate) fn chunked(&self, line: &str, headers: &str, body: &[u8]) -> String {
        let headers = format!("Transfer-Encoding: chunked\r\n{headers}");
        String::from_utf8_lossy(&self.exchange(line, &headers, body)).into_owned()
    }

    fn exchange(&self, line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let head = format!("{line} HTTP/1.1\r\nHost: envd\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
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

/// One connection, on which requests follow one another.
pub(crate) struct Kept {
    stream: BufReader<TcpStream>,
}

impl Kept {
    pub(crate) fn open(envd: &Envd) -> Self {
        let stream = TcpStream::connect(envd.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request; a body of `length` bytes comes from `piece`, over and over.
    pub(crate) fn send(&mut self, line: &str, headers: &str, length: u64, piece: &[u8]) {
        let head =
            format!("{line} HTTP/1.1\r\nHost: envd\r\nContent-Length: {length}\r\n{headers}\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        let mut left = length;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            stream.write_all(&piece[..part]).unwrap();
            left -= part as u64;
        }
    }

    /// The status of the answer and the length of its body, which follows; none where it comes in chunks.
    pub(crate) fn head(&mut self) -> (u16, Option<u64>) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let chunked = head.contains("transfer-encoding: chunked");
        (status, length.or((!chunked).then_some(0)))
    }

    /// The whole of a small answer.
    pub(crate) fn answer(&mut self) -> (u16, String) {
        let (status, length) = self.head();
        let body = match length {
            Some(length) => self.take(length),
            None => {
                let mut whole = Vec::new();
                loop {
                    let mut line = String::new();
                    self.stream.read_line(&mut line).unwrap();
                    let length = u64::from_str_radix(line.trim_end(), 16).unwrap();
                    let chunk = self.take(length + 2);
                    if length == 0 {
                        break whole;
                    }
                    whole.extend(&chunk[..chunk.len() - 2]);
                }
            }
        };
        (status, String::from_utf8(body).unwrap())
    }

    fn take(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// What comes after a head.
    pub(crate) fn body(&mut self) -> &mut impl std::io::Read {
        &mut self.stream
    }

    /// Opens a stream of a service's answers that nobody reads but the caller.
    pub(crate) fn stream(envd: &Envd, path: &str, request: &impl Message) -> Self {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0], &length[..], &message].concat();
        let mut connection = Self::open(envd);
        let headers = "Content-Type: application/connect+proto\r\nConnection: close\r\n";
        connection.send(&format!("POST {path}"), headers, frame.len() as u64, &frame);
        assert_eq!(connection.head().0, 200);
        connection
    }
}

/// Whether the long forms of the long tests run.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("WRENN_SOAK").is_some()
}

/// Options that name a user as the SDKs do.
pub(crate) fn as_user(name: &str) -> CallOptions {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    CallOptions::default().with_header(
        "authorization",
        format!("Basic {}", STANDARD.encode(format!("{name}:"))),
    )
}
