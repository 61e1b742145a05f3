//! Plays Firecracker's API on a Unix socket and misbehaves as told: for error paths that the real one does
//! not show on demand.
//!
//! It keeps the phase of a VM as Firecracker does and takes every configuration. What goes wrong is scripted
//! by request: the next one named so meets the fault, each fault once. There is no guest behind it.
//!
//! Two ways to run it: in the process of a test ([`FakeFirecracker`]), or as a process of its own in a jail
//! ([`program`]), which dies as processes die.

pub mod program;
mod wire;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

pub use self::wire::Asked;

/// Its name in a directory, as in a jail.
pub const SOCKET: &str = "api.sock";
/// The version that it says it is.
pub const VERSION: &str = "1.12.1";

/// Several times what any client should read.
const HUGE: usize = 64 << 20;

/// What goes wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// 400 with this `fault_message`; nothing is done.
    Refuse(String),
    /// 500 with a body that is not Firecracker's JSON; nothing is done.
    Fail,
    /// No answer.
    Hang,
    /// The head of an answer and half its body, and no more.
    HangInBody,
    /// The right answer, but so much later.
    Delay(Duration),
    /// The head of an answer and half its body; then the connection is closed.
    Cut,
    /// The connection is closed without a word.
    Close,
    /// Bytes that are no HTTP.
    Garbage,
    /// A good head with a body that is not the documented JSON.
    WrongBody,
    /// 200 with more bytes than anybody should keep.
    Huge,
    /// The request is never answered: Firecracker ends.
    Die,
    /// The request is done and answered; then Firecracker ends.
    DieAfter,
}

/// Faults by request, as in `("PUT /actions", Fault::Die)`.
pub type Script = Vec<(String, Fault)>;

/// One that runs in this process until it is dropped or dies by its script.
#[derive(Debug)]
pub struct FakeFirecracker {
    vmm: Arc<Vmm>,
    serving: JoinHandle<()>,
}

