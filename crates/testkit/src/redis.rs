//! A real Redis of a test, on a Unix socket.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use tempfile::TempDir;

use crate::server::{Server, find_program, scratch};

/// A running Redis; it keeps nothing.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
    server: Mutex<Option<Server>>,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When Redis is not installed or does not start.
    pub fn start() -> Result<Self> {
        let directory = scratch("redis")?;
        let redis = Self {
            directory,
            server: Mutex::new(None),
        };
        redis.restart()?;
        Ok(redis)
    }

    /// The address for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}/socket", self.directory.path().display())
    }

    /// Kills the server, as a crash would: what it held is lost.
    pub fn kill(&self) {
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Starts the server again, empty.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> Result<()> {
        self.kill();
        let socket = self.directory.path().join("socket");
        let path = socket.to_string_lossy();
        let arguments = [
            "--port",
            "0",
            "--unixsocket",
            &*path,
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        let log = self.directory.path().join("log");
        let program = find_program("redis-server", &[])?;
        let ready = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let server = Server::start(&program, &arguments, None, &log, ready)?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }
}
