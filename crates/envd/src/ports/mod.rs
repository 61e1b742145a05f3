//! Forwarding of ports that a server of the guest opened on the loopback address alone: envd listens at the
//! guest's address and carries the bytes over, so that a preview works whatever a server binds to.
//!
//! A forward lives as long as its server listens: when that is gone in two looks in a row, the forward ends
//! with its connections. Dropping a forward ends it.

mod table;

#[cfg(feature = "fuzzing")]
pub(crate) use self::table::fuzz;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

const PERIOD: Duration = Duration::from_millis(500);
/// Looks without the server before its forward ends.
const MISSES: u8 = 2;
const MAX_FORWARDS: usize = 256;
const MAX_CONNECTIONS: usize = 1024;
const BUFFER: usize = 64 << 10;

/// Forwards to `guest` until dropped; never the ports in `excluded`.
pub(crate) async fn forward(guest: IpAddr, excluded: u16) {
    let mut ports = Ports {
        guest,
        forwards: BTreeMap::new(),
        room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match table::listening() {
            Ok(listening) => ports.follow(&listening, excluded).await,
            Err(fault) => tracing::warn!(%fault, "cannot read who listens"),
        }
    }
}

struct Ports {
    guest: IpAddr,
    forwards: BTreeMap<u16, Forward>,
    room: Arc<Semaphore>,
}

/// One port; its tasks end with it.
struct Forward {
    target: SocketAddr,
    missed: u8,
    _tasks: JoinSet<()>,
}

impl Ports {
    /// Opens and closes forwards, so that they fit who listens now.
    async fn follow(&mut self, listening: &[SocketAddr], excluded: u16) {
        let mut hidden = table::hidden(listening, self.guest, |port| {
            self.forwards.contains_key(&port)
        });
        hidden.remove(&excluded);
        self.forwards.retain(|port, forward| {
            match hidden.get(port) {
                Some(address) if *address == forward.target.ip() => forward.missed = 0,
                _ => forward.missed += 1,
            }
            forward.missed < MISSES
        });
        for (port, address) in hidden {
            if self.forwards.len() >= MAX_FORWARDS || self.forwards.contains_key(&port) {
                continue;
            }
            // Taken between the look and now: the next look will see by whom.
            let Ok(listener) = TcpListener::bind((self.guest, port)).await else {
                continue;
            };
            let target = SocketAddr::new(address, port);
            let mut tasks = JoinSet::new();
            tasks.spawn(accept(listener, target, Arc::clone(&self.room)));
            let forward = Forward {
                target,
                missed: 0,
                _tasks: tasks,
            };
            self.forwards.insert(port, forward);
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, room: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        // Waits while there are too many; the kernel's queue of connections is bounded too.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let client = tokio::select! {
            client = listener.accept() => client,
            Some(_) = connections.join_next() => continue,
        };
        match client {
            Ok((client, _)) => drop(connections.spawn(carry(client, target, permit))),
            Err(fault) => {
                tracing::warn!(%fault, "cannot take a connection");
                tokio::time::sleep(PERIOD).await;
            }
        }
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, _permit: OwnedSemaphorePermit) {
    let carried = async {
        let mut server = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
        Ok::<_, io::Error>(())
    };
    if let Err(fault) = carried.await {
        tracing::debug!(%fault, "a forwarded connection broke");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::*;

    const GUEST: &str = "169.254.0.21";
    const PATIENCE: Duration = Duration::from_secs(30);
    const INSIDE: &str = "WRENN_IN_OWN_NETWORK";

    /// Answers one connection: sends what it got back after the client has sent all.
    async fn echo(listener: &TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    }

    async fn connect(port: u16) -> TcpStream {
        let wait = async {
            loop {
                match TcpStream::connect((GUEST, port)).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("it is forwarded")
    }

    async fn check_forwarded(listener: &TcpListener) {
        let port = listener.local_addr().unwrap().port();
        let client = async {
            let mut stream = connect(port).await;
            stream.write_all(b"through").await.unwrap();
            // Only one direction ends here.
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"through");
        };
        tokio::join!(client, echo(listener));
    }

    async fn in_own_network() {
        let guest: IpAddr = GUEST.parse().unwrap();
        let forwarding = tokio::spawn(forward(guest, 49983));
        let four = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let six = TcpListener::bind("[::1]:0").await.unwrap();
        check_forwarded(&four).await;
        check_forwarded(&six).await;
        let own = TcpListener::bind("127.0.0.1:49983").await.unwrap();
        check_forwarded(&four).await;
        assert!(TcpStream::connect((GUEST, 49983)).await.is_err());
        drop(own);

        // The server comes back on the wildcard address: the port must be free for it.
        let port = four.local_addr().unwrap().port();
        let mut open = connect(port).await;
        let (held, _) = four.accept().await.unwrap();
        drop((four, held));
        assert_eq!(open.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let moved = async {
            loop {
                match TcpListener::bind(("0.0.0.0", port)).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let moved = timeout(PATIENCE, moved).await.expect("the port is free");
        check_forwarded(&moved).await;
        forwarding.abort();
    }

    #[test]
    fn a_loopback_server_is_reached_at_the_guests_address() {
        if std::env::var_os(INSIDE).is_some() {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build();
            return runtime.unwrap().block_on(in_own_network());
        }
        // Once more in a network of its own, which has the guest's address and nobody else's servers.
        let name = "ports::tests::a_loopback_server_is_reached_at_the_guests_address";
        let script = format!(
            "ip link set lo up && ip address add {GUEST}/30 dev lo && exec \"$0\" --exact {name}"
        );
        let inside = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&inside.stdout).into_owned();
        assert!(
            inside.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&inside.stderr)
        );
        assert!(text.contains("1 passed"), "{text}");
    }
}
