//! Wake-ups between tasks and replicas.
//!
//! Truth is in PostgreSQL; this only says "look again". In the process, waiters for a sandbox are woken
//! directly; across replicas, Redis carries the same news (`wrenn:notify` with a sandbox id, `wrenn:ops`
//! empty, `wrenn:revoke` with whose authority ended). A lost message costs latency, because every waiter also looks again by itself; Redis being away costs no more than that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use wrenn_ids::SandboxId;

/// How long most waiters trust that no news is no change.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// News waiting to be published; more are dropped, see above.
const OUTGOING: usize = 1024;
/// Pause before Redis is asked again.
const RECONNECT: Duration = Duration::from_secs(1);

const NOTIFY: &str = "wrenn:notify";
const OPS: &str = "wrenn:ops";
const REVOKE: &str = "wrenn:revoke";

enum News {
    Sandbox(SandboxId),
    Ops,
    Revoked(String),
}

/// Wakes who waits.
pub(crate) struct Bus {
    waiting: Mutex<HashMap<SandboxId, Arc<Notify>>>,
    /// Wakes the op runner of this replica.
    pub(crate) ops: Notify,
    /// Wakes the task that asks for open streams: somebody's authority ended.
    pub(crate) revocations: Notify,
    outgoing: mpsc::Sender<News>,
    redis: ConnectionManager,
    client: redis::Client,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

/// What [`Bus::run`] takes from [`Bus::new`].
pub(crate) struct Outgoing(mpsc::Receiver<News>);

impl Bus {
    /// Does not connect yet.
    pub(crate) fn new(redis_url: &str) -> redis::RedisResult<(Self, Outgoing)> {
        let client = redis::Client::open(redis_url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(Duration::from_secs(2)))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(200));
        let redis = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let bus = Self {
            waiting: Mutex::default(),
            ops: Notify::new(),
            revocations: Notify::new(),
            outgoing,
            redis,
            client,
        };
        Ok((bus, Outgoing(receiver)))
    }

    /// A connection for commands; reconnects by itself.
    pub(crate) fn redis(&self) -> ConnectionManager {
        self.redis.clone()
    }

    /// Whether Redis answers.
    pub(crate) async fn ping(&self) -> redis::RedisResult<()> {
        redis::cmd("PING").query_async(&mut self.redis()).await
    }

    /// Something about the sandbox changed, and is committed.
    pub(crate) fn sandbox_changed(&self, id: SandboxId) {
        self.wake(id);
        let _ = self.outgoing.try_send(News::Sandbox(id));
    }

    /// An operation may be claimable.
    pub(crate) fn ops_changed(&self) {
        self.ops.notify_one();
        let _ = self.outgoing.try_send(News::Ops);
    }

    /// The authority of a person, a key or a team ended or shrank, and that is committed.
    pub(crate) fn revoked(&self, who: impl std::fmt::Display) {
        self.revocations.notify_one();
        let _ = self.outgoing.try_send(News::Revoked(who.to_string()));
    }

    fn wake(&self, id: SandboxId) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = waiting.get(&id) {
            notify.notify_waiters();
        }
    }

    /// Begins to listen for changes of a sandbox. Subscribe, then read the row, then wait.
    pub(crate) fn watch(self: &Arc<Self>, id: SandboxId) -> Watch {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = Arc::clone(waiting.entry(id).or_default());
        Watch {
            bus: Arc::clone(self),
            id,
            notify,
        }
    }

    /// Publishes our news and takes in those of other replicas, until cancelled.
    pub(crate) async fn run(self: Arc<Self>, mut outgoing: Outgoing, stop: CancellationToken) {
        let publish = async {
            while let Some(news) = outgoing.0.recv().await {
                let (channel, text) = match news {
                    News::Sandbox(id) => (NOTIFY, id.to_string()),
                    News::Ops => (OPS, String::new()),
                    News::Revoked(who) => (REVOKE, who),
                };
                let sent: redis::RedisResult<()> = redis::cmd("PUBLISH")
                    .arg(channel)
                    .arg(text)
                    .query_async(&mut self.redis())
                    .await;
                if let Err(error) = sent {
                    tracing::debug!(%error, "a wake-up was not published");
                }
            }
        };
        let listen = async {
            loop {
                if let Err(error) = self.listen().await {
                    tracing::debug!(%error, "listening to Redis ended");
                }
                tokio::time::sleep(RECONNECT).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(publish, listen) } => {}
        }
    }

    async fn listen(&self) -> redis::RedisResult<()> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(&[NOTIFY, OPS, REVOKE]).await?;
        // What was said while we were away is unknown.
        self.ops.notify_one();
        self.revocations.notify_one();
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            if message.get_channel_name() == OPS {
                self.ops.notify_one();
            } else if message.get_channel_name() == REVOKE {
                self.revocations.notify_one();
            } else if let Some(id) = message
                .get_payload::<String>()
                .ok()
                .and_then(|text| text.parse().ok())
            {
                self.wake(id);
            }
        }
        Ok(())
    }
}

/// Interest in one sandbox; ends when dropped.
pub(crate) struct Watch {
    bus: Arc<Bus>,
    id: SandboxId,
    notify: Arc<Notify>,
}

impl Watch {
    /// Completes at a change that comes while it is waited for; one in between is lost.
    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }

    /// A future that completes at the next change, armed from now on, or after `at_most`.
    pub(crate) fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + '_ {
        let mut notified = Box::pin(self.notify.notified());
        // Armed before the caller reads the row: a change in between is not lost.
        notified.as_mut().enable();
        async move {
            let _ = tokio::time::timeout(at_most, notified).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self
            .bus
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Two: the map's and ours.
        if Arc::strong_count(&self.notify) <= 2 {
            waiting.remove(&self.id);
        }
    }
}
