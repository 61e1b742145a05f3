//! A guest without the agent in between: plain HTTP and plain TCP to its address.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

const QUESTION: &[u8] = b"GET /health HTTP/1.1\r\nhost: guest\r\n\r\n";
/// A packet sent before the guest has a network may be lost: asking again is quicker than TCP's own repeat.
const ONE_ANSWER: Duration = Duration::from_millis(500);
const BETWEEN: Duration = Duration::from_millis(10);
const PIECE: usize = 64 << 10;

/// Python program for the guest: takes as many bytes as it is told, says so, sends as many back.
pub const ECHO: &str = r"
import socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
peer, _ = socket.create_server(('0.0.0.0', port)).accept()
piece = bytearray(65536)
left = count
while left > 0:
    taken = peer.recv_into(piece)
    if taken == 0:
        sys.exit('cut')
    left -= taken
peer.sendall(b'.')
for _ in range(count // len(piece)):
    peer.sendall(piece)
peer.close()
";

/// Python program for the guest: the milliseconds in which a program starts and ends, their median.
pub const SPAWN: &str = r"
import os, time
def once():
    begun = time.monotonic()
    os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)
    return (time.monotonic() - begun) * 1000
print(sorted(once() for _ in range(20))[10])
";

/// A kept connection to a guest's own HTTP server.
#[derive(Debug)]
pub struct GuestHttp {
    stream: TcpStream,
}

impl GuestHttp {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(guest: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(guest)
            .await
            .context("connect to the guest")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// `GET /health`, answered with 204, which has no body.
    ///
    /// # Errors
    /// When the answer is another one.
    pub async fn health(&mut self) -> Result<()> {
        self.stream
            .write_all(QUESTION)
            .await
            .context("ask the guest")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let taken = self
                .stream
                .read_buf(&mut answer)
                .await
                .context("hear the guest")?;
            ensure!(
                taken > 0 && answer.len() < 4096,
                "the guest does not speak HTTP"
            );
        }
        ensure!(answer.starts_with(b"HTTP/1.1 204"), "the guest is not well");
        Ok(())
    }

    /// Asks a guest that boots until it is well.
    pub async fn wait_healthy(guest: SocketAddr) {
        let ask = async || Self::connect(guest).await?.health().await;
        while !matches!(timeout(ONE_ANSWER, ask()).await, Ok(Ok(()))) {
            sleep(BETWEEN).await;
        }
    }
}

/// Sends `count` bytes to [`ECHO`] in the guest and takes as many back; how long each took.
///
/// # Errors
/// When the guest does not listen within the deadline, or hangs up.
pub async fn transfer(
    guest: SocketAddr,
    count: usize,
    deadline: Duration,
) -> Result<(Duration, Duration)> {
    let connect = async {
        loop {
            if let Ok(stream) = TcpStream::connect(guest).await {
                return stream;
            }
            sleep(BETWEEN).await;
        }
    };
    let mut stream = timeout(deadline, connect)
        .await
        .context("wait for the guest to listen")?;
    let mut piece = vec![0x5a; PIECE];
    let exchange = async {
        let begun = Instant::now();
        for _ in 0..count / PIECE {
            stream.write_all(&piece).await?;
        }
        stream.read_exact(&mut piece[..1]).await?;
        let sent = begun.elapsed();
        let begun = Instant::now();
        for _ in 0..count / PIECE {
            stream.read_exact(&mut piece).await?;
        }
        std::io::Result::Ok((sent, begun.elapsed()))
    };
    let exchanged = timeout(deadline, exchange)
        .await
        .context("wait for the guest's bytes")?;
    exchanged.context("exchange bytes with the guest")
}
