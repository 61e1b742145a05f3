//! The floor of a restore: Firecracker alone writes a snapshot of a bare VM, and loads it with the `File` backend.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{bare_vm::BareHost, raw::GuestHttp};

/// For one answer of Firecracker, emulated.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks for Firecracker's socket.
const LOOK: Duration = Duration::from_millis(2);

/// A snapshot of a bare VM.
#[derive(Debug)]
pub struct BareSnapshot {
    directory: PathBuf,
    firecracker: PathBuf,
    guest: SocketAddr,
}

/// A restored bare VM.
#[derive(Debug)]
pub struct Restored {
    process: Child,
    /// From the start of the process to the guest's first answer.
    pub took: Duration,
}

impl BareSnapshot {
    /// Boots a VM of `bare` and writes its snapshot.
    ///
    /// # Errors
    /// When Firecracker or the guest does not answer.
    pub async fn take(bare: &BareHost) -> Result<Self> {
        let config = bare.prepare_boot("floor").await?;
        let snapshot = Self {
            directory: bare.directory().to_owned(),
            firecracker: BareHost::firecracker(),
            guest: BareHost::guest()?,
        };
        let (mut process, socket) = snapshot
            .start(&["--config-file".as_ref(), config.as_os_str()])
            .await?;
        snapshot.answers(&mut process).await?;
        pause(&socket).await?;
        snapshot_to(&socket, "Full", &snapshot.directory, "floor").await?;
        process.kill().await.context("end the bare Firecracker")?;
        Ok(snapshot)
    }

    /// Writes its memory anew, as each pause of a sandbox does: what a machine, or its emulator, remembers of pages
    /// that it ran before is of no use to the next restore.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn renew(&self) -> Result<()> {
        let memory = self.directory.join("floor.memory");
        let renewed = self.directory.join("floor.memory.new");
        tokio::fs::copy(&memory, &renewed)
            .await
            .context("copy the bare VM's memory")?;
        // Or the disk works on it beside whatever is measured next.
        let file = tokio::fs::File::open(&renewed).await;
        let file = file.context("open the copy")?;
        file.sync_all().await.context("sync the copy")?;
        tokio::fs::rename(&renewed, &memory)
            .await
            .context("put it in place")
    }

    /// Restores it.
    ///
    /// # Errors
    /// When Firecracker or the guest does not answer.
    pub async fn restore(&self) -> Result<Restored> {
        let begun = Instant::now();
        let (mut process, socket) = self.start(&[]).await?;
        let load = json!({
            "snapshot_path": self.directory.join("floor.vmstate"),
            "mem_backend": {
                "backend_type": "File",
                "backend_path": self.directory.join("floor.memory"),
            },
            "enable_diff_snapshots": true,
            "resume_vm": true,
        });
        ask(&socket, "PUT", "/snapshot/load", &load).await?;
        self.answers(&mut process).await?;
        Ok(Restored {
            process,
            took: begun.elapsed(),
        })
    }

    async fn start(&self, arguments: &[&std::ffi::OsStr]) -> Result<(Child, PathBuf)> {
        let socket = self.directory.join("api.sock");
        let _ = std::fs::remove_file(&socket); // it may not be there
        let process = Command::new(&self.firecracker)
            .arg("--api-sock")
            .arg(&socket)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start Firecracker")?;
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).await.is_err() {
            ensure!(Instant::now() < until, "Firecracker does not listen");
            sleep(LOOK).await;
        }
        Ok((process, socket))
    }

    async fn answers(&self, process: &mut Child) -> Result<()> {
        tokio::select! {
            waited = timeout(PATIENCE, GuestHttp::wait_healthy(self.guest)) => {
                waited.context("wait for the bare guest")
            }
            ended = process.wait() => bail!("the bare Firecracker ended: {ended:?}"),
        }
    }
}

impl Restored {
    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn end(&mut self) -> Result<()> {
        self.process
            .kill()
            .await
            .context("end the bare Firecracker")
    }
}

/// How long Firecracker alone takes to write what a VM has changed as a difference, and the disk to keep it: a
/// sandbox's, whose jail is `root`. The VM stands still then, and whoever pauses it next loses what it changed.
///
/// # Errors
/// When Firecracker does not answer.
pub async fn difference(root: &Path) -> Result<Duration> {
    let socket = root.join("api.sock");
    let begun = Instant::now();
    pause(&socket).await?;
    snapshot_to(&socket, "Diff", Path::new("/"), "difference").await?;
    for name in ["difference.vmstate", "difference.memory"] {
        let file = std::fs::File::open(root.join(name));
        file.and_then(|file| file.sync_all()).context("sync")?;
    }
    Ok(begun.elapsed())
}

async fn pause(socket: &Path) -> Result<()> {
    ask(socket, "PATCH", "/vm", &json!({ "state": "Paused" })).await
}

async fn snapshot_to(socket: &Path, kind: &str, directory: &Path, name: &str) -> Result<()> {
    let create = json!({
        "snapshot_type": kind,
        "snapshot_path": directory.join(format!("{name}.vmstate")),
        "mem_file_path": directory.join(format!("{name}.memory")),
    });
    ask(socket, "PUT", "/snapshot/create", &create).await
}

/// One request that Firecracker must answer with 204.
async fn ask(socket: &Path, method: &str, path: &str, body: &Value) -> Result<()> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![0; 4096];
        let taken = stream.read(&mut answer).await?;
        answer.truncate(taken);
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(PATIENCE, exchange).await?;
    let answer = answer.with_context(|| format!("ask Firecracker for {path}"))?;
    ensure!(
        answer.starts_with("HTTP/1.1 204"),
        "{method} {path}: {answer}"
    );
    Ok(())
}
