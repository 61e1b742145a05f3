//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, within the guest's bounds.

pub(crate) mod connections;
pub(crate) mod gate;
pub(crate) mod hostkey;
mod leftover;

use std::{fs, io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

use self::{
    gate::{Audience, Caller},
    leftover::ReadWhole,
};
use crate::agent::Agent;

const MAX_CONNECTIONS: usize = 1024;
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
const MAX_STREAMS: u32 = 1024;
const MAX_HEADERS: usize = 64 * 1024;
/// How long a connection may say nothing, and how long its first request may take to begin and then to be
/// there with all its headers.
const IDLE_TIME: Duration = Duration::from_secs(620);
const FIRST_BYTE_TIME: Duration = Duration::from_secs(10);
const HEADER_TIME: Duration = Duration::from_secs(10);
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
    let _ = timeout(FIRST_BYTE_TIME, stream.write_all(BUSY)).await;
}

async fn connection(
    stream: TcpStream,
    audience: Audience,
    router: Router,
    agent: Arc<Agent>,
    _seat: OwnedSemaphorePermit,
) {
    let (registered, dropped) = agent.connections.register();
    if stream.set_nodelay(true).is_err()
        || !matches!(
            timeout(FIRST_BYTE_TIME, stream.readable()).await,
            Ok(Ok(()))
        )
    {
        return;
    }
    let caller = Caller {
        audience,
        connection: registered.id(),
    };
    let heard = Arc::new(Notify::new());
    let requested = Arc::clone(&heard);
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        requested.notify_one();
        request.extensions_mut().insert(caller);
        request.map(ReadWhole::new)
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
    let io = TokioIo::new(stream);
    let serving = builder.serve_connection(io, TowerToHyperService::new(service));
    let dawdles = async {
        if timeout(HEADER_TIME, heard.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = serving => if let Err(fault) = ended {
            tracing::debug!(%fault, "a connection ended");
        },
        () = dropped.cancelled() => {}
        () = dawdles => {}
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
