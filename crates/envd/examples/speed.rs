//! Speed of envd beside bare system calls and a plain server of the same stack, all on the machine that this
//! runs on: `speed ENVD MIB`. Prints rows as JSON for `make bench`, which runs it in a guest.
//!
//! It speaks HTTP/1.1 by hand: a client library would be measured with it.

use std::{
    ffi::CStr,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use axum::{Router, body::Body, extract::Query, http::StatusCode, routing::get};
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

const ENVD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 49_984);
const PLAIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 49_985);
const FILE: &str = "/tmp/speed.bytes";
const DEADLINE: Duration = Duration::from_secs(120);
const SPAWNS: usize = 60;
/// Each of envd's beside one of its floor's.
const TRANSFERS: usize = 7;
const CHUNK: usize = 64 << 10;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let first = words.next().context("usage: speed ENVD MIB")?;
    if first == "serve" {
        return serve();
    }
    let mib: usize = words.next().context("usage: speed ENVD MIB")?.parse()?;
    let rows = measure(Path::new(&first), mib << 20)?;
    serde_json::to_writer(std::io::stdout(), &rows).context("print the rows")
}

fn measure(envd: &Path, bytes: usize) -> Result<Vec<Value>> {
    let listen = ENVD.to_string();
    let agent = Server::start(
        envd,
        &["--no-vm", "--default-user", "root", "--listen", &listen],
        ENVD,
    )?;
    let idle = resident_mib(agent.child.id())?;
    let plain = Server::start(&std::env::current_exe()?, &["serve"], PLAIN)?;
    let mut rows = vec![
        row("envd idle: memory", "MiB", idle, None, "≤ 6 MiB"),
        row(
            "envd: size of the binary",
            "MiB",
            envd.metadata()?.len() as f64 / f64::from(1 << 20),
            None,
            "≤ 4 MiB",
        ),
        spawning()?,
        output(bytes)?,
    ];
    rows.extend(files(bytes)?);
    drop((agent, plain));
    std::fs::remove_file(FILE).context("remove the file")?;
    Ok(rows)
}

fn row(what: &str, unit: &str, value: f64, floor: Option<f64>, target: &str) -> Value {
    json!({ "what": what, "unit": unit, "value": value, "floor": floor, "target": target })
}

/// A server process of this measurement.
struct Server {
    child: Child,
}

impl Server {
    fn start(program: &Path, words: &[&str], address: SocketAddr) -> Result<Self> {
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let server = Self { child };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begun.elapsed() < DEADLINE, "nothing listens on {address}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resident_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

fn spawning() -> Result<Value> {
    let mut http = Http::connect(ENVD)?;
    let request = start_request("/bin/true", &[]);
    let turns = turns(SPAWNS, |side| match side {
        Side::Floor => fork_exec_wait(c"/bin/true"),
        Side::Envd => http.start(&request).map(drop),
    })?;
    let (time, floor) = middle(turns);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(row(
        "envd: start of /bin/true to its end over fork, exec, wait",
        "µs",
        micros(time),
        Some(micros(floor)),
        "≤ 1.5 × floor",
    ))
}

fn output(bytes: usize) -> Result<Value> {
    let count = bytes.to_string();
    let words = ["-c", &count, "/dev/zero"];
    let request = start_request("/usr/bin/head", &words);
    let turns = turns(TRANSFERS, |side| match side {
        Side::Floor => bare_pipe("/usr/bin/head", &words),
        Side::Envd => {
            let got = Http::connect(ENVD)?.start(&request)?;
            ensure!(got >= bytes, "{got} bytes of {bytes}");
            Ok(())
        }
    })?;
    let what = "envd: standard output over a bare pipe";
    Ok(rates(what, bytes, turns, "≥ 0.6 × floor"))
}

/// Reads what a program says to its end.
fn bare_pipe(program: &str, words: &[&str]) -> Result<()> {
    let mut child = Command::new(program)
        .args(words)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdout.take().context("no pipe")?;
    let mut buffer = vec![0; CHUNK];
    while pipe.read(&mut buffer)? > 0 {}
    child.wait()?;
    Ok(())
}

fn files(bytes: usize) -> Result<[Value; 2]> {
    let path = format!("/files?path={FILE}");
    let address = |side| match side {
        Side::Floor => PLAIN,
        Side::Envd => ENVD,
    };
    let ups = turns(TRANSFERS, |side| {
        Http::connect(address(side))?
            .post_bytes(&path, bytes)
            .map(drop)
    })?;
    let downs = turns(TRANSFERS, |side| {
        let got = Http::connect(address(side))?.get(&path)?;
        ensure!(got == bytes, "{got} bytes of {bytes}");
        Ok(())
    })?;
    let (up, down) = (
        "envd: file write over a plain server",
        "envd: file read over a plain server",
    );
    Ok([
        rates(up, bytes, ups, "≥ 0.8 × floor"),
        rates(down, bytes, downs, "≥ 0.8 × floor"),
    ])
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Floor,
    Envd,
}

/// Times of envd and of its floor. The two take turns, so that a slow moment of the machine slows both,
/// and each is the first of every other turn.
fn turns(
    count: usize,
    mut work: impl FnMut(Side) -> Result<()>,
) -> Result<Vec<(Duration, Duration)>> {
    let mut time = |side| {
        let begun = Instant::now();
        work(side)?;
        anyhow::Ok(begun.elapsed())
    };
    let turn = |at: usize| {
        if at.is_multiple_of(2) {
            let floor = time(Side::Floor)?;
            Ok((time(Side::Envd)?, floor))
        } else {
            Ok((time(Side::Envd)?, time(Side::Floor)?))
        }
    };
    (0..count).map(turn).collect()
}

/// The turn whose ratio is the median.
fn middle(mut turns: Vec<(Duration, Duration)>) -> (Duration, Duration) {
    turns.sort_by(|one, other| ratio(*one).total_cmp(&ratio(*other)));
    turns[turns.len() / 2]
}

fn ratio((envd, floor): (Duration, Duration)) -> f64 {
    envd.as_secs_f64() / floor.as_secs_f64()
}

/// A row of MiB a second.
fn rates(what: &str, bytes: usize, turns: Vec<(Duration, Duration)>, target: &str) -> Value {
    let rate = |time: Duration| bytes as f64 / f64::from(1 << 20) / time.as_secs_f64();
    let (time, floor) = middle(turns);
    row(what, "MiB/s", rate(time), Some(rate(floor)), target)
}

/// What a plain C program does.
fn fork_exec_wait(program: &CStr) -> Result<()> {
    let arguments = [program.as_ptr(), std::ptr::null()];
    // SAFETY: this process has one thread, and the child calls nothing but async-signal-safe functions.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: both arrays end with a null pointer; `execv` returns only when it failed.
        unsafe {
            libc::execv(program.as_ptr(), arguments.as_ptr());
            libc::_exit(127);
        }
    }
    ensure!(child > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: `status` is a valid place for an int, and the child is ours.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    ensure!(
        waited == child && status == 0,
        "{} ended with {status}",
        program.to_string_lossy()
    );
    Ok(())
}

/// One envelope with a `process.StartRequest` (guest.md §5): 1 process { 1 cmd, 2 args }.
fn start_request(command: &str, words: &[&str]) -> Vec<u8> {
    let mut config = Vec::new();
    field(&mut config, 1, command.as_bytes());
    for word in words {
        field(&mut config, 2, word.as_bytes());
    }
    let mut message = Vec::new();
    field(&mut message, 1, &config);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// A length-delimited protobuf field shorter than 128 bytes.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.extend([number << 3 | 2, bytes.len() as u8]);
    message.extend(bytes);
}

/// A connection with keep-alive.
struct Http {
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl Http {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream: BufReader::with_capacity(CHUNK, stream),
            buffer: vec![0; CHUNK],
        })
    }

