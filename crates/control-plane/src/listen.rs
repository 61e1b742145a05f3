//! Connections of clients: accepted, bounded in number, and with a deadline for their first bytes.
//!
//! HTTP/1.1 and HTTP/2 on one port. A client that sends no complete head within [`HEAD`] is closed, so that
//! idle sockets cannot pile up; past [`MOST`] connections the system's backlog waits.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::http;

/// Connections at once.
const MOST: usize = 16_384;
/// Longest wait for the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// How often an HTTP/2 peer is asked for a sign of life, and how long it may take.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Pause after the system refused a connection, as it does when descriptors run out.
const REFUSED: Duration = Duration::from_millis(100);

/// When connections end.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// No new requests; those in flight are finished.
    pub(crate) drain: CancellationToken,
    /// Now.
    pub(crate) stop: CancellationToken,
}

/// Serves until `ends.drain`, and then until the last request is finished or `ends.stop`.
pub(crate) async fn serve(listener: TcpListener, router: Router, ends: Ends) {
    let (room, connections) = (Arc::new(Semaphore::new(MOST)), TaskTracker::new());
    while let Some((stream, peer, share)) = accept(&listener, &room, &ends).await {
        // Small frames of a terminal or an event must not wait for more bytes.
        let _ = stream.set_nodelay(true);
        connections.spawn(connection(
            stream,
            peer,
            router.clone(),
            ends.clone(),
            share,
        ));
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    ends: &Ends,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    loop {
        let next = async {
            let share = Arc::clone(room).acquire_owned().await.ok()?;
            Some((listener.accept().await, share))
        };
        let (accepted, share) = tokio::select! {
            () = ends.drain.cancelled() => return None,
            next = next => next?,
        };
        match accepted {
            Ok((stream, peer)) => return Some((stream, peer, share)),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(REFUSED).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    ends: Ends,
    _share: OwnedSemaphorePermit,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        // Aliases are rewritten before routing, so outside the router.
        router.clone().oneshot(http::rewrite(request))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .enable_connect_protocol();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = ends.drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        // A broken connection is the client's affair.
        _ = connection => {}
        () = ends.stop.cancelled() => {}
    }
}