impl FakeFirecracker {
    /// Listens on [`SOCKET`] in `directory`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(directory: &Path, script: Script) -> io::Result<Self> {
        let listener = UnixListener::bind(directory.join(SOCKET))?;
        let vmm = Arc::new(Vmm::new(script));
        let serving = tokio::spawn({
            let vmm = Arc::clone(&vmm);
            async move { vmm.serve(listener).await }
        });
        Ok(Self { vmm, serving })
    }

    /// What it was asked, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.vmm.asked.lock().clone()
    }

    /// Waits until no connection to it is open.
    pub async fn left_alone(&self) {
        loop {
            let closed = self.vmm.closed.notified();
            if self.vmm.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Waits until it has died by its script.
    pub async fn died(&mut self) {
        // An error is a panic or an abort: dead as well.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for FakeFirecracker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The VMM without its socket.
#[derive(Debug)]
struct Vmm {
    state: Mutex<&'static str>,
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    open: AtomicUsize,
    closed: Notify,
}

/// What becomes of the process after a connection.
#[derive(Debug, PartialEq, Eq)]
enum After {
    Live,
    Dead,
}

impl Vmm {
    fn new(script: Script) -> Self {
        Self {
            state: Mutex::new("Not started"),
            script: Mutex::new(script),
            asked: Mutex::default(),
            open: AtomicUsize::new(0),
            closed: Notify::new(),
        }
    }

    /// Serves until the script says to die; then every connection is broken, as by the kernel.
    async fn serve(self: Arc<Self>, listener: UnixListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { return };
                    let vmm = Arc::clone(&self);
                    vmm.open.fetch_add(1, Ordering::SeqCst);
                    connections.spawn(async move {
                        let after = vmm.connection(stream).await;
                        vmm.open.fetch_sub(1, Ordering::SeqCst);
                        vmm.closed.notify_waiters();
                        // A connection that broke is the client's affair.
                        after.unwrap_or(After::Live)
                    });
                }
                Some(ended) = connections.join_next() => {
                    if matches!(ended, Ok(After::Dead)) {
                        return;
                    }
                }
            }
        }
    }

    /// Requests of one connection, until the client closes it.
    async fn connection(&self, mut stream: UnixStream) -> io::Result<After> {
        while let Some(asked) = wire::read(&mut stream).await? {
            let fault = self.fault(&asked);
            self.asked.lock().push(asked.clone());
            let Some(fault) = fault else {
                stream.write_all(&self.answer(&asked)).await?;
                continue;
            };
            if let Some(after) = self.misbehave(&mut stream, &asked, fault).await? {
                return Ok(after);
            }
        }
        Ok(After::Live)
    }

    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut script = self.script.lock();
        let name = asked.to_string();
        let index = script.iter().position(|(request, _)| *request == name)?;
        Some(script.remove(index).1)
    }

    /// Whether the connection ends with it, and how.
    async fn misbehave(
        &self,
        stream: &mut UnixStream,
        asked: &Asked,
        fault: Fault,
    ) -> io::Result<Option<After>> {
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":\"x\",";
        match fault {
            Fault::Refuse(message) => {
                let body = json!({ "fault_message": message }).to_string();
                stream
                    .write_all(&wire::answer("400 Bad Request", &body))
                    .await?;
                return Ok(None);
            }
            Fault::Fail => {
                let answer = wire::answer("500 Internal Server Error", "the VMM is confused");
                stream.write_all(&answer).await?;
                return Ok(None);
            }
            Fault::WrongBody => {
                stream
                    .write_all(&wire::answer("200 OK", "{\"id\":7"))
                    .await?;
                return Ok(None);
            }
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                stream.write_all(&self.answer(asked)).await?;
                return Ok(None);
            }
            Fault::Hang => until_closed(stream).await?,
            Fault::HangInBody => {
                stream.write_all(half).await?;
                until_closed(stream).await?;
            }
            Fault::Cut => stream.write_all(half).await?,
            Fault::Close => {}
            Fault::Garbage => stream.write_all(&[0xff; 512]).await?,
            Fault::Huge => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                for _ in 0..HUGE >> 16 {
                    stream.write_all(&[b' '; 1 << 16]).await?;
                }
            }
            Fault::Die => return Ok(Some(After::Dead)),
            Fault::DieAfter => {
                stream.write_all(&self.answer(asked)).await?;
                return Ok(Some(After::Dead));
            }
        }
        Ok(Some(After::Live))
    }

    /// Does what is asked, and answers as Firecracker does.
    fn answer(&self, asked: &Asked) -> Vec<u8> {
        let mut state = self.state.lock();
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let next = match (asked.to_string().as_str(), *state) {
            ("GET /", now) => {
                let info = json!({
                    "app_name": "Firecracker", "id": "fake", "state": now, "vmm_version": VERSION,
                });
                return wire::answer("200 OK", &info.to_string());
            }
            ("GET /version", _) => {
                let version = json!({ "firecracker_version": VERSION });
                return wire::answer("200 OK", &version.to_string());
            }
            ("PUT /actions", "Not started") => "Running",
            ("PUT /snapshot/load", "Not started") if body["resume_vm"] == true => "Running",
            ("PUT /snapshot/load", "Not started") => "Paused",
            ("PATCH /vm", "Running" | "Paused") if body["state"] == "Paused" => "Paused",
            ("PATCH /vm", "Running" | "Paused") => "Running",
            ("PUT /snapshot/create", now @ "Paused") => now,
            ("PUT /actions" | "PATCH /vm" | "PUT /snapshot/load" | "PUT /snapshot/create", now) => {
                let fault = format!("not while the instance is {now}");
                let body = json!({ "fault_message": fault }).to_string();
                return wire::answer("400 Bad Request", &body);
            }
            (_, now) => now,
        };
        *state = next;
        wire::answer("204 No Content", "")
    }
}

/// Says nothing more until the client has had enough.
async fn until_closed(stream: &mut UnixStream) -> io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
