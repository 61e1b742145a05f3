//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, within the guest's bounds.

#[cfg(test)]
mod admission;
pub(crate) mod connections;
pub(crate) mod gate;
pub(crate) mod hostkey;
mod leftover;
mod pace;

use std::{fs, io, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

use self::{
    gate::{Audience, Caller},
    leftover::ReadWhole,
    pace::{Pace, Paced, Patience, Reply},
};
use crate::agent::Agent;

const MAX_CONNECTIONS: usize = 1024;
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
const MAX_STREAMS: u32 = 1024;
const MAX_HEADERS: usize = 64 * 1024;
/// How long a connection may say nothing after its first request.
const IDLE_TIME: Duration = Duration::from_secs(620);
const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    reply: Duration::from_secs(60),
};
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves `router` on every connection of `listener`. Does not end.
pub(crate) async fn accept(
    listener: TcpListener,
    audience: Audience,
    router: Router,
    agent: Arc<Agent>,
) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, agent) = (router.clone(), Arc::clone(&agent));
                let seats = Arc::clone(&seats);
                tokio::spawn(async move {
                    match timeout(CONNECTION_WAIT, seats.acquire_owned()).await {
                        Ok(Ok(seat)) => connection(stream, audience, router, agent, seat).await,
                        _ => refuse(stream).await,
                    }
                });
            }
            // Out of descriptors or of memory, or a peer that left in the queue: others may still come.
            Err(fault) => {
                tracing::warn!(%fault, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn refuse(mut stream: TcpStream) {
    // The peer is told if it listens; it is dropped either way.
    let _ = timeout(PATIENCE.head, stream.write_all(BUSY)).await;
}

async fn connection(
    stream: TcpStream,
    audience: Audience,
    router: Router,
    agent: Arc<Agent>,
    _seat: OwnedSemaphorePermit,
) {
    let (registered, dropped) = agent.connections.register();
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let caller = Caller {
        audience,
        connection: registered.id(),
    };
    tokio::select! {
        () = serve(stream, router, caller, PATIENCE) => {}
        () = dropped.cancelled() => {}
    }
}

/// Serves `router` on one connection, to its end.
async fn serve(stream: TcpStream, router: Router, caller: Caller, patience: Patience) {
    let pace = Arc::<Pace>::default();
    let stream = TokioIo::new(Paced::new(stream, Arc::clone(&pace), patience));
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let under_way = pace.hear(&request);
        request.extensions_mut().insert(caller);
        let request = request.map(|body| ReadWhole::new(body, under_way.clone()));
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await;
            response.map(|response| response.map(|body| Reply::new(body, under_way)))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIME)
        .max_buf_size(MAX_HEADERS)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(IDLE_TIME);
    if let Err(fault) = builder.serve_connection(stream, service).await {
        tracing::debug!(%fault, "a connection ended");
    }
}

/// Keeps the agent running when its guest is short of memory or of processor time.
pub(crate) fn protect_self() {
    let guarded = fs::write("/proc/self/oom_score_adj", "-1000")
        .and_then(|()| rustix::process::setpriority_process(None, -20).map_err(io::Error::from));
    if let Err(fault) = guarded {
        tracing::warn!(%fault, "the agent runs without priority");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::any;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// More than the buffers of both sides hold.
    const LONG: usize = 32 << 20;
    const SHORT: Duration = Duration::from_millis(500);
    const LATE: Duration = Duration::from_secs(30);

    /// The other end of a connection that is served with `patience`.
    async fn connected(patience: Patience) -> TcpStream {
        let router = Router::new()
            .route("/short", any(async || "short"))
            .fallback(async || vec![0; LONG]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let caller = Caller {
            audience: Audience::Everybody,
            connection: 1,
        };
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, router, caller, patience).await;
        });
        TcpStream::connect(address).await.unwrap()
    }

    async fn ask(stream: &mut TcpStream, line: &str) {
        let head = format!("{line} HTTP/1.1\r\nHost: envd\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
    }

    /// What is still to be read of a connection that ends.
    async fn rest(stream: &mut TcpStream) -> usize {
        let mut all = Vec::new();
        // The end may come as a reset.
        let _ = timeout(LATE, stream.read_to_end(&mut all))
            .await
            .expect("it ends");
        all.len()
    }

    #[tokio::test]
    async fn each_head_of_a_connection_has_its_time_and_silence_between_them_has_its_own() {
        let patience = Patience {
            head: SHORT,
            reply: LATE,
        };
        let mut stream = connected(patience).await;
        let mut answer = [0; 4096];
        for _ in 0..3 {
            ask(&mut stream, "GET /short").await;
            assert!(stream.read(&mut answer).await.unwrap() > 0);
            // Longer than a head may take, but no head has begun.
            sleep(SHORT * 2).await;
        }
        stream
            .write_all(b"GET /short HTTP/1.1\r\nHost:")
            .await
            .unwrap();
        let begun = Instant::now();
        assert_eq!(rest(&mut stream).await, 0);
        assert!(begun.elapsed() >= SHORT && begun.elapsed() < LATE);
        // Nor does the first head have longer, when nothing of it comes.
        assert_eq!(rest(&mut connected(patience).await).await, 0);
    }

    #[tokio::test]
    async fn a_slow_body_is_no_slow_head() {
        let patience = Patience {
            head: SHORT,
            reply: LATE,
        };
        let mut stream = connected(patience).await;
        let head = b"POST /short HTTP/1.1\r\nHost: envd\r\nContent-Length: 4\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for byte in b"body" {
            sleep(SHORT / 2).await;
            stream.write_all(&[*byte]).await.unwrap();
        }
        ask(&mut stream, "GET /short").await;
        let mut seen = Vec::new();
        while String::from_utf8_lossy(&seen)
            .matches("HTTP/1.1 200")
            .count()
            < 2
        {
            let read = timeout(LATE, stream.read_buf(&mut seen)).await.unwrap();
            assert!(read.unwrap() > 0);
        }
    }

    #[tokio::test]
    async fn who_does_not_read_a_whole_reply_is_cut_and_who_reads_output_is_waited_for() {
        let patience = Patience {
            head: LATE,
            reply: SHORT,
        };
        let mut stream = connected(patience).await;
        ask(&mut stream, "POST /filesystem.Filesystem/ListDir").await;
        let mut leisurely = connected(patience).await;
        ask(&mut leisurely, "POST /process.Process/Start").await;
        let mut alike = connected(patience).await;
        ask(&mut alike, "GET /files?path=x").await;
        sleep(SHORT * 4).await;
        assert!(rest(&mut stream).await < LONG);
        for mut stream in [leisurely, alike] {
            let mut whole = vec![0; LONG];
            let read = timeout(LATE, stream.read_exact(&mut whole)).await;
            read.unwrap().unwrap();
        }
    }
}