    /// Runs a program to its end; bytes of the reply.
    fn start(&mut self, request: &[u8]) -> Result<usize> {
        let head = format!(
            "POST /process.Process/Start HTTP/1.1\r\nhost: envd\r\ncontent-type: application/connect+proto\r\n\
             connect-protocol-version: 1\r\ncontent-length: {}\r\n\r\n",
            request.len()
        );
        self.send(&[head.as_bytes(), request].concat())?;
        self.reply()
    }

    fn get(&mut self, path: &str) -> Result<usize> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: envd\r\n\r\n").as_bytes())?;
        self.reply()
    }

    fn post_bytes(&mut self, path: &str, bytes: usize) -> Result<usize> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: envd\r\ncontent-type: application/octet-stream\r\n\
             content-length: {bytes}\r\n\r\n"
        );
        self.send(head.as_bytes())?;
        let piece = vec![7; CHUNK];
        for _ in 0..bytes / CHUNK {
            self.send(&piece)?;
        }
        self.reply()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Reads a reply whole; bytes of its body.
    fn reply(&mut self) -> Result<usize> {
        let status = self.line()?;
        ensure!(
            status.starts_with("HTTP/1.1 2"),
            "the server answered {status}"
        );
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(_) => {}
            }
        }
        if !chunked {
            self.skip(length)?;
            return Ok(length);
        }
        let mut total = 0;
        loop {
            let size = usize::from_str_radix(&self.line()?, 16)?;
            self.skip(size)?;
            ensure!(self.line()?.is_empty(), "a chunk without an end");
            total += size;
            if size == 0 {
                return Ok(total);
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server hung up");
        }
        Ok(line.trim_end().to_owned())
    }

    fn skip(&mut self, mut bytes: usize) -> Result<()> {
        while bytes > 0 {
            let piece = bytes.min(CHUNK);
            self.stream.read_exact(&mut self.buffer[..piece])?;
            bytes -= piece;
        }
        Ok(())
    }
}

/// The floor of the files: what axum does with a file and nothing more.
#[tokio::main(flavor = "current_thread")]
async fn serve() -> Result<()> {
    type Wanted = Query<std::collections::HashMap<String, PathBuf>>;
    let failed = |error: std::io::Error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let path = |query: &Wanted| query.get("path").cloned().unwrap_or_default();
    let read = move |query: Wanted| async move {
        let file = tokio::fs::File::open(path(&query)).await;
        file.map(|file| Body::from_stream(ReaderStream::with_capacity(file, CHUNK)))
            .map_err(failed)
    };
    let write = move |query: Wanted, body: Body| async move {
        let copy = async {
            let mut file = tokio::fs::File::create(path(&query)).await?;
            let mut pieces = body.into_data_stream().map_err(std::io::Error::other);
            while let Some(piece) = pieces.try_next().await? {
                file.write_all(&piece).await?;
            }
            file.flush().await
        };
        copy.await.map_err(failed)
    };
    let router = Router::new().route("/files", get(read).post(write));
    let listener = tokio::net::TcpListener::bind(PLAIN).await?;
    axum::serve(listener, router).await.context("serve files")
}
