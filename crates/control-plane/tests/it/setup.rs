//! What most tests begin with: an installation, one replica, one host, one client.

use wrenn_testkit::{
    client::Client,
    control_plane::{Options, Replica, World, eventually},
    simulated_agent::{Capacity, SimulatedAgent},
};

pub(crate) struct Setup {
    pub(crate) client: Client,
    pub(crate) agent: SimulatedAgent,
    pub(crate) replica: Replica,
    pub(crate) world: World,
}

impl Setup {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default(), Capacity::default()).await
    }

    pub(crate) async fn with(options: Options, capacity: Capacity) -> Self {
        let world = World::new().await.unwrap();
        let replica = world.replica(options).unwrap();
        let agent = world.agent(&replica, capacity).await.unwrap();
        let client = world.client(&replica);
        Self {
            client,
            agent,
            replica,
            world,
        }
    }

    /// Rows of sandboxes that are neither stopped nor in error, and sandboxes on the host.
    pub(crate) async fn census(&self) -> (i64, usize) {
        let rows = "SELECT count(*) FROM sandboxes WHERE status NOT IN ('stopped', 'error')";
        let rows = sqlx::query_scalar(rows)
            .fetch_one(&self.world.db)
            .await
            .unwrap();
        (rows, self.agent.census().len())
    }

    /// Waits until no row of the audit log waits for its end: that is written after the answer.
    pub(crate) async fn log_is_complete(&self) {
        eventually("every row is complete", async || {
            let open = "SELECT count(*) FROM audit_logs WHERE completed_at IS NULL";
            let open: i64 = sqlx::query_scalar(open)
                .fetch_one(&self.world.db)
                .await
                .unwrap();
            open == 0
        })
        .await
        .unwrap();
    }
}
