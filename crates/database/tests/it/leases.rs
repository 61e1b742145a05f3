//! Compare-and-set of statuses, and the leases of operations.

use uuid::Uuid;
use wrenn_api::Reason;
use wrenn_database::{
    Error, Generation, NewOp, OpKind, OpParams, OpRow, OpState, PgPool, State, op_claim, op_finish,
    op_insert, op_live, op_release, op_renew, op_set_params, op_set_step, op_supersede,
    ops_live_count, sandbox_get, transition,
};
use wrenn_ids::SandboxId;

use crate::database;

async fn sandbox(db: &PgPool) -> SandboxId {
    let id = SandboxId::new();
    sqlx::query(
        "INSERT INTO sandboxes (id, team_id, template_id, template_name, template_team_id, status,
             vcpus, memory_mb, disk_size_mb, created_by_type, created_by)
         SELECT $1, id, id, 'minimal', id, 'starting', 1, 512, 1024, 'system', id FROM teams",
    )
    .bind(id.as_uuid())
    .execute(db)
    .await
    .unwrap();
    id
}

async fn create_op(db: &PgPool, sandbox: SandboxId, owner: Uuid) -> Result<OpRow, Error> {
    let op = NewOp {
        sandbox,
        kind: OpKind::Create,
        generation: 1,
        step: "first",
        params: OpParams::default(),
        actor: &wrenn_database::OpActor::SYSTEM,
        request_id: "r",
        owner,
        deadline_sec: Some(60),
    };
    op_insert(db, &op).await
}

async fn expire(db: &PgPool) {
    sqlx::query("UPDATE sandbox_ops SET lease_until = now()")
        .execute(db)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_status_changes_only_from_what_was_assumed() {
    let db = database().await;
    let id = sandbox(&db).await;
    let change = async |from: &[State], to, generation, then| {
        transition(&db, id, from, to, generation, then, Some(Reason::User))
            .await
            .unwrap()
    };
    let (starting, running) = ([State::Starting], [State::Running]);
    assert_eq!(
        change(&running, State::Paused, 1, Generation::Keep).await,
        None
    );
    assert_eq!(
        change(&starting, State::Running, 2, Generation::Keep).await,
        None
    );
    assert_eq!(
        change(&starting, State::Running, 1, Generation::Keep).await,
        Some(1)
    );
    assert_eq!(
        change(&running, State::Stopping, 1, Generation::Next).await,
        Some(2)
    );
    let row = sandbox_get(&db, id).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.generation, row.reason.as_deref()),
        (State::Stopping, 2, Some("user"))
    );
}

#[tokio::test]
async fn one_operation_lives_on_a_sandbox() {
    let db = database().await;
    let (id, owner) = (sandbox(&db).await, Uuid::now_v7());
    let op = create_op(&db, id, owner).await.unwrap();
    assert!(
        op.remaining_ms
            .is_some_and(|left| (1..=60_000).contains(&left))
    );
    let second = create_op(&db, id, owner).await;
    assert!(
        matches!(second, Err(Error::Duplicate { constraint, .. }) if constraint == "sandbox_ops_live")
    );
    let mut connection = db.acquire().await.unwrap();
    assert_eq!(
        op_live(&mut connection, id).await.unwrap().unwrap().id,
        op.id
    );
    op_supersede(&db, id).await.unwrap();
    assert!(op_live(&mut connection, id).await.unwrap().is_none());
    create_op(&db, id, owner).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_ran_out_fences_its_former_holder() {
    let db = database().await;
    let (dead, alive) = (Uuid::now_v7(), Uuid::now_v7());
    let op = create_op(&db, sandbox(&db).await, dead).await.unwrap();
    assert!(op_claim(&db, alive, 10).await.unwrap().is_empty());
    assert_eq!(op_renew(&db, dead, &[op.id]).await.unwrap(), [op.id]);
    expire(&db).await;
    let claimed = op_claim(&db, alive, 10).await.unwrap();
    assert_eq!(
        (claimed.len(), claimed[0].id, claimed[0].attempts),
        (1, op.id, 2)
    );
    assert_eq!(ops_live_count(&db).await.unwrap(), (1, 1));
    // Whatever the former holder still tries fails.
    assert!(op_renew(&db, dead, &[op.id]).await.unwrap().is_empty());
    assert!(!op_set_step(&db, op.id, dead, "next").await.unwrap());
    assert!(
        !op_set_params(&db, op.id, dead, &OpParams::default())
            .await
            .unwrap()
    );
    assert!(!op_release(&db, op.id, dead, 0).await.unwrap());
    assert!(
        !op_finish(&db, op.id, dead, OpState::Done, None)
            .await
            .unwrap()
    );
    assert!(op_set_step(&db, op.id, alive, "next").await.unwrap());
    assert!(
        op_finish(&db, op.id, alive, OpState::Done, None)
            .await
            .unwrap()
    );
    assert_eq!(ops_live_count(&db).await.unwrap(), (0, 0));
}

#[tokio::test]
async fn an_operation_given_back_is_claimable_when_its_time_has_come() {
    let db = database().await;
    let owner = Uuid::now_v7();
    let op = create_op(&db, sandbox(&db).await, owner).await.unwrap();
    assert!(op_release(&db, op.id, owner, 60_000).await.unwrap());
    assert!(op_claim(&db, owner, 10).await.unwrap().is_empty());
    expire(&db).await;
    // Of two replicas that look at once, one gets it.
    let (two, three) = (Uuid::now_v7(), Uuid::now_v7());
    let (one, other) = tokio::join!(op_claim(&db, two, 10), op_claim(&db, three, 10));
    assert_eq!(one.unwrap().len() + other.unwrap().len(), 1);
}
