//! A guest for tests of this crate: what only a VM's own agent may touch, on a thread of its own.
//!
//! The thread has namespaces of its own for mounts, the network and the host's name; its root is a small
//! ext4 file system, which may be frozen, and the address of the metadata service is its own. The clock is
//! the machine's: what is told here is the time that it has.

use std::{
    ffi::CStr,
    fs::{self, File},
    future::Future,
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::chroot,
    },
    path::Path,
    process::Command,
    sync::Arc,
};

use ::http::Request;
use axum::{
    Router,
    body::{Body, to_bytes},
};
use rustix::mount::{MountPropagationFlags, mount_change};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tower::ServiceExt as _;
use tracing::level_filters::LevelFilter;

use crate::{
    agent::Agent,
    flags::{Settings, Surroundings},
    guest::writeback::{is_frozen, thaw},
    http,
    init::network,
    secret::sha256_hex,
    server::gate::{Audience, Caller},
    standstill::Standstill,
};

const DISK_BYTES: u64 = 16 << 20;

/// The agent of a guest and its surroundings.
pub(crate) struct Trial {
    pub(crate) agent: Arc<Agent>,
    pub(crate) metadata: Metadata,
    /// What the host proves itself with.
    pub(crate) key: &'static str,
    router: Router,
}

/// What the metadata service tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) key: &'static str,
    pub(crate) token: Option<&'static str>,
}

impl Told {
    pub(crate) fn of(key: &'static str) -> Option<Self> {
        Some(Self { key, token: None })
    }
}

/// The metadata service as it is seen from outside.
pub(crate) struct Metadata {
    /// Absent while the service is silent.
    pub(crate) told: watch::Sender<Option<Told>>,
    /// How often it was asked.
    pub(crate) asked: watch::Receiver<u32>,
}

/// Runs `test` in a guest of its own.
pub(crate) fn in_a_guest<F: Future<Output = ()>>(
    standstill: Standstill,
    test: impl FnOnce(Trial) -> F + Send,
) {
    let directory = tempfile::tempdir().unwrap();
    let tested = std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            enter(directory.path());
            let _root = Root;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let trial = Trial::start(standstill).await;
                test(trial).await;
            });
        });
        guest.join()
    });
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
    }
}

/// Moves this thread, and those that it will start, to the guest.
fn enter(directory: &Path) {
    let spaces = libc::CLONE_FS | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
    // SAFETY: the call takes a number and changes this thread alone.
    let moved = unsafe { libc::unshare(spaces) };
    assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
    let own = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", own).unwrap();
    let image = directory.join("image");
    File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    let root = directory.join("root");
    fs::create_dir(&root).unwrap();
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4"])
        .arg(&image));
    run(Command::new("mount")
        .args(["-o", "loop"])
        .args([&image, &root]));
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    network::be_the_metadata_service().unwrap();
    chroot(&root).unwrap();
    std::env::set_current_dir("/").unwrap();
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// The frozen root of a test that has failed would never be unmounted.
struct Root;

impl Drop for Root {
    fn drop(&mut self) {
        while thaw(&File::open("/").unwrap()).is_ok() {}
    }
}

impl Trial {
    async fn start(standstill: Standstill) -> Self {
        let settings = Settings {
            listen: Vec::new(),
            surroundings: Surroundings::Vm,
            cgroup_root: None,
            default_user: Some("root".into()),
            default_workdir: None,
            log_level: LevelFilter::OFF,
        };
        let agent = Arc::new(Agent {
            standstill,
            ..Agent::new(&settings)
        });
        agent.sandbox.state().generation = Some("known".into());
        let told = watch::Sender::new(Told::of("host"));
        let (asking, asked) = watch::channel(0);
        let listener = TcpListener::bind("169.254.169.254:80").await.unwrap();
        tokio::spawn(serve_metadata(listener, told.subscribe(), asking));
        Self {
            router: http::router(&agent),
            agent,
            metadata: Metadata { told, asked },
            key: "host",
        }
    }

    /// The status of the host's request.
    pub(crate) async fn post(&self, path: &str, body: &str) -> u16 {
        let headers = [("x-wrenn-host-key", self.key)];
        let line = format!("POST {path}");
        let (status, _) = self.ask(Audience::Everybody, &line, &headers, body).await;
        status
    }

    /// The status and the body of any request.
    pub(crate) async fn ask(
        &self,
        audience: Audience,
        line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let caller = Caller {
            audience,
            connection: 1,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .extension(caller);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// An `/init` of the generation that is known, which does not touch the clock of this machine.
    pub(crate) fn repeated_init(&self) -> String {
        let now = jiff::Timestamp::now();
        format!(r#"{{"generationId":"known","timestamp":"{now}","hostname":"thawed"}}"#)
    }

    pub(crate) fn is_root_frozen(&self) -> bool {
        is_frozen(&File::open("/").unwrap()).unwrap()
    }
}

async fn serve_metadata(
    listener: TcpListener,
    told: watch::Receiver<Option<Told>>,
    asking: watch::Sender<u32>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        asking.send_modify(|count| *count += 1);
        let told = *told.borrow();
        if let Some(told) = told {
            // Who leaves before it is answered has asked all the same.
            let _ = answer(stream, told).await;
        }
    }
}

async fn answer(mut stream: TcpStream, told: Told) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let body = if request.starts_with(b"PUT") {
        "token".to_owned()
    } else {
        let hash = |text: &str| sha256_hex(text.as_bytes());
        let token = told.token.map(hash).unwrap_or_default();
        let key = hash(told.key);
        format!(r#"{{"hostKeyHash":"{key}","accessTokenHash":"{token}"}}"#)
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await
}

/// A file that can be opened only when this is dropped. Whoever opens it to write waits in the midst of a
/// write, as far as its file system knows.
pub(crate) struct Gate {
    notices: File,
    waiting: Option<i32>,
}

impl Gate {
    pub(crate) fn close(path: &CStr) -> Self {
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC;
        // SAFETY: the call takes numbers, and its result is checked before it is owned.
        let notices = unsafe {
            let descriptor = libc::fanotify_init(flags, libc::O_RDONLY as u32);
            assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(descriptor)
        };
        let (add, open) = (libc::FAN_MARK_ADD, libc::FAN_OPEN_PERM);
        let (notified, here) = (notices.as_raw_fd(), libc::AT_FDCWD);
        // SAFETY: the descriptor is open and the path ends with a NUL byte.
        let marked = unsafe { libc::fanotify_mark(notified, add, open, here, path.as_ptr()) };
        assert_eq!(marked, 0, "{}", std::io::Error::last_os_error());
        Self {
            notices: notices.into(),
            waiting: None,
        }
    }

    /// Waits until somebody waits.
    pub(crate) fn somebody_waits(&mut self) {
        let mut event = [0; 4096];
        let length = self.notices.read(&mut event).unwrap();
        assert_eq!(length, 24, "one event");
        self.waiting = Some(i32::from_ne_bytes(event[16..20].try_into().unwrap()));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let Some(event) = self.waiting.take() else {
            return;
        };
        // `struct fanotify_response`.
        let answer = [event.to_ne_bytes(), libc::FAN_ALLOW.to_ne_bytes()].concat();
        let _ = self.notices.write_all(&answer);
        // SAFETY: the event brought this descriptor, and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(event) });
    }
}
